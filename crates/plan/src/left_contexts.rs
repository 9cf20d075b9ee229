//! Contexts for daemons that are not in the inventory any more, with the client's key in them.
//!
//! The ledger names these daemons, so that no directory of a client has to be listed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Authority, request_leaf};
use crate::host::client::context_paths;
use crate::playbook::{Playbook, Word};
use inventory::{Host, Inventory};
use node::facts::{FactRequest, NodeFacts};
use pki::{Ledger, Role};
use time::OffsetDateTime;

/// A context for a daemon that is not in the inventory any more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftContext {
    pub host: String,
    pub name: String,
    /// Whose key is in it.
    pub holder: String,
    /// The account that has it, if it is not the login account.
    pub account: Option<String>,
}

impl LeftContext {
    /// In one sentence, without what to do.
    #[must_use]
    pub fn described(&self) -> String {
        format!(
            "the docker context {} is for a host that is not among the daemons of the inventory any more, and the key of {} is in it",
            self.name, self.holder
        )
    }

    /// What to do about it.
    #[must_use]
    pub fn removal(&self) -> String {
        let command = format!("docker context rm {}", self.name);
        match &self.account {
            Some(account) => format!("as {account}: {command}"),
            None => command,
        }
    }
}

/// Names of daemons with a valid certificate that the inventory does not name as daemons.
#[must_use]
pub(crate) fn left_daemons(
    ledger: &Ledger,
    inventory: &Inventory,
    now: OffsetDateTime,
) -> BTreeSet<String> {
    let listed: BTreeSet<&str> = inventory.daemons().map(|one| one.name.as_str()).collect();
    let entries = ledger.entries().iter().filter(|entry| {
        let is_current = !entry.superseded && entry.not_after > now;
        entry.role == Role::Daemon && is_current && !listed.contains(entry.host.as_str())
    });
    entries.map(|entry| entry.host.clone()).collect()
}

/// A host that has only the name of a daemon: the paths of its context follow from that.
#[must_use]
pub(crate) fn named(client: &Host, daemon: &str) -> Host {
    Host {
        name: daemon.to_owned(),
        identities: Vec::new(),
        ..client.clone()
    }
}

/// What to read on clients about such contexts, once the facts of the CA are known.
#[must_use]
pub fn left_contexts<'a>(
    playbook: &Playbook,
    inventory: &'a Inventory,
    facts: &BTreeMap<String, NodeFacts>,
    now: OffsetDateTime,
) -> Vec<(&'a Host, FactRequest)> {
    let handles = |host: &Host| {
        let mut plays = playbook.plays.iter().filter(|play| play.includes(host));
        plays.any(|play| {
            let mut tasks = play.tasks(host);
            tasks.any(|task| task.module.word == Word::DockerContext)
        })
    };
    let clients = inventory.hosts.iter().filter(|host| {
        facts.contains_key(&host.name) && host.client_holders().next().is_some() && handles(host)
    });
    let clients: Vec<&Host> = clients.collect();
    let ca = inventory.ca();
    if clients.is_empty() || !facts.contains_key(&ca.name) {
        return Vec::new();
    }
    let authority = Authority::read(ca, facts.get(&ca.name));
    let left = left_daemons(&authority.ledger, inventory, now);
    if left.is_empty() {
        return Vec::new();
    }
    let asked = clients.into_iter().map(|client| {
        let mut request = FactRequest::default();
        for holder in client.client_holders() {
            request_leaf(holder, Role::Client, &mut request);
            for daemon in &left {
                let paths = context_paths(holder, &named(holder, daemon));
                let meta = format!("{}/meta.json", paths.metadata);
                request.content.insert(meta);
                for name in ["ca.pem", "cert.pem"] {
                    request.bundles.insert(format!("{}/{name}", paths.tls));
                }
                request.key(format!("{}/key.pem", paths.tls));
                request.directories.insert(paths.metadata);
                request.directories.insert(paths.tls);
            }
        }
        (client, request)
    });
    asked.collect()
}
