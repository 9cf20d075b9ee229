//! A transaction in the directory of an account that means harm: the daemon is put back
//! and restarted whatever the account does with its own files.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use node::transaction::Transaction;
use node::transaction::Undo;

use super::fixture::Fixture;
use crate::shell::in_every_shell;

in_every_shell! {
    what_an_account_removes_comes_back_from_roots_copies,
    what_an_account_prevents_keeps_the_daemon_from_nothing,
    an_undo_whose_process_died_is_taken_over_by_the_timer,
    a_stage_that_an_account_claims_to_work_in_holds_nobody_up,
}

const NOBODY: u32 = 65534;
/// A daemon whose TLS files lie in no one's directory, and its transaction.
fn of_nobody() -> (Fixture, Transaction) {
    let fixture = Fixture::new();
    for path in ["", "node"] {
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(fixture.path(path), all).unwrap();
    }
    for path in ["node/tls", "node/tls/key.pem", "node/tls/cert.pem"] {
        chown(fixture.path(path), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut transaction = fixture.transaction();
    for file in &mut transaction.files {
        if file.directory.ends_with("/tls") {
            "nobody".clone_into(&mut file.account);
        }
    }
    (fixture, transaction)
}

fn restarts(fixture: &Fixture) -> u32 {
    let count = std::fs::read_to_string(fixture.path("bin/systemctl.count"));
    count.unwrap_or_default().trim().parse().unwrap_or(1)
}

fn text(fixture: &Fixture, name: &str) -> String {
    std::fs::read_to_string(fixture.path("node/tls").join(name)).unwrap_or_default()
}

fn stages(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(".dtls")
        })
        .collect()
}

fn what_an_account_removes_comes_back_from_roots_copies(shell: &[&str]) {
    let (fixture, transaction) = of_nobody();
    let begun = fixture.run(shell, &transaction.execute().body());
    assert!(begun.done && begun.failed.is_none(), "{shell:?} {begun:?}");
    assert_eq!(text(&fixture, "key.pem"), "new key\n");
    // The account removes what its own undo would need, and exchanges a file.
    for stage in stages(&fixture.path("node/tls")) {
        std::fs::remove_dir_all(stage).unwrap();
    }
    std::fs::write(fixture.path("node/tls/cert.pem"), "forged\n").unwrap();
    let before = restarts(&fixture);
    let ended = fixture.run(shell, &transaction.undo().body());
    assert!(ended.undo == Undo::Done, "{shell:?} {ended:?}");
    assert_eq!(restarts(&fixture), before + 1, "{shell:?}");
    assert_eq!(text(&fixture, "key.pem"), "old key\n", "{shell:?}");
    assert_eq!(text(&fixture, "cert.pem"), "old certificate\n", "{shell:?}");
    assert!(!fixture.path("node/tls/ca.pem").exists(), "{shell:?}");
    assert!(!fixture.path("node/made").exists(), "{shell:?}");
}

/// The account's files cannot be put back: root's are, the daemon is restarted, and the
/// report says what is left.
fn what_an_account_prevents_keeps_the_daemon_from_nothing(shell: &[&str]) {
    let (fixture, transaction) = of_nobody();
    let begun = fixture.run(shell, &transaction.execute().body());
    assert!(begun.done && begun.failed.is_none(), "{shell:?} {begun:?}");
    let none = std::fs::Permissions::from_mode(0o0);
    std::fs::set_permissions(fixture.path("node/tls"), none).unwrap();
    let before = restarts(&fixture);
    let ended = fixture.run(shell, &transaction.undo().body());
    assert!(ended.undo == Undo::Failed, "{shell:?} {ended:?}");
    let (_, message) = ended.failed.clone().expect("a failure");
    assert!(message.contains("node/tls"), "{message}");
    assert_eq!(restarts(&fixture), before + 1, "{shell:?}");
    assert!(!fixture.path("node/made").exists(), "{shell:?}");
    // Tried again later, it succeeds.
    let all = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(fixture.path("node/tls"), all).unwrap();
    let again = fixture.run(
        shell,
        &format!(
            "{}\nroll_back",
            transaction
                .undo()
                .body()
                .split("\nstill_armed")
                .next()
                .unwrap()
        ),
    );
    assert!(again.undo == Undo::Done, "{shell:?} {again:?}");
    assert_eq!(text(&fixture, "key.pem"), "old key\n", "{shell:?}");
}

/// Who acts on an undo may die at any moment: another takes it over.
fn an_undo_whose_process_died_is_taken_over_by_the_timer(shell: &[&str]) {
    let (fixture, transaction) = of_nobody();
    let begun = fixture.run(shell, &transaction.execute().body());
    assert!(begun.done, "{shell:?} {begun:?}");
    let armed = fixture.path("node/state/armed").join(super::fixture::RUN);
    // It had begun, and nothing more.
    std::fs::rename(armed.join("pending"), armed.join("undone")).unwrap();
    let definitions = transaction.undo().body();
    let definitions = definitions.split("\nstill_armed").next().unwrap();
    let ended = fixture.run(shell, &format!("{definitions}\nroll_back timer"));
    assert!(ended.undo == Undo::Done, "{shell:?} {ended:?}");
    assert_eq!(text(&fixture, "key.pem"), "old key\n", "{shell:?}");
    assert!(!armed.exists(), "{shell:?}");
}

/// A directory with the name of a stage, of a process of the account's own that lives.
fn a_stage_that_an_account_claims_to_work_in_holds_nobody_up(shell: &[&str]) {
    let (fixture, transaction) = of_nobody();
    let me = std::process::id();
    let fields = std::fs::read_to_string(format!("/proc/{me}/stat")).unwrap();
    let start = fields
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .nth(19)
        .unwrap();
    for name in [".dtls-deploy.20301201T000000Z-x-1", ".dtls-deploy.x"] {
        let stage = fixture.path("node/tls").join(name);
        std::fs::create_dir(&stage).unwrap();
        std::fs::write(stage.join("owner"), format!("{me} {start}\n")).unwrap();
        for path in [stage.clone(), stage.join("owner")] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    let begun = fixture.run(shell, &transaction.execute().body());
    assert!(begun.done && begun.failed.is_none(), "{shell:?} {begun:?}");
    assert_eq!(text(&fixture, "key.pem"), "new key\n", "{shell:?}");
    assert!(fixture.run(shell, &transaction.confirm().body()).done);
    assert_eq!(
        stages(&fixture.path("node/tls")),
        [""; 0].map(Path::new),
        "{shell:?}"
    );
}
