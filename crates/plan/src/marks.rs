//! Marks of revocations that the ledger has lost, for example with an older backup, and that the
//! policy of some guard still has.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use super::{Note, Planner, UPDATE_POLICIES, owner, revoked};
use crate::host::guard::policy_in_place;
use crate::playbook::Playbook;
use inventory::Inventory;
use node::facts::NodeFacts;
use pki::{Entry, Ledger, Role};
use policy::{Revoked, Serial};

/// What guards reject as revoked, and the ledger does not list as revoked.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    /// Serial numbers of certificates in the ledger, and the daemons whose policies have the mark.
    pub lost: BTreeMap<String, BTreeSet<String>>,
    /// Certificates that the ledger does not know at all.
    pub(crate) unknown: BTreeMap<Serial, Revoked>,
}

impl Marks {
    /// From the policies in place on the daemons of the inventory.
    pub(crate) fn read(
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
                        marks.unknown.insert(one.serial.clone(), one);
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
        described
            .map(|(what, daemons)| Note {
                danger: false,
                host: self.inventory.ca().name.clone(),
                text: format!(
                    "{what} is revoked in the policy of {daemons}, and not in the ledger, which an older backup may have replaced: {then}"
                ),
            })
            .collect()
    }
}
