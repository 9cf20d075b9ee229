//! Real sshd and ssh-agent instances for the tests, each with keys, files and
//! a port of its own, ended by process id when dropped.
//!
//! Needs root (sshd's privilege separation) and the Debian packages
//! openssh-server and openssh-client; without them the tests fail.

pub mod debian;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use node::{ConnectError, Connection, Limits, SshContext, Target, connect};
use russh::keys::PrivateKey;
use tempfile::TempDir;

pub const LIMITS: Limits = Limits {
    deadline: Duration::from_secs(20),
    max_output: 16 << 20,
};

/// Connects, and wants it to fail.
pub async fn fails(target: &Target, context: &SshContext) -> ConnectError {
    match connect(target, context).await {
        Ok(connection) => panic!("connected to {}", connection.description()),
        Err(error) => error,
    }
}

/// Connects, and wants a command to run.
pub async fn works(target: &Target, context: &SshContext) -> Arc<dyn Connection> {
    let connection = connect(target, context)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let output = connection
        .run("echo $0", b"", LIMITS)
        .await
        .expect("it runs");
    assert!(output.status.success());
    connection
}

/// Runs a program to its end and wants it to succeed.
pub fn sh(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for the tests: {error}"));
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes a key pair with ssh-keygen and returns the private half's path.
///
/// The crate `ssh-key` refuses one ECDSA key in 256: its secret number is a byte shorter than
/// others. Such a key is made again.
pub fn keygen(directory: &Path, name: &str, kind: &str, passphrase: &str) -> PathBuf {
    let path = directory.join(name);
    let file = path.to_str().expect("UTF-8");
    let mut args = vec!["-q", "-N", "", "-C", name, "-f", file, "-t", kind];
    if kind == "rsa" {
        args.extend(["-b", "2048"]);
    }
    for _ in 0..4 {
        sh("ssh-keygen", &args);
        let text = fs::read_to_string(&path).expect("a private key");
        if kind != "ecdsa" || PrivateKey::from_openssh(text.trim()).is_ok() {
            break;
        }
        fs::remove_file(&path).expect("to make it again");
    }
    if !passphrase.is_empty() {
        sh(
            "ssh-keygen",
            &["-q", "-p", "-P", "", "-N", passphrase, "-f", file],
        );
    }
    path
}

pub fn public(key: &Path) -> String {
    let text = fs::read_to_string(format!("{}.pub", key.display())).expect("a public key");
    let fields: Vec<&str> = text.split_whitespace().collect();
    format!("{} {}", fields[0], fields[1])
}

pub fn fingerprint(key: &Path) -> String {
    let text = sh("ssh-keygen", &["-lf", key.to_str().expect("UTF-8")]);
    text.split_whitespace()
        .nth(1)
        .expect("a fingerprint")
        .to_owned()
}

/// One sshd. Host keys `ssh_host_KIND` and the accepted user key `id` lie in
/// its directory.
pub struct Sshd {
    child: Child,
    pub dir: TempDir,
    pub address: String,
    pub port: u16,
}

#[derive(Default)]
pub struct Setup<'a> {
    /// `["ed25519"]` when empty.
    pub host_keys: &'a [&'a str],
    /// Lines put before the others: sshd keeps the first value it reads.
    pub config: String,
    /// Files that replace others, for this sshd only (mount namespace).
    pub mounts: Vec<(PathBuf, &'a str)>,
    /// The root file system whose sshd it is; this machine's otherwise. The
    /// sshd's directory is at /mnt there.
    pub root: Option<&'a Path>,
    /// Called with the directory before sshd starts.
    pub prepare: Option<&'a dyn Fn(&Path)>,
}

impl Sshd {
    pub fn start() -> Self {
        Self::with(&Setup::default())
    }

    pub fn config(config: &str) -> Self {
        Self::with(&Setup {
            config: config.to_owned(),
            ..Setup::default()
        })
    }

    pub fn with(setup: &Setup<'_>) -> Self {
        fs::create_dir_all("/run/sshd").expect("/run/sshd, so the tests need root");
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        let kinds = if setup.host_keys.is_empty() {
            &["ed25519"][..]
        } else {
            setup.host_keys
        };
        let user_key = keygen(root, "id", "ed25519", "");
        fs::write(root.join("authorized_keys"), public(&user_key) + "\n").expect("written");
        let address = "127.0.0.1".to_owned();
        let port = free_port();
        let at = match setup.root {
            Some(_) => "/mnt",
            None => root.to_str().expect("UTF-8"),
        };
        let mut config = setup.config.replace("DIR", at);
        for kind in kinds {
            keygen(root, &format!("ssh_host_{kind}"), kind, "");
            config.push_str(&format!("\nHostKey {at}/ssh_host_{kind}"));
        }
        config.push_str(&format!(
            "\nPort {port}\nListenAddress {address}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             AuthorizedKeysFile {at}/authorized_keys\nLogLevel VERBOSE\n\
             # Keeps bash from reading this machine's ~/.bashrc.\nSetEnv SHLVL=2\n"
        ));
        fs::write(root.join("sshd_config"), config).expect("written");
        if let Some(prepare) = setup.prepare {
            prepare(root);
        }
        let log = fs::File::create(root.join("log")).expect("a log");
        let mut script = String::new();
        for (from, to) in &setup.mounts {
            script.push_str(&format!(
                "mount --bind {} {to} && ",
                root.join(from).display()
            ));
        }
        let chroot = setup.root.map_or_else(String::new, |system| {
            let system = system.display();
            script.push_str(&format!(
                "mount --bind {} {system}/mnt && mount -t tmpfs none {system}/run && mkdir {system}/run/sshd && mount -t proc proc {system}/proc && mount --rbind /dev {system}/dev && ",
                root.display()
            ));
            format!("chroot {system} ")
        });
        script.push_str(&format!(
            "exec {chroot}/usr/sbin/sshd -D -e -f {at}/sshd_config"
        ));
        let mut command = if setup.mounts.is_empty() && setup.root.is_none() {
            Command::new("sh")
        } else {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh"]);
            command
        };
        let child = command
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("a shell");
        let sshd = Self {
            child,
            dir,
            address,
            port,
        };
        sshd.wait_for_log("Server listening on");
        sshd
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn wait_for_log(&self, text: &str) {
        let end = Instant::now() + Duration::from_secs(10);
        while !self.log().contains(text) {
            assert!(Instant::now() < end, "no \"{text}\" in: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `[127.0.0.1]:PORT`
    pub fn known_as(&self) -> String {
        format!("[{}]:{}", self.address, self.port)
    }

    pub fn host_key(&self, kind: &str) -> String {
        public(&self.path(&format!("ssh_host_{kind}")))
    }

    /// Writes `known_hosts` in the sshd's directory.
    pub fn write_known_hosts(&self, text: &str) -> PathBuf {
        let path = self.path("known_hosts");
        fs::write(&path, text).expect("written");
        path
    }

    /// Root with the accepted key and the right `known_hosts`.
    pub fn target(&self) -> Target {
        let kind = if self.path("ssh_host_ed25519").exists() {
            "ed25519"
        } else {
            "rsa"
        };
        let line = format!("{} {}\n", self.known_as(), self.host_key(kind));
        self.bare_target(self.write_known_hosts(&line))
    }

    pub fn bare_target(&self, known_hosts: PathBuf) -> Target {
        Target {
            port: Some(self.port),
            user: Some("root".to_owned()),
            identity_files: vec![self.path("id")],
            known_hosts_files: vec![known_hosts],
            ..Target::new("node1", self.address.clone())
        }
    }

    pub fn context(&self) -> SshContext {
        context(self.dir.path())
    }

    pub async fn connect(&self) -> Arc<dyn Connection> {
        node::connect(&self.target(), &self.context())
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// Ends the processes that serve connections, not the listener.
    pub fn kill_sessions(&self) {
        kill(&descendants(self.child.id()));
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let children = descendants(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        kill(&children);
    }
}

/// No one's agent, an empty configuration, and `directory` as home.
pub fn context(directory: &Path) -> SshContext {
    let config = directory.join("ssh_config");
    if !config.exists() {
        fs::write(&config, "GlobalKnownHostsFile none\n").expect("written");
    }
    SshContext::from_environment()
        .with_agent(None)
        .with_home(directory.to_owned())
        .with_config_file(config)
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

/// Process ids below `parent`, from /proc.
pub fn descendants(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let processes: Vec<(u32, u32)> = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let after = stat.rsplit_once(')')?.1;
            Some((pid, after.split_whitespace().nth(1)?.parse().ok()?))
        })
        .collect();
    let mut parents = vec![parent];
    while let Some(next) = parents.pop() {
        for (pid, of) in &processes {
            if *of == next {
                found.push(*pid);
                parents.push(*pid);
            }
        }
    }
    found
}

fn kill(processes: &[u32]) {
    for pid in processes {
        let pid = i32::try_from(*pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// A real ssh-agent.
pub struct Agent {
    child: Child,
    dir: TempDir,
}

impl Agent {
    pub fn start(keys: &[&Path]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("agent");
        let child = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .expect("ssh-agent");
        let end = Instant::now() + Duration::from_secs(5);
        // The socket is there a moment before anyone listens on it.
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < end, "ssh-agent does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        for key in keys {
            let status = Command::new("ssh-add")
                .arg("-q")
                .arg(key)
                .env("SSH_AUTH_SOCK", &socket)
                .status();
            assert!(status.expect("ssh-add").success());
        }
        Self { child, dir }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("agent")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
