//! Identities of the CA that are not in the inventory.

use std::collections::{BTreeMap, BTreeSet};

use super::Authority;
use crate::host::leaf::location;
use inventory::{Host, Inventory};
use node::facts::{FactRequest, FileFact, NodeFacts};
use pki::{Certificate, Role};

/// An unexpired identity that is not in the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    pub host: String,
    pub role: Role,
    pub until: time::Date,
    /// The serial numbers of its certificates.
    pub serials: Vec<String>,
}

impl Outside {
    /// For people: which certificate it is.
    #[must_use]
    pub fn described(&self) -> String {
        format!(
            "the {} certificate of {} (valid until {})",
            self.role, self.host, self.until
        )
    }

    /// Whether `remove` has ended its role: its host is still in the inventory and has no key for
    /// it. Without its key a certificate works for no one.
    #[must_use]
    pub fn is_removed(&self, inventory: &Inventory, facts: &BTreeMap<String, NodeFacts>) -> bool {
        let host = inventory
            .host(&self.host)
            .filter(|_| self.role == Role::Daemon);
        host.and_then(|host| facts.get(&host.name)?.file(&daemon_key(host)))
            .is_some_and(|file| matches!(file, FileFact::Absent))
    }

    /// The names that `--abandon` takes for it and for nothing else: `--abandon HOST` also leaves
    /// out a client of the inventory.
    #[must_use]
    pub fn names(&self, inventory: &Inventory) -> Vec<String> {
        let host = inventory.host(&self.host);
        match host {
            Some(host) if host.is_client || !host.identities.is_empty() => self.serials.clone(),
            _ => vec![self.host.clone()],
        }
    }
}

fn daemon_key(host: &Host) -> String {
    let (directory, files) = location(host, Role::Daemon);
    format!("{directory}/{}", files.key)
}

/// The fact that [`Outside::is_removed`] reads.
pub(crate) fn request(host: &Host, request: &mut FactRequest) {
    if !host.is_daemon {
        request.hashed.insert(daemon_key(host));
    }
}

/// The certificate holders that the inventory names: those it requests, and removed identities,
/// which block nothing.
#[must_use]
pub fn declared(inventory: &Inventory) -> BTreeSet<(String, Role)> {
    let wanted = super::leaves_of(inventory).into_iter();
    let identities = inventory.hosts.iter().flat_map(|host| &host.identities);
    wanted
        .map(|(host, role)| (host.holder(), role))
        .chain(identities.map(|host| (host.holder(), Role::Client)))
        .collect()
}

/// Unexpired identities of the present CA that are not in the inventory, and not
/// revoked.
#[must_use]
pub fn outside_of(
    authority: &Authority,
    inventory: &Inventory,
    now: time::OffsetDateTime,
) -> Vec<Outside> {
    let known = declared(inventory);
    let old: Vec<String> =
        Certificate::bundle_from_pem(authority.pem.as_deref().unwrap_or_default().as_bytes())
            .unwrap_or_default()
            .iter()
            .map(Certificate::sha256)
            .collect();
    let mut outside: Vec<Outside> = authority
        .ledger
        .entries()
        .iter()
        .filter(|entry| {
            !entry.superseded
                && entry.not_after > now
                && old.contains(&entry.issuer_sha256)
                // A rollover does not wait for a holder that must be rejected.
                && authority.ledger.revocation(&entry.serial).is_none()
                && !known.contains(&(entry.host.clone(), entry.role))
        })
        .map(|entry| Outside {
            host: entry.host.clone(),
            role: entry.role,
            until: entry.not_after.date(),
            serials: vec![entry.serial.clone()],
        })
        .collect();
    outside.sort_by(|one, other| (&one.host, one.role).cmp(&(&other.host, other.role)));
    outside.dedup_by(|later, kept| {
        let same = later.host == kept.host && later.role == kept.role;
        if same {
            kept.until = kept.until.max(later.until);
            kept.serials.append(&mut later.serials);
        }
        same
    });
    outside
}
