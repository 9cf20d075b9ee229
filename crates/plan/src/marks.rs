//! Marks of revocations that the ledger has lost, for example with an older backup, and that the
//! policy of some guard still has. The backup may be older than the certificate, too.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use super::{LeafDecision, Note, Planner, UPDATE_POLICIES, owner, revoked};
use crate::host::guard::policy_in_place;
use crate::playbook::Playbook;
use inventory::{Host, Inventory};
use node::facts::NodeFacts;
use pki::{Entry, Ledger, Role};
use policy::{Revoked, Serial};

/// What guards reject as revoked, and the ledger does not list as revoked.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    /// Serial numbers of certificates in the ledger, and the daemons whose policies have the mark.
    pub lost: BTreeMap<String, BTreeSet<String>>,
    /// Certificates that the ledger does not know at all.
    pub unknown: BTreeMap<Serial, Unknown>,
}

/// A mark of a certificate that the ledger does not know.
#[derive(Debug, Clone)]
pub struct Unknown {
    pub revoked: Revoked,
    /// The daemons whose policies have it.
    pub daemons: BTreeSet<String>,
}

impl Unknown {
    /// In one sentence, without what to do.
    #[must_use]
    pub fn described(&self) -> String {
        let daemons: Vec<&str> = self.daemons.iter().map(String::as_str).collect();
        format!(
            "the client certificate of {} (serial {}) is revoked in the policy of {}, and the ledger, which an older backup may have replaced, does not know it",
            self.revoked.name,
            self.revoked.serial.as_str(),
            daemons.join(", ")
        )
    }
}

impl Marks {
    /// Marks all of it in a ledger in memory. A mark needs no line of its certificate.
    pub fn restore(&self, ledger: &mut Ledger, now: OffsetDateTime) {
        let unknown = self.unknown.keys().map(|serial| serial.as_str().to_owned());
        let unknown: Vec<String> = unknown.collect();
        ledger.mark(self.lost.keys().chain(&unknown), now);
    }

    /// From the policies in place on the daemons of the inventory.
    #[must_use]
    pub fn read(
        inventory: &Inventory,
        ledger: &Ledger,
        facts: &BTreeMap<String, NodeFacts>,
        now: OffsetDateTime,
    ) -> Self {
        let mut marks = Self::default();
        for daemon in inventory.daemons() {
            let known = facts.get(&daemon.name);
            let Some(facts) = known.filter(|facts| !owner::is_of_another(inventory, facts)) else {
                continue;
            };
            let revoked = policy_in_place(daemon, facts).map(|policy| policy.revoked);
            for one in revoked.unwrap_or_default() {
                let serial = one.serial.as_str();
                if ledger.is_readmitted(serial) || ledger.revocation(serial).is_some() {
                    continue;
                }
                match ledger.by_serial(serial) {
                    None => {
                        let known = marks.unknown.entry(one.serial.clone());
                        let known = known.or_insert_with(|| Unknown {
                            revoked: one,
                            daemons: BTreeSet::new(),
                        });
                        known.daemons.insert(daemon.name.clone());
                    }
                    Some(entry) if entry.role == Role::Client && entry.not_after > now => {
                        let daemons = marks.lost.entry(entry.serial.clone()).or_default();
                        daemons.insert(daemon.name.clone());
                    }
                    Some(_) => {}
                }
            }
        }
        marks
    }
}

impl Planner<'_> {
    /// Notes marks that the ledger has lost.
    pub(super) fn note_marks(&self, playbook: &Playbook) -> Vec<Note> {
        let described = self.marks.lost.iter().filter_map(|(serial, daemons)| {
            let entry: &Entry = self.authority.ledger.by_serial(serial)?;
            let daemons: Vec<&str> = daemons.iter().map(String::as_str).collect();
            Some((revoked::listed(&[entry]), daemons.join(", ")))
        });
        let then = if playbook.issues() {
            "it is marked again".to_owned()
        } else {
            format!("{UPDATE_POLICIES} marks it again")
        };
        let ca = &self.inventory.ca().name;
        described
            .map(|(what, daemons)| {
                format!(
                    "{what} is revoked in the policy of {daemons}, and not in the ledger, which an older backup may have replaced: {then}"
                )
            })
            .chain(self.presented_and_unknown())
            .map(|text| Note {
                danger: false,
                host: ca.clone(),
                text,
            })
            .collect()
    }

    /// Clients that present a certificate which guards reject and the ledger does not know.
    fn presented_and_unknown(&self) -> impl Iterator<Item = String> {
        let holders = self.inventory.clients().flat_map(Host::certificate_holders);
        holders.filter_map(|holder| {
            let shown = self.certificate_at(holder, Role::Client)?;
            let mark = self.marks.unknown.get(&Serial::parse(shown.serial())?)?;
            let decision = self.leaves.get(&(holder.holder(), Role::Client));
            let then = match decision {
                Some(LeafDecision::Issue { .. } | LeafDecision::Fetch { .. }) => {
                    "a new one is issued"
                }
                _ => "to issue a new one, run dtls-deploy deploy INVENTORY",
            };
            Some(format!("{}: {then}", mark.described()))
        })
    }
}
