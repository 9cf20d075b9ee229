//! Revoked certificates: which there are, and which hosts still accept them.
//!
//! dockerd reads no list of revoked certificates (moby/moby, cmd/dockerd: its TLS configuration has
//! none), so a mark in the ledger alone rejects no client: a holder is accepted until the last
//! daemon drops the CA that signed the certificate.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::rollover::client_files;
use super::{Authority, Note, Planner};
use crate::host::guard;
use crate::host::leaf::location;
use crate::host::read::runs_with;
use inventory::{Host, Inventory};
use node::facts::NodeFacts;
use pki::{BACKDATE, Certificate, Entry, Revocation, Role};

/// Revoked certificates that have not expired.
pub fn revoked(
    authority: &Authority,
    now: OffsetDateTime,
) -> impl Iterator<Item = (&Entry, &Revocation)> {
    let entries = authority.ledger.entries().iter();
    entries
        .filter(move |entry| entry.not_after > now)
        .filter_map(|entry| Some((entry, authority.ledger.revocation(&entry.serial)?)))
}

/// Whether the present or the next CA signed it.
#[must_use]
pub fn is_of_present(authority: &Authority, entry: &Entry) -> bool {
    let bundles = [&authority.pem, &authority.next_pem];
    bundles
        .into_iter()
        .flatten()
        .any(|pem| holds(pem.as_bytes(), &entry.issuer_sha256))
}

fn holds(bundle: &[u8], issuer_sha256: &str) -> bool {
    Certificate::bundle_from_pem(bundle)
        .unwrap_or_default()
        .iter()
        .any(|certificate| certificate.sha256() == issuer_sha256)
}

/// The hosts with known facts that trust the CA that signed it: daemons for a client's certificate,
/// clients for a daemon's. A daemon that has not read its files yet may trust other CAs than they
/// name.
#[must_use]
pub fn trusted_by(
    entry: &Entry,
    inventory: &Inventory,
    facts: &BTreeMap<String, NodeFacts>,
) -> Vec<String> {
    let trusts = |host: &Host, facts: &NodeFacts| {
        let paths = match entry.role {
            Role::Client => {
                let (directory, files) = location(host, Role::Daemon);
                vec![facts.expand(&format!("{directory}/{}", files.ca))]
            }
            // An identity trusts the CA of its own files.
            Role::Daemon => host
                .client_holders()
                .flat_map(|holder| client_files(holder, inventory, facts, "ca.pem"))
                .collect(),
        };
        paths.iter().any(|path| {
            let bytes = facts.regular(path).and_then(|file| file.content.as_deref());
            bytes.is_some_and(|bytes| {
                holds(bytes, &entry.issuer_sha256)
                    || (entry.role == Role::Client && runs(facts) && !runs_with(path, facts))
            })
        })
    };
    inventory
        .hosts
        .iter()
        .filter(|host| match entry.role {
            Role::Client => host.is_daemon,
            Role::Daemon => host.client_holders().next().is_some(),
        })
        .filter(|host| {
            facts.get(&host.name).is_some_and(|facts| {
                trusts(host, facts)
                    && !(entry.role == Role::Client && guard::rejects(host, facts, &entry.serial))
            })
        })
        .map(|host| host.name.clone())
        .collect()
}

/// Whether dockerd runs there, as far as known.
fn runs(facts: &NodeFacts) -> bool {
    let unit = facts.unit.as_ref();
    unit.is_none_or(|unit| unit.active_state() == "active")
}

/// Its holder and serial, for people.
#[must_use]
pub fn described(entry: &Entry) -> String {
    format!(
        "the {} certificate of {} (serial {}, valid until {})",
        entry.role,
        entry.host,
        entry.serial,
        entry.not_after.date()
    )
}

/// Several of them on one line.
#[must_use]
pub fn listed(entries: &[&Entry]) -> String {
    const NAMED: usize = 5;
    let mut said: Vec<String> = entries
        .iter()
        .take(NAMED)
        .map(|entry| described(entry))
        .collect();
    if entries.len() > NAMED {
        said.push(format!("{} more", entries.len() - NAMED));
    }
    said.join(", ")
}

impl Planner<'_> {
    /// Revoked certificates of the present or next CA that at least one daemon has no guard
    /// against.
    pub(super) fn revoked_of_present(&self) -> Vec<&Entry> {
        let rejects = |entry: &Entry, daemon: &Host| {
            let facts = self.facts.get(&daemon.name);
            let policy = (daemon.name.clone(), guard::policy_path());
            // This run updates the policy from the ledger.
            self.written.contains_key(&policy)
                || facts.is_some_and(|facts| guard::rejects(daemon, facts, &entry.serial))
        };
        revoked(&self.authority, self.now)
            .map(|(entry, _)| entry)
            .filter(|entry| is_of_present(&self.authority, entry))
            .filter(|entry| {
                let mut daemons = self.inventory.daemons();
                entry.role == Role::Daemon || !daemons.all(|daemon| rejects(entry, daemon))
            })
            .collect()
    }

    /// Notes marks that match no certificate. A CA made after the mark did not sign what it is
    /// about.
    pub(super) fn note_lost_marks(&self) -> Vec<Note> {
        let Some(authority) = &self.authority.certificate else {
            return Vec::new();
        };
        let made = authority.not_before() + BACKDATE;
        let lost = self.authority.ledger.lost_marks().into_iter();
        lost.filter(|(_, mark)| mark.at >= made && !self.rolls_over)
            .map(|(serial, mark)| Note {
                danger: false,
                host: self.inventory.ca().name.clone(),
                text: format!(
                    "serial {serial} was revoked on {}, and its line in the ledger is lost: daemons accept its holder until the CA is replaced: dtls-deploy rotate --ca INVENTORY",
                    mark.at.date()
                ),
            })
            .collect()
    }

    /// The note of every run about them, except the run that replaces the CA.
    pub(super) fn note_revoked(&self) -> Option<Note> {
        let revoked = self.revoked_of_present();
        if revoked.is_empty() || self.rolls_over {
            return None;
        }
        let goes_on = if self.rollover.is_some() {
            "the rollover that is under way ends that".to_owned()
        } else {
            self.advice()
        };
        Some(Note {
            danger: false,
            host: self.inventory.ca().name.clone(),
            text: format!(
                "REVOKED, AND STILL ACCEPTED until every daemon has dropped this CA: {}: {goes_on}",
                listed(&revoked)
            ),
        })
    }
}
