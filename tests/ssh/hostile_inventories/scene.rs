//! A home with secrets, an inventory and a place for journals; and the program
//! that is run with them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::ssh_support::{self, Sshd, sh};

/// Far more than any command here needs, and far less than for ever.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Scene {
    root: TempDir,
    sshd: Option<Sshd>,
}

/// How a command has ended.
pub struct Ended {
    pub code: i32,
    /// Both streams.
    pub text: String,
}

impl Scene {
    /// Hosts that no one answers for.
    pub fn new() -> Self {
        let scene = Self {
            root: tempfile::tempdir().unwrap(),
            sshd: None,
        };
        scene.write(
            "home/.ssh/id_ed25519",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nCANARYKEY\n-----END OPENSSH PRIVATE KEY-----\n",
        );
        scene.write("home/.ssh/authorized_keys", "ssh-ed25519 AAAA CANARY\n");
        scene.write("home/.ssh/known_hosts", "");
        for name in ["id_ed25519", "authorized_keys"] {
            let path = scene.path(&format!("home/.ssh/{name}"));
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        scene.write("home/ssh-config", "");
        scene.write("P", "a passphrase of a CA\n");
        fs::create_dir(scene.path("state")).unwrap();
        scene.inventory("own: 1");
        scene
    }

    /// The CA's host is a real sshd, which accepts the key of this home.
    pub fn with_sshd() -> Self {
        Self::with_sshd_config("PasswordAuthentication yes")
    }

    pub fn with_sshd_config(config: &str) -> Self {
        let mut scene = Self::new();
        let sshd = Sshd::config(config);
        fs::copy(sshd.path("id"), scene.path("home/.ssh/id_ed25519")).unwrap();
        scene.sshd = Some(sshd);
        scene.inventory("own: 1");
        scene
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn link(&self, target: &str, name: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    pub fn fifo(&self, name: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        sh("mkfifo", &[path.to_str().unwrap()]);
    }

    pub fn sparse(&self, name: &str) {
        let path = self.write(name, "");
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(1 << 40).unwrap();
    }

    pub fn execute(&self, name: &str) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A key that no one accepts.
    pub fn key(&self, name: &str) {
        let path = self.path(name);
        ssh_support::keygen(
            path.parent().unwrap(),
            path.file_name().unwrap().to_str().unwrap(),
            "ed25519",
            "",
        );
    }

    /// The inventory, with these variables of all hosts.
    pub fn inventory(&self, variables: &str) {
        let lines: String = variables
            .lines()
            .map(|line| format!("    {line}\n"))
            .collect();
        let port = self.sshd.as_ref().map_or(1, |sshd| sshd.port);
        let text = format!(
            "all:\n  vars:\n{lines}ca: {{hosts: {{a: {{ansible_port: {port}}}}}}}\ndaemons: {{hosts: {{b: {{ansible_port: 2}}}}}}\nclients: {{hosts: {{c: {{ansible_port: 3}}}}}}\n"
        );
        let address = if variables.contains("ansible_host") {
            ""
        } else {
            "    ansible_host: 127.0.0.1\n    ansible_user: root\n"
        };
        // Where no one answers: within a second there is no second try.
        let patience = if self.sshd.is_some() { 20 } else { 1 };
        let address = format!("{address}    ansible_timeout: {patience}\n");
        let text = text.replacen("  vars:\n", &format!("  vars:\n{address}"), 1);
        self.write("i/inventory.yaml", &text);
    }

    /// Names of this scene put in.
    pub fn filled(&self, text: &str) -> String {
        let name = |name: &str| self.path(name).to_str().unwrap().to_owned();
        text.replace("HOME", &name("home"))
            .replace("MARK", &name("MARK"))
            .replace("DIR", &name("i"))
            .replace("ROOT", self.root.path().to_str().unwrap())
    }

    /// A line of `known_hosts` about the sshd.
    pub fn host_key_line(&self) -> String {
        let sshd = self.sshd.as_ref().unwrap();
        format!("{} {}\n", sshd.known_as(), sshd.host_key("ed25519"))
    }

    /// Runs the program; `I` is the inventory, `CONFIG` an SSH configuration.
    pub fn run(&self, words: &str) -> Ended {
        let is_configured = words.contains("CONFIG");
        let words = words.split_whitespace().map(|word| match word {
            "I" => self.path("i/inventory.yaml").display().to_string(),
            "CONFIG" => self.path("home/ssh-config").display().to_string(),
            word => word.to_owned(),
        });
        // `ssh -G` asks the name service for the home directory, and not HOME:
        // without it OpenSSH's defaults count, in this scene's home.
        let path = if is_configured {
            std::env::var_os("PATH").unwrap()
        } else {
            self.path("bin").into()
        };
        let mut child = Command::new(env!("CARGO_BIN_EXE_dtls-deploy"))
            .args(words)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.path("home"))
            .env("USER", "root")
            .env("XDG_STATE_HOME", self.path("state"))
            .env("COLUMNS", "200")
            .env("NO_COLOR", "1")
            .current_dir(self.root.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let read = |mut from: Box<dyn std::io::Read + Send>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                from.read_to_end(&mut bytes).unwrap();
                String::from_utf8_lossy(&bytes).into_owned()
            })
        };
        let output = read(Box::new(child.stdout.take().unwrap()));
        let errors = read(Box::new(child.stderr.take().unwrap()));
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                child.kill().unwrap();
                panic!("a command does not end");
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        Ended {
            code: status.code().unwrap(),
            // Sentences of problems are wrapped.
            text: (output.join().unwrap() + &errors.join().unwrap()).replace("\n  │ ", " "),
        }
    }

    /// Everything in the scene: kind, mode, size, time of change and content.
    pub fn tree(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        walk(self.root.path(), &mut found);
        found
    }
}

fn walk(path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let mut line = format!(
        "{:o} {} {}.{}",
        metadata.mode(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec()
    );
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), found);
        }
    } else if metadata.is_file() && metadata.len() < 1 << 20 {
        let mut bytes = Vec::new();
        fs::File::open(path)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        line.push_str(&String::from_utf8_lossy(&bytes));
    }
    found.insert(path.to_owned(), line);
}
