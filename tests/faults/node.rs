//! A node of the lab as its host sees it: its files, its processes, its place
//! in the network. Gives faults and
//! invariants what they need, if possible without a process on the node.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::Lab;

/// Where the shim stands: the first directory that both the product's scripts
/// and sudo look into, and sshd's own PATH too.
const SHIMS: &str = "usr/local/bin";
const SHIM: &str = "usr/local/lib/faults-shim";
/// What starts a shell or a session is no step; the shim itself is one of them.
const NOT_SHIMMED: [&str; 12] = [
    "sh", "dash", "bash", "rbash", "busybox", "sudo", "su", "login", "docker", "dockerd", "perl",
    "env",
];

pub struct Node<'a> {
    pub lab: &'a Lab,
    pub name: &'static str,
}

fn write_open(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
}

/// Polls until `what` holds; false at the deadline.
pub fn poll(seconds: u64, mut what: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if what() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

impl Node<'_> {
    fn cgroup(&self) -> PathBuf {
        let path = self.lab.state(&format!("nodes/{}/cgroup", self.name));
        let path = std::fs::read_to_string(path).unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mounted = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields[2] == "cgroup2")
            .expect("the lab needs cgroup v2");
        PathBuf::from(format!("{}{}", mounted[1], path.trim()))
    }

    /// The host's pid of the node's systemd.
    fn leader(&self) -> i32 {
        let path = self.cgroup().join("payload/init.scope/cgroup.procs");
        let pids = std::fs::read_to_string(&path).unwrap();
        pids.lines()
            .find(|pid| {
                std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| {
                    status
                        .lines()
                        .any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
                })
            })
            .unwrap_or_else(|| panic!("{}: no systemd in {}", self.name, path.display()))
            .parse()
            .unwrap()
    }

    /// A path of the node on this host.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/root/{}",
            self.leader(),
            path.trim_start_matches('/')
        ))
    }

    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.path(path)).ok()
    }

    /// A shim for every command that a script could find.
    pub fn install_shims(&self) {
        let root = self.path("");
        let shim = root.join(SHIM);
        std::fs::write(&shim, include_str!("shim.sh")).unwrap();
        std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["usr/sbin", "usr/bin"] {
            for entry in std::fs::read_dir(root.join(directory)).unwrap() {
                let name = entry.unwrap().file_name();
                let link = root.join(SHIMS).join(&name);
                let is_step = name
                    .to_str()
                    .is_some_and(|name| !NOT_SHIMMED.contains(&name));
                if is_step && link.symlink_metadata().is_err() {
                    symlink(format!("/{SHIM}"), link).unwrap();
                }
            }
        }
    }

    /// From now on steps are written down; at `target`, when there is one, the
    /// shim stops and asks.
    pub fn watch(&self, target: Option<(&str, usize, &str)>) {
        let faults = self.path("run/faults");
        let _ = std::fs::remove_dir_all(&faults);
        std::fs::create_dir(&faults).unwrap();
        std::fs::set_permissions(&faults, std::fs::Permissions::from_mode(0o1777)).unwrap();
        write_open(&faults.join("log"), "");
        if let Some((kind, occurrence, text)) = target {
            write_open(
                &faults.join("target"),
                &format!("{kind}\n{occurrence}\n{text}\n"),
            );
        }
        write_open(&faults.join("active"), "");
    }

    /// The steps seen since [`Node::watch`]; none are written down any more.
    pub fn seen(&self) -> Vec<String> {
        let log = self.read("run/faults/log").unwrap_or_default();
        let _ = std::fs::remove_file(self.path("run/faults/active"));
        String::from_utf8(log)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    pub fn has_asked(&self) -> bool {
        self.path("run/faults/request").exists()
    }

    pub fn go_on(&self) {
        write_open(&self.path("run/faults/go"), "");
    }

    /// The host's pids of all processes of a unit.
    fn processes(&self, unit: &str) -> Vec<i32> {
        let path = self
            .cgroup()
            .join("payload/system.slice")
            .join(unit)
            .join("cgroup.procs");
        let pids = std::fs::read_to_string(path).unwrap_or_default();
        pids.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    fn is_sshd(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sshd")
    }

    /// What SSH sessions have started and what has not ended.
    fn sessions(&self) -> Vec<i32> {
        self.processes("ssh.service")
            .into_iter()
            .filter(|pid| !Self::is_sshd(*pid))
            .collect()
    }

    pub fn scripts_have_ended(&self) -> bool {
        self.sessions().is_empty()
    }

    /// Whatever SSH sessions have started ends here and now.
    pub fn kill_sessions(&self) {
        for _ in 0..3 {
            for pid in self.processes("ssh.service") {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                if !line.starts_with(b"sshd: /usr/sbin/sshd") {
                    kill(pid);
                }
            }
        }
    }

    pub fn kill_sshd(&self) {
        for pid in self
            .processes("ssh.service")
            .into_iter()
            .filter(|pid| Self::is_sshd(*pid))
        {
            kill(pid);
        }
    }

    /// Packets to and from the node are dropped, both ways, without an answer.
    pub fn connected(&self, is_connected: bool) {
        let state = self.lab.state("");
        let name = Path::new(&state).file_name().unwrap().to_str().unwrap();
        let controller = format!("dtls-{name}-controller");
        // A bridge forwards nothing to or from a port that is down.
        let state = if is_connected { "up" } else { "down" };
        let output = Command::new("ip")
            .args(["-n", &controller, "link", "set", self.name, state])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// A shell command as root, with the mounts and processes of the node.
    pub fn sh(&self, command: &str) -> String {
        self.lab.exec(self.name, command)
    }
}
