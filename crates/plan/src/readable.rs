//! Directories with keys that others may read.

use std::borrow::Cow;

use super::Refusal;
use crate::host::daemon_json::DIRECTORY;
use inventory::system_directory;
use node::facts::NodeFacts;

/// A path as a shell reads it.
pub(super) fn word(path: &str) -> Cow<'_, str> {
    shlex::try_quote(path).unwrap_or(Cow::Borrowed(path))
}

/// What is worth knowing of a directory with keys that others may read: each key
/// in it is its owner's alone, but the guides make the directory so, too. Where a link
/// is on the way nothing is said: chmod would follow it to what is another's.
#[must_use]
pub fn readable_by_others(facts: &NodeFacts, directory: &str) -> Option<Refusal> {
    let mode = facts.directory(directory)?.mode;
    let path = facts.expand(directory);
    let mut way = facts.directories.get(&path)?.iter();
    if way.any(|component| component.link) || system_directory(&path).is_some() {
        return None;
    }
    // /etc/docker is Docker's own; one that others may write to is refused.
    let is_told = mode & 0o077 != 0 && mode & 0o022 == 0 && path != DIRECTORY;
    is_told.then(|| {
        Refusal::new(format!("{path} can be read by others (mode {mode:04o})"))
            .hint(format!("chmod 0700 {}", word(&path)))
    })
}
