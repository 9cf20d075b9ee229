//! Keys of issued certificates that are still on the CA node.
//!
//! Comes in: the ledger, what lies in the CA directory, and what hosts hold. Goes out: which keys
//! are left, and which of them have arrived on their host without the CA having heard of it: the
//! run that delivered them has died, or lost the CA. Called by every plan that issues
//! certificates, by `doctor` and by `status`.

use std::collections::BTreeMap;

use super::{Authority, leaf_location, leaves_of};
use crate::inventory::{Host, Inventory};
use crate::module::restart::runs_with;
use crate::node::facts::NodeFacts;
use crate::pki::{DeliveredLeaf, Entry, Role};

/// A key that is left on the CA node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftKey {
    pub leaf: DeliveredLeaf,
    /// On the CA node.
    pub path: String,
    /// Key and certificate are on their host, and its dockerd has read them where it is a daemon.
    pub has_arrived: bool,
}

impl LeftKey {
    /// For people: whose it is.
    #[must_use]
    pub fn described(&self) -> String {
        format!(
            "the key of the {} certificate of {} is still on the CA node ({})",
            self.leaf.role, self.leaf.host, self.path
        )
    }
}

/// Keys of certificates that were not marked as delivered, or that should have gone since; none
/// where `dtls_keep_issued_keys` keeps them.
#[must_use]
pub fn left_keys(
    authority: &Authority,
    inventory: &Inventory,
    facts: &BTreeMap<String, NodeFacts>,
) -> Vec<LeftKey> {
    let ca = inventory.ca();
    let Some(of_ca) = facts
        .get(&ca.name)
        .filter(|_| !ca.settings.keep_issued_keys)
    else {
        return Vec::new();
    };
    let mut left = Vec::new();
    for (host, role) in leaves_of(inventory) {
        for entry in authority.ledger.live(&host.holder(), role) {
            let path = format!("{}/{}", ca.settings.ca_dir, entry.issued_name.key);
            let is_there = of_ca
                .regular(&path)
                .is_some_and(|file| file.sha256 == entry.key_sha256);
            if !is_there || entry.adopted || (entry.delivered && entry.kept) {
                continue;
            }
            left.push(LeftKey {
                leaf: DeliveredLeaf {
                    host: entry.host.clone(),
                    role,
                    serial: entry.serial.clone(),
                },
                path: of_ca.expand(&path),
                has_arrived: facts
                    .get(&host.name)
                    .is_some_and(|facts| is_in_place(host, role, entry, facts)),
            });
        }
    }
    left
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
    let parsed = content.and_then(|bytes| crate::pki::Certificate::from_pem(bytes).ok());
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
