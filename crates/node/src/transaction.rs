//! A node's transaction: staged, swapped, restarted, then confirmed or undone.
//!
//! `execute` stages everything beside its target, checks that what was there is what the plan saw,
//! keeps it as a generation, renames, and restarts; when any of it fails it puts everything back
//! itself. After a restart the old set is kept until `confirm` or `undo`, which the controller
//! chooses once it has seen the daemon answer. If neither arrives in time, a timer on the node undoes
//! the change, and when the power is cut before that, a unit that runs before docker at the next
//! boot; the process that renames the marker first wins. Without systemd a process takes the timer's place,
//! and there is no such unit.

mod parts;
#[cfg(test)]
mod tests;

pub use super::report::{Outage, Report, Undo};
pub use parts::{Bytes, Keep, RunningChanges, StagedFile, UnitReload, UnitRestart};

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::facts::KeptGeneration;
use super::script::{Script, call};
use super::validation::Validation;
use base::shell::quote;

/// Seconds that `systemctl restart` may take; dockerd waits up to 15 s for its
/// containers before it ends.
const RESTART_SECONDS: &str = "90";

/// What will happen on one node, all of it or nothing.
#[derive(Debug, Default)]
pub struct Transaction {
    pub files: Vec<StagedFile>,
    pub restart: Option<UnitRestart>,
    /// What is replaced stays as a generation.
    pub keep: Option<Keep>,
    /// The generations that the files come from: the node has gone back to them
    /// then, and they are not kept any more.
    pub back_to: Vec<KeptGeneration>,
    /// Nothing of what this node kept stays.
    pub forget: bool,
    /// Tells this run's transactions on a node apart.
    pub sequence: u32,
    /// Asked of dockerd once all is staged, before any file is renamed.
    pub validation: Option<Validation>,
    /// Files of the daemon's guard are among them.
    pub guard: bool,
    /// Not together with a restart.
    pub reload: Option<UnitReload>,
}

/// A directory that takes part, in the order of first mention.
struct Directory<'a> {
    path: &'a str,
    account: &'a str,
}

fn paths<'a>(directories: &[&Directory<'a>]) -> Vec<&'a str> {
    directories.iter().map(|directory| directory.path).collect()
}

impl Transaction {
    /// There is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
            && self.restart.is_none()
            && self.reload.is_none()
            && self.back_to.is_empty()
            && !self.forget
    }

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

    /// What puts every directory back, as its account: see `undo_as` in the prelude.
    fn unswaps(&self) -> Vec<String> {
        let mut directories = self.directories();
        directories.reverse();
        let unswap = |directory: &Directory<'_>| {
            let calls = self.on("unswap", directory);
            let arguments: Vec<&str> = [directory.account, calls.as_str(), directory.path]
                .into_iter()
                .chain(self.names(directory.path))
                .collect();
            call("undo_as", &arguments)
        };
        directories.iter().map(unswap).collect()
    }

    /// One call for every directory of an account, as that account; then it is seen to
    /// that the renames last.
    fn swaps(&self) -> Vec<String> {
        self.as_accounts(|directories| {
            let mut script = Script::default();
            for directory in directories {
                let own = |file: &&StagedFile| file.directory == directory.path;
                let names = self.files.iter().filter(own).flat_map(|file| {
                    let before = file.before.as_deref().unwrap_or("absent");
                    [file.name.as_str(), before]
                });
                let arguments: Vec<&str> = std::iter::once(directory.path).chain(names).collect();
                script.statement(format!("{} || exit 1", call("swap", &arguments)));
            }
            script.call("swapped", &paths(directories));
            script
        })
    }

    fn as_accounts(&self, what: impl Fn(&[&Directory<'_>]) -> Script) -> Vec<String> {
        let directories = self.directories();
        self.accounts()
            .into_iter()
            .map(|account| {
                let own: Vec<&Directory<'_>> = directories
                    .iter()
                    .filter(|known| known.account == account)
                    .collect();
                call("in_account", &[account, &what(&own).body()])
            })
            .collect()
    }

    /// A call about one directory and the names that change in it.
    fn on(&self, function: &str, directory: &Directory<'_>) -> String {
        let names = self.names(directory.path);
        let arguments: Vec<&str> = std::iter::once(directory.path).chain(names).collect();
        call(function, &arguments)
    }

    /// The names that change in a directory.
    fn names(&self, directory: &str) -> impl Iterator<Item = &str> {
        let files = self.files.iter();
        files
            .filter(move |file| file.directory == directory)
            .map(|file| file.name.as_str())
    }

    /// What every script of this transaction defines: its names, and what its
    /// undoing means.
    fn definitions(&self) -> String {
        let unit = self.restart.as_ref().map_or("", |restart| &restart.unit);
        let reloaded = self.reload.as_ref().map_or("", |reload| &reload.unit);
        let unstage = self.as_accounts(|directories| {
            let mut script = Script::default();
            script.call("unstage", &paths(directories));
            script
        });
        let all = |function: &str, calls: Vec<String>| {
            if calls.is_empty() {
                return format!("{function}_all() {{ :; }}");
            }
            // One that fails does not keep the others from being put back.
            let lines: Vec<String> = calls
                .into_iter()
                .map(|statement| format!("{statement} || all_status=1"))
                .collect();
            format!(
                "{function}_all() {{\nall_status=0\n{}\nreturn $all_status\n}}",
                lines.join("\n")
            )
        };
        [
            format!("UNIT={}", quote(unit)),
            format!("RESTART_WITHIN={RESTART_SECONDS}"),
            format!("RELOADED={}", quote(reloaded)),
            format!("SEQUENCE={:02}", self.sequence),
            format!("GUARD={}", if self.guard { "yes" } else { "" }),
            all("unswap", self.unswaps()),
            all("unstage", unstage),
        ]
        .join("\n")
    }

    /// The directories as `RequiresMountsFor=` takes them.
    fn mounts(&self) -> String {
        let quoted = self.directories().into_iter().map(|directory| {
            let path = directory.path.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{}\"", path.replace('%', "%%"))
        });
        quoted.collect::<Vec<_>>().join(" ")
    }

    /// What is about to be replaced is kept.
    fn generation(&self, script: &mut Script, keep: Keep) {
        script.call("generation_open", &[]);
        for directory in self.directories() {
            let missing = self
                .files
                .iter()
                .filter(|file| file.directory == directory.path)
                .find_map(|file| file.missing_from.as_deref());
            match missing {
                Some(top) => script.call("generation_missing", &[directory.path, top]),
                None => script.call("generation_directory", &[directory.path]),
            };
            for file in self
                .files
                .iter()
                .filter(|file| file.directory == directory.path)
            {
                let path = format!("{}/{}", file.directory, file.name);
                script.call(
                    "generation_file",
                    &[&file.account, &path, &call("cat", &[&path])],
                );
            }
        }
        script.call("generation_close", &[&keep.expires.to_string()]);
    }

    /// What is needed to go back, made while files are staged and there before
    /// any is renamed.
    fn arm(&self) -> Option<Script> {
        let mut script = Script::default();
        if let Some(keep) = self
            .keep
            .filter(|keep| keep.is_new && keep.generations > 0 && !self.files.is_empty())
        {
            self.generation(&mut script, keep);
        }
        if let Some(restart) = &self.restart {
            script.call(
                "arm",
                &[
                    &restart.confirm_within.to_string(),
                    &restart.unit,
                    &self.mounts(),
                    &self.definitions(),
                ],
            );
        }
        (!script.is_empty()).then_some(script)
    }

    fn staging(&self, account: &str, failed: &str, script: &mut Script) {
        let own = || self.files.iter().filter(|file| file.account == account);
        let mut staging = Script::default();
        for file in own() {
            let path = format!("{}/{}", file.directory, file.name);
            let before = file.before.as_deref().unwrap_or("absent");
            staging.call("expect", &[&path, before]);
        }
        let mut synced: Vec<&str> = Vec::new();
        let directories = self.directories();
        for directory in &directories {
            if directory.account != account {
                continue;
            }
            let mode = own()
                .find(|file| file.directory == directory.path)
                .map_or(0o700, |file| file.directory_mode);
            staging.call("stage_directory", &[directory.path, &format!("{mode:04o}")]);
            if !synced.is_empty() {
                // No file has that name.
                synced.push("/");
            }
            synced.push(directory.path);
            synced.extend(self.names(directory.path));
        }
        let mut sync = Script::default();
        let mut modes: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
        for file in own().filter(|file| !matches!(file.bytes, Bytes::Gone { .. })) {
            let places = modes.entry(file.mode).or_default();
            places.extend([file.directory.as_str(), file.name.as_str()]);
        }
        for (mode, places) in modes {
            let mode = format!("{mode:04o}");
            let arguments: Vec<&str> = std::iter::once(mode.as_str()).chain(places).collect();
            sync.call("stage_modes", &arguments);
        }
        for file in own().filter(|file| file.keeps_owner && file.before.is_some()) {
            sync.call("stage_owner", &[&file.directory, &file.name]);
        }
        sync.call("stage_sync", &synced);
        let mut kept = Vec::new();
        for file in own() {
            match &file.bytes {
                Bytes::Given(bytes) => {
                    // PEM, JSON and unit files are text; anything else is a bug upstream.
                    let text = bytes.expose_str().unwrap_or_default();
                    staging.call("stage_file", &[&file.directory, &file.name, text]);
                }
                Bytes::Program(bytes) => {
                    let text = STANDARD.encode(bytes);
                    staging.call("stage_program", &[&file.directory, &file.name, &text]);
                }
                Bytes::CopyOf(from) => {
                    staging.call("stage_copy", &[&file.directory, &file.name, from]);
                }
                Bytes::Gone { .. } => {
                    staging.call("stage_gone", &[&file.directory, &file.name]);
                }
                Bytes::Kept {
                    path,
                    keeper,
                    sha256,
                } => {
                    let stage = call("stage_kept", &[&file.directory, &file.name, sha256]);
                    let stage = call("in_account", &[account, &stage]);
                    kept.push(if keeper == "root" {
                        format!("{stage} 3<{}{failed}", quote(path))
                    } else {
                        let print = call("generation_copy", &[keeper, &call("cat", &[path])]);
                        format!("{print} | {{ {stage} 3<&0; }}{failed}")
                    });
                }
            }
        }
        if kept.is_empty() {
            staging.statement(sync.body());
            script.in_account(account, &staging, failed);
            return;
        }
        script.in_account(account, &staging, failed);
        for statement in kept {
            script.statement(statement);
        }
        script.in_account(account, &sync, failed);
    }

    /// Stage, check, keep, swap and restart.
    #[must_use]
    pub fn execute(&self) -> Script {
        let mut script = Script::default();
        script.statement(self.definitions());
        if self.files.iter().any(|file| file.account != "root") {
            script.call("begin_work", &[]);
        }
        let armed = self.arm();
        if let Some(arm) = &armed {
            script.statement(format!("(\n{}\n) & armed=$!", arm.body()));
        }
        let failed = if armed.is_some() {
            " || { wait $armed || claimed=yes; give_up; }"
        } else {
            " || give_up"
        };
        for account in self.accounts() {
            self.staging(account, failed, &mut script);
        }
        if let Some(validation) = &self.validation {
            script.statement(format!("{}{failed}", validation.calls()));
        }
        if armed.is_some() {
            script.statement("wait $armed || { claimed=yes; give_up; }".to_owned());
        }
        let swaps = self.swaps();
        if !swaps.is_empty() {
            script.statement(format!(
                "{} || {{ record failed swap 'the files could not be renamed'; give_up; }}",
                swaps.join(" && ")
            ));
        }
        if self.guard {
            script.statement(format!(
                "guard_start || {{ {}; record failed guard 'the guard does not start'; give_up; }}",
                call("journal_tail", &["dtls-deploy-guard.service"]),
            ));
        }
        if let Some(restart) = &self.restart {
            let unit = restart.unit.as_str();
            let reads: Vec<&str> = restart.reads.iter().map(String::as_str).collect();
            script.statement(format!("({}) || give_up", call("remember", &reads)));
            script.statement(format!(
                "{} || {{ {}; record failed restart 'the unit did not come up'; give_up restart; }}",
                call("restart_new", &[unit, RESTART_SECONDS]),
                call("journal_tail", &[unit]),
            ));
            script.statement(format!("{} || give_up restart", restart.same_daemon()));
            if self.guard {
                script.call("guard_stop", &[]);
            }
        } else {
            if let Some(reload) = &self.reload {
                let unit = reload.unit.as_str();
                script.statement(format!(
                    "{} || {{ {}; record failed reload 'dockerd was asked to reload daemon.json, and there is no sign that live-restore is on now'; give_up reload; }}",
                    call("enable_live_restore", &[unit]),
                    call("journal_tail", &[unit]),
                ));
            }
            self.settled(&mut script);
            if let Some(reload) = &self.reload
                && let Some(has_read) = &reload.has_read
            {
                script.call("record_reload", &[&reload.unit, has_read]);
            }
        }
        script
    }

    /// What is there now stays: what was kept to undo it goes. Whatever fails
    /// here, the change holds, and the rest is done all the same.
    fn settled(&self, script: &mut Script) {
        if let Some(restart) = &self.restart {
            let unit = restart.unit.as_str();
            let words: Vec<&str> = std::iter::once(unit)
                .chain(restart.owner.as_deref())
                .collect();
            script.statement(format!(
                "{} || settled_without='its records: the next run restarts the daemon once more'",
                call("remember_restart", &words)
            ));
        }
        script.statement(
            "unstage_all || settled_without='removing what was kept to undo it: the next run does'"
                .to_owned(),
        );
        for file in &self.files {
            if let Bytes::Gone { prune } = &file.bytes {
                let mut prunes = Script::default();
                prunes.call("prune_directory", &[&file.directory, &prune.to_string()]);
                script.in_account(&file.account, &prunes, "");
            }
        }
        for kept in &self.back_to {
            let mut forget = Script::default();
            forget.call("generation_forget", &[&kept.path]);
            script.in_account(&kept.account, &forget, "");
        }
        if let Some(keep) = self.keep {
            script.call("generations_keep", &[&keep.generations.to_string()]);
        }
        if self.restart.is_some() {
            script.call("disarm", &[]);
        }
        if self.forget {
            script.call("forget", &[]);
        }
        script.statement(
            "[ -z \"${settled_without-}\" ] || fail settle \"the change holds, but without $settled_without\""
                .to_owned(),
        );
    }

    /// The daemon was seen to answer as it should: what is there now stays.
    #[must_use]
    pub fn confirm(&self) -> Script {
        let mut script = Script::default();
        script.statement(self.definitions());
        if let Some(restart) = &self.restart {
            script.call("confirm", &[&restart.unit]);
        }
        self.settled(&mut script);
        script
    }

    /// The daemon came up, but not as it should: everything as it was.
    #[must_use]
    pub fn undo(&self) -> Script {
        let mut script = Script::default();
        script.statement(self.definitions());
        if self.restart.is_some() {
            script.call("still_armed", &[]);
        }
        // What another account keeps of its own there are copies of.
        for directory in self.directories() {
            script.statement(format!(
                "[ {} != \"$ACCOUNT\" ] || ({}) || {{ record undo-failed; exit 71; }}",
                quote(directory.account),
                call("require_stage", &[directory.path])
            ));
        }
        script.statement("give_up restart".to_owned());
        script
    }
}
