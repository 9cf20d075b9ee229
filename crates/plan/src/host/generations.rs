//! Where a node keeps the files that were replaced.

use node::facts::NodeFacts;

/// Where the account that logs in keeps its generations, on a node that was acted
/// on without root before.
pub const OF_LOGIN: &str = "~/.local/state/dtls-deploy/generations";

/// Whether something is kept for the account that logs in, beside what root keeps.
#[must_use]
pub fn is_kept_for_login(facts: &NodeFacts) -> bool {
    facts.uid == 0 && facts.exists(OF_LOGIN) == Ok(true)
}
