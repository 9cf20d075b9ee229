//! Whether the CA has expired: by every clock that is known, not by one.
//!
//! Comes in: the present CA, the time here and the skew of each node. Goes out:
//! yes or no, or the refusal where the clocks disagree. An expired CA is replaced
//! in another order, which shuts people out where it has not expired. Called by
//! the planner and by `ca_rollover`.

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime};

use super::preflight::apart;
use super::{Planner, Refusal, leaves_of};
use crate::inventory::Inventory;
use crate::node::facts::NodeFacts;
use crate::pki::Certificate;

/// Past its end here, on the CA's node, and on all that check a certificate.
pub(super) fn has_expired(
    authority: &Certificate,
    inventory: &Inventory,
    facts: &BTreeMap<String, NodeFacts>,
    now: OffsetDateTime,
) -> bool {
    authority.not_after() <= now && alive(authority, inventory, facts, now).is_empty()
}

fn is_past(authority: &Certificate, now: OffsetDateTime, facts: &NodeFacts) -> bool {
    authority.not_after() <= now + Duration::seconds(facts.skew)
}

/// Nodes by whose clock it has not expired, and how far that is from this one.
fn alive(
    authority: &Certificate,
    inventory: &Inventory,
    facts: &BTreeMap<String, NodeFacts>,
    now: OffsetDateTime,
) -> Vec<(String, i64)> {
    let leaves = leaves_of(inventory);
    inventory
        .hosts
        .iter()
        .filter(|host| host.is_ca || leaves.iter().any(|(of, _)| of.name == host.name))
        .filter_map(|host| Some((host, facts.get(&host.name)?)))
        .filter(|(_, facts)| !is_past(authority, now, facts))
        .map(|(host, facts)| (host.name.clone(), facts.skew))
        .collect()
}

impl Planner<'_> {
    /// Whether the present CA has expired.
    pub(crate) fn authority_expired(&self) -> bool {
        let authority = self.authority.certificate.as_ref();
        authority
            .is_some_and(|authority| has_expired(authority, self.inventory, self.facts, self.now))
    }

    /// What a rollover is refused for: by one clock the CA has expired, and by
    /// another it has not. A daemon's or client's that is ahead is refused with
    /// the host it is of.
    ///
    /// # Errors
    /// That.
    pub fn agree_on_expiry(&self) -> Result<(), Refusal> {
        const NAMED: usize = 5;
        let Some(authority) = &self.authority.certificate else {
            return Ok(());
        };
        let ca = &self.inventory.ca().name;
        let end = authority.not_after().date();
        let text = if authority.not_after() <= self.now {
            let alive = alive(authority, self.inventory, self.facts, self.now);
            if alive.is_empty() {
                return Ok(());
            }
            let mut named: Vec<String> = alive
                .iter()
                .take(NAMED)
                .map(|(host, skew)| format!("that of {host}, {} it", apart(*skew)))
                .collect();
            if alive.len() > NAMED {
                named.push(format!("those of {} more", alive.len() - NAMED));
            }
            format!(
                "the CA has expired on {end} by this machine's clock, and not by {}",
                named.join(", ")
            )
        } else {
            match self.facts.get(ca) {
                Some(facts) if is_past(authority, self.now, facts) => format!(
                    "the CA has expired on {end} by the clock of {ca}, and not by this machine's: {ca}'s is {} it",
                    apart(facts.skew)
                ),
                _ => return Ok(()),
            }
        };
        Err(Refusal::new(text).hint(
            "an expired CA is replaced in another order than one that is in use: set the clocks right first (timedatectl set-ntp true, or chronyc makestep), this machine's too",
        ))
    }
}
