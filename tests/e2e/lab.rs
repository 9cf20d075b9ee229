//! The lab as a test sees it: fresh nodes, the tool run on the controller's
//! side, commands on the nodes.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

pub const PASSPHRASE: &str = "correct horse battery staple";

/// Every test begins with freshly installed nodes.
pub struct Lab {
    directory: tempfile::TempDir,
    name: String,
    /// Such a lab is more than most tests need, and goes again.
    is_extra: bool,
    has_second_daemon: bool,
    /// Tests take turns on a lab, whatever runs them.
    _turn: std::fs::File,
}

/// What a run of the tool left behind.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Which of the labs is this test's: cargo-nextest runs one test on each at a time,
/// and says where this one is. The first, and every other runner's, has no suffix.
fn place() -> String {
    match std::env::var("NEXTEST_TEST_GROUP_SLOT") {
        Ok(slot) if slot != "0" && slot != "none" => format!("-{slot}"),
        _ => String::new(),
    }
}

fn lab_command(name: &str) -> Command {
    let mut command = Command::new(root().join("tests/lab/lab"));
    command.args(["--name", name]).current_dir(root());
    command
}

fn check(what: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{what}: {}\n{}\n{}\n(the lab needs root and is brought up by `make test`)",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

impl Lab {
    /// One client, one CA, one daemon: node1, node2, node3.
    pub fn fresh() -> Self {
        Self::bring_up("", &[])
    }

    /// A lab of its own with a second daemon, node4.
    pub fn with_two_daemons() -> Self {
        Self::bring_up("-two", &["--daemons", "2"])
    }

    /// A lab of its own with three daemons: node3, node4 and node5.
    pub fn with_three_daemons() -> Self {
        Self::bring_up("-three", &["--daemons", "3"])
    }

    /// A lab of its own with a second daemon, node4, and a second client, node5.
    pub fn with_two_of_each() -> Self {
        Self::bring_up("-pairs", &["--daemons", "2", "--clients", "2"])
    }

    /// A lab of its own with a second daemon, node4, of Debian 13 and docker 26.
    pub fn with_newer_daemon() -> Self {
        Self::bring_up("-newer", &["--daemons", "2", "--on", "node4=trixie"])
    }

    /// A lab of its own with a daemon and a client of Debian 12, node3 and node1, and
    /// of Debian 13, node4 and node5.
    pub fn with_two_releases() -> Self {
        Self::bring_up(
            "-releases",
            &[
                "--daemons",
                "2",
                "--clients",
                "2",
                "--on",
                "node4=trixie",
                "--on",
                "node5=trixie",
            ],
        )
    }

    /// A lab of its own whose daemon, node3, has sysvinit and no systemd.
    pub fn without_systemd() -> Self {
        Self::bring_up("-sysv", &["--on", "node3=sysv"])
    }

    fn bring_up(suffix: &str, shape: &[&str]) -> Self {
        let place = place();
        let turn = std::fs::File::create(root().join(format!("target/e2e{place}.lock"))).unwrap();
        turn.lock().unwrap();
        let name = std::env::var("LAB_NAME").unwrap_or_else(|_| "e2e".to_owned());
        let name = format!("{name}{place}{suffix}");
        let is_extra = !shape.is_empty();
        // What comes up has fresh nodes; the common lab is up already.
        let commands: [&[&str]; 2] = if is_extra {
            [&["down"], &[&["up"], shape].concat()]
        } else {
            [&["up"], &["reset"]]
        };
        for words in commands {
            let output = lab_command(&name).args(words).output().unwrap();
            check(&format!("lab {}", words.join(" ")), &output);
        }
        Self {
            directory: tempfile::tempdir().unwrap(),
            name,
            is_extra,
            has_second_daemon: shape.contains(&"--daemons"),
            _turn: turn,
        }
    }

    /// What the lab's command, its network namespaces and its state call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The command that runs the tool inside the lab's network.
    pub fn tool(&self, arguments: &[&str]) -> Command {
        let mut words = vec![env!("CARGO_BIN_EXE_dtls-deploy")];
        words.extend(arguments);
        self.command(&words)
    }

    /// Another command inside the lab's network, in a mount namespace of its
    /// own.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = lab_command(&self.name);
        command
            .arg("run")
            .args(words)
            .env("DTLS_CA_PASSPHRASE", PASSPHRASE)
            .env("XDG_STATE_HOME", self.directory.path().join("state"))
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        let output = self.tool(arguments).output().unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs the tool and expects it to end well.
    pub fn deploy(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
        run
    }

    /// Ends a deployment that restarts docker on node3 between the restart and its
    /// confirmation; says what waits there for one.
    pub fn abandon_before_confirmation(&self, inventory: &str) -> String {
        let mut child = self
            .tool(&[inventory, "--output", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_restarted = lines.any(|line| line.unwrap().contains(r#""phase":"restart""#));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_restarted);
        self.exec("node3", "ls /var/lib/dtls-deploy/armed/*")
    }

    /// The files of a directory on a node, with their modes and owners.
    pub fn modes(&self, node: &str, directory: &str) -> String {
        self.exec(node, &format!("cd {directory} && stat -c '%n %a %U' . *"))
    }

    /// A shell command on a node, as root.
    pub fn try_exec(&self, node: &str, command: &str) -> (bool, String) {
        self.try_exec_as(node, "root", command)
    }

    pub fn try_exec_as(&self, node: &str, user: &str, command: &str) -> (bool, String) {
        let output = lab_command(&self.name)
            .args(["exec", node, "--user", user, "--", "bash", "-c", command])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }

    /// Begins a program on a node as this account; what it prints can be read.
    pub fn begin(&self, node: &str, user: &str, words: &[&str]) -> std::process::Child {
        lab_command(&self.name)
            .args(["exec", node, "--user", user, "--"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub fn exec(&self, node: &str, command: &str) -> String {
        let (ok, text) = self.try_exec(node, command);
        assert!(ok, "{node}: {command}: {text}");
        text.trim_end().to_owned()
    }

    pub fn exec_as(&self, node: &str, user: &str, command: &str) -> String {
        let (ok, text) = self.try_exec_as(node, user, command);
        assert!(ok, "{node} as {user}: {command}: {text}");
        text.trim_end().to_owned()
    }

    /// docker does not start on this node while our drop-in says this.
    pub fn guard(&self, node: &str, text: &str) {
        self.exec(node, &format!("mkdir -p /etc/systemd/system/docker.service.d; cat >/etc/systemd/system/docker.service.d/10-guard.conf <<'END'
[Service]
ExecStartPre=/bin/sh -c 'if grep -qs {text} /etc/systemd/system/docker.service.d/50-*; then echo {text} is not for docker; exit 1; fi'
END
systemctl daemon-reload"));
    }

    pub fn unguard(&self, node: &str) {
        self.exec(
            node,
            "rm /etc/systemd/system/docker.service.d/10-guard.conf; systemctl daemon-reload",
        );
    }

    /// No client reaches the daemon at the address of these variables: its name leads elsewhere
    /// from node1. Docker starts with it, and the change is undone some seconds later.
    pub fn unreached(&self) -> &'static str {
        for (node, address) in [("node3", "10.0.0.12"), ("node1", "10.0.0.11")] {
            let line = format!("{address} elsewhere.example.com");
            self.exec(node, &format!("echo {line} >>/etc/hosts"));
        }
        "dtls_listen: ['tcp://elsewhere.example.com:2376']"
    }

    /// The lab's other commands: `unit`, `stop`, `start`.
    pub fn control(&self, arguments: &[&str]) {
        let output = lab_command(&self.name).args(arguments).output().unwrap();
        check(&arguments.join(" "), &output);
    }

    /// Writes an inventory of the three nodes; `variables` are YAML lines for
    /// all of them.
    pub fn inventory(&self, variables: &str) -> String {
        let lines = variables.lines().fold(String::new(), |text, line| {
            text + "    "
                + line
                + "
"
        });
        let second = if self.has_second_daemon {
            "        node4:\n          ansible_host: 10.0.0.13\n"
        } else {
            ""
        };
        let text = format!(
            "all:\n  vars:\n    ansible_user: ubuntu\n{lines}  children:\n    ca:\n      hosts:\n        node2:\n          ansible_host: 10.0.0.11\n    daemons:\n      hosts:\n        node3:\n          ansible_host: 10.0.0.12\n{second}    clients:\n      hosts:\n        node1:\n          ansible_host: 10.0.0.10\n"
        );
        let path = self.directory.path().join("test.yaml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A file that only its owner reads.
    pub fn secret(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.file(name, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The journals of this test's runs, the newest first.
    pub fn journals(&self) -> Vec<PathBuf> {
        run::journal::newest(&self.directory.path().join("state/dtls-deploy/runs")).unwrap()
    }

    /// A directory of this test's, 0700.
    pub fn directory(&self, name: &str) -> String {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = self.directory.path().join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A shell command of this machine's, in the network of a node, whose
    /// settings are read-only in the node itself.
    pub fn in_network(&self, node: &str, command: &str) {
        let network = format!("--net=/run/netns/dtls-{}-{node}", self.name);
        let output = Command::new("nsenter")
            .args([&network, "sh", "-c", command])
            .output()
            .unwrap();
        check(command, &output);
    }

    /// Copies a file of this machine to a node, as root.
    pub fn put(&self, node: &str, from: &str, to: &str) {
        let output = lab_command(&self.name)
            .args(["exec", node, "--", "tee", to])
            .stdin(std::fs::File::open(from).unwrap())
            .stdout(Stdio::null())
            .output()
            .unwrap();
        check(&format!("{from} to {node}"), &output);
    }

    /// A file of the lab's own state.
    pub fn state(&self, name: &str) -> String {
        let directory = std::env::var_os("LAB_STATE_DIR")
            .map_or_else(|| root().join("target/lab"), PathBuf::from);
        let path = directory.join(&self.name).join(name);
        path.to_str().unwrap().to_owned()
    }

    pub fn invocation(&self) -> String {
        self.exec(
            "node3",
            "systemctl show docker.service -p InvocationID --value",
        )
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.is_extra {
            let _ = lab_command(&self.name).arg("down").output();
        }
    }
}

/// The openssl of this machine, on text from a node.
pub fn openssl(arguments: &[&str], input: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("apt-get install openssl");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
