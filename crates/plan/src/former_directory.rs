//! A client's files in the directory of the docker CLI, where `dtls_client_dir` or an identity's
//! `dir` now names another one.

use super::{Authority, Planner};
use crate::host::leaf::location;
use inventory::Host;
use node::facts::NodeFacts;
use pki::{Entry, Role};

/// The holder as it was with the directory of the docker CLI; `None` if that is its directory.
pub(crate) fn former(holder: &Host) -> Option<Host> {
    let directory = holder.cli_directory();
    (holder.settings.client_dir != directory).then(|| {
        let mut former = holder.clone();
        former.settings.client_dir = directory;
        former
    })
}

/// A key that this CA issued for the holder, and that no deployment renews: its path, and its
/// certificate.
#[must_use]
pub fn former_key<'a>(
    authority: &'a Authority,
    holder: &Host,
    facts: &NodeFacts,
) -> Option<(String, &'a Entry)> {
    let former = former(holder)?;
    let (directory, files) = location(&former, Role::Client);
    if facts.expand(&directory) == facts.expand(&holder.settings.client_dir) {
        return None;
    }
    let path = facts.expand(&format!("{directory}/{}", files.key));
    let entry = authority
        .ledger
        .by_key_sha256(&facts.regular(&path)?.sha256)?;
    let is_own = entry.host == holder.holder() && entry.role == Role::Client;
    is_own.then_some((path, entry))
}

/// Describes it, for people.
#[must_use]
pub fn former_described(path: &str, entry: &Entry) -> String {
    format!(
        "{path} is from an earlier directory of this client: it is valid until {}, not renewed, and rejected after the next CA rollover",
        entry.not_after.date()
    )
}

/// What to do about it.
#[must_use]
pub fn former_removal(path: &str) -> String {
    let directory = path
        .rsplit_once('/')
        .map_or(path, |(directory, _)| directory);
    format!("remove it: cd {directory} && rm -f ca.pem cert.pem key.pem")
}

impl Planner<'_> {
    /// Notes a key that stays valid in another directory.
    pub(crate) fn note_former_key(&mut self, holder: &Host) {
        let Some(facts) = self.facts.get(&holder.name) else {
            return;
        };
        let found = former_key(&self.authority, holder, facts)
            .filter(|(_, entry)| entry.not_after > self.now)
            .map(|(path, entry)| {
                format!(
                    "{}; {}",
                    former_described(&path, entry),
                    former_removal(&path)
                )
            });
        if let Some(text) = found {
            self.note(holder, text);
        }
    }
}
