//! What a dead run left on a node is settled by the node's own rollback, in
//! every shell that a node may have.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use dtls_deploy::node::script::Script;
use dtls_deploy::node::transaction::Report;

const SHELLS: [&[&str]; 3] = [&["dash"], &["bash", "--posix"], &["busybox", "ash"]];
const RUN: &str = "20260101T000000Z-me@here-1";

/// Calls `settle` for a run, with at most two seconds for a node at work.
fn settle(shell: &[&str], state: &Path, run: &str) -> Report {
    let mut script = Script::default();
    script.call("settle", &[run, "2"]);
    let mut child = Command::new(shell[0])
        .args(&shell[1..])
        .env("DTLS_STATE", state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("apt-get install dash bash busybox");
    let text = script.text("next");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.expose())
        .unwrap();
    Report::parse(&child.wait_with_output().unwrap().stdout)
}

/// A change that is armed, as long ago as that; `rollback` is its script.
fn armed(state: &Path, age: Duration, rollback: &str) {
    let directory = state.join("armed").join(RUN);
    std::fs::create_dir_all(&directory).unwrap();
    let pending = std::fs::File::create(directory.join("pending")).unwrap();
    pending.set_modified(SystemTime::now() - age).unwrap();
    std::fs::write(directory.join("rollback.sh"), rollback).unwrap();
}

fn how(report: &Report) -> Option<&str> {
    let settled = report
        .records
        .iter()
        .find(|record| record[0] == "settled")?;
    Some(&settled[1])
}

const OLD: Duration = Duration::from_secs(60);

#[test]
fn the_nodes_own_rollback_is_run_and_what_it_said_is_told() {
    for shell in SHELLS {
        for (said, expected) in [
            ("undone", "undone"),
            ("journal\tit is broken\\nundo-failed", "undo-failed"),
        ] {
            let state = tempfile::tempdir().unwrap();
            let rollback = format!("printf '{said}\\n'; rm -rf \"$1\"; exit 71");
            armed(state.path(), OLD, &rollback);
            let report = settle(shell, state.path(), RUN);
            assert_eq!(how(&report), Some(expected), "{shell:?} {report:?}");
            assert_eq!(report.journal.len(), usize::from(expected == "undo-failed"));
            assert!(report.done);
        }
    }
}

#[test]
fn a_node_that_is_at_it_already_is_waited_for_and_not_for_ever() {
    for shell in SHELLS {
        let state = tempfile::tempdir().unwrap();
        armed(state.path(), OLD, "exit 1");
        let directory = state.path().join("armed").join(RUN);
        std::fs::rename(directory.join("pending"), directory.join("rolled-back")).unwrap();
        let report = settle(shell, state.path(), RUN);
        assert!(report.failed.is_some() && !report.done, "{report:?}");
        let gone = directory.clone();
        let node = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            std::fs::remove_dir_all(gone).unwrap();
        });
        let report = settle(shell, state.path(), RUN);
        assert_eq!(how(&report), Some("by-itself"), "{shell:?} {report:?}");
        node.join().unwrap();
        // Nothing is there any more.
        assert_eq!(how(&settle(shell, state.path(), RUN)), Some("by-itself"));
    }
}

#[test]
fn a_change_that_has_just_been_armed_is_given_time() {
    let state = tempfile::tempdir().unwrap();
    // Two seconds are left of the fifteen.
    armed(
        state.path(),
        Duration::from_secs(13),
        "echo undone; rm -rf \"$1\"",
    );
    let begun = std::time::Instant::now();
    let report = settle(SHELLS[0], state.path(), RUN);
    assert_eq!(how(&report), Some("undone"));
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_name_that_is_no_run_leads_nowhere() {
    let state = tempfile::tempdir().unwrap();
    for name in ["", "..", "../x", "a/b", ".hidden"] {
        let report = settle(SHELLS[0], state.path(), name);
        assert!(report.failed.is_some(), "{name}");
    }
}
