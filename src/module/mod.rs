//! Modules: what a task in a playbook can do.
//!
//! A module says which facts it needs of a host and which changes make the
//! host as the inventory wants it; executing them is apply's business. A new
//! module is one file here and one line in [`MODULES`].

mod ca;
mod ca_rollover;
mod certificate;
pub(crate) mod client;
mod command;
pub(crate) mod daemon_json;
pub(crate) mod docker_context;
pub(crate) mod forget;
mod former_drop_in;
mod identity;
pub(crate) mod init_script;
pub(crate) mod launch;
mod live_restore;
mod loaded_unit;
mod push;
pub mod restart;
mod rollback;
mod service;
pub(crate) mod socket_override;
pub(crate) mod systemd_override;
pub(crate) mod verify;
mod wait_for;

use std::fmt::Debug;

use crate::inventory::{Host, Inventory};
use crate::node::facts::FactRequest;
use crate::pki::Role;
use crate::plan::{Change, Planner, Refusal};
use crate::playbook::Task;

/// Every module there is.
pub const MODULES: &[&dyn Module] = &[
    &ca::Ca,
    &ca_rollover::CaRollover,
    &certificate::Certificate,
    &client::Client,
    &command::Command,
    &daemon_json::DaemonJson,
    &docker_context::DockerContext,
    &forget::Forget,
    &live_restore::LiveRestore,
    &push::Push,
    &restart::Restart,
    &rollback::Rollback,
    &service::Service,
    &systemd_override::SystemdOverride,
    &verify::Verify,
    &wait_for::WaitFor,
];

/// A parameter of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    pub summary: &'static str,
}

/// What a parameter may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One of these words; no template.
    Choice(&'static [&'static str]),
    /// A text; may be a template.
    Text,
    /// A list of at least one text; each may be a template.
    TextList,
    /// A whole number within these bounds.
    Integer {
        unit: &'static str,
        least: u64,
        most: u64,
    },
}

impl Kind {
    /// For messages and the reference.
    #[must_use]
    pub fn described(self) -> String {
        match self {
            Self::Choice(values) => format!("one of: {}", values.join(", ")),
            Self::Text => "a text".to_owned(),
            Self::TextList => "a list of texts".to_owned(),
            Self::Integer {
                unit: "",
                least,
                most,
            } => {
                format!("a number from {least} to {most}")
            }
            Self::Integer { unit, least, most } => format!("{unit}, from {least} to {most}"),
        }
    }
}

/// The parameter of the modules that deal with a leaf.
pub const ROLE: Parameter = Parameter {
    name: "role",
    kind: Kind::Choice(&["daemon", "client"]),
    required: true,
    summary: "whether the certificate is the daemon's or a client's",
};

/// The parameter of the modules that can also take away what they make.
const STATE: Parameter = Parameter {
    name: "state",
    kind: Kind::Choice(&["present", "absent"]),
    required: false,
    summary: "absent: what the module makes is removed, everything else kept; present when not set",
};

/// The parameter of the modules that deliver a leaf.
const BECAUSE: Parameter = Parameter {
    name: "because",
    kind: Kind::Choice(&["anything", "changes"]),
    required: false,
    summary: "changes: only when this run has a new certificate for the host; anything, which is what counts when not set: also when files differ",
};

/// Whether the task has nothing to do, as this run has no new certificate in
/// `role` for the host.
fn waits_for_leaf(planner: &Planner<'_>, host: &Host, task: &Task, role: Role) -> bool {
    task.argument("because") == Some("changes") && !planner.has_new_leaf(host, role)
}

/// Those of [`holders`] who have a certificate.
fn leaf_holders(host: &Host, role: Role) -> Vec<&Host> {
    match role {
        Role::Daemon => holders(host, role),
        Role::Client => host.certificate_holders().collect(),
    }
}

/// Whose files in a role a task deals with: the host's own, and those of its
/// identities, each as the host that it sees.
fn holders(host: &Host, role: Role) -> Vec<&Host> {
    match role {
        Role::Daemon => host.is_daemon.then_some(host).into_iter().collect(),
        Role::Client => host.client_holders().collect(),
    }
}

/// Whether the task takes away what its module makes.
fn is_absent(task: &Task) -> bool {
    task.argument("state") == Some("absent")
}

/// How long a step of the operator's own may take.
const fn timeout(summary: &'static str) -> Parameter {
    Parameter {
        name: "timeout",
        kind: Kind::Integer {
            unit: "seconds",
            least: 1,
            most: 86_400,
        },
        required: false,
        summary,
    }
}

/// Seconds, where a step says nothing of its own.
const DEFAULT_TIMEOUT: u64 = 300;

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

    /// It starts a program of the operator's own.
    fn runs_programs(&self) -> bool {
        false
    }

    /// It changes nothing and proves something, after all changes.
    fn is_proof(&self) -> bool {
        false
    }

    /// What it does is for every host, so that it is done also when `--limit`
    /// leaves its own host out.
    fn is_shared(&self) -> bool {
        false
    }

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

/// A path on a node is a whole one, or begins at home, and leads straight
/// there. Checked once templates are rendered.
fn check_absolute(parameter: &str, path: &str) -> Result<(), Refusal> {
    let is_whole = path.starts_with('/') || path.starts_with("~/");
    let is_straight = path.split('/').all(|part| part != "..");
    if is_whole && is_straight && path.len() < 4096 && !path.contains(char::is_control) {
        return Ok(());
    }
    let shown = crate::node::visible(path);
    Err(Refusal::new(format!(
        "{parameter}: {shown} is not a path from / or ~/ without `..`"
    )))
}
