//! Maintenance windows of a scheduled rollover.
//!
//! What depends on a postponed restart waits too, because the nodes show that the daemon has not
//! reached that step.

use super::{Batch, Plan, Planner};
use crate::Action;
use inventory::Host;
use pki::Role;

/// Removes what must wait, and notes it.
pub fn keep(planner: &mut Planner<'_>, plan: &mut Plan) {
    let closed = |host: &&Host| {
        let window = host.settings.maintenance_window.as_ref();
        window.is_some_and(|window| !window.is_open(planner.now))
    };
    let inventory = planner.inventory;
    let hosts: Vec<&Host> = inventory.daemons().filter(closed).collect();
    for host in hosts {
        let restarts = plan
            .changes()
            .any(|change| change.host == host.name && matches!(change.action, Action::Restart(_)));
        if !restarts {
            continue;
        }
        for play in &mut plan.plays {
            for planned in play.hosts.iter_mut().filter(|one| one.host == host.name) {
                planned.batches.retain(|batch| !is_daemons(batch));
            }
            play.hosts.retain(|planned| !planned.batches.is_empty());
        }
        if let Some(window) = &host.settings.maintenance_window {
            let opens = window.opens_next(planner.now).unwrap_or_default();
            let text = format!(
                "CA rollover: its daemon waits for the maintenance window {window}, which opens on {opens}; dtls-deploy rotate --ca INVENTORY does not wait"
            );
            planner.note(host, text);
        }
    }
}

/// Whether a batch is for the daemon, as opposed to a client on the same host.
fn is_daemons(batch: &Batch) -> bool {
    batch.changes.iter().any(|change| match &change.action {
        Action::Restart(_) => true,
        Action::Issue(request) => request.role == Role::Daemon,
        Action::Fetch { role, .. } => *role == Role::Daemon,
        _ => false,
    })
}
