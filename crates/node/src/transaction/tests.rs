//! Transactions run by real shells in a temporary root.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use crate::shells::{self, SHELLS};
use base::secret::Secret;

fn run(shell: &[&str], script: &Script) -> Report {
    Report::parse(&shells::run(shell, script.text("run1").expose()).stdout)
}

fn file(directory: &Path, name: &str, before: Option<&str>, text: &str) -> StagedFile {
    StagedFile {
        directory: directory.to_str().unwrap().to_owned(),
        directory_mode: 0o700,
        missing_from: None,
        name: name.to_owned(),
        mode: 0o400,
        account: "root".to_owned(),
        before: before.map(|text| pki::sha256_hex(text.as_bytes())),
        keeps_owner: false,
        bytes: Bytes::Given(Secret::from(text.to_owned())),
    }
}

/// Every name below a directory with its mode and its text.
fn tree(root: &Path) -> Vec<(String, u32, String)> {
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let mode = path.symlink_metadata().unwrap().permissions().mode() & 0o7777;
            let text = if path.is_dir() {
                left.push(path.clone());
                String::new()
            } else {
                std::fs::read_to_string(&path).unwrap_or_default()
            };
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            found.push((name, mode, text));
        }
    }
    found.sort();
    found
}

fn old_set(root: &Path) {
    let directory = root.join("tls");
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(directory.join("it's a key"), "old key\n").unwrap();
    std::fs::set_permissions(
        directory.join("it's a key"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    std::fs::write(directory.join(".hidden"), "old hidden").unwrap();
}

fn change(root: &Path) -> Transaction {
    Transaction {
        files: vec![
            file(
                &root.join("tls"),
                "it's a key",
                Some("old key\n"),
                "new 'key'\n",
            ),
            file(
                &root.join("tls"),
                ".hidden",
                Some("old hidden"),
                "new hidden",
            ),
            file(&root.join("a/b/c"), "fresh", None, "fresh\n\n"),
        ],
        ..Transaction::default()
    }
}

#[test]
fn all_files_change_and_nothing_else_is_left() {
    for shell in SHELLS {
        let root = tempfile::tempdir().unwrap();
        old_set(root.path());
        let report = run(shell, &change(root.path()).execute());
        assert!(
            report.done && report.failed.is_none(),
            "{shell:?} {report:?}"
        );
        let expected = [
            ("a", 0o755, ""),
            ("a/b", 0o755, ""),
            ("a/b/c", 0o700, ""),
            ("a/b/c/fresh", 0o400, "fresh\n\n"),
            // The mode of a directory that was there is not ours.
            ("tls", 0o755, ""),
            ("tls/.hidden", 0o400, "new hidden"),
            ("tls/it's a key", 0o400, "new 'key'\n"),
        ]
        .map(|(name, mode, text)| (name.to_owned(), mode, text.to_owned()));
        assert_eq!(tree(root.path()), expected, "{shell:?}");
    }
}

#[test]
fn undo_leaves_no_trace() {
    for shell in SHELLS {
        let root = tempfile::tempdir().unwrap();
        old_set(root.path());
        let before = tree(root.path());
        let mut transaction = change(root.path());
        // As with a restart, what is needed to undo stays until it is confirmed.
        let execute = {
            let mut script = transaction.execute();
            let text = script.body();
            let unstage = text.rfind("unstage_all").unwrap();
            let kept = text[..unstage].to_owned();
            script = Script::default();
            script.statement(kept);
            script
        };
        let report = run(shell, &execute);
        assert!(report.done, "{shell:?} {report:?}");
        assert_ne!(tree(root.path()), before);
        transaction.restart = None;
        let report = run(shell, &transaction.undo());
        assert!(report.undo == Undo::Done, "{shell:?} {report:?}");
        assert_eq!(tree(root.path()), before, "{shell:?}");
        // What is not there any more cannot have been put back.
        let report = run(shell, &transaction.undo());
        assert!(report.undo == Undo::Failed, "{shell:?} {report:?}");
    }
}

#[test]
fn a_file_that_changed_since_the_plan_stops_everything() {
    for shell in SHELLS {
        for path in ["tls/.hidden", "a/b/c/fresh"] {
            let root = tempfile::tempdir().unwrap();
            old_set(root.path());
            std::fs::create_dir_all(root.path().join("a/b/c")).unwrap();
            std::fs::write(root.path().join(path), "somebody else's").unwrap();
            let before = tree(root.path());
            let report = run(shell, &change(root.path()).execute());
            assert_eq!(report.failed.clone().unwrap().0, "expect", "{shell:?}");
            assert!(report.undo == Undo::Done, "{shell:?} {report:?}");
            assert_eq!(tree(root.path()), before, "{shell:?}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_replaced_is_named_with_the_cause() {
    for shell in SHELLS {
        let root = tempfile::tempdir().unwrap();
        old_set(root.path());
        let before = tree(root.path());
        let body = change(root.path()).execute().body();
        let swap = body.find("in_account 'root' 'swap").unwrap();
        // As with an immutable file, or one that something is mounted over.
        let immutable =
            "mv() { echo \"mv: cannot move to '$2': Operation not permitted\" >&2; return 1; }";
        let mut script = Script::default();
        script.statement(format!("{}{immutable}\n{}", &body[..swap], &body[swap..]));
        let report = run(shell, &script);
        let (step, message) = report.failed.clone().unwrap();
        assert_eq!(step, "swap", "{shell:?} {report:?}");
        let said = "a file could not be replaced: mv: cannot move to";
        assert!(message.starts_with(said), "{shell:?} {message}");
        let cause = ": Operation not permitted";
        assert!(message.ends_with(cause), "{shell:?} {message}");
        assert_eq!(tree(root.path()), before, "{shell:?}");
    }
}

#[test]
fn a_directory_in_the_way_stops_everything() {
    for shell in SHELLS {
        let root = tempfile::tempdir().unwrap();
        old_set(root.path());
        let mut transaction = change(root.path());
        transaction
            .files
            .push(file(&root.path().join("tls"), "taken", None, "x"));
        // It appears between the check and the swap.
        let body = transaction.execute().body();
        let taken = root.path().join("tls/taken");
        let swap = body.find("in_account 'root' 'swap").unwrap();
        let mut script = Script::default();
        script.statement(format!(
            "{}mkdir '{}'\n{}",
            &body[..swap],
            taken.display(),
            &body[swap..]
        ));
        let report = run(shell, &script);
        assert_eq!(
            report.failed.clone().unwrap().0,
            "expect",
            "{shell:?} {report:?}"
        );
        assert!(report.undo == Undo::Done, "{shell:?} {report:?}");
        let left = tree(root.path());
        assert!(
            left.iter().any(|(name, _, _)| name == "tls/taken"),
            "not ours to remove"
        );
        assert!(
            !left
                .iter()
                .any(|(name, _, _)| name.contains(".dtls-deploy")),
            "{left:?}"
        );
        assert_eq!(
            left.iter()
                .find(|(name, _, _)| name == "tls/.hidden")
                .unwrap()
                .2,
            "old hidden"
        );
        assert_eq!(
            left.iter()
                .find(|(name, _, _)| name == "tls/it's a key")
                .unwrap()
                .2,
            "old key\n"
        );
    }
}
