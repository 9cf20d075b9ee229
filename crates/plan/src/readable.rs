//! Files that cannot be read, and directories with keys that others may read.

use std::borrow::Cow;

use super::Refusal;
use crate::host::daemon_json::DIRECTORY;
use inventory::system_directory;
use node::facts::NodeFacts;

/// A path, quoted for a shell.
pub(super) fn word(path: &str) -> Cow<'_, str> {
    shlex::try_quote(path).unwrap_or(Cow::Borrowed(path))
}

/// Notes a directory with keys that others may read: the owner alone can read each key, but the
/// guides restrict the directory too. Nothing is reported if a link is on the way: chmod would
/// follow it to another's directory.
#[must_use]
pub fn readable_by_others(facts: &NodeFacts, directory: &str) -> Option<Refusal> {
    let mode = facts.directory(directory)?.mode;
    let path = facts.expand(directory);
    let mut way = facts.directories.get(&path)?.iter();
    if way.any(|component| component.link) || system_directory(&path).is_some() {
        return None;
    }
    // /etc/docker is Docker's own; it is refused if others may write to it.
    let is_told = mode & 0o077 != 0 && mode & 0o022 == 0 && path != DIRECTORY;
    is_told.then(|| {
        Refusal::new(format!("{path} can be read by others (mode {mode:04o})"))
            .hint(format!("chmod 0700 {}", word(&path)))
    })
}

/// An existing file that was not read. Below an account's directory its owner reads, not root.
pub(super) fn unreadable(facts: &NodeFacts, path: &str) -> Refusal {
    if facts.uid == 0 {
        return Refusal::new(format!(
            "{path} cannot be read by the account that owns its directory"
        ))
        .hint(format!(
            "look at it on the node (ls -l {}): the owner of the directory must be able to read the file, also where it is a link",
            word(path)
        ));
    }
    Refusal::new(format!("{path} cannot be read as {}", facts.account))
        .hint("set ansible_become: true for this host")
}
