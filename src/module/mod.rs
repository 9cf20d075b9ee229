//! Modules: what a task in a playbook can do.
//!
//! A module says which facts it needs of a host and which changes make the
//! host as the inventory wants it; executing them is apply's business. A new
//! module is one file here and one line in [`MODULES`].

mod ca;
mod certificate;
mod client;
mod daemon_json;
mod docker_context;
mod push;
mod restart;
mod systemd_override;
mod verify;

use std::fmt::Debug;

use crate::inventory::{Host, Inventory};
use crate::node::facts::FactRequest;
use crate::pki::Role;
use crate::plan::{Change, Planner, Refusal};
use crate::playbook::Task;

/// Every module there is.
pub const MODULES: &[&dyn Module] = &[
    &ca::Ca,
    &certificate::Certificate,
    &client::Client,
    &daemon_json::DaemonJson,
    &docker_context::DockerContext,
    &push::Push,
    &restart::Restart,
    &systemd_override::SystemdOverride,
    &verify::Verify,
];

/// A parameter of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    pub name: &'static str,
    /// The values it may have.
    pub values: &'static [&'static str],
    pub required: bool,
    pub summary: &'static str,
}

/// The parameter of the modules that deal with a leaf.
pub const ROLE: Parameter = Parameter {
    name: "role",
    values: &["daemon", "client"],
    required: true,
    summary: "whether the certificate is the daemon's or a client's",
};

pub trait Module: Sync + Debug {
    /// The word for it in a playbook.
    fn name(&self) -> &'static str;

    /// One line for the reference.
    fn summary(&self) -> &'static str;

    fn parameters(&self) -> &'static [Parameter] {
        &[]
    }

    /// What it does can be undone on the node, so that it may stand in a
    /// `transaction:`.
    fn is_reversible(&self) -> bool {
        false
    }

    /// It changes nothing and proves something, after all changes.
    fn is_proof(&self) -> bool {
        false
    }

    /// Adds what it has to know about `host`.
    fn facts(&self, inventory: &Inventory, host: &Host, task: &Task, request: &mut FactRequest);

    /// The changes that are needed on `host`, in their order.
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

/// The module a playbook names.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Module> {
    MODULES.iter().copied().find(|module| module.name() == name)
}

/// The role that a task is about, and whether `host` has it.
fn role_of(task: &Task, host: &Host) -> Option<Role> {
    match task.argument("role") {
        Some("client") => host.is_client.then_some(Role::Client),
        _ => host.is_daemon.then_some(Role::Daemon),
    }
}
