//! Revoked certificates: which there are, and which hosts still accept them.
//!
//! dockerd reads no list of revoked certificates (moby/moby, cmd/dockerd: its TLS configuration has
//! none), so a mark in the ledger alone rejects no client: a holder is accepted until the last
//! daemon drops the CA that signed the certificate.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::rollover::client_files;
use super::{Authority, Note, Planner, Refusal, accepts_none};
use crate::host::guard;
use crate::host::leaf::location;
use crate::host::read::runs_with;
use crate::playbook::Playbook;
use inventory::{Host, Inventory};
use node::facts::NodeFacts;
use pki::{BACKDATE, Certificate, Entry, Revocation, Role};
use policy::Serial;

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

/// Whether a deployment, which restarts them, is enough: a client's certificate, accepted only by
/// daemons that do not ask a guard which rejects it.
#[must_use]
pub fn is_for_restart<'a>(
    entry: &Entry,
    inventory: &Inventory,
    facts: &BTreeMap<String, NodeFacts>,
    mut accepting: impl Iterator<Item = &'a str>,
) -> bool {
    let is_bypassed = |name| {
        let facts = facts.get(name);
        let daemon = inventory.host(name);
        let known = daemon.zip(facts);
        known.is_some_and(|(daemon, facts)| guard::is_bypassed(daemon, facts, &entry.serial))
    };
    entry.role == Role::Client && accepting.all(is_bypassed)
}

/// Whether updating the policies of guards is enough: a client's certificate, accepted only by
/// daemons that have a guard.
#[must_use]
pub fn is_for_guards<'a>(
    entry: &Entry,
    inventory: &Inventory,
    mut accepting: impl Iterator<Item = &'a str>,
) -> bool {
    let is_guarded = |name| inventory.host(name).is_some_and(Host::is_guarded);
    entry.role == Role::Client && accepting.all(is_guarded)
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

/// Who accepts a revoked client certificate of the present or next CA.
#[derive(Debug, Default)]
struct AcceptedBy<'a> {
    /// Daemons whose guard does not reject it, although they have one.
    guarded: Vec<&'a str>,
    /// Some daemon has no guard: only a new CA ends that.
    unguarded: bool,
    /// Daemons with a guard whose policy is not known.
    unknown: Vec<&'a str>,
    /// Daemons that do not ask their guard, which rejects it.
    bypassed: Vec<&'a str>,
}

impl Planner<'_> {
    /// Revoked certificates of the present or next CA that only a new CA rejects everywhere.
    pub(super) fn revoked_of_present(&self) -> Vec<&Entry> {
        let mut entries = self.revoked_and_current();
        entries.retain(|entry| entry.role == Role::Daemon || self.accepted_by(entry).unguarded);
        entries
    }

    fn revoked_and_current(&self) -> Vec<&Entry> {
        revoked(&self.authority, self.now)
            .map(|(entry, _)| entry)
            .filter(|entry| is_of_present(&self.authority, entry))
            .collect()
    }

    fn accepted_by(&self, entry: &Entry) -> AcceptedBy<'_> {
        let mut found = AcceptedBy::default();
        for daemon in self.inventory.daemons() {
            let name = daemon.name.as_str();
            let policy = (daemon.name.clone(), guard::policy_path());
            // This run updates the policy from the ledger.
            if self.written.contains_key(&policy) {
                continue;
            }
            match self.facts.get(name) {
                Some(facts) if guard::rejects(daemon, facts, &entry.serial) => {}
                Some(facts) if guard::is_bypassed(daemon, facts, &entry.serial) => {
                    found.bypassed.push(name);
                }
                Some(facts) if accepts_none(daemon, facts) && !self.writes_to(name) => {}
                Some(_) if daemon.is_guarded() => found.guarded.push(name),
                None if daemon.is_guarded() => found.unknown.push(name),
                Some(_) | None => found.unguarded = true,
            }
        }
        found
    }

    /// Whether this run changes files of a host.
    fn writes_to(&self, host: &str) -> bool {
        self.written.keys().any(|(written, _)| written == host)
    }

    /// Requires that no revoked certificate is accepted again once the guard of a daemon is gone.
    pub(crate) fn check_guard_needed(&self, host: &Host) -> Result<(), Refusal> {
        let facts = self.facts(&host.name)?;
        // Marks may be lost with a restored ledger: what the guard rejects counts.
        let ledger = &self.authority.ledger;
        let mut needed: Vec<&Entry> = ledger.entries().iter().collect();
        needed.retain(|entry| {
            entry.role == Role::Client
                && entry.not_after > self.now
                && !ledger.is_readmitted(&entry.serial)
                && is_of_present(&self.authority, entry)
                && (guard::rejects(host, facts, &entry.serial)
                    || guard::is_bypassed(host, facts, &entry.serial))
        });
        if needed.is_empty() {
            return Ok(());
        }
        Err(Refusal::new(format!(
            "without its guard it would accept again what is revoked: {}",
            listed(&needed)
        ))
        .hint("replace the CA first, with the guard in place: dtls-deploy rotate --ca INVENTORY"))
    }

    /// Notes marks that match no certificate. A CA made after the mark did not sign what it is
    /// about.
    pub(super) fn note_lost_marks(&self) -> Vec<Note> {
        let Some(authority) = &self.authority.certificate else {
            return Vec::new();
        };
        let made = authority.not_before() + BACKDATE;
        let lost = self.authority.ledger.lost_marks().into_iter();
        // Those that guards alone have are noted with the clients that present them.
        let is_of_guards = |serial: &str| {
            Serial::parse(serial).is_some_and(|it| self.marks.unknown.contains_key(&it))
        };
        lost.filter(|(_, mark)| mark.at >= made && !self.rolls_over)
            .filter(|(serial, _)| !is_of_guards(serial))
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

    /// The notes of every run about them, except the run that replaces the CA.
    pub(super) fn note_revoked(&self, playbook: &Playbook) -> Vec<Note> {
        if self.rolls_over {
            return Vec::new();
        }
        let mut texts = Vec::new();
        let unguarded = self.revoked_of_present();
        if !unguarded.is_empty() {
            let goes_on = if self.rollover.is_some() {
                "the rollover that is under way ends that".to_owned()
            } else {
                self.advice()
            };
            texts.push(format!(
                "REVOKED, AND STILL ACCEPTED until every daemon has dropped this CA: {}: {goes_on}",
                listed(&unguarded)
            ));
        }
        texts.extend(self.outdated_guards(playbook));
        let ca = &self.inventory.ca().name;
        let note = |text| Note {
            danger: false,
            host: ca.clone(),
            text,
        };
        texts.into_iter().map(note).collect()
    }

    /// Guards that do not reject everything that is revoked, or that did not answer.
    fn outdated_guards(&self, playbook: &Playbook) -> Vec<String> {
        let limited = playbook.limited(self.inventory);
        let asked: Vec<&str> = limited.daemons().map(|one| one.name.as_str()).collect();
        let mut accepting: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        let mut unknown: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        let mut bypassed: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in self.revoked_and_current() {
            if entry.role == Role::Client {
                let by = self.accepted_by(entry);
                for daemon in by.guarded {
                    accepting.entry(daemon).or_default().push(entry);
                }
                for daemon in by.bypassed {
                    bypassed.entry(daemon).or_default().push(entry);
                }
                for daemon in by.unknown.into_iter().filter(|name| asked.contains(name)) {
                    unknown.entry(daemon).or_default().push(entry);
                }
            }
        }
        let accepting = accepting.into_iter().map(|(daemon, entries)| {
            let what = listed(&entries);
            format!("REVOKED, AND STILL ACCEPTED by {daemon}: {what}: update the policy of its guard: dtls-deploy rotate INVENTORY")
        });
        let unknown = unknown.into_iter().map(|(daemon, entries)| {
            let what = listed(&entries);
            format!("whether {daemon} rejects what is revoked was not checked: {what}: dtls-deploy status INVENTORY checks it")
        });
        let bypassed = bypassed.into_iter().map(|(daemon, entries)| {
            let what = listed(&entries);
            format!("REVOKED, AND STILL ACCEPTED by {daemon} until it is restarted, because dockerd does not ask its guard: {what}: dtls-deploy INVENTORY restarts it")
        });
        accepting.chain(bypassed).chain(unknown).collect()
    }
}
