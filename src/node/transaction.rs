//! A node's transaction: staged, swapped, restarted, then confirmed or undone.
//!
//! Comes in: files with their bytes and perhaps a restart, from apply. Goes
//! out: three scripts. `execute` stages everything beside its target, checks
//! that what was there is what the plan saw, renames, and restarts; when any
//! of it fails it puts everything back itself. After a restart the old set is
//! kept until `confirm` or `undo`, which the controller chooses once it has
//! seen the daemon answer. If neither comes in time, a timer on the node undoes
//! the change; whichever of the three renames the marker first wins.

mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use report::Report;

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

/// What shall happen on one node, all of it or nothing.
#[derive(Debug, Default)]
pub struct Transaction {
    pub files: Vec<StagedFile>,
    pub restart: Option<UnitRestart>,
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
            for statement in self.each("unstage", false) {
                script.statement(statement);
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
