//! Playbooks: what dtls-deploy does, in which order, on which hosts.

mod after;
mod argument;
mod list;
mod options;
mod parse;
mod select;
mod spec;
mod template;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use inventory::{BatchSize, Host, Inventory};

use crate::host::guard::Program;
pub use after::{After, after};
pub use argument::Argument;
pub use list::{hosts_text, tasks_text};
pub use options::{Allowed, Renewals};
pub use parse::{parse, parse_for};
pub use select::{Filter, FilterError, names_of, select};
pub use spec::{Kind, MODULES, Parameter, Spec, Word};
pub use template::{Expression, FACTS, Scope, Template, TemplateError, scope};

/// The playbooks that ship with the tool, by name.
pub const SHIPPED: &[(&str, &str)] = &[
    ("deploy", include_str!("../../../../playbooks/deploy.yaml")),
    ("rotate", include_str!("../../../../playbooks/rotate.yaml")),
    ("verify", include_str!("../../../../playbooks/verify.yaml")),
    (
        "rollback",
        include_str!("../../../../playbooks/rollback.yaml"),
    ),
    ("remove", include_str!("../../../../playbooks/remove.yaml")),
    (
        "rotate-ca",
        include_str!("../../../../playbooks/rotate-ca.yaml"),
    ),
];

#[derive(Debug)]
pub struct Playbook {
    /// The file name, or the name of a shipped playbook.
    pub name: String,
    pub plays: Vec<Play>,
    /// The hosts that `--limit` selects; none: all of them.
    pub limit: Option<Arc<BTreeSet<String>>>,
    /// How certificates are renewed by age.
    pub renewals: Renewals,
    /// Daemons are restarted only within their maintenance windows.
    pub keeps_windows: bool,
    /// What the command line allows by name.
    pub allowed: Allowed,
    /// The runs that this controller has journals of, with the hosts that each changed, without
    /// runs that undo others: a node's claim about the last run is not trusted.
    pub own_runs: BTreeMap<String, BTreeSet<String>>,
    /// The last of them that changed something, if none that undoes others came later.
    pub last_run: Option<LastRun>,
    /// The guard binary, if a daemon of the inventory requests it.
    pub guard: Option<Program>,
    /// The playbook that this one is a part of: what else that one would change is reported but not
    /// done.
    pub whole: Option<Box<Playbook>>,
}

/// A run, according to its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    pub run: String,
    /// As in its journal.
    pub command: String,
    /// The hosts that it changed.
    pub hosts: BTreeSet<String>,
}

#[derive(Debug)]
pub struct Play {
    pub name: String,
    /// Group or host names; the play runs on their union.
    pub patterns: Vec<String>,
    /// The operator's own steps in it run as root; a host's own `ansible_become` takes precedence.
    pub r#become: Option<bool>,
    /// Sizes of the batches, if the play sets them.
    pub serial: Option<Vec<BatchSize>>,
    /// Percentage of a batch that may fail, if the play sets it.
    pub max_fail_percentage: Option<u8>,
    pub steps: Vec<Step>,
    /// As [`Playbook::limit`].
    pub limit: Option<Arc<BTreeSet<String>>>,
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

#[derive(Debug, Clone)]
pub struct Task {
    pub name: String,
    pub module: &'static Spec,
    pub arguments: Vec<(String, Argument)>,
    /// All of them must hold: the task's, its transaction's and its play's.
    pub when: Vec<Expression>,
    /// The task's, its transaction's and its play's.
    pub tags: BTreeSet<String>,
}

impl Playbook {
    /// Every tag of its tasks.
    #[must_use]
    pub fn tags(&self) -> BTreeSet<String> {
        let steps = self.plays.iter().flat_map(|play| &play.steps);
        let tasks = steps.flat_map(Step::tasks);
        tasks.flat_map(|task| task.tags.iter().cloned()).collect()
    }

    /// Whether it has certificates issued.
    #[must_use]
    pub fn issues(&self) -> bool {
        self.has(Word::Certificate)
    }

    /// Whether it creates a CA if there is none.
    #[must_use]
    pub fn creates_authority(&self) -> bool {
        self.has(Word::Ca)
    }

    /// Whether it undoes a run.
    #[must_use]
    pub fn goes_back(&self) -> bool {
        self.has(Word::Rollback)
    }

    /// Whether it changes hosts, and leaves to another playbook which clients a daemon accepts.
    #[must_use]
    pub fn leaves_modes(&self) -> bool {
        self.has(Word::Certificate) && !self.has(Word::DaemonJson)
    }

    fn has(&self, word: Word) -> bool {
        let steps = self.plays.iter().flat_map(|play| &play.steps);
        steps
            .flat_map(Step::tasks)
            .any(|task| task.module.word == word)
    }

    /// Whether it is read-only in every case: all of its tasks are verifications.
    #[must_use]
    pub fn only_proves(&self) -> bool {
        let steps = self.plays.iter().flat_map(|play| &play.steps);
        steps.flat_map(Step::tasks).all(|task| task.module.is_proof)
    }

    /// The same playbook, with what `deploy` would do in addition.
    #[must_use]
    pub fn as_part_of(mut self, mut deploy: Self, renewals: Renewals) -> Self {
        deploy.renewals = Renewals::Left;
        self.renewals = renewals;
        self.whole = Some(Box::new(deploy));
        self
    }

    /// Sets a parameter for every task of a module, replacing its own.
    pub fn give(&mut self, module: Word, parameter: &str, value: &Argument) {
        for play in &mut self.plays {
            for step in &mut play.steps {
                for task in step.tasks_mut() {
                    if task.module.word == module {
                        task.arguments.retain(|(name, _)| name != parameter);
                        task.arguments.push((parameter.to_owned(), value.clone()));
                    }
                }
            }
        }
    }

    /// The inventory with only the hosts that `--limit` selects: the subject of verification.
    #[must_use]
    pub fn limited<'a>(&self, inventory: &'a Inventory) -> Cow<'a, Inventory> {
        match &self.limit {
            None => Cow::Borrowed(inventory),
            Some(limit) => {
                let mut limited = inventory.clone();
                limited.hosts.retain(|host| limit.contains(&host.name));
                Cow::Owned(limited)
            }
        }
    }
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
        let named = self.patterns.iter().any(|pattern| {
            pattern == "all" || *pattern == host.name || host.groups.contains(pattern)
        });
        named && (self.is_within_limit(host) || self.tasks(host).next().is_some())
    }

    /// Its tasks on `host`, including those in transactions.
    pub fn tasks<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a Task> {
        self.steps
            .iter()
            .flat_map(Step::tasks)
            .filter(|task| self.runs(task, host))
    }

    /// Whether a task of this play runs on one of its hosts. The CA is shared, so its tasks run
    /// even if `--limit` excludes its node.
    #[must_use]
    pub fn runs(&self, task: &Task, host: &Host) -> bool {
        self.is_within_limit(host) || (host.is_ca && task.module.is_shared)
    }

    fn is_within_limit(&self, host: &Host) -> bool {
        self.limit
            .as_ref()
            .is_none_or(|limit| limit.contains(&host.name))
    }

    /// Whether the operator's own steps run as root on `host`; everything else follows
    /// [`Host::as_root`].
    #[must_use]
    pub fn own_steps_as_root(&self, host: &Host) -> bool {
        let asked = host.connection.r#become.or(self.r#become);
        asked.unwrap_or_else(|| host.acts_for_others())
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

impl Step {
    fn tasks_mut(&mut self) -> &mut [Task] {
        match self {
            Self::Task(task) => std::slice::from_mut(task),
            Self::Transaction { tasks, .. } => tasks,
        }
    }
}

impl Task {
    /// A parameter that is one text.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<&str> {
        match self.find(name)? {
            Argument::Text(template) => Some(template.text()),
            Argument::List(_) | Argument::Integer(_) => None,
        }
    }

    /// A parameter that is a list of texts; empty when it is not given.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.find(name) {
            Some(Argument::List(items)) => {
                items.iter().map(|item| item.text().to_owned()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A parameter that is a number.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<u64> {
        match self.find(name)? {
            Argument::Integer(number) => Some(*number),
            Argument::Text(_) | Argument::List(_) => None,
        }
    }

    fn find(&self, name: &str) -> Option<&Argument> {
        self.arguments
            .iter()
            .find(|(argument, _)| argument == name)
            .map(|(_, value)| value)
    }

    /// Nothing in it depends on the host.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.when.is_empty() && self.arguments.iter().all(|(_, value)| value.is_fixed())
    }

    pub fn applies(&self, scope: &Scope) -> Result<bool, TemplateError> {
        for condition in &self.when {
            if !condition.holds(scope)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The task with its templates rendered; the results are data, including any braces.
    pub fn rendered(&self, scope: &Scope) -> Result<Self, TemplateError> {
        let mut task = self.clone();
        for (_, argument) in &mut task.arguments {
            *argument = argument.rendered(scope)?;
        }
        Ok(task)
    }

    /// The task as far as the inventory alone determines it, to find the facts it needs: what
    /// depends on facts is left out.
    #[must_use]
    pub(crate) fn as_far_as_known(&self, host: &Host) -> Cow<'_, Self> {
        if self.is_fixed() {
            return Cow::Borrowed(self);
        }
        let scope = scope(host, None);
        let mut task = self.clone();
        task.arguments = self
            .arguments
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.rendered(&scope).ok()?)))
            .collect();
        Cow::Owned(task)
    }
}
