//! Certificates that `rotate --force` should renew but cannot, because their host does not answer
//! or was refused.
//!
//! The CA's ledger lists them, so that the next run renews them whatever its options are.

use super::{Action, Plan, Planner, leaves_of};
use crate::playbook::{Playbook, Renewals, Word};
use inventory::Host;
use pki::{LeafName, Role};

impl Planner<'_> {
    /// Finds them, and notes them.
    pub(super) fn remember_unrenewed(&mut self, plan: &mut Plan, playbook: &Playbook) {
        if playbook.renewals != Renewals::Forced
            || self.authority.problem.is_some()
            || self.authority.certificate.is_none()
        {
            return;
        }
        for (holder, role) in leaves_of(self.inventory) {
            let Some(host) = self.inventory.host(&holder.name) else {
                continue;
            };
            let is_left = !self.facts.contains_key(&host.name)
                || plan.problems.iter().any(|one| one.host == host.name);
            let ledger = &self.authority.ledger;
            if !is_left
                || !asks_for(playbook, host, role)
                || ledger.current(&holder.holder(), role).is_none()
                || is_issued(plan, &holder.holder(), role)
            {
                continue;
            }
            if ledger.renewal_asked(&holder.holder(), role).is_none() {
                plan.unrenewed.push(LeafName {
                    host: holder.holder(),
                    role,
                });
            }
            let text = format!(
                "{} cannot be renewed now: the next deploy or rotate renews it, with or without --force",
                holder.certificate_of(role)
            );
            self.note(host, text);
        }
    }
}

/// Whether the playbook renews this certificate.
fn asks_for(playbook: &Playbook, host: &Host, role: Role) -> bool {
    let mut plays = playbook.plays.iter().filter(|play| play.includes(host));
    plays.any(|play| {
        play.tasks(host).any(|task| {
            let of = task.argument("role");
            task.module.word == Word::Certificate && of.is_none_or(|of| of == role.to_string())
        })
    })
}

fn is_issued(plan: &Plan, holder: &str, role: Role) -> bool {
    plan.changes().any(|change| match &change.action {
        Action::Issue(leaf) => leaf.host == holder && leaf.role == role,
        Action::Fetch {
            holder: of,
            role: as_role,
            ..
        } => of == holder && *as_role == role,
        _ => false,
    })
}
