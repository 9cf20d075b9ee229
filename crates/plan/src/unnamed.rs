//! Clients that guards reject because the policies in place do not name them: a run with `--limit`
//! that issues a first certificate does not update the policies of other daemons.

use std::collections::BTreeMap;

use super::{LeafDecision, Note, Planner};
use crate::host::guard;
use crate::playbook::Playbook;
use inventory::{Host, Inventory, host_of};
use node::facts::{FactRequest, NodeFacts};
use pki::Role;
use policy::Document;

/// At most this many daemons outside of a run are asked for their policies: one run updates all of
/// them.
const ASKED: usize = 16;

/// A holder of a client certificate, and the daemons whose guards reject it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unnamed {
    pub holder: String,
    pub daemons: Vec<String>,
}

impl Unnamed {
    /// In one sentence, without what to do.
    #[must_use]
    pub fn described(&self) -> String {
        let Self { holder, daemons } = self;
        let named = daemons.join(", ");
        if daemons.len() == 1 {
            format!("the guard of {named} rejects {holder}: its policy does not name it yet")
        } else {
            format!("the guards of {named} reject {holder}: their policies do not name it yet")
        }
    }
}

/// The command that updates the policies of all guards.
pub const UPDATE_POLICIES: &str = "dtls-deploy rotate INVENTORY";

fn names(policy: &Document, holder: &str) -> bool {
    let mut identities = policy.identities.iter();
    policy.unknown.is_some()
        || policy.names.contains_key(holder)
        || identities.any(|identity| identity.name == holder)
}

/// The policy in place on a daemon with a guard, from its own facts or from those that the CA's
/// host carries for a daemon outside of the run.
fn policy_of(
    daemon: &Host,
    inventory: &Inventory,
    facts: &BTreeMap<String, NodeFacts>,
) -> Option<Document> {
    if let Some(facts) = facts.get(&daemon.name) {
        return guard::policy_in_place(daemon, facts);
    }
    let ca = facts.get(&inventory.ca().name)?;
    let text = ca.claims.policies.get(&daemon.name)?;
    serde_json::from_str(text).ok()
}

/// Holders of clients in `listed` that have a certificate, and the daemons of the inventory whose
/// policies in place do not name them.
#[must_use]
pub fn unnamed(
    inventory: &Inventory,
    listed: &Inventory,
    facts: &BTreeMap<String, NodeFacts>,
    has_certificate: impl Fn(&str) -> bool,
) -> Vec<Unnamed> {
    let policies: Vec<(&str, Document)> = inventory
        .daemons()
        .filter(|daemon| daemon.is_guarded())
        .filter_map(|daemon| Some((&*daemon.name, policy_of(daemon, inventory, facts)?)))
        .collect();
    let holders = listed.clients().flat_map(Host::certificate_holders);
    let holders = holders.map(Host::holder).filter(|of| has_certificate(of));
    holders
        .filter_map(|holder| {
            let rejecting = policies
                .iter()
                .filter(|(_, policy)| !names(policy, &holder));
            let daemons: Vec<String> = rejecting.map(|(name, _)| (*name).to_owned()).collect();
            (!daemons.is_empty()).then_some(Unnamed { holder, daemons })
        })
        .collect()
}

/// Daemons outside of a run whose policies say whether they accept the clients of the run.
#[must_use]
pub fn guards_elsewhere<'a>(
    playbook: &Playbook,
    inventory: &'a Inventory,
) -> Vec<(&'a Host, FactRequest)> {
    let listed = playbook.limited(inventory);
    let mut holders = listed.clients().flat_map(Host::certificate_holders);
    let is_about_access = playbook.issues() || playbook.only_proves();
    if !is_about_access || holders.next().is_none() {
        return Vec::new();
    }
    let is_elsewhere = |daemon: &&Host| {
        daemon.is_guarded() && !playbook.plays.iter().any(|play| play.includes(daemon))
    };
    let daemons = inventory.daemons().filter(is_elsewhere).take(ASKED);
    daemons
        .map(|daemon| {
            let mut request = FactRequest::default();
            guard::request_policy(daemon, &mut request);
            (daemon, request)
        })
        .collect()
}

/// The policies in the answers to [`guards_elsewhere`].
#[must_use]
pub fn policies_in(
    inventory: &Inventory,
    facts: &BTreeMap<String, NodeFacts>,
) -> BTreeMap<String, String> {
    let daemons = inventory.daemons().filter_map(|daemon| {
        let facts = facts.get(&daemon.name)?;
        guard::policy_in_place(daemon, facts)?;
        let text = facts.text(&guard::policy_path())?;
        Some((daemon.name.clone(), text.to_owned()))
    });
    daemons.collect()
}

impl Planner<'_> {
    /// Holders that this run serves or looks at, and guards that reject them because the run does
    /// not update their policies.
    pub(super) fn unnamed(&self, playbook: &Playbook) -> Vec<Unnamed> {
        let ledger = &self.authority.ledger;
        let was_issued = |holder: &str| {
            let mut entries = ledger.entries().iter();
            entries.any(|entry| entry.host == holder && entry.role == Role::Client)
        };
        let is_issued = |holder: &str| {
            let decision = self.leaves.get(&(holder.to_owned(), Role::Client));
            matches!(decision, Some(LeafDecision::Issue { .. }))
        };
        let listed = playbook.limited(self.inventory);
        let mut found = unnamed(self.inventory, &listed, self.facts, |holder| {
            was_issued(holder) || is_issued(holder)
        });
        // No policy names a holder before its first certificate is issued, unless a run without
        // that client wrote it.
        let unknown: Vec<&Host> = self
            .inventory
            .daemons()
            .filter(|daemon| daemon.is_guarded() && daemon.settings.guard_default.is_none())
            .filter(|daemon| !self.facts.contains_key(&daemon.name))
            .filter(|daemon| policy_of(daemon, self.inventory, self.facts).is_none())
            .collect();
        let holders = listed.clients().flat_map(Host::certificate_holders);
        for holder in holders.map(Host::holder) {
            if unknown.is_empty() || !is_issued(&holder) || was_issued(&holder) {
                continue;
            }
            let daemons = unknown.iter().map(|daemon| daemon.name.clone());
            match found.iter_mut().find(|one| one.holder == holder) {
                Some(one) => one.daemons.extend(daemons),
                None => found.push(Unnamed {
                    holder,
                    daemons: daemons.collect(),
                }),
            }
        }
        let is_written = |daemon: &String| {
            let path = (daemon.clone(), guard::policy_path());
            self.written.contains_key(&path)
        };
        for one in &mut found {
            one.daemons.retain(|daemon| !is_written(daemon));
        }
        found.retain(|one| !one.daemons.is_empty());
        found
    }
}

/// A note about each, with what to do.
pub(super) fn notes(unnamed: &[Unnamed]) -> impl Iterator<Item = Note> {
    unnamed.iter().map(|one| Note {
        danger: false,
        host: host_of(&one.holder).to_owned(),
        text: format!(
            "{}, and this run does not change that. To update the policies, run {UPDATE_POLICIES}",
            one.described()
        ),
    })
}
