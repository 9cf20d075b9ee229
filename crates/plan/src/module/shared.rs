//! What a module is, and what several of them ask of a task.

use std::fmt::Debug;

use crate::playbook::Task;
use crate::{Change, Planner, Refusal};
use inventory::{Host, Inventory};
use node::facts::FactRequest;
use pki::Role;

/// Whether the task has nothing to do, as this run has no new certificate in
/// `role` for the host.
pub(super) fn waits_for_leaf(planner: &Planner<'_>, host: &Host, task: &Task, role: Role) -> bool {
    task.argument("because") == Some("changes") && !planner.has_new_leaf(host, role)
}

/// Those of [`holders`] who have a certificate.
pub(super) fn leaf_holders(host: &Host, role: Role) -> Vec<&Host> {
    match role {
        Role::Daemon => holders(host, role),
        Role::Client => host.certificate_holders().collect(),
    }
}

/// Whose files in a role a task deals with: the host's own, and those of its
/// identities, each as the host that it sees.
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

/// Seconds, where a step says nothing of its own.
pub(super) const DEFAULT_TIMEOUT: u64 = 300;

pub trait Module: Sync + Debug {
    /// Adds what it has to know about `host`. Parameters that depend on facts
    /// are not in `task` yet.
    fn facts(&self, inventory: &Inventory, host: &Host, task: &Task, request: &mut FactRequest);

    /// The changes that are needed on `host`, in their order. Every parameter
    /// in `task` is rendered.
    ///
    /// # Errors
    /// When the host cannot be brought to its state; nothing is changed there.
    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal>;
}

/// The role that a task is about, and whether `host` has it.
pub(super) fn role_of(task: &Task, host: &Host) -> Option<Role> {
    match task.argument("role") {
        Some("client") => host.is_client.then_some(Role::Client),
        _ => host.is_daemon.then_some(Role::Daemon),
    }
}

/// A path on a node is a whole one, or begins at home, and leads straight
/// there. Checked once templates are rendered.
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
