//! Many nodes: two hundred behind one bastion whose sshd has its defaults, and a
//! whole run on eighty of which seven are dead.
//!
//! Every node is an sshd of its own on an address of its own, started for its
//! connection as inetd would. Needs root.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::ssh_support::{self, LIMITS, Sshd};
use node::{SshContext, Target, connect};
use tokio::net::TcpListener;

const NODES: usize = 200;

/// Serves each connection to `listener` with an sshd of its own; counts them.
async fn serve(listener: TcpListener, config: String, served: Arc<AtomicUsize>) {
    while let Ok((connection, _)) = listener.accept().await {
        served.fetch_add(1, Ordering::Relaxed);
        let socket = connection.into_std().unwrap();
        socket.set_nonblocking(false).unwrap();
        let input = socket.try_clone().unwrap();
        let mut sshd = tokio::process::Command::new("/usr/sbin/sshd")
            .args(["-i", "-f", &config])
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(input)))
            .stdout(Stdio::from(std::os::fd::OwnedFd::from(socket)))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It ends with its connection.
        tokio::spawn(async move { sshd.wait().await });
    }
}

#[tokio::test]
async fn two_hundred_nodes_behind_one_bastion() {
    let bastion = Sshd::config("MaxStartups 10:30:100\nMaxSessions 10");
    let node = Sshd::start();
    let served = Arc::new(AtomicUsize::new(0));
    let port = ssh_support::free_port();
    let config = node.path("sshd_config").to_str().unwrap().to_owned();
    for number in 1..=NODES {
        let listener = TcpListener::bind(format!("127.1.0.{number}:{port}"))
            .await
            .unwrap();
        tokio::spawn(serve(listener, config.clone(), served.clone()));
    }
    let known = |sshd: &Sshd, names: &str| {
        sshd.write_known_hosts(&format!("{names} {}\n", sshd.host_key("ed25519")))
    };
    let configuration = format!(
        "Host bastion\n HostName {}\n Port {}\n User root\n IdentityFile {}\n UserKnownHostsFile {}\nHost *\n GlobalKnownHostsFile none\n",
        bastion.address,
        bastion.port,
        bastion.path("id").display(),
        known(&bastion, &bastion.known_as()).display(),
    );
    fs::write(node.path("ssh_config"), configuration).unwrap();
    let context: SshContext = node.context();
    let known_hosts = known(&node, &format!("[127.1.0.*]:{port}"));

    let begun = Instant::now();
    let connections = futures::future::join_all((1..=NODES).map(|number| {
        let target = Target {
            port: Some(port),
            user: Some("root".to_owned()),
            identity_files: vec![node.path("id")],
            known_hosts_files: vec![known_hosts.clone()],
            proxy_jump: Some("bastion".to_owned()),
            connect_timeout: Duration::from_secs(60),
            ..Target::new(format!("node{number}"), format!("127.1.0.{number}"))
        };
        let context = &context;
        async move { connect(&target, context).await.unwrap() }
    }))
    .await;
    let connected = begun.elapsed();
    let begun = Instant::now();
    let answers = futures::future::join_all(
        connections
            .iter()
            .map(|connection| connection.run("echo \"$SSH_CONNECTION\"", b"", LIMITS)),
    )
    .await;
    println!(
        "{NODES} nodes: connected in {connected:?}, ran in {:?}",
        begun.elapsed()
    );
    for (answer, number) in answers.iter().zip(1..) {
        let output = answer.as_ref().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let at = format!(" 127.1.0.{number} {port}\n");
        assert!(output.status.success() && text.ends_with(&at), "{text}");
    }
    // One login at the bastion, one connection per node, nothing dropped.
    let log = bastion.log();
    assert_eq!(log.matches("Accepted publickey").count(), 1, "{log}");
    assert!(!log.contains("drop connection"), "{log}");
    assert!(!log.contains("MaxStartups"), "{log}");
    assert_eq!(served.load(Ordering::Relaxed), NODES);
    for connection in &connections {
        connection.close().await;
    }
}

/// Clients of the whole run; the node with number 0 is the CA's.
const CLIENTS: usize = 80;
/// What is wrong with the first ones.
const DEAD: [Dead; 7] = [
    Dead::Closed,
    Dead::Closed,
    Dead::Stopped,
    Dead::Stopped,
    Dead::HangingShell,
    Dead::HangingShell,
    Dead::HangingShell,
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dead {
    /// Nothing listens.
    Closed,
    /// Someone listens, and says nothing.
    Stopped,
    /// Anyone who logs in gets a shell that never answers.
    HangingShell,
}

/// Nodes whose account and whose /var/lib are their own, and the files of one
/// who deploys to them.
struct Fleet {
    sshd: Sshd,
    dir: tempfile::TempDir,
    port: u16,
    runtime: tokio::runtime::Runtime,
}

impl Fleet {
    fn start(dead: &[Dead]) -> Self {
        let fleet = Self {
            sshd: Sshd::config("SetEnv SHLVL=2 FLEET=DIR"),
            dir: tempfile::tempdir().unwrap(),
            port: ssh_support::free_port(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
        };
        for number in 0..=CLIENTS {
            let dead = number.checked_sub(1).and_then(|place| dead.get(place));
            fleet.serve(number, dead.copied());
        }
        fleet.write();
        fleet
    }

    fn address(number: usize) -> String {
        format!("127.2.0.{}", number + 1)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn serve(&self, number: usize, dead: Option<Dead>) {
        if dead == Some(Dead::Closed) {
            return;
        }
        let root = self.path(&format!("node{number:03}"));
        for directory in ["root", "lib"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        // It ends by itself some time after its connection.
        let hangs = if dead == Some(Dead::HangingShell) {
            "-o ForceCommand='exec sleep 40'"
        } else {
            ""
        };
        let begin = if dead == Some(Dead::Stopped) {
            "kill -STOP $$; "
        } else {
            ""
        };
        let script = format!(
            "{begin}mount --bind {0}/root /root && mount --bind {0}/lib /var/lib && exec /usr/sbin/sshd -i -f {1} {hangs}",
            root.display(),
            self.sshd.path("sshd_config").display()
        );
        let address = format!("{}:{}", Self::address(number), self.port);
        let listener = self.runtime.block_on(TcpListener::bind(address)).unwrap();
        self.runtime.spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let socket = connection.into_std().unwrap();
                socket.set_nonblocking(false).unwrap();
                let input = socket.try_clone().unwrap();
                let mut sshd = tokio::process::Command::new("unshare")
                    .args(["--mount", "sh", "-c", &script])
                    .stdin(Stdio::from(std::os::fd::OwnedFd::from(input)))
                    .stdout(Stdio::from(std::os::fd::OwnedFd::from(socket)))
                    .stderr(Stdio::null())
                    .kill_on_drop(true)
                    .spawn()
                    .unwrap();
                tokio::spawn(async move { sshd.wait().await });
            }
        });
    }

    fn write(&self) {
        let known = format!(
            "[127.2.0.*]:{} {}\n",
            self.port,
            self.sshd.host_key("ed25519")
        );
        let config = format!(
            "Host *\n IdentityFile {}\n UserKnownHostsFile {}\n GlobalKnownHostsFile none\n",
            self.sshd.path("id").display(),
            self.sshd.write_known_hosts(&known).display()
        );
        fs::write(self.path("ssh_config"), config).unwrap();
        let mut inventory = format!(
            "all:\n  vars: {{ansible_user: root, ansible_port: {}, ansible_become: false, dtls_ca_dir: /var/lib/ca}}\n  children:\n",
            self.port
        );
        let host = |number: usize| {
            format!(
                "        node{number:03}: {{ansible_host: {}}}\n",
                Self::address(number)
            )
        };
        inventory += &format!("    ca:\n      hosts:\n{}", host(0));
        inventory += "    daemons:\n      hosts:\n        elsewhere: {ansible_host: 192.0.2.1}\n";
        inventory += "    clients:\n      hosts:\n";
        inventory.extend((1..=CLIENTS).map(host));
        fs::write(self.path("inventory.yaml"), inventory).unwrap();
        fs::write(self.path("playbook.yaml"), PLAYBOOK).unwrap();
    }

    fn deploy(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_dtls-deploy"))
            .arg(self.path("inventory.yaml"))
            .arg(self.path("playbook.yaml"))
            .arg("--ssh-config")
            .arg(self.path("ssh_config"))
            .arg("--log")
            .arg(self.path("log"))
            .args(arguments)
            .env("DTLS_CA_PASSPHRASE", "only-for-this-test")
            .env("XDG_STATE_HOME", self.path("state"))
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null())
            .stdout(fs::File::create(self.path("output")).unwrap())
            .stderr(fs::File::create(self.path("errors")).unwrap())
            .spawn()
            .unwrap()
    }

    fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.path(name)).unwrap();
        read("output") + &read("errors")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// What was started in sessions on nodes and still runs: shells and what
    /// they started, no matter what its parent is by now.
    fn left_on_nodes(&self) -> Vec<String> {
        let mark = format!("FLEET={}", self.sshd.dir.path().display());
        let processes = fs::read_dir("/proc").unwrap();
        processes
            .filter_map(|process| {
                let process = process.ok()?.path();
                let environment = fs::read(process.join("environ")).ok()?;
                let words = fs::read_to_string(process.join("cmdline")).ok()?;
                let is_ours = String::from_utf8_lossy(&environment).contains(&mark);
                (is_ours && !words.is_empty()).then(|| words.replace('\0', " "))
            })
            .collect()
    }

    fn has_pair(&self, number: usize) -> bool {
        let directory = self.path(&format!("node{number:03}/root/.docker"));
        ["ca.pem", "cert.pem", "key.pem"]
            .iter()
            .all(|name| directory.join(name).exists())
    }
}

const PLAYBOOK: &str = "
- hosts: ca
  tasks:
    - ca:
- hosts: clients
  tasks:
    - certificate: {role: client}
- hosts: clients
  tasks:
    - push: {role: client}
";

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn of_eighty_nodes_the_dead_hold_nobody_up() {
    let fleet = Fleet::start(&DEAD);
    let begun = Instant::now();
    let short = ["-e", "ansible_timeout=8", "--timeout", "12s"];
    let status = fleet.deploy(&short).wait().unwrap();
    let (took, said) = (begun.elapsed(), fleet.said());
    println!("{CLIENTS} clients in {took:?}:\n{said}");
    // One after the other, the dead alone would take this long.
    assert!(took < Duration::from_secs(2 * 8 + 3 * 12), "{took:?}");
    // Some of them were connected, and did not answer.
    assert_eq!(status.code(), Some(4), "{said}");
    for number in 1..=CLIENTS {
        assert_eq!(fleet.has_pair(number), number > DEAD.len(), "node{number}");
    }
    // The dead are named, each with the reason; of the others there is no line.
    for (number, dead) in DEAD.iter().enumerate() {
        let name = format!("node{:03}", number + 1);
        let line = said
            .lines()
            .find(|line| line.starts_with(&format!("{name}: ")));
        let reason = match dead {
            Dead::Closed => "nothing listens",
            Dead::Stopped | Dead::HangingShell => "within",
        };
        assert!(
            line.is_some_and(|line| line.contains(reason)),
            "{name}\n{said}"
        );
    }
    assert!(said.lines().count() < 50, "{said}");
    assert!(!said.lines().any(|line| line.contains("node060")), "{said}");
}

#[test]
fn an_interruption_leaves_nothing_on_eighty_nodes() {
    let fleet = Fleet::start(&[]);
    let mut run = fleet.deploy(&[]);
    let changed = || fleet.log().matches("\"event\":\"changed\"").count();
    wait_until("files are delivered", || changed() > 3 * 20);
    wait_until("sessions are seen", || !fleet.left_on_nodes().is_empty());
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let begun = Instant::now();
    let status = run.wait().unwrap();
    let said = fleet.said();
    println!(
        "process {pid:?} interrupted, ended {:?} later, and then there were {:?}:\n{said}",
        begun.elapsed(),
        fleet.left_on_nodes()
    );
    assert_eq!(status.code(), Some(130), "{said}");
    wait_until("nothing of the run is left on a node", || {
        fleet.left_on_nodes().is_empty()
    });
    // What was begun was finished, and there was something left to do.
    let whole = (1..=CLIENTS)
        .filter(|number| fleet.has_pair(*number))
        .count();
    let begun = (1..=CLIENTS).filter(|number| {
        let directory = fleet.path(&format!("node{number:03}/root/.docker"));
        fs::read_dir(directory).is_ok_and(|files| files.count() > 0)
    });
    assert_eq!(begun.count(), whole, "{said}");
    assert!((20..CLIENTS).contains(&whole), "{whole}\n{said}");

    assert_eq!(
        fleet.deploy(&[]).wait().unwrap().code(),
        Some(0),
        "{}",
        fleet.said()
    );
    assert!((1..=CLIENTS).all(|number| fleet.has_pair(number)));
}
