//! Roles that a host had and does not have any more: what a deployment made for them stays until
//! `remove` runs for the host in that role.

use std::collections::BTreeMap;

use super::owner::is_of;
use super::{Authority, Note, OWNER, Planner};
use crate::host::daemon_json::PATH;
use crate::host::leaf::location;
use docker::daemon_json::named_paths;
use inventory::{Host, Inventory};
use node::facts::{FactRequest, NodeFacts};
use pki::Role;
use time::OffsetDateTime;

/// What is left on a host of a role that the inventory does not give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerRole {
    pub host: String,
    pub role: Role,
    /// The file that shows it.
    pub path: String,
}

impl FormerRole {
    /// In one sentence, without what to do.
    #[must_use]
    pub fn described(&self) -> String {
        let path = &self.path;
        match self.role {
            Role::Daemon => format!(
                "it is not among the daemons any more, and its Docker keeps certificate, key, settings and listeners of a deployment, as {path} shows"
            ),
            Role::Client => format!(
                "it is not among the clients any more, and keeps the key of its client certificate: {path}"
            ),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn removal(&self) -> String {
        let Self { host, role, .. } = self;
        format!(
            "unless another inventory gives it that role, put {host} back into {role}s, run dtls-deploy remove INVENTORY --limit {host}, and then take it out again"
        )
    }
}

/// Requests the facts that show former roles.
pub(crate) fn request(host: &Host, request: &mut FactRequest) {
    if !host.is_daemon {
        request.content.insert(OWNER.to_owned());
        request.content.insert(PATH.to_owned());
    }
    if !host.is_client {
        request.hashed.insert(key_of(host));
    }
}

fn key_of(host: &Host) -> String {
    let (directory, files) = location(host, Role::Client);
    format!("{directory}/{}", files.key)
}

/// The former roles of the hosts with known facts. A daemon's record, which root alone can read,
/// names the inventory and its CA; otherwise the ledger lists its certificate, and `daemon.json` names
/// a key. A client's key is in the ledger.
#[must_use]
pub fn former_roles(
    inventory: &Inventory,
    authority: &Authority,
    facts: &BTreeMap<String, NodeFacts>,
    now: OffsetDateTime,
) -> Vec<FormerRole> {
    let known = inventory.hosts.iter();
    let known = known.filter_map(|host| Some((host, facts.get(&host.name)?)));
    known
        .flat_map(|(host, facts)| {
            let daemon = (!host.is_daemon)
                .then(|| daemon_file(host, inventory, (authority, now), facts))
                .flatten();
            let client = (!host.is_client)
                .then(|| client_key(host, authority, facts))
                .flatten();
            let found = [(Role::Daemon, daemon), (Role::Client, client)];
            found.map(|(role, path)| {
                Some(FormerRole {
                    host: host.name.clone(),
                    role,
                    path: path?,
                })
            })
        })
        .flatten()
        .collect()
}

fn daemon_file(
    host: &Host,
    inventory: &Inventory,
    (authority, now): (&Authority, OffsetDateTime),
    facts: &NodeFacts,
) -> Option<String> {
    if facts.uid == 0 {
        return is_of(inventory, facts).then(|| OWNER.to_owned());
    }
    let entry = authority.ledger.current(&host.name, Role::Daemon)?;
    let [_, _, key] = named_paths(facts.text(PATH)?);
    (entry.not_after > now && key.is_some()).then(|| PATH.to_owned())
}

fn client_key(host: &Host, authority: &Authority, facts: &NodeFacts) -> Option<String> {
    let path = facts.expand(&key_of(host));
    let key = facts.regular(&path)?;
    let entry = authority.ledger.by_key_sha256(&key.sha256)?;
    (entry.host == host.name && entry.role == Role::Client).then_some(path)
}

impl Planner<'_> {
    /// Notes the former roles of the hosts of a run.
    pub(super) fn note_former_roles(&self) -> Vec<Note> {
        let found = former_roles(self.inventory, &self.authority, self.facts, self.now);
        let notes = found.into_iter().map(|former| Note {
            danger: false,
            text: format!("{}: {}", former.described(), former.removal()),
            host: former.host,
        });
        notes.collect()
    }
}
