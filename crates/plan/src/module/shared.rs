//! The interface of modules, and what several of them need from a task.

use std::fmt::Debug;

use crate::playbook::Task;
use crate::{Change, Planner, Refusal};
use inventory::{Host, Inventory};
use node::facts::FactRequest;
use pki::Role;

/// Whether the task has nothing to do because this run has no new certificate in `role` for the
/// host.
pub(super) fn waits_for_leaf(planner: &Planner<'_>, host: &Host, task: &Task, role: Role) -> bool {
    task.argument("because") == Some("changes") && !planner.has_new_leaf(host, role)
}

/// Those of [`holders`] that have a certificate.
pub(super) fn leaf_holders(host: &Host, role: Role) -> Vec<&Host> {
    match role {
        Role::Daemon => holders(host, role),
        Role::Client => host.certificate_holders().collect(),
    }
}

/// The holders that a task handles in a role: the host and its identities, each as the host that it
/// sees.
pub(super) fn holders(host: &Host, role: Role) -> Vec<&Host> {
    match role {
        Role::Daemon => host.is_daemon.then_some(host).into_iter().collect(),
        Role::Client => host.client_holders().collect(),
    }
}

/// Whether the task removes what its module makes.
pub(super) fn is_absent(task: &Task) -> bool {
    task.argument("state") == Some("absent")
}

/// Seconds, if a step sets no timeout.
pub(super) const DEFAULT_TIMEOUT: u64 = 300;

pub trait Module: Sync + Debug {
    /// Requests the facts about `host`. Parameters that depend on facts are not in `task` yet.
    fn facts(&self, inventory: &Inventory, host: &Host, task: &Task, request: &mut FactRequest);

    /// The changes that `host` needs, in order. Every parameter in `task` is rendered.
    ///
    /// # Errors If the host cannot reach the wanted state; nothing is changed there.
    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal>;
}

/// The role of a task, and whether `host` has it.
pub(super) fn role_of(task: &Task, host: &Host) -> Option<Role> {
    match task.argument("role") {
        Some("client") => host.is_client.then_some(Role::Client),
        _ => host.is_daemon.then_some(Role::Daemon),
    }
}

/// Requires a path on a node to be absolute or to begin with `~/`, without `..`. Checked once
/// templates are rendered.
pub(super) fn check_absolute(parameter: &str, path: &str) -> Result<(), Refusal> {
    let is_whole = path.starts_with('/') || path.starts_with("~/");
    let is_straight = path.split('/').all(|part| part != "..");
    if is_whole && is_straight && path.len() < 4096 && !path.contains(char::is_control) {
        return Ok(());
    }
    let shown = node::visible(path);
    Err(Refusal::new(format!(
        "{parameter}: {shown} is not a path from / or ~/ without `..`"
    )))
}
