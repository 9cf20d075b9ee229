//! A node's transaction: staged, swapped, restarted, then confirmed or undone.
//!
//! Comes in: files with their bytes and perhaps a restart, from apply. Goes
//! out: three scripts. `execute` stages everything beside its target, checks
//! that what was there is what the plan saw, renames, and restarts; when any
//! of it fails it puts everything back itself. After a restart the old set is
//! kept until `confirm` or `undo`, which the controller chooses once it has
//! seen the daemon answer. If neither comes in time, a timer on the node undoes
//! the change; whichever of the three renames the marker first wins.

use std::collections::BTreeSet;

use super::script::{Script, call};
use crate::secret::Secret;

/// Seconds that `systemctl restart` may take; dockerd waits up to 15 s for its
/// containers before it ends.
const RESTART_SECONDS: &str = "90";

/// A file to put in place.
#[derive(Debug)]
pub struct StagedFile {
    pub directory: String,
    pub directory_mode: DirectoryMode,
    pub name: String,
    /// Permission bits.
    pub mode: u32,
    /// The account that writes it and owns it then.
    pub account: String,
    /// SHA-256 of what is there now; `None` for nothing.
    pub before: Option<String>,
    pub bytes: Bytes,
}

/// Permission bits of a file's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryMode {
    Set(u32),
    Keep { when_missing: u32 },
}

#[derive(Debug)]
pub enum Bytes {
    Given(Secret),
    CopyOf(String),
}

/// The unit to restart once the files are in place.
#[derive(Debug)]
pub struct UnitRestart {
    pub unit: String,
    /// Everything that it reads when it starts.
    pub reads: BTreeSet<String>,
    /// Seconds after which the node puts its old files back by itself.
    pub confirm_within: u32,
}

/// A reload that turns live-restore on, once the files are in place. The node
/// sees by itself whether it has worked, and undoes it by itself.
#[derive(Debug)]
pub struct UnitReload {
    pub unit: String,
    /// What dockerd has read then, where that is known: lines as sha256sum
    /// prints them.
    pub has_read: Option<String>,
}

/// What shall happen on one node, all of it or nothing.
#[derive(Debug, Default)]
pub struct Transaction {
    pub files: Vec<StagedFile>,
    pub restart: Option<UnitRestart>,
    /// Not together with a restart.
    pub reload: Option<UnitReload>,
}

/// A directory that takes part, in the order of first mention.
struct Directory<'a> {
    path: &'a str,
    account: &'a str,
}

impl Transaction {
    fn directories(&self) -> Vec<Directory<'_>> {
        let mut directories: Vec<Directory<'_>> = Vec::new();
        for file in &self.files {
            if !directories.iter().any(|known| known.path == file.directory) {
                directories.push(Directory {
                    path: &file.directory,
                    account: &file.account,
                });
            }
        }
        directories
    }

    fn accounts(&self) -> Vec<&str> {
        let mut accounts = Vec::new();
        for directory in self.directories() {
            if !accounts.contains(&directory.account) {
                accounts.push(directory.account);
            }
        }
        accounts
    }

    /// One call for every directory of an account, as that account.
    fn each(&self, function: &str, reversed: bool) -> Vec<String> {
        let mut accounts = self.accounts();
        let mut directories = self.directories();
        if reversed {
            accounts.reverse();
            directories.reverse();
        }
        accounts
            .into_iter()
            .map(|account| {
                let mut script = Script::default();
                for directory in directories.iter().filter(|known| known.account == account) {
                    script.statement(format!("{} || exit 1", self.on(function, directory)));
                }
                call("in_account", &[account, &script.body()])
            })
            .collect()
    }

    /// A call about one directory and the names that change in it.
    fn on(&self, function: &str, directory: &Directory<'_>) -> String {
        let names = self
            .files
            .iter()
            .filter(|file| file.directory == directory.path)
            .map(|file| file.name.as_str());
        let arguments: Vec<&str> = std::iter::once(directory.path).chain(names).collect();
        call(function, &arguments)
    }

    /// `give_up`: everything as it was, said as it is; with an argument the
    /// unit is restarted with its old files.
    fn give_up_function(&self) -> String {
        let mut lines = vec!["give_up() {".to_owned(), "undo_status=0".to_owned()];
        if self.restart.is_some() {
            // The node may have begun by itself: then it is done there.
            lines.push("[ -n \"${claimed-}\" ] || claim undone || { record failed undo 'the node puts the old files back by itself'; record undone; exit 71; }".to_owned());
        }
        for statement in self.each("unswap", true) {
            lines.push(format!("{statement} || undo_status=1"));
        }
        if let Some(restart) = &self.restart {
            lines.push(format!(
                "if [ $# -gt 0 ]; then {} || {{ {}; undo_status=1; }}; fi",
                call("restart_unit", &[&restart.unit, RESTART_SECONDS]),
                call("journal_tail", &[&restart.unit]),
            ));
        }
        if let Some(reload) = &self.reload {
            lines.push(format!(
                "if [ $# -gt 0 ]; then {} || undo_status=1; fi",
                call("reload_unit", &[&reload.unit]),
            ));
        }
        if self.restart.is_some() {
            lines.push("disarm".to_owned());
        }
        lines.push(
            "if [ $undo_status = 0 ]; then record undone; else record undo-failed; fi".to_owned(),
        );
        lines.push("exit 71".to_owned());
        lines.push("}".to_owned());
        lines.join("\n")
    }

    /// Stage, check, swap and restart.
    #[must_use]
    pub fn execute(&self) -> Script {
        let mut script = Script::default();
        script.statement(self.give_up_function());
        if let Some(restart) = &self.restart {
            let within = restart.confirm_within.to_string();
            // Made while files are staged, and there before any is renamed.
            script.statement(format!(
                "{} & armed=$!",
                call("arm", &[&within, &self.give_up_function()])
            ));
        }
        for account in self.accounts() {
            let mut staging = Script::default();
            let own = || self.files.iter().filter(|file| file.account == account);
            for file in own() {
                let path = format!("{}/{}", file.directory, file.name);
                let before = file.before.as_deref().unwrap_or("absent");
                staging.call("expect", &[&path, before]);
            }
            for directory in self.directories() {
                if directory.account != account {
                    continue;
                }
                let mode = own().find(|file| file.directory == directory.path).map_or(
                    DirectoryMode::Keep {
                        when_missing: 0o700,
                    },
                    |file| file.directory_mode,
                );
                let (bits, how) = match mode {
                    DirectoryMode::Set(bits) => (bits, "set"),
                    DirectoryMode::Keep { when_missing } => (when_missing, "keep"),
                };
                staging.call(
                    "stage_directory",
                    &[directory.path, &format!("{bits:04o}"), how],
                );
            }
            for file in own() {
                let mode = format!("{:04o}", file.mode);
                match &file.bytes {
                    Bytes::Given(bytes) => {
                        // PEM, JSON and unit files are text; anything else is a bug upstream.
                        let text = bytes.expose_str().unwrap_or_default();
                        staging.call("stage_file", &[&file.directory, &file.name, &mode, text]);
                    }
                    Bytes::CopyOf(from) => {
                        staging.call("stage_copy", &[&file.directory, &file.name, &mode, from]);
                    }
                }
            }
            for directory in self.directories() {
                if directory.account == account {
                    staging.statement(self.on("stage_sync", &directory));
                }
            }
            let failed = if self.restart.is_some() {
                " || { wait $armed; give_up; }"
            } else {
                " || give_up"
            };
            script.in_account(account, &staging, failed);
        }
        if self.restart.is_some() {
            script.statement("wait $armed || { claimed=yes; give_up; }".to_owned());
        }
        let swaps = self.each("swap", false);
        if !swaps.is_empty() {
            script.statement(format!(
                "{} || {{ record failed swap 'the files could not be renamed'; give_up; }}",
                swaps.join(" && ")
            ));
        }
        if let Some(restart) = &self.restart {
            let unit = restart.unit.as_str();
            let reads: Vec<&str> = restart.reads.iter().map(String::as_str).collect();
            script.statement(format!("({}) || give_up", call("remember", &reads)));
            script.statement(format!(
                "{} || {{ {}; record failed restart 'the unit did not come up'; give_up restart; }}",
                call("restart_unit", &[unit, RESTART_SECONDS]),
                call("journal_tail", &[unit]),
            ));
        } else {
            if let Some(reload) = &self.reload {
                let unit = reload.unit.as_str();
                script.statement(format!(
                    "{} || {{ {}; record failed reload 'dockerd was told to read daemon.json anew, and nothing says that live-restore is on now'; give_up reload; }}",
                    call("enable_live_restore", &[unit]),
                    call("journal_tail", &[unit]),
                ));
            }
            for statement in self.each("unstage", false) {
                script.statement(statement);
            }
            if let Some(reload) = &self.reload
                && let Some(has_read) = &reload.has_read
            {
                script.call("record_reload", &[&reload.unit, has_read]);
            }
        }
        script
    }

    /// The daemon was seen to answer as it should: what is there now stays.
    #[must_use]
    pub fn confirm(&self) -> Script {
        let mut script = Script::default();
        if let Some(restart) = &self.restart {
            script.call("confirm", &[&restart.unit]);
        }
        for statement in self.each("unstage", false) {
            script.statement(statement);
        }
        script
    }

    /// The daemon came up, but not as it should: everything as it was.
    #[must_use]
    pub fn undo(&self) -> Script {
        let mut script = Script::default();
        script.statement(self.give_up_function());
        for statement in self.each("require_stage", false) {
            script.statement(format!("{statement} || {{ record undo-failed; exit 71; }}"));
        }
        script.statement("give_up restart".to_owned());
        script
    }
}

/// What a transaction's script reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The script ran to its end.
    pub done: bool,
    /// Step and message of the first failure.
    pub failed: Option<(String, String)>,
    /// The unit's new InvocationID.
    pub restarted: Option<String>,
    /// Everything is as it was before.
    pub undone: bool,
    /// It is not: the daemon did not come back with its old files.
    pub undo_failed: bool,
    /// Last lines of the unit's journal.
    pub journal: Vec<String>,
    /// Other records, for the functions that answer with one.
    pub records: Vec<Vec<String>>,
}

impl Report {
    #[must_use]
    pub fn parse(output: &[u8]) -> Self {
        let mut report = Self::default();
        for line in String::from_utf8_lossy(output).lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            match fields.as_slice() {
                ["done"] => report.done = true,
                ["failed", step, message] => {
                    report
                        .failed
                        .get_or_insert_with(|| ((*step).to_owned(), (*message).to_owned()));
                }
                ["restarted", _, invocation] => report.restarted = Some((*invocation).to_owned()),
                ["undone"] => report.undone = true,
                ["undo-failed"] => report.undo_failed = true,
                ["journal", line] => report.journal.push((*line).to_owned()),
                fields => report
                    .records
                    .push(fields.iter().map(|field| (*field).to_owned()).collect()),
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    const SHELLS: [&[&str]; 3] = [&["dash"], &["bash", "--posix"], &["busybox", "ash"]];

    fn run(shell: &[&str], script: &Script) -> Report {
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("apt-get install dash bash busybox");
        let text = script.text("run1");
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.expose())
            .unwrap();
        Report::parse(&child.wait_with_output().unwrap().stdout)
    }

    fn file(directory: &Path, name: &str, before: Option<&str>, text: &str) -> StagedFile {
        StagedFile {
            directory: directory.to_str().unwrap().to_owned(),
            directory_mode: DirectoryMode::Set(0o700),
            name: name.to_owned(),
            mode: 0o400,
            account: "root".to_owned(),
            before: before.map(|text| crate::pki::sha256_hex(text.as_bytes())),
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
            restart: None,
            reload: None,
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
                ("tls", 0o700, ""),
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
                let unstage = text.find("in_account 'root' 'unstage").unwrap();
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
            assert!(report.undone && !report.undo_failed, "{shell:?} {report:?}");
            assert_eq!(tree(root.path()), before, "{shell:?}");
            // What is not there any more cannot have been put back.
            let report = run(shell, &transaction.undo());
            assert!(report.undo_failed && !report.undone, "{shell:?} {report:?}");
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
                assert!(report.undone, "{shell:?} {report:?}");
                assert_eq!(tree(root.path()), before, "{shell:?}");
            }
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
                "swap",
                "{shell:?} {report:?}"
            );
            assert!(report.undone, "{shell:?} {report:?}");
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
}
