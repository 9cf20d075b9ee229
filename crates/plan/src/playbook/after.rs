//! Playbooks after which verification cannot rely on the inventory.

use super::{Playbook, Step};

/// What a playbook does that leaves hosts different from the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Rollback,
    Remove,
}

/// The reason for which verification uses the hosts' own files, if there is one.
#[must_use]
pub fn after(playbook: &Playbook) -> Option<After> {
    let steps = playbook.plays.iter().flat_map(|play| &play.steps);
    let mut proofs = steps.flat_map(Step::tasks);
    proofs.find_map(|task| match task.argument("after") {
        Some("rollback") if task.module.is_proof => Some(After::Rollback),
        Some("remove") if task.module.is_proof => Some(After::Remove),
        _ => None,
    })
}
