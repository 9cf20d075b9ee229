//! The node's part of `live_restore`, in every shell that a node may have:
//! reloaded and seen to be on, or put back.

use std::path::Path;

use base::secret::Secret;
use node::script::Script;
use node::transaction::{Bytes, Report, StagedFile, Transaction, Undo, UnitReload};
use pki::sha256_hex;

use crate::shell::{self, in_every_shell};

in_every_shell! {
    what_dockerd_says_keeps_the_file,
    without_a_word_from_dockerd_the_old_file_comes_back_and_is_read,
}

const OLD: &str = "{\"debug\": true}\n";
const NEW: &str = "{\"debug\": true, \"live-restore\": true}\n";
const HAS_READ: &str = "aaaa  /etc/docker/daemon.json\nbbbb  /it's a path\n";

/// What stands in for systemd, its journal and docker. `SAID` is what dockerd
/// writes to the journal at the reload; the same was there before it too.
const STUBS: &str = r#"
sleep() { :; }
timeout() { shift; "$@"; }
docker() { printf '%s\n' "$INFO"; }
systemctl() {
    case $1 in
    reload) echo reload >>"$LOG" ;;
    show) echo invocation ;;
    esac
}
journalctl() {
    case "$*" in
    *--show-cursor*) printf '%s\n-- cursor: s=1;i=2\n' "$SAID" ;;
    *"--after-cursor=s=1;i=2"*) if [ -s "$LOG" ]; then printf '%s\n' "$SAID"; fi ;;
    *) echo 'the journal' ;;
    esac
}
"#;

fn turn_on(shell: &[&str], root: &Path, said: &str, info: &str) -> Report {
    let transaction = Transaction {
        files: vec![StagedFile {
            missing_from: None,
            directory: root.join("docker").to_str().unwrap().to_owned(),
            directory_mode: 0o755,
            name: "daemon.json".to_owned(),
            mode: 0o644,
            account: "root".to_owned(),
            before: Some(sha256_hex(OLD.as_bytes())),
            keeps_owner: false,
            bytes: Bytes::Given(Secret::from(NEW.to_owned())),
        }],
        reload: Some(UnitReload {
            unit: "docker.service".to_owned(),
            has_read: Some(HAS_READ.to_owned()),
        }),
        ..Transaction::default()
    };
    let mut script = Script::default();
    script.statement(STUBS.to_owned());
    script.statement(transaction.execute().body());
    let variables = vec![
        ("DTLS_STATE", root.join("state").into()),
        ("DTLS_SYSTEMD", "/".into()),
        ("LOG", root.join("log").into()),
        ("SAID", said.into()),
        ("INFO", info.into()),
    ];
    Report::parse(&shell::run(shell, &script, "test", variables))
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("docker")).unwrap();
    std::fs::write(root.path().join("docker/daemon.json"), OLD).unwrap();
    root
}

fn text(root: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(root.join(name)).ok()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// As docker 20.10 and later ones write it, and where the journal has nothing.
fn what_dockerd_says_keeps_the_file(shell: &[&str]) {
    let lines = [
        (
            r#"time="2026" level=info msg="Reloaded configuration: {\"live-restore\":true,\"mtu\":1500}""#,
            "false",
        ),
        (
            r#"{"level":"info","msg":"reloaded configuration: {\"mtu\":1500,\"live-restore-enabled\": true}"}"#,
            "false",
        ),
        ("API listen on /run/docker.sock", "true"),
    ];
    for (said, info) in lines {
        let root = root();
        let report = turn_on(shell, root.path(), said, info);
        assert!(
            report.done && report.failed.is_none(),
            "{shell:?} {said}: {report:?}"
        );
        assert_eq!(text(root.path(), "docker/daemon.json").unwrap(), NEW);
        assert_eq!(text(root.path(), "log").unwrap(), "reload\n");
        assert_eq!(
            text(root.path(), "state/confirmed").unwrap(),
            format!("invocation\n{HAS_READ}")
        );
        assert_eq!(names(&root.path().join("docker")), ["daemon.json"]);
    }
}

fn without_a_word_from_dockerd_the_old_file_comes_back_and_is_read(shell: &[&str]) {
    let lines = [
        (
            r#"msg="Reloaded configuration: {\"live-restore\":false}""#,
            "false",
        ),
        ("unable to configure the Docker daemon with file", ""),
    ];
    for (said, info) in lines {
        let root = root();
        let report = turn_on(shell, root.path(), said, info);
        let (step, message) = report.failed.clone().unwrap();
        assert!(
            step == "reload" && message.contains("live-restore") && report.undo == Undo::Done,
            "{shell:?}: {report:?}"
        );
        assert_eq!(report.journal, ["the journal"]);
        assert_eq!(text(root.path(), "docker/daemon.json").unwrap(), OLD);
        assert_eq!(text(root.path(), "log").unwrap(), "reload\nreload\n");
        assert_eq!(text(root.path(), "state/confirmed"), None);
        assert_eq!(names(&root.path().join("docker")), ["daemon.json"]);
    }
}
