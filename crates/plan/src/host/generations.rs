//! Where a node keeps the files that were replaced.

use node::facts::NodeFacts;

/// The generations of the login account, on a node that was managed without root before.
pub const OF_LOGIN: &str = "~/.local/state/dtls-deploy/generations";

/// Whether the login account keeps generations besides root's.
#[must_use]
pub fn is_kept_for_login(facts: &NodeFacts) -> bool {
    facts.uid == 0 && facts.exists(OF_LOGIN) == Ok(true)
}
