//! What systemd has loaded of a unit, compared with the readable files. A drop-in that dtls-deploy
//! cannot read still applies in systemd.

use std::collections::BTreeMap;

use docker::unit::{Command, UnitFile, as_file, says};
use node::facts::{FileFact, LoadedCommand, NodeFacts, UnitFact};

/// The unit file and its drop-ins in systemd's order, as far as they are readable.
#[must_use]
pub fn readable(unit: &UnitFact, facts: &NodeFacts) -> Vec<UnitFile> {
    let paths = unit.fragment().into_iter().chain(unit.all_drop_ins());
    let with_text = |path: &str| {
        Some(UnitFile {
            path: path.to_owned(),
            text: facts.text(path)?.to_owned(),
        })
    };
    paths.filter_map(with_text).collect()
}

/// The command that systemd has loaded; none if files changed since, or if systemd could not report
/// it word by word.
pub(crate) fn loaded_command(unit: &UnitFact) -> Option<Command> {
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

/// The files that systemd has loaded.
pub(crate) fn loaded_files(unit: &UnitFact, files: &[UnitFile]) -> Vec<UnitFile> {
    let drop_ins = unit.drop_ins();
    let is_loaded = |path: &str| unit.fragment() == Some(path) || drop_ins.contains(&path);
    let files = files.iter().filter(|file| is_loaded(&file.path));
    files.cloned().collect()
}

/// Systemd's own command, if the readable files give another one.
#[must_use]
pub(crate) fn command_beside(unit: &UnitFact, files: &[UnitFile]) -> Option<UnitFile> {
    let command = loaded_command(unit)?;
    (!says(&loaded_files(unit, files), &command)).then(|| as_file(&command))
}

/// The variables of the unit's `Environment=` lines, including those that only systemd could read.
#[must_use]
pub fn environment(unit: &UnitFact) -> Option<BTreeMap<String, String>> {
    let variables = unit.loaded.environment.as_ref();
    let variables = variables.filter(|_| !unit.needs_reload())?.iter();
    let pairs = variables.filter_map(|variable| variable.split_once('='));
    Some(
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

/// Why an existing file has no text.
pub(crate) fn why(facts: &NodeFacts, path: &str) -> Option<&'static str> {
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

/// Existing files of a unit without text, and why.
#[must_use]
pub fn unread<'a>(unit: &'a UnitFact, facts: &NodeFacts) -> Vec<(&'a str, &'static str)> {
    let paths = unit.fragment().into_iter().chain(unit.all_drop_ins());
    paths
        .filter_map(|path| Some((path, why(facts, path)?)))
        .collect()
}
