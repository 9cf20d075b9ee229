//! Somebody edits a file while a transaction is under way: the edit is kept, and nothing
//! else changes.

use node::transaction::Undo;

use super::fixture::Fixture;
use crate::shell::in_every_shell;

in_every_shell! {
    an_edit_during_a_transaction_is_never_lost,
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
