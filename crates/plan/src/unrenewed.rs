//! Certificates that `rotate --force` renews.
//!
//! The CA's ledger lists them before they are issued, and those that cannot be issued because their
//! host does not answer or was refused: if the run dies, the next one renews them whatever its
//! options are.

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
            let planned = planned(plan, &holder.holder(), role);
            let is_issued = matches!(planned, Some(Action::Issue(_)));
            if !(is_left && planned.is_none() || is_issued)
                || !asks_for(playbook, host, role)
                || ledger.current(&holder.holder(), role).is_none()
            {
                continue;
            }
            if ledger.renewal_asked(&holder.holder(), role).is_none() {
                plan.unrenewed.push(LeafName {
                    host: holder.holder(),
                    role,
                });
            }
            if is_issued {
                continue;
            }
            let text = format!(
                "{} cannot be renewed now: this run records that, and the next deploy or rotate renews it, with or without --force",
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

/// The change that makes or fetches this certificate.
fn planned<'a>(plan: &'a Plan, holder: &str, role: Role) -> Option<&'a Action> {
    let mut actions = plan.changes().map(|change| &change.action);
    actions.find(|action| match action {
        Action::Issue(leaf) => leaf.host == holder && leaf.role == role,
        Action::Fetch {
            holder: of,
            role: as_role,
            ..
        } => of == holder && *as_role == role,
        _ => false,
    })
}
