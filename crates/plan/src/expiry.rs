//! Whether the CA has expired by all known clocks.
//!
//! An expired CA is replaced in another order of steps, which would lock out nodes by whose clock
//! it has not expired.

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime};

use super::leaves_of;
use inventory::Inventory;
use node::facts::NodeFacts;
use pki::Certificate;

/// Expired here, on the CA's node, and on every host that verifies a certificate.
pub(super) fn has_expired(
    authority: &Certificate,
    inventory: &Inventory,
    facts: &BTreeMap<String, NodeFacts>,
    now: OffsetDateTime,
) -> bool {
    authority.not_after() <= now && alive(authority, inventory, facts, now).is_empty()
}

pub(super) fn is_past(authority: &Certificate, now: OffsetDateTime, facts: &NodeFacts) -> bool {
    authority.not_after() <= now + Duration::seconds(facts.skew)
}

/// Nodes by whose clock it has not expired, and the difference to this machine's clock.
pub(super) fn alive(
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
