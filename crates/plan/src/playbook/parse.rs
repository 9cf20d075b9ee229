//! Parses YAML text into a [`Playbook`], or reports everything that is wrong with it.
//!
//! Uses the same YAML tree as the inventory, so that each error has its line, its column and the
//! nearest valid word.

mod arguments;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use inventory::Inventory;
use inventory::names::nearest;

use inventory::yaml;
use inventory::yaml::node::{Entry, Node, Value};
use inventory::yaml::problem::Problem;
use inventory::yaml::problems::Problems;
use inventory::yaml::scalar::Meaning;
use inventory::yaml::source::{Span, quoted};

use super::select::names_of;
use super::spec::find;
use super::{Allowed, Expression, MODULES, Play, Playbook, Renewals, Spec, Step, Task};

const PLAY_WORDS: [&str; 8] = [
    "name",
    "hosts",
    "become",
    "serial",
    "max_fail_percentage",
    "when",
    "tags",
    "tasks",
];
const TASK_WORDS: [&str; 4] = ["name", "when", "tags", "transaction"];

/// Reads a playbook without an inventory: whether its `hosts` exist is not
/// checked.
///
/// # Errors
/// All that is wrong with it, at once.
pub fn parse(name: &str, text: &str) -> Result<Playbook, Vec<Problem>> {
    read(name, text, None)
}

/// Reads a playbook for the hosts of an inventory.
///
/// # Errors
/// All that is wrong with it, at once.
pub fn parse_for(name: &str, text: &str, inventory: &Inventory) -> Result<Playbook, Vec<Problem>> {
    read(name, text, Some(&names_of(inventory)))
}

fn read(
    name: &str,
    text: &str,
    known: Option<&BTreeSet<String>>,
) -> Result<Playbook, Vec<Problem>> {
    let mut problems = Problems::default();
    let source = problems.sources.add(name, text.to_owned());
    let root = yaml::parse(source, text, &mut problems);
    if let Some(root) = &root {
        if root.is_list_of_plays() {
            // Parts of it may be shown: it is not an arbitrary file.
            problems.sources.recognize(source);
        } else if is_inventory(root) {
            problems.shape_error(
                root.span,
                "this is an inventory, not a playbook",
                Some("a run has one inventory: name only one, or a playbook after it".to_owned()),
            );
        } else {
            let message = format!(
                "a playbook is a list of plays, and a play is a mapping with hosts and tasks; this is {}",
                root.kind()
            );
            problems.shape_error(root.span, message, None);
        }
    }
    let mut reader = Reader {
        problems: &mut problems,
        known,
    };
    let plays = match &root {
        Some(node) => reader.plays(node),
        None => Vec::new(),
    };
    if root.is_none() && !problems.has_errors() {
        problems.file_error(name, "the playbook is empty", None);
    }
    if problems.has_errors() {
        return Err(problems.finish());
    }
    Ok(Playbook {
        renewals: Renewals::default(),
        keeps_windows: false,
        allowed: Allowed::default(),
        own_runs: BTreeMap::new(),
        last_run: None,
        guard: None,
        whole: None,
        name: name.to_owned(),
        plays,
        limit: None,
    })
}

/// Whether the file is an inventory, which belongs before the playbook.
fn is_inventory(root: &Node) -> bool {
    let Value::Mapping(entries) = &root.value else {
        return false;
    };
    let groups = ["all", "ca", "daemons", "clients"];
    entries
        .iter()
        .any(|entry| groups.contains(&entry.key.text.as_str()))
}

struct Reader<'a> {
    problems: &'a mut Problems,
    /// Groups and hosts of the inventory.
    known: Option<&'a BTreeSet<String>>,
}

/// What tasks inherit from their play or transaction.
#[derive(Debug, Clone, Default)]
struct Inherited {
    when: Vec<Expression>,
    tags: BTreeSet<String>,
}

impl Reader<'_> {
    fn plays(&mut self, node: &Node) -> Vec<Play> {
        let Value::Sequence(items) = &node.value else {
            self.wrong(node, "a playbook is a list of plays");
            return Vec::new();
        };
        items.iter().filter_map(|item| self.play(item)).collect()
    }

    fn play(&mut self, node: &Node) -> Option<Play> {
        let Value::Mapping(entries) = &node.value else {
            self.wrong(node, "a play is a mapping with hosts and tasks");
            return None;
        };
        let mut play = Play {
            name: String::new(),
            patterns: Vec::new(),
            r#become: None,
            serial: None,
            max_fail_percentage: None,
            steps: Vec::new(),
            limit: None,
        };
        let inherited = self.inherited(&Inherited::default(), entries);
        for entry in entries.iter() {
            match entry.key.text.as_str() {
                "name" => play.name = self.text(&entry.node).unwrap_or_default(),
                "hosts" => play.patterns = self.patterns(&entry.node),
                "become" => play.r#become = self.boolean(&entry.node),
                "tasks" => play.steps = self.steps(&entry.node, &inherited),
                "when" | "tags" => {}
                "serial" => play.serial = self.serial(&entry.node),
                "max_fail_percentage" => play.max_fail_percentage = self.percentage(&entry.node),
                _ => self.unknown(entry, "play", &PLAY_WORDS),
            }
        }
        if !entries.iter().any(|entry| entry.key.text == "hosts") {
            self.lacks(node, "a play needs `hosts`: the group or hosts it runs on");
        }
        if play.name.is_empty() {
            play.name = play.patterns.join(":");
        }
        Some(play)
    }

    fn steps(&mut self, node: &Node, inherited: &Inherited) -> Vec<Step> {
        let Value::Sequence(items) = &node.value else {
            self.wrong(node, "tasks are a list");
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| self.step(item, inherited))
            .collect()
    }

    fn step(&mut self, node: &Node, inherited: &Inherited) -> Option<Step> {
        let Value::Mapping(entries) = &node.value else {
            self.wrong(node, "a task is a mapping with a name and one module");
            return None;
        };
        let transaction = entries.iter().find(|entry| entry.key.text == "transaction");
        let Some(transaction) = transaction else {
            return self.task(node, entries, inherited).map(Step::Task);
        };
        let inherited = self.inherited(inherited, entries);
        let name = self
            .name_of(entries)
            .unwrap_or_else(|| "transaction".to_owned());
        for entry in entries.iter() {
            if !TASK_WORDS.contains(&entry.key.text.as_str()) {
                self.unknown(entry, "transaction", &TASK_WORDS);
            }
        }
        let Value::Sequence(items) = &transaction.node.value else {
            self.wrong(&transaction.node, "a transaction is a list of tasks");
            return None;
        };
        let mut tasks = Vec::new();
        for item in items.iter() {
            let Value::Mapping(entries) = &item.value else {
                self.wrong(item, "a task is a mapping with a name and one module");
                continue;
            };
            if let Some(task) = self.task(item, entries, &inherited) {
                if task.module.is_reversible {
                    tasks.push(task);
                } else {
                    let message = format!(
                        "{} cannot be undone and may not stand in a transaction",
                        quoted(task.module.name)
                    );
                    self.problems
                        .error(item.span, message, "here", Some(reversible()));
                }
            }
        }
        Some(Step::Transaction { name, tasks })
    }

    fn task(&mut self, node: &Node, entries: &[Entry], inherited: &Inherited) -> Option<Task> {
        let inherited = self.inherited(inherited, entries);
        let mut found: Option<(&'static Spec, &Entry)> = None;
        for entry in entries {
            let word = entry.key.text.as_str();
            if ["name", "when", "tags"].contains(&word) {
                continue;
            }
            match (find(word), found) {
                (Some(module), None) => found = Some((module, entry)),
                (Some(_), Some(_)) => {
                    self.problems.error(
                        entry.key_span,
                        "a task has one module",
                        "a second one",
                        Some("make it a task of its own".to_owned()),
                    );
                }
                (None, _) => {
                    let known: Vec<&str> = MODULES
                        .iter()
                        .map(|module| module.name)
                        .chain(TASK_WORDS)
                        .collect();
                    self.unknown(entry, "task", &known);
                }
            }
        }
        let Some((module, entry)) = found else {
            if entries
                .iter()
                .all(|entry| ["name", "when", "tags"].contains(&entry.key.text.as_str()))
            {
                self.lacks(node, "the task names no module");
            }
            return None;
        };
        let arguments = self.arguments(module, entry)?;
        let name = self
            .name_of(entries)
            .unwrap_or_else(|| module.name.to_owned());
        Some(Task {
            name,
            module,
            arguments,
            when: inherited.when,
            tags: inherited.tags,
        })
    }

    fn name_of(&mut self, entries: &[Entry]) -> Option<String> {
        let entry = entries.iter().find(|entry| entry.key.text == "name")?;
        self.text(&entry.node)
    }

    fn text(&mut self, node: &Node) -> Option<String> {
        match &node.value {
            Value::Scalar(scalar) if !scalar.is_null() => Some(scalar.text.clone()),
            _ => {
                self.wrong(node, "a text is expected here");
                None
            }
        }
    }

    fn boolean(&mut self, node: &Node) -> Option<bool> {
        match &node.value {
            Value::Scalar(scalar) => match scalar.meaning() {
                Meaning::Bool(value) => return Some(value),
                _ => self.wrong(node, "true or false is expected here"),
            },
            _ => self.wrong(node, "true or false is expected here"),
        }
        None
    }

    fn lacks(&mut self, node: &Node, message: &str) {
        self.problems.error(node.span, message, "here", None);
    }

    fn wrong(&mut self, node: &Node, message: &str) {
        let message = format!("{message}, not {}", node.described());
        self.problems.error(node.span, message, "here", None);
    }

    fn unknown(&mut self, entry: &Entry, what: &str, known: &[&str]) {
        let word = entry.key.text.as_str();
        let help = nearest(word, known.iter().copied()).map_or_else(
            || format!("known here: {}", known.join(", ")),
            |near| format!("did you mean {}?", quoted(near)),
        );
        let span: Span = entry.key_span;
        let message = format!("unknown word {} in a {what}", quoted(word));
        self.problems.error(span, message, "here", Some(help));
    }
}

fn reversible() -> String {
    let names: Vec<&str> = MODULES
        .iter()
        .filter(|module| module.is_reversible)
        .map(|module| module.name)
        .collect();
    format!("these may: {}", names.join(", "))
}

#[cfg(test)]
mod tests;
