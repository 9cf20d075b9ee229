//! Keys of issued certificates that are still on the CA node.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::{Action, Authority, Plan, Planner, declared, leaves_of};
use crate::host::leaf::location as leaf_location;
use crate::host::read::runs_with;
use crate::playbook::{Playbook, Word};
use inventory::{Host, Inventory, host_of};
use node::facts::NodeFacts;
use pki::{DeliveredLeaf, Entry, Role};

/// A key left on the CA node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftKey {
    pub leaf: DeliveredLeaf,
    /// Its path on the CA node.
    pub path: String,
    /// Its holder is no longer in the inventory: no run delivers it.
    pub is_outside: bool,
    /// The next CA issued it: it waits for a step of the rollover.
    pub is_of_next: bool,
    /// The key and certificate in place on the holder's host, and, for a daemon, what dockerd has
    /// read.
    pub in_place: Option<DeliveredLeaf>,
}

impl LeftKey {
    /// Whether the pair in place is this one.
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        self.in_place.as_ref() == Some(&self.leaf)
    }

    /// Its holder, for people.
    #[must_use]
    pub fn described(&self) -> String {
        let why = if self.is_outside {
            ", and the inventory does not declare its holder any more"
        } else {
            ""
        };
        format!(
            "the key of the {} certificate of {} is still on the CA node ({}){why}",
            self.leaf.role, self.leaf.host, self.path
        )
    }

    /// The command that removes it, if no run delivers it.
    #[must_use]
    pub fn removal(&self) -> Option<String> {
        let holder = &self.leaf.host;
        let command = format!(
            "dtls-deploy revoke INVENTORY {holder} removes it, and daemons reject every certificate of {holder} from then on"
        );
        self.is_outside.then_some(command)
    }
}

/// Keys of certificates that are not marked as delivered, or that should have been removed since;
/// none if `dtls_keep_issued_keys` keeps them. Keys of holders outside the inventory are known only
/// from the ledger, until they expire.
#[must_use]
pub fn left_keys(
    authority: &Authority,
    inventory: &Inventory,
    facts: &BTreeMap<String, NodeFacts>,
    now: OffsetDateTime,
) -> Vec<LeftKey> {
    let ca = inventory.ca();
    let Some(of_ca) = facts
        .get(&ca.name)
        .filter(|_| !ca.settings.keep_issued_keys)
    else {
        return Vec::new();
    };
    let next = authority.next.as_ref().map(pki::Certificate::sha256);
    let mut left = Vec::new();
    for (host, role) in leaves_of(inventory) {
        let holder = host.holder();
        let live = || authority.ledger.live(&holder, role);
        let in_place = facts.get(&host.name).and_then(|facts| {
            let entry = live().rfind(|entry| is_in_place(host, role, entry, facts))?;
            Some(leaf_of(entry))
        });
        for entry in live() {
            let path = format!("{}/{}", ca.settings.ca_dir, entry.issued_name.key);
            let is_there = of_ca
                .regular(&path)
                .is_some_and(|file| file.sha256 == entry.key_sha256);
            if !is_there || entry.adopted || (entry.delivered && entry.kept) {
                continue;
            }
            left.push(LeftKey {
                leaf: leaf_of(entry),
                path: of_ca.expand(&path),
                is_outside: false,
                is_of_next: next.as_ref() == Some(&entry.issuer_sha256),
                in_place: in_place.clone(),
            });
        }
    }
    let declared = declared(inventory);
    let ledger = &authority.ledger;
    let outside = ledger.entries().iter().filter(|entry| {
        let is_gone = entry.superseded || entry.delivered || entry.adopted;
        !is_gone
            && entry.not_after > now
            && ledger.revocation(&entry.serial).is_none()
            && !declared.contains(&(entry.host.clone(), entry.role))
    });
    left.extend(outside.map(|entry| LeftKey {
        leaf: leaf_of(entry),
        path: of_ca.expand(&format!("{}/{}", ca.settings.ca_dir, entry.issued_name.key)),
        is_outside: true,
        is_of_next: false,
        in_place: None,
    }));
    left
}

fn leaf_of(entry: &Entry) -> DeliveredLeaf {
    DeliveredLeaf {
        host: entry.host.clone(),
        role: entry.role,
        serial: entry.serial.clone(),
        replaces: Vec::new(),
    }
}

impl Planner<'_> {
    /// Notes the keys that this run removes from the CA node once their holders are verified.
    pub(crate) fn note_left_keys(&mut self, plan: &mut Plan, playbook: &Playbook) {
        if !playbook.issues() || self.authority.problem.is_some() {
            return;
        }
        for key in left_keys(&self.authority, self.inventory, self.facts, self.now) {
            let why = if key.has_arrived() {
                "although its host has it"
            } else if self.is_unwanted(&key, plan, playbook) {
                "although no host wants it any more"
            } else {
                continue;
            };
            let text = format!(
                "{} {why}: it is removed once it is checked",
                key.described()
            );
            self.note(self.inventory.ca(), text);
            let Some(mut in_place) = key.in_place else {
                continue;
            };
            if in_place != key.leaf {
                in_place.replaces.push(key.leaf.serial);
            }
            plan.arrived.push(in_place);
        }
    }

    /// Whether a pair on the CA node will never be delivered: the whole deployment was planned for
    /// its host, which keeps another pair. During a rollover, a later step may need it.
    fn is_unwanted(&self, key: &LeftKey, plan: &Plan, playbook: &Playbook) -> bool {
        let (holder, role) = (&key.leaf.host, key.leaf.role);
        let name = host_of(holder);
        let Some(host) = self.inventory.host(name) else {
            return false;
        };
        let mut tasks = playbook.plays.iter().flat_map(|play| {
            let is_included = play.includes(host);
            play.tasks(host).filter(move |_| is_included)
        });
        let is_planned_for = tasks.any(|task| {
            let of = task
                .argument("role")
                .is_none_or(|of| of == role.to_string());
            task.module.word == Word::Certificate && of
        });
        let is_taken = plan.changes().any(|change| match &change.action {
            Action::Issue(leaf) => leaf.host == *holder && leaf.role == role,
            Action::Fetch {
                holder: of,
                role: as_role,
                ..
            } => of == holder && *as_role == role,
            _ => false,
        });
        let is_refused = plan.problems.iter().any(|problem| problem.host == name);
        key.in_place.is_some()
            && playbook.whole.is_none()
            && self.rollover.is_none()
            && is_planned_for
            && !is_taken
            && !is_refused
    }
}

fn is_in_place(host: &Host, role: Role, entry: &Entry, facts: &NodeFacts) -> bool {
    let (directory, files) = leaf_location(host, role);
    let (certificate, key) = (
        facts.expand(&format!("{directory}/{}", files.cert)),
        facts.expand(&format!("{directory}/{}", files.key)),
    );
    let content = facts
        .regular(&certificate)
        .and_then(|file| file.content.as_deref());
    let parsed = content.and_then(|bytes| pki::Certificate::from_pem(bytes).ok());
    let is_certificate = parsed.is_some_and(|found| found.sha256() == entry.certificate_sha256);
    let is_key = facts
        .regular(&key)
        .is_some_and(|file| file.sha256 == entry.key_sha256);
    let has_read = || {
        [&certificate, &key]
            .iter()
            .all(|path| runs_with(path, facts))
    };
    is_certificate && is_key && (role == Role::Client || has_read())
}
