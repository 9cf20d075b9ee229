//! A part of `systemd_override`: what systemd has loaded, against the files that could be
//! read. A drop-in that dtls-deploy cannot read counts for systemd all the same.
//!
//! Comes in: the unit's facts. Goes out: its files, with systemd's own command where they
//! give another one, or a refusal where what the next start would run cannot be told.

use std::collections::BTreeMap;

use crate::docker::unit::{Command, UnitFile, as_file, says, says_joined, sets_exec_start};
use crate::node::facts::{FileFact, LoadedCommand, NodeFacts, UnitFact};
use crate::plan::Refusal;

/// The unit file and its drop-ins in systemd's order, as far as their text is known.
pub(super) fn readable(unit: &UnitFact, facts: &NodeFacts) -> Vec<UnitFile> {
    let paths = unit.fragment().into_iter().chain(unit.all_drop_ins());
    let with_text = |path: &str| {
        Some(UnitFile {
            path: path.to_owned(),
            text: facts.text(path)?.to_owned(),
        })
    };
    paths.filter_map(with_text).collect()
}

/// The one command that systemd has loaded; none where files have changed since, or where
/// systemd could not be asked word by word.
fn loaded_command(unit: &UnitFact) -> Option<Command> {
    if unit.needs_reload() {
        return None;
    }
    let LoadedCommand {
        path,
        arguments,
        flags,
    } = match unit.loaded.commands.as_deref() {
        Some([command]) => command.clone(),
        _ => return None,
    };
    Some(Command {
        path,
        arguments,
        flags,
    })
}

/// Those of the files that systemd has loaded.
fn loaded_files(unit: &UnitFact, files: &[UnitFile]) -> Vec<UnitFile> {
    let drop_ins = unit.drop_ins();
    let is_loaded = |path: &str| unit.fragment() == Some(path) || drop_ins.contains(&path);
    let files = files.iter().filter(|file| is_loaded(&file.path));
    files.cloned().collect()
}

/// Systemd's own command, where the files that could be read give another one.
pub(super) fn command_beside(unit: &UnitFact, files: &[UnitFile]) -> Option<UnitFile> {
    let command = loaded_command(unit)?;
    (!says(&loaded_files(unit, files), &command)).then(|| as_file(&command))
}

/// The variables of the unit's `Environment=` lines, those included that only systemd could
/// read.
pub(super) fn environment(unit: &UnitFact) -> Option<BTreeMap<String, String>> {
    let variables = unit.loaded.environment.as_ref();
    let variables = variables.filter(|_| !unit.needs_reload())?.iter();
    let pairs = variables.filter_map(|variable| variable.split_once('='));
    Some(
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Why a file that is there has no text.
fn why(facts: &NodeFacts, path: &str) -> Option<&'static str> {
    match facts.file(path) {
        Some(FileFact::Absent) => None,
        Some(FileFact::Exposed) => Some("accounts other than root can change what it is"),
        Some(FileFact::Other) => Some("it is not a regular file, or too large"),
        Some(FileFact::File(_)) if facts.text(path).is_some() => None,
        Some(FileFact::File(_)) => Some("it is not UTF-8 text"),
        Some(FileFact::Unreadable) => Some("the account that logs in may not read it"),
        None => Some("its name or its directory is not one that dtls-deploy reads"),
    }
}

/// Files of a unit that are there and have no text, and why.
pub(super) fn unread<'a>(unit: &'a UnitFact, facts: &NodeFacts) -> Vec<(&'a str, &'static str)> {
    let paths = unit.fragment().into_iter().chain(unit.all_drop_ins());
    paths
        .filter_map(|path| Some((path, why(facts, path)?)))
        .collect()
}

/// Whether it can be told what systemd will run once our drop-in, at `own_path`, is there.
///
/// # Errors
/// When a file that cannot be read may say otherwise.
pub(super) fn check(unit: &UnitFact, facts: &NodeFacts, own_path: &str) -> Result<(), Refusal> {
    let is_known = loaded_command(unit).is_some();
    // What sorts before ours is in systemd's own command. Our ExecStart replaces it.
    let mut unread = unread(unit, facts).into_iter();
    let unseen = unread.find(|(path, _)| !is_known || name(path) >= name(own_path));
    if let Some((path, why)) = unseen {
        return Err(Refusal::new(format!(
            "{path} belongs to the unit, and dtls-deploy cannot read it: {why}"
        ))
        .hint(if unit.needs_reload() {
            "run systemctl daemon-reload on the node, so that systemd can say what the file sets; or put a regular file of root's in its place".to_owned()
        } else {
            format!("put a regular file of root's in its place, or remove it: its settings would be lost or win over those of {own_path}")
        }));
    }
    let unseen = unit
        .environment_files
        .iter()
        .find_map(|path| match why(facts, path) {
            _ if path.contains(['*', '?', '[']) => Some((path, "it is a pattern")),
            why => Some((path, why?)),
        });
    if let Some((path, why)) = unseen {
        return Err(Refusal::new(format!(
            "{path} has variables of the unit, and dtls-deploy cannot read it: {why}"
        ))
        .hint("name a regular file of root's in EnvironmentFile=, then run systemctl daemon-reload on the node"));
    }
    contradiction(unit, facts, own_path)
}

/// Our own drop-in is loaded and has an ExecStart, and systemd runs another command.
fn contradiction(unit: &UnitFact, facts: &NodeFacts, own_path: &str) -> Result<(), Refusal> {
    let files = loaded_files(unit, &readable(unit, facts));
    let own_counts = files
        .iter()
        .any(|file| file.path == own_path && sets_exec_start(&file.text));
    let differs = match loaded_command(unit) {
        Some(command) => own_counts && !says(&files, &command),
        // Without words only the whole can be compared.
        None => unit
            .shown_command()
            .is_some_and(|shown| !unit.needs_reload() && !says_joined(&files, shown)),
    };
    if !differs {
        return Ok(());
    }
    Err(Refusal::new(
        "systemd has loaded another command than the unit's files give",
    )
    .hint("compare `systemctl show -p ExecStart docker.service` with `systemctl cat docker.service` on the node, and run systemctl daemon-reload there"))
}
