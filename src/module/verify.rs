//! `verify`: the proof, from the client it stands for.

use super::{Kind, Module, Parameter, holders};
use crate::inventory::{Host, Inventory};
use crate::node::facts::FactRequest;
use crate::pki::Role;
use crate::plan::{Change, Planner, Refusal, leaf_location};
use crate::playbook::{Playbook, Step, Task};

#[derive(Debug)]
pub struct Verify;

const AFTER: Parameter = Parameter {
    name: "after",
    kind: Kind::Choice(&["rollback", "remove"]),
    required: false,
    summary: "what the play before it did: hosts are then measured by their own files, in place of the inventory",
};

/// What a playbook does that leaves hosts otherwise than the inventory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Rollback,
    Remove,
}

/// What the proof of a playbook comes after, where it measures hosts by their own files.
#[must_use]
pub fn after(playbook: &Playbook) -> Option<After> {
    let steps = playbook.plays.iter().flat_map(|play| &play.steps);
    let mut proofs = steps.flat_map(Step::tasks);
    proofs.find_map(|task| match task.argument(AFTER.name) {
        Some("rollback") if task.module.is_proof() => Some(After::Rollback),
        Some("remove") if task.module.is_proof() => Some(After::Remove),
        _ => None,
    })
}

impl Module for Verify {
    fn name(&self) -> &'static str {
        "verify"
    }

    fn summary(&self) -> &'static str {
        "who holds a certificate reaches every daemon, and nobody else does"
    }

    fn is_proof(&self) -> bool {
        true
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[AFTER]
    }

    fn facts(&self, _: &Inventory, host: &Host, _: &Task, request: &mut FactRequest) {
        for role in [Role::Client, Role::Daemon] {
            for holder in holders(host, role) {
                let (directory, files) = leaf_location(holder, role);
                for name in [&files.ca, &files.cert] {
                    request.bundles.insert(format!("{directory}/{name}"));
                }
                request.accounts.extend(holder.owner().map(str::to_owned));
            }
        }
    }

    fn plan(&self, _: &mut Planner<'_>, _: &Host, _: &Task) -> Result<Vec<Change>, Refusal> {
        Ok(Vec::new())
    }
}
