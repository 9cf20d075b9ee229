//! A transaction in a temporary root, with a fake systemd that only counts.
//!
//! Gives the three scripts of a transaction that replaces files, makes directories and restarts,
//! runs them in a shell, and returns the resulting files.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base::secret::Secret;
use node::script::Script;
use node::transaction::{
    Bytes, Keep, Report, RunningChanges, StagedFile, Transaction, UnitRestart,
};

use crate::shell;

pub const RUN: &str = "20260101T000000Z-test@here-1";

/// Answers as systemctl does, and counts restarts.
const SYSTEMCTL: &str = r#"#!/bin/sh
count=$(cat "$0.count" 2>/dev/null || echo 1)
case "$*" in
*"-p InvocationID --value"*) printf '%032x\n' "$count" ;;
*"-p InvocationID -p ActiveState"*) printf 'InvocationID=%032x\nActiveState=active\n' "$count" ;;
"restart "*) echo $((count + 1)) >"$0.count" ;;
esac
exit 0
"#;

/// Starts a dockerd that does nothing, as Debian's init script does; and as little
/// as that does it restart one that is not there.
const INIT_SCRIPT: &str = r#"#!/bin/sh
case $1 in
start) ;;
restart) read -r pid 2>/dev/null <ROOT/run/docker.pid && kill "$pid" || exit 1 ;;
*) exit 1 ;;
esac
ROOT/bin/dockerd >>ROOT/log/docker.log 2>&1 </dev/null &
echo $! >ROOT/run/docker.pid
"#;

/// It ends by itself when its test has.
const DOCKERD: &str = r#"#!/bin/sh
echo 'level=info msg="API listen on /var/run/docker.sock"'
while [ -e "$0" ]; do sleep 0.1; done
"#;

pub struct Fixture {
    root: tempfile::TempDir,
    systemd: bool,
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

impl Fixture {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        write(&bin.join("systemctl"), SYSTEMCTL, 0o755);
        for silent in ["systemd-run", "journalctl"] {
            write(&bin.join(silent), "#!/bin/sh\nexit 0\n", 0o755);
        }
        let fixture = Self {
            root,
            systemd: true,
        };
        std::fs::create_dir_all(fixture.path("node/units")).unwrap();
        let tls = fixture.path("node/tls");
        std::fs::create_dir_all(&tls).unwrap();
        std::fs::set_permissions(&tls, std::fs::Permissions::from_mode(0o755)).unwrap();
        write(&tls.join("key.pem"), "old key\n", 0o644);
        write(&tls.join("cert.pem"), "old certificate\n", 0o644);
        fixture
    }

    /// The same with an init script.
    pub fn without_systemd() -> Self {
        let mut fixture = Self::new();
        fixture.systemd = false;
        for directory in ["etc/init.d", "run", "log"] {
            std::fs::create_dir_all(fixture.path(directory)).unwrap();
        }
        let script = INIT_SCRIPT.replace("ROOT", fixture.root.path().to_str().unwrap());
        write(&fixture.path("etc/init.d/docker"), &script, 0o755);
        write(&fixture.path("bin/dockerd"), DOCKERD, 0o755);
        fixture
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        self.path(path).to_str().unwrap().to_owned()
    }

    fn file(&self, directory: &str, name: &str, before: Option<&str>, text: &str) -> StagedFile {
        let target = self.path(directory);
        let missing_from = target.ancestors().filter(|path| !path.exists()).last();
        StagedFile {
            directory: self.text(directory),
            directory_mode: 0o700,
            name: name.to_owned(),
            mode: 0o400,
            account: "root".to_owned(),
            missing_from: missing_from.map(|path| path.to_str().unwrap().to_owned()),
            before: before.map(|text| pki::sha256_hex(text.as_bytes())),
            keeps_owner: false,
            bytes: Bytes::Given(Secret::from(text.to_owned())),
        }
    }

    /// Two files replaced, one new beside them, one in a directory that is not
    /// there yet, and a restart.
    pub fn transaction(&self) -> Transaction {
        let files = vec![
            self.file("node/tls", "key.pem", Some("old key\n"), "new key\n"),
            self.file(
                "node/tls",
                "cert.pem",
                Some("old certificate\n"),
                "new certificate\n",
            ),
            self.file("node/tls", "ca.pem", None, "new CA\n"),
            self.file("node/made/unit.d", "50.conf", None, "new drop-in\n"),
        ];
        let reads: BTreeSet<String> = files
            .iter()
            .map(|file| format!("{}/{}", file.directory, file.name))
            .collect();
        Transaction {
            files,
            restart: Some(UnitRestart {
                unit: "docker.service".to_owned(),
                reads,
                confirm_within: 60,
                changes: RunningChanges::default(),
                owner: Some("inventory test.yaml\nca here:/ca\n".to_owned()),
            }),
            keep: Some(Keep {
                generations: 3,
                is_new: true,
                expires: 0,
            }),
            ..Transaction::default()
        }
    }

    /// The same, but the two files that are there are removed.
    pub fn removal(&self) -> Transaction {
        let mut transaction = self.transaction();
        for file in &mut transaction.files {
            if file.before.is_some() {
                file.bytes = Bytes::Gone { prune: 0 };
            }
        }
        transaction
    }

    /// A file of the node's own state, where there is no state yet.
    pub fn first_of_state(&self) -> Transaction {
        Transaction {
            files: vec![self.file("node/state", "live-restore", None, "{}\n")],
            ..Transaction::default()
        }
    }

    /// Runs the statements of a script in `shell`, which may have words before
    /// it (a tracer).
    pub fn run(&self, shell: &[&str], body: &str) -> Report {
        let mut script = Script::default();
        // After the prelude has set its own.
        script.statement(format!("PATH={}:$PATH", self.text("bin")));
        script.statement(body.to_owned());
        let mut variables = vec![
            ("DTLS_STATE", "node/state"),
            ("DTLS_UNITS", "node/units"),
            ("DTLS_RUNTIME", "node/run"),
        ];
        if self.systemd {
            variables.push(("DTLS_SYSTEMD", "bin"));
        } else {
            variables.extend([
                ("DTLS_SYSTEMD", "none"),
                ("DTLS_ETC", "etc"),
                ("DTLS_RUN", "run"),
                ("DTLS_LOGS", "log"),
            ]);
        }
        let variables = variables.into_iter();
        let variables = variables.map(|(name, at)| (name, self.path(at).into()));
        Report::parse(&shell::run(shell, &script, RUN, variables.collect()))
    }

    /// Every name on the node with its mode and its text; how often the unit
    /// was restarted is no part of it.
    pub fn tree(&self) -> String {
        let root = self.path("node");
        let mut left = vec![root.clone()];
        let mut lines = Vec::new();
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let mode = path.symlink_metadata().unwrap().permissions().mode() & 0o7777;
                let mut text = String::new();
                if path.is_dir() {
                    left.push(path.clone());
                } else {
                    text = std::fs::read_to_string(&path).unwrap();
                    text = text.replace(self.root.path().to_str().unwrap(), "ROOT");
                }
                if path.ends_with("state/confirmed") {
                    text = text.lines().skip(1).collect::<Vec<_>>().join("\n");
                }
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                lines.push(format!("{name} {mode:o} {text:?}"));
            }
        }
        lines.sort();
        lines.iter().fold(String::new(), |mut all, line| {
            let _ = writeln!(all, "{line}");
            all
        })
    }
}
