//! What a dead run left on a node is settled by the node's own rollback, in
//! every shell that a node may have.

use std::path::{Path, PathBuf};
use std::process::Command;

use node::settle::Leftover;
use node::transaction::Report;

use crate::shell::{self, in_every_shell};

in_every_shell! {
    the_nodes_own_rollback_is_run_and_what_it_said_is_told,
    a_script_that_is_still_at_work_is_waited_for_and_not_for_ever,
    a_stage_that_does_not_say_whose_it_is_holds_nobody_up,
    what_was_not_armed_yet_is_removed,
    what_cannot_be_undone_is_said,
    a_name_that_is_no_run_leads_nowhere,
    at_boot_nothing_waits_for_an_undo_that_is_under_way,
}

const RUN: &str = "20260101T000000Z-me@here-1";

/// Calls `settle` for a run, with at most two seconds for a node at work.
fn settle(shell: &[&str], state: &Path, run: &str) -> Report {
    settle_with(shell, state, run, &[])
}

/// As [`settle`], for a run that has left stages in these directories.
fn settle_with(shell: &[&str], state: &Path, run: &str, directories: &[&str]) -> Report {
    let mut left = Leftover::default();
    let directories = directories.iter().map(|path| (*path).to_owned()).collect();
    left.directories.insert("root".to_owned(), directories);
    let script = left.settle(run, 2);
    let state = vec![("DTLS_STATE", state.into())];
    Report::parse(&shell::run(shell, &script, "next", state))
}

/// A change that is armed; `rollback` is its script.
fn armed(state: &Path, rollback: &str) -> PathBuf {
    let directory = state.join("armed").join(RUN);
    std::fs::create_dir_all(&directory).unwrap();
    for name in ["pending", "armed"] {
        std::fs::write(directory.join(name), "").unwrap();
    }
    std::fs::write(directory.join("rollback.sh"), rollback).unwrap();
    directory
}

fn how(report: &Report) -> Option<&str> {
    let settled = report
        .records
        .iter()
        .find(|record| record[0] == "settled")?;
    Some(&settled[1])
}

fn the_nodes_own_rollback_is_run_and_what_it_said_is_told(shell: &[&str]) {
    for (said, expected) in [
        ("undone", "undone"),
        ("journal\tit is broken\\nundo-failed", "undo-failed"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let rollback = format!("printf '{said}\\n'; rm -rf \"${{0%/*}}\"; exit 71");
        armed(state.path(), &rollback);
        let report = settle(shell, state.path(), RUN);
        assert_eq!(how(&report), Some(expected), "{shell:?} {report:?}");
        assert_eq!(report.journal.len(), usize::from(expected == "undo-failed"));
        assert!(report.done);
    }
}

/// Process and start time, as the script that arms writes them.
fn owner(directory: &Path, pid: u32) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let start = text
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .nth(19)
        .unwrap();
    std::fs::write(directory.join("owner"), format!("{pid} {start}\n")).unwrap();
}

fn a_script_that_is_still_at_work_is_waited_for_and_not_for_ever(shell: &[&str]) {
    let state = tempfile::tempdir().unwrap();
    let directory = armed(state.path(), "echo undone; rm -rf \"${0%/*}\"");
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    owner(&directory, child.id());
    let report = settle(shell, state.path(), RUN);
    assert!(report.failed.is_some() && !report.done, "{report:?}");
    assert!(directory.join("pending").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let report = settle(shell, state.path(), RUN);
    assert_eq!(how(&report), Some("undone"), "{shell:?} {report:?}");
    // Nothing is there any more.
    assert_eq!(how(&settle(shell, state.path(), RUN)), Some("by-itself"));
}

/// The power went while a stage was made: whose it is was not written yet, or not
/// when that process was started.
fn a_stage_that_does_not_say_whose_it_is_holds_nobody_up(shell: &[&str]) {
    for owner in ["", "4194303 \n"] {
        let state = tempfile::tempdir().unwrap();
        let left = state.path().join(format!(".dtls-deploy.{RUN}"));
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("owner"), owner).unwrap();
        let report = settle_with(shell, state.path(), RUN, &[state.path().to_str().unwrap()]);
        assert_eq!(how(&report), Some("by-itself"), "{shell:?} {report:?}");
        assert!(!left.exists(), "{shell:?}");
        let done = state.path().join(format!(".dtls-deploy.done.{RUN}"));
        assert!(done.exists(), "{shell:?}");
    }
}

/// The power went before it was armed: nothing was renamed yet.
fn what_was_not_armed_yet_is_removed(shell: &[&str]) {
    let state = tempfile::tempdir().unwrap();
    let directory = armed(state.path(), "");
    std::fs::remove_file(directory.join("armed")).unwrap();
    let report = settle(shell, state.path(), RUN);
    assert_eq!(how(&report), Some("by-itself"), "{shell:?} {report:?}");
    assert!(!directory.exists());
}

fn what_cannot_be_undone_is_said(shell: &[&str]) {
    let state = tempfile::tempdir().unwrap();
    let directory = armed(state.path(), "exit 1");
    let report = settle(shell, state.path(), RUN);
    assert!(
        report.failed.is_some() && !report.done,
        "{shell:?} {report:?}"
    );
    assert!(directory.exists());
}

fn a_name_that_is_no_run_leads_nowhere(shell: &[&str]) {
    let state = tempfile::tempdir().unwrap();
    for name in ["", "..", "../x", "a/b", ".hidden"] {
        let report = settle(shell, state.path(), name);
        assert!(report.failed.is_some(), "{name}");
    }
}

/// The process that undoes a change restarts docker, and docker's start comes after the
/// unit that undoes it at boot: that one must not wait in its turn.
fn at_boot_nothing_waits_for_an_undo_that_is_under_way(shell: &[&str]) {
    let state = tempfile::tempdir().unwrap();
    let directory = armed(state.path(), "");
    std::fs::write(directory.join("undo.sh"), "").unwrap();
    let held = std::fs::File::open(directory.join("undo.sh")).unwrap();
    held.lock().unwrap();
    let text = format!(
        "{}\nRUN={RUN}\nUNIT=docker.service\nunswap_all() {{ echo unswapped; }}\nroll_back boot\n",
        node::prelude::whole()
    );
    let script = state.path().join("boot.sh");
    std::fs::write(&script, text).unwrap();
    let output = Command::new("timeout")
        .arg("20")
        .args(shell)
        .arg(&script)
        .env("DTLS_STATE", state.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{shell:?} {output:?}");
    assert!(output.stdout.is_empty(), "{shell:?} {output:?}");
    assert!(directory.join("undo.sh").exists());
}
