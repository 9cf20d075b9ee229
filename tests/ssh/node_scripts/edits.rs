//! Someone edits a file while a transaction is under way: the edit is kept, and nothing
//! else changes.

use node::transaction::Undo;

use super::fixture::Fixture;
use crate::shell::in_every_shell;

in_every_shell! {
    an_edit_during_a_transaction_is_never_lost,
    what_was_not_removed_yet_stays_as_it_is,
    what_was_written_after_the_swap_is_kept_beside,
    a_directory_of_the_state_may_be_made_by_another_process_first,
}

/// Before the first rename, this is done to files that the transaction replaces or makes.
fn edited_before_the_swap(shell: &[&str], edit: &str, edited: &str, text: &str) {
    let fixture = Fixture::new();
    let before = fixture.tree();
    let body = fixture.transaction().execute().body();
    let swap = body.find("in_account 'root' 'swap").expect("a swap");
    let (staged, rest) = body.split_at(swap);
    let tls = fixture.path("node/tls");
    let edit = edit.replace("TLS", tls.to_str().unwrap());
    let report = fixture.run(shell, &format!("{staged}\n{edit}\n{rest}"));
    let what = format!("{shell:?} {edit}: {report:?}");
    let (step, _) = report.failed.clone().expect("a failure");
    assert_eq!(step, "expect", "{what}");
    assert!(
        report.undo == Undo::Done && report.restarted.is_none(),
        "{what}"
    );
    let found = std::fs::read_to_string(tls.join(edited)).unwrap();
    assert_eq!(found, text, "{what}");
    // But for the edit everything is as before.
    std::fs::remove_file(tls.join(edited)).unwrap();
    let without = |tree: &str| -> String {
        let kept = tree.lines().filter(|line| !line.contains(edited));
        kept.collect::<Vec<_>>().join("\n")
    };
    let state = |line: &&str| !line.starts_with("state") && !line.starts_with("run");
    let lines = |tree: String| -> Vec<String> {
        let kept = without(&tree);
        kept.lines().filter(state).map(str::to_owned).collect()
    };
    assert_eq!(lines(fixture.tree()), lines(before), "{what}");
}

fn an_edit_during_a_transaction_is_never_lost(shell: &[&str]) {
    for (edit, edited) in [
        // In place, by an editor that renames, a file removed and made, and one that
        // was not there when the plan was made.
        ("printf 'mine\\n' >'TLS/cert.pem'", "cert.pem"),
        (
            "printf 'mine\\n' >'TLS/edit' && mv 'TLS/edit' 'TLS/key.pem'",
            "key.pem",
        ),
        (
            "rm 'TLS/key.pem' && printf 'mine\\n' >'TLS/key.pem'",
            "key.pem",
        ),
        ("printf 'mine\\n' >'TLS/ca.pem'", "ca.pem"),
    ] {
        edited_before_the_swap(shell, edit, edited, "mine\n");
    }
}

/// Staging and the copies for going back are made at the same time, and each makes the directory
/// of the node's state where it is missing.
fn a_directory_of_the_state_may_be_made_by_another_process_first(shell: &[&str]) {
    let fixture = Fixture::new();
    let state = fixture.path("node/state");
    // The other process wins whenever this one makes a directory.
    let other = format!(
        "mkdir() {{ command mkdir -p '{}' && command mkdir \"$@\"; }}",
        state.display()
    );
    let body = fixture.first_of_state().execute().body();
    let report = fixture.run(shell, &format!("{other}\n{body}"));
    assert_eq!(report.failed, None, "{shell:?}: {report:?}");
    let file = std::fs::read_to_string(state.join("live-restore")).unwrap();
    assert_eq!(file, "{}\n");
}

/// A transaction that removes files fails before it has: whatever is there then stays.
fn what_was_not_removed_yet_stays_as_it_is(shell: &[&str]) {
    for edit in ["", "printf 'mine\\n' >'TLS/cert.pem'"] {
        let fixture = Fixture::new();
        let body = fixture.removal().execute().body();
        let swap = body.find("in_account 'root' 'swap").expect("a swap");
        let (staged, rest) = body.split_at(swap);
        let tls = fixture.path("node/tls");
        let edit = edit.replace("TLS", tls.to_str().unwrap());
        // Another one appears, so that the swap is refused.
        let other = format!("printf 'other\\n' >'{}/ca.pem'", tls.display());
        let report = fixture.run(shell, &format!("{staged}\n{edit}\n{other}\n{rest}"));
        let what = format!("{shell:?} {edit}: {report:?}");
        assert_eq!(report.undo, Undo::Done, "{what}");
        let text = |name: &str| std::fs::read_to_string(tls.join(name)).unwrap();
        let expected = if edit.is_empty() {
            "old certificate\n"
        } else {
            "mine\n"
        };
        assert_eq!(text("cert.pem"), expected, "{what}");
        assert_eq!(text("key.pem"), "old key\n", "{what}");
        let left = std::fs::read_dir(&tls).unwrap().count();
        assert_eq!(left, 3, "{what}: no stage");
    }
}

/// Undone after the swap: another user has since written in the place of what was replaced, made
/// or removed.
fn what_was_written_after_the_swap_is_kept_beside(shell: &[&str]) {
    for (removes, name) in [(false, "cert.pem"), (false, "ca.pem"), (true, "cert.pem")] {
        let fixture = Fixture::new();
        let transaction = if removes {
            fixture.removal()
        } else {
            fixture.transaction()
        };
        let report = fixture.run(shell, &transaction.execute().body());
        assert_eq!(report.failed, None, "{shell:?}: {report:?}");
        let tls = fixture.path("node/tls");
        let before = std::fs::read_to_string(tls.join(name)).unwrap_or_default();
        // busybox compares whole seconds.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        std::fs::write(tls.join(name), format!("{before}mine\n")).unwrap();
        let report = fixture.run(shell, &transaction.undo().body());
        let what = format!("{shell:?} {removes} {name}: {report:?}");
        assert_eq!(report.undo, Undo::Done, "{what}");
        let kept = tls.join(format!("{name}.kept-by-dtls-deploy"));
        let record = vec!["kept".to_owned(), kept.display().to_string()];
        assert!(report.records.contains(&record), "{what}");
        let text = std::fs::read_to_string(kept).unwrap();
        assert_eq!(text, format!("{before}mine\n"), "{what}");
        let old = std::fs::read_to_string(tls.join("cert.pem")).unwrap();
        assert_eq!(old, "old certificate\n", "{what}");
    }
}
