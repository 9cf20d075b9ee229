//! `certificate`: a leaf for the host, issued on the CA node if the present one is not good enough.

use std::collections::BTreeMap;

use super::shared::{Module, leaf_holders, role_of};
use crate::playbook::Task;
use crate::{Action, Change, LeafDecision, Planner, Refusal, request_leaf, revoked};
use inventory::{Host, Inventory, host_of, identity_of};
use node::facts::FactRequest;
use pki::{Entry, Role};

#[derive(Debug)]
pub struct Certificate;

impl Module for Certificate {
    fn facts(&self, _: &Inventory, host: &Host, task: &Task, request: &mut FactRequest) {
        if let Some(role) = role_of(task, host) {
            for holder in leaf_holders(host, role) {
                request_leaf(holder, role, request);
            }
        }
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        let Some(role) = role_of(task, host) else {
            return Ok(Vec::new());
        };
        let mut changes = Vec::new();
        for holder in leaf_holders(host, role) {
            changes.extend(plan_one(planner, holder, role, task)?);
        }
        if role == Role::Client {
            note_undeclared(planner, host);
        }
        Ok(changes)
    }
}

/// The certificate of one holder.
fn plan_one(
    planner: &mut Planner<'_>,
    holder: &Host,
    role: Role,
    task: &Task,
) -> Result<Option<Change>, Refusal> {
    let decision = if task.argument("because") == Some("age") {
        planner.decide_renewal(holder, role)?
    } else {
        Some(planner.decide_leaf(holder, role)?)
    };
    let (reasons, action) = match decision {
        None | Some(LeafDecision::Keep { .. }) => return Ok(None),
        Some(LeafDecision::Fetch {
            reasons,
            certificate,
        }) => (
            reasons,
            Action::Fetch {
                holder: holder.holder(),
                role,
                sans: certificate.sans().clone(),
            },
        ),
        Some(LeafDecision::Issue { reasons, request }) => (reasons, Action::Issue(*request)),
    };
    Ok(Some(Change {
        host: holder.name.clone(),
        task: task.name.clone(),
        subject: format!("{role} certificate for {}", holder.holder()),
        reasons,
        diff: None,
        action,
    }))
}

/// Notes identities that are no longer in the inventory but whose certificates are still valid:
/// only the operator knows where these are.
fn note_undeclared(planner: &mut Planner<'_>, host: &Host) {
    let of_host = |entry: &&Entry| {
        identity_of(&entry.host).is_some()
            && host_of(&entry.host) == host.name
            && planner.inventory.holder(&entry.host).is_none()
    };
    let mut until = BTreeMap::new();
    let entries = planner.authority.ledger.entries().iter();
    for entry in entries
        .filter(of_host)
        .filter(|entry| !entry.superseded && entry.not_after > planner.now)
        // Daemons reject leaves of a CA that is not valid now.
        .filter(|entry| revoked::is_of_present(&planner.authority, entry))
    {
        let end = until.entry(entry.host.clone()).or_insert(entry.not_after);
        *end = entry.not_after.max(*end);
    }
    for (holder, end) in until {
        let name = identity_of(&holder).unwrap_or_default();
        planner.note(
            host,
            format!(
                "{holder} is not in dtls_identities any more, and its certificate is good until {}: to take its files away, declare {name} again with its dir and `absent: true`, and leave that until then",
                end.date()
            ),
        );
    }
}
