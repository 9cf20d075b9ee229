//! Playbooks: what the tool does, in which order, on which hosts.
//!
//! Comes in: YAML in Ansible's words, embedded or the operator's own. Goes
//! out: a [`Playbook`], every task resolved to its module and its arguments
//! checked. Called once at the start of a run.

mod parse;

use crate::inventory::{Host, Inventory};
use crate::module::Module;

pub use parse::parse;

/// The playbooks that ship with the tool, by name.
pub const SHIPPED: &[(&str, &str)] = &[
    ("deploy", include_str!("../../playbooks/deploy.yaml")),
    ("verify", include_str!("../../playbooks/verify.yaml")),
];

#[derive(Debug)]
pub struct Playbook {
    /// File name, or the name of a shipped one.
    pub name: String,
    pub plays: Vec<Play>,
}

#[derive(Debug)]
pub struct Play {
    pub name: String,
    /// Group or host names; the play runs on their union.
    pub patterns: Vec<String>,
    /// Root is needed; a host's own `ansible_become` wins.
    pub r#become: Option<bool>,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub enum Step {
    Task(Task),
    /// Tasks that succeed together or are undone together on a node.
    Transaction {
        name: String,
        tasks: Vec<Task>,
    },
}

#[derive(Debug)]
pub struct Task {
    pub name: String,
    pub module: &'static dyn Module,
    pub arguments: Vec<(String, String)>,
}

impl Play {
    /// The hosts it runs on, in the inventory's order.
    #[must_use]
    pub fn hosts<'a>(&self, inventory: &'a Inventory) -> Vec<&'a Host> {
        inventory
            .hosts
            .iter()
            .filter(|host| self.includes(host))
            .collect()
    }

    #[must_use]
    pub fn includes(&self, host: &Host) -> bool {
        self.patterns.iter().any(|pattern| {
            pattern == "all" || *pattern == host.name || host.groups.contains(pattern)
        })
    }

    /// Whether `host` acts as root in this play.
    #[must_use]
    pub fn is_privileged(&self, host: &Host) -> bool {
        host.connection.r#become.or(self.r#become).unwrap_or(false)
    }
}

impl Step {
    #[must_use]
    pub fn tasks(&self) -> &[Task] {
        match self {
            Self::Task(task) => std::slice::from_ref(task),
            Self::Transaction { tasks, .. } => tasks,
        }
    }
}

impl Task {
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<&str> {
        self.arguments
            .iter()
            .find(|(argument, _)| argument == name)
            .map(|(_, value)| value.as_str())
    }
}
