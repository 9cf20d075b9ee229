//! Asks dockerd whether it would start with the planned settings, before anything changes.
//!
//! A run that changes something asks the same between staging and the first rename, without an
//! extra round trip.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;

use crate::session::Node;
use inventory::Inventory;
use node::facts::NodeFacts;
use node::validation::{Validation, refusal};
use plan::{Action, Change, ForeignValues};

/// Sets `claims.rejected` of every node whose dockerd would not start; returns false if there is
/// none.
pub async fn ask<'a>(
    inventory: &Inventory,
    changes: impl Iterator<Item = &'a Change>,
    nodes: &BTreeMap<String, Arc<Node>>,
    facts: &mut BTreeMap<String, NodeFacts>,
) -> bool {
    let mut asked: BTreeMap<&str, &Validation> = BTreeMap::new();
    for change in changes {
        if let Action::Restart(restart) = &change.action
            && let Some(validation) = &restart.validation
        {
            // Of several restarts, the last one counts.
            asked.insert(&change.host, validation);
        }
    }
    let asked = asked.into_iter().filter_map(|(name, validation)| {
        let (host, node) = (inventory.host(name)?, nodes.get(name)?);
        Some(async move {
            let script = validation.script();
            let answer = node.run(host.as_root, &script, node.deadlines.facts).await;
            Some((name.to_owned(), refusal(&answer.ok()?)?))
        })
    });
    let mut is_any = false;
    for (name, why) in join_all(asked).await.into_iter().flatten() {
        if let Some(facts) = facts.get_mut(&name) {
            // dockerd's message may quote a setting.
            let why = ForeignValues::of(facts).masked(&why);
            facts.claims.rejected = Some(node::visible(&why));
            is_any = true;
        }
    }
    is_any
}
