//! Without systemd: a process that puts the old files back when no one confirms,
//! and is gone when someone does.

use std::path::Path;
use std::time::{Duration, Instant};

use node::transaction::Undo;

use super::fixture::{Fixture, RUN};
use crate::shell::in_every_shell;

in_every_shell! {
    nobody_confirms_and_the_old_files_come_back,
    a_confirmed_change_leaves_nobody_waiting,
    a_daemon_that_ends_at_once_is_put_back,
}

fn key(fixture: &Fixture) -> String {
    std::fs::read_to_string(fixture.path("node/tls/key.pem")).unwrap()
}

/// Whether it happens within 20 seconds.
fn soon(happens: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if happens() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

/// The daemon's number, where it runs.
fn daemon(fixture: &Fixture) -> Option<String> {
    let pid = std::fs::read_to_string(fixture.path("run/docker.pid")).ok()?;
    let pid = pid.trim().to_owned();
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name == "dockerd\n").then_some(pid)
}

fn waiter(fixture: &Fixture) -> String {
    let path = fixture.path(&format!("node/state/armed/{RUN}/waiter"));
    let text = std::fs::read_to_string(path).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}

fn nobody_confirms_and_the_old_files_come_back(shell: &[&str]) {
    let fixture = Fixture::without_systemd();
    let mut transaction = fixture.transaction();
    transaction.restart.as_mut().unwrap().confirm_within = 2;
    let report = fixture.run(shell, &transaction.execute().body());
    assert!(report.done, "{shell:?}: {report:?}");
    assert_eq!(key(&fixture), "new key\n", "{shell:?}");
    let restarted = daemon(&fixture);
    assert!(restarted.is_some(), "{shell:?}");
    let waits = waiter(&fixture);
    // In a session of its own.
    let stat = std::fs::read_to_string(format!("/proc/{waits}/stat")).unwrap();
    assert_eq!(stat.split_whitespace().nth(5), Some(waits.as_str()));

    let armed = fixture.path("node/state/armed").join(RUN);
    assert!(soon(|| !armed.exists()), "{shell:?}");
    assert_eq!(key(&fixture), "old key\n", "{shell:?}");
    let again = daemon(&fixture);
    assert!(again.is_some() && again != restarted, "{shell:?}");
}

fn a_confirmed_change_leaves_nobody_waiting(shell: &[&str]) {
    let fixture = Fixture::without_systemd();
    let transaction = fixture.transaction();
    let report = fixture.run(shell, &transaction.execute().body());
    assert!(report.done, "{shell:?}: {report:?}");
    let (restarted, waits) = (daemon(&fixture), waiter(&fixture));
    let report = fixture.run(shell, &transaction.confirm().body());
    assert!(
        report.done && report.failed.is_none(),
        "{shell:?}: {report:?}"
    );
    assert!(soon(|| !Path::new(&format!("/proc/{waits}")).exists()));
    assert_eq!(key(&fixture), "new key\n", "{shell:?}");
    assert_eq!(daemon(&fixture), restarted, "{shell:?}");
    // The record is of this process, as the facts will name it.
    let record = std::fs::read_to_string(fixture.path("node/state/confirmed")).unwrap();
    assert!(
        record.starts_with(&format!("{}-", restarted.unwrap())),
        "{shell:?}: {record}"
    );
}

fn a_daemon_that_ends_at_once_is_put_back(shell: &[&str]) {
    let fixture = Fixture::without_systemd();
    let broken = format!(
        "#!/bin/sh\nif grep -q new {0}; then echo cannot start; exit 1; fi\necho API listen on x; while [ -e $0 ]; do sleep 0.1; done\n",
        fixture.path("node/tls/key.pem").display()
    );
    std::fs::write(fixture.path("bin/dockerd"), broken).unwrap();
    let transaction = fixture.transaction();
    let report = fixture.run(shell, &transaction.execute().body());
    assert!(report.undo == Undo::Done, "{shell:?}: {report:?}");
    assert!(
        report.journal.iter().any(|line| line == "cannot start"),
        "{shell:?}: {report:?}"
    );
    assert_eq!(key(&fixture), "old key\n", "{shell:?}");
    assert!(daemon(&fixture).is_some(), "{shell:?}");
}
