//! Ctrl-C: the step under way ends well, nothing else begins, and the next run
//! converges.

use std::io::Read as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{Lab, Run};

/// A run that a test watches while it works.
pub struct Running {
    child: Child,
    seen: std::sync::mpsc::Receiver<Vec<u8>>,
    stdout: String,
}

impl Running {
    pub fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let mut command = lab.tool(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, seen) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            seen,
            stdout: String::new(),
        }
    }

    /// Waits until the run has printed this.
    pub fn until(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(40);
        while !self.stdout.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.seen.recv_timeout(left) {
                Ok(bytes) => self.stdout += &String::from_utf8_lossy(&bytes),
                Err(error) => panic!("{text} never came ({error}): {}", self.stdout),
            }
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    pub fn end(mut self) -> Run {
        let mut stderr = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        let status = self.child.wait().unwrap();
        while let Ok(bytes) = self.seen.recv() {
            self.stdout += &String::from_utf8_lossy(&bytes);
        }
        Run {
            code: status.code().unwrap_or(-1),
            stdout: self.stdout,
            stderr,
        }
    }
}

/// docker takes three seconds longer to start.
pub fn slow_restart(lab: &Lab, node: &str) {
    lab.exec(
        node,
        "mkdir -p /etc/systemd/system/docker.service.d; printf '[Service]\\nExecStartPre=/bin/sleep 3\\n' >/etc/systemd/system/docker.service.d/90-slow.conf; systemctl daemon-reload",
    );
}

/// Only what is meant to stay is left.
fn nothing_is_left(lab: &Lab) {
    for node in ["node1", "node2", "node3"] {
        let left = "find / -xdev -name '.dtls-deploy.*' -not -path '/proc/*' 2>/dev/null; ps -e -o args= | grep -E 'ca-agent|DTLS_PRELUDE|^/bin/sh$' | grep -v grep; true";
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let found = lab.exec(node, left);
            if found.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "{node}: {found}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

#[test]
fn ctrl_c_while_facts_are_read_changes_nothing() {
    let lab = Lab::fresh();
    // The daemon's node takes its time over its facts.
    lab.exec(
        "node3",
        "printf '#!/bin/sh\\nsleep 3\\nexec /usr/bin/stat \"$@\"\\n' >/usr/local/bin/stat; chmod 755 /usr/local/bin/stat",
    );
    let inventory = lab.inventory("");
    let mut run = Running::start(&lab, &[&inventory, "-v"]);
    run.until("node3: connected");
    run.interrupt();
    let run = run.end();
    assert_eq!(run.code, 130, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stderr.contains("no daemon and no client was changed"),
        "{}{}",
        run.stdout,
        run.stderr
    );
    let touched = "ls -d /etc/docker/tls /var/lib/dtls-deploy ~/.docker 2>/dev/null; true";
    assert_eq!(lab.exec("node3", touched), "");
    nothing_is_left(&lab);
    lab.exec("node3", "rm /usr/local/bin/stat");
    lab.deploy(&[&inventory]);
}

#[test]
fn ctrl_c_during_the_restart_lets_it_finish_and_begins_nothing_else() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let lab = Lab::fresh();
        slow_restart(&lab, "node3");
        // One host at a time: the client's turn comes after the daemon's.
        let inventory = lab.inventory("");
        let mut run = Running::start(&lab, &[&inventory, "-v"]);
        run.until("restarting docker");
        run.signal(signal);
        let run = run.end();
        assert_eq!(run.code, 130, "{}{}", run.stdout, run.stderr);
        let said = &run.stdout;
        assert!(said.contains("waiting until node3"), "{said}");
        assert!(said.contains("changed node3: docker.service"), "{said}");
        assert!(said.contains("Interrupted:"), "{said}");
        assert!(said.contains("not done"), "{said}");
        assert!(lab.exec("node3", "docker version").contains("Server:"));
        assert!(lab.exec("node3", "ss -ltn").contains(":2376"));
        nothing_is_left(&lab);
        // What was done is done, and the rest follows.
        let again = lab.deploy(&[&inventory]);
        assert!(
            !again.stdout.contains("changed node3: docker.service"),
            "{}",
            again.stdout
        );
        let again = lab.deploy(&[&inventory]);
        assert!(
            again.stdout.contains("Nothing to change"),
            "{}",
            again.stdout
        );
    }
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_the_node_finishes_alone() {
    let lab = Lab::fresh();
    slow_restart(&lab, "node3");
    let inventory = lab.inventory("");
    let mut run = Running::start(&lab, &[&inventory, "-v"]);
    run.until("restarting docker");
    run.interrupt();
    run.until("waiting until node3");
    run.interrupt();
    let run = run.end();
    assert_eq!(run.code, 130);
    assert!(run.stdout.contains("by themselves"), "{}", run.stdout);
    // The lock is free as soon as the agent hears of it, and the next run
    // brings everything to its state, whatever the node was doing meanwhile.
    std::thread::sleep(Duration::from_secs(6));
    lab.deploy(&[&inventory, "--wait", "10"]);
    let again = lab.deploy(&[&inventory]);
    assert!(
        again.stdout.contains("Nothing to change"),
        "{}",
        again.stdout
    );
    assert!(lab.exec("node3", "docker version").contains("Server:"));
}

#[test]
fn ctrl_c_at_the_prompt_ends_and_gives_the_terminal_back() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    // A terminal, without which there is no prompt.
    let mut tool = lab.tool(&[&inventory, "--yes"]);
    tool.env_remove("DTLS_CA_PASSPHRASE");
    let line: Vec<String> = std::iter::once(tool.get_program())
        .chain(tool.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let line = line.join(" ");
    let mut command = std::process::Command::new("script");
    command
        .args([
            "-qec",
            &format!("{line}; code=$?; stty -a; exit $code"),
            "/dev/null",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("DTLS_CA_PASSPHRASE");
    let mut child = command.spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    let mut pressed = false;
    while let Ok(length @ 1..) = screen.read(&mut buffer) {
        seen += &String::from_utf8_lossy(&buffer[..length]);
        if !pressed && seen.contains("Choose a passphrase for the new CA key") {
            pressed = true;
            std::io::Write::write_all(&mut keyboard, b"\x03").unwrap();
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(130), "{seen}");
    assert!(
        seen.contains("no daemon and no client was changed"),
        "{seen}"
    );
    assert!(
        seen.contains(" echo ") && !seen.contains("-echo "),
        "{seen}"
    );
    nothing_is_left(&lab);
}

/// Stopped during the checks of a step: the recap counts those that are shown, and every text
/// names the one command that continues. A second `revoke` would revoke what node1 has got since.
#[test]
fn ctrl_c_while_a_revocation_is_proved_names_one_command() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    lab.exec(
        "node1",
        "printf '#!/bin/sh\\nsleep 6\\nexec /usr/bin/docker \"$@\"\\n' >/usr/local/bin/docker; chmod 755 /usr/local/bin/docker",
    );
    let mut run = Running::start(&lab, &["revoke", &inventory, "node1", "--yes"]);
    run.until("changed node1: /home/ubuntu/.docker/ca.pem");
    // Whatever needs no tool of the client's is proved by then.
    std::thread::sleep(Duration::from_secs(3));
    run.interrupt();
    let run = run.end();
    assert_eq!(run.code, 130, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("\nok  node3"), "{}", run.stdout);
    let recap = run
        .stdout
        .lines()
        .find(|line| line.starts_with("node3  changed="));
    assert!(!recap.unwrap().contains(" ok=0 "), "{}", run.stdout);
    let next = format!("dtls-deploy rotate --ca {inventory}");
    let named = run.stdout.matches(&next).count() + run.stderr.matches(&next).count();
    assert!(named >= 3, "{}{}", run.stdout, run.stderr);
    for other in ["Run again", "same command", "dtls-deploy revoke"] {
        assert!(!run.stdout.contains(other), "{}", run.stdout);
    }
    lab.exec("node1", "rm /usr/local/bin/docker");
    let run = lab.deploy(&["rotate", "--ca", &inventory]);
    assert!(run.stdout.contains("CA in"), "{}", run.stdout);
    lab.deploy(&["status", &inventory]);
}
