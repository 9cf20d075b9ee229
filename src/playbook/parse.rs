//! YAML text in, a [`Playbook`] out, or everything that is wrong with it.
//!
//! Built on the same YAML tree as the inventory, so that each error has its line, its
//! column and the nearest right word.

use crate::inventory::names::nearest;
use crate::module::{self, Module};
use crate::yaml;
use crate::yaml::node::{Entry, Node, Value};
use crate::yaml::problem::Problem;
use crate::yaml::problems::Problems;
use crate::yaml::scalar::Meaning;
use crate::yaml::source::{Span, quoted};

use super::{Play, Playbook, Step, Task};

const PLAY_WORDS: [&str; 4] = ["name", "hosts", "become", "tasks"];
const TASK_WORDS: [&str; 2] = ["name", "transaction"];

/// Reads a playbook.
///
/// # Errors
/// All that is wrong with it, at once.
pub fn parse(name: &str, text: &str) -> Result<Playbook, Vec<Problem>> {
    let mut problems = Problems::default();
    let source = problems.sources.add(name.to_owned(), text.to_owned());
    let root = yaml::parse(source, text, &mut problems);
    let mut reader = Reader {
        problems: &mut problems,
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
        name: name.to_owned(),
        plays,
    })
}

struct Reader<'a> {
    problems: &'a mut Problems,
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
            steps: Vec::new(),
        };
        for entry in entries.iter() {
            match entry.key.text.as_str() {
                "name" => play.name = self.text(&entry.node).unwrap_or_default(),
                "hosts" => play.patterns = self.patterns(&entry.node),
                "become" => play.r#become = self.boolean(&entry.node),
                "tasks" => play.steps = self.steps(&entry.node),
                _ => self.unknown(entry, "play", &PLAY_WORDS),
            }
        }
        if !entries.iter().any(|entry| entry.key.text == "hosts") {
            self.wrong(node, "a play needs `hosts`: the group or hosts it runs on");
        }
        if play.name.is_empty() {
            play.name = play.patterns.join(":");
        }
        Some(play)
    }

    /// `hosts: daemons`, `hosts: daemons:clients`, or a list.
    fn patterns(&mut self, node: &Node) -> Vec<String> {
        let texts: Vec<(String, &Node)> = match &node.value {
            Value::Sequence(items) => items
                .iter()
                .filter_map(|item| Some((self.text(item)?, item)))
                .collect(),
            _ => self
                .text(node)
                .map(|text| (text, node))
                .into_iter()
                .collect(),
        };
        let mut patterns = Vec::new();
        for (text, node) in texts {
            for pattern in text.split([':', ',']).map(str::trim) {
                if pattern.is_empty()
                    || pattern.starts_with(['!', '&', '~'])
                    || pattern.contains('*')
                {
                    self.wrong(
                        node,
                        "hosts are groups and host names, several separated by a colon",
                    );
                } else {
                    patterns.push(pattern.to_owned());
                }
            }
        }
        patterns
    }

    fn steps(&mut self, node: &Node) -> Vec<Step> {
        let Value::Sequence(items) = &node.value else {
            self.wrong(node, "tasks are a list");
            return Vec::new();
        };
        items.iter().filter_map(|item| self.step(item)).collect()
    }

    fn step(&mut self, node: &Node) -> Option<Step> {
        let Value::Mapping(entries) = &node.value else {
            self.wrong(node, "a task is a mapping with a name and one module");
            return None;
        };
        let transaction = entries.iter().find(|entry| entry.key.text == "transaction");
        let Some(transaction) = transaction else {
            return self.task(node, entries).map(Step::Task);
        };
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
            if let Some(task) = self.task(item, entries) {
                if task.module.is_reversible() {
                    tasks.push(task);
                } else {
                    let message = format!(
                        "{} cannot be undone and may not stand in a transaction",
                        quoted(task.module.name())
                    );
                    self.problems
                        .error(item.span, message, "here", Some(reversible()));
                }
            }
        }
        Some(Step::Transaction { name, tasks })
    }

    fn task(&mut self, node: &Node, entries: &[Entry]) -> Option<Task> {
        let mut found: Option<(&'static dyn Module, &Entry)> = None;
        for entry in entries {
            let word = entry.key.text.as_str();
            if word == "name" {
                continue;
            }
            match (module::find(word), found) {
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
                    let known: Vec<&str> = module::MODULES
                        .iter()
                        .map(|module| module.name())
                        .chain(TASK_WORDS)
                        .collect();
                    self.unknown(entry, "task", &known);
                }
            }
        }
        let Some((module, entry)) = found else {
            if entries.iter().all(|entry| entry.key.text == "name") {
                self.wrong(node, "the task names no module");
            }
            return None;
        };
        let arguments = self.arguments(module, entry)?;
        let name = self
            .name_of(entries)
            .unwrap_or_else(|| module.name().to_owned());
        Some(Task {
            name,
            module,
            arguments,
        })
    }

    fn arguments(
        &mut self,
        module: &'static dyn Module,
        entry: &Entry,
    ) -> Option<Vec<(String, String)>> {
        let parameters = module.parameters();
        let none = Vec::new();
        let given: &[Entry] = match &entry.node.value {
            Value::Mapping(entries) => entries,
            _ if entry.node.is_null() => &none,
            _ => {
                let message = format!("the parameters of {} are a mapping", quoted(module.name()));
                self.wrong(&entry.node, &message);
                return None;
            }
        };
        let mut arguments = Vec::new();
        for argument in given {
            let name = argument.key.text.as_str();
            let Some(parameter) = parameters.iter().find(|parameter| parameter.name == name) else {
                let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name).collect();
                self.unknown(argument, module.name(), &names);
                continue;
            };
            let Some(value) = self.text(&argument.node) else {
                continue;
            };
            if parameter.values.contains(&value.as_str()) {
                arguments.push((name.to_owned(), value));
            } else {
                let message = format!("{} is not a value of {}", quoted(&value), quoted(name));
                let help = format!("one of: {}", parameter.values.join(", "));
                self.problems
                    .error(argument.node.span, message, "here", Some(help));
            }
        }
        for parameter in parameters.iter().filter(|parameter| parameter.required) {
            if !given
                .iter()
                .any(|argument| argument.key.text == parameter.name)
            {
                let message = format!(
                    "{} needs {}: {}",
                    quoted(module.name()),
                    quoted(parameter.name),
                    parameter.summary
                );
                let help = format!("one of: {}", parameter.values.join(", "));
                self.problems
                    .error(entry.key_span, message, "here", Some(help));
            }
        }
        Some(arguments)
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
    let names: Vec<&str> = module::MODULES
        .iter()
        .filter(|module| module.is_reversible())
        .map(|module| module.name())
        .collect();
    format!("these may: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_playbook_is_valid() {
        for (name, text) in super::super::SHIPPED {
            let playbook =
                parse(name, text).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
            assert!(!playbook.plays.is_empty());
        }
    }

    #[test]
    fn the_deployment_is_one_transaction_of_four() {
        let playbook = parse("deploy", super::super::SHIPPED[0].1).unwrap();
        let transactions: Vec<Vec<&str>> = playbook
            .plays
            .iter()
            .flat_map(|play| &play.steps)
            .filter_map(|step| match step {
                Step::Transaction { tasks, .. } => {
                    Some(tasks.iter().map(|task| task.module.name()).collect())
                }
                Step::Task(_) => None,
            })
            .collect();
        assert_eq!(
            transactions,
            [["push", "daemon_json", "systemd_override", "restart"]]
        );
    }

    fn errors(text: &str) -> Vec<String> {
        parse("book.yaml", text)
            .expect_err("it is broken")
            .iter()
            .map(|problem| {
                format!(
                    "{}:{} {} | {}",
                    problem.line,
                    problem.column,
                    problem.message,
                    problem.help.clone().unwrap_or_default()
                )
            })
            .collect()
    }

    #[test]
    fn all_errors_come_at_once_with_their_places() {
        let found = errors(
            "- hosts: daemons\n  becom: true\n  tasks:\n    - pusch:\n        role: daemon\n    - push:\n        role: deamon\n    - transaction:\n        - verify:\n    - certificate:\n",
        );
        assert_eq!(
            found,
            [
                "2:3 unknown word `becom` in a play | did you mean `become`?",
                "4:7 unknown word `pusch` in a task | did you mean `push`?",
                "7:15 `deamon` is not a value of `role` | one of: daemon, client",
                "9:11 `verify` cannot be undone and may not stand in a transaction | these may: daemon_json, push, restart, systemd_override",
                "10:7 `certificate` needs `role`: whether the certificate is the daemon's or a client's | one of: daemon, client",
            ]
        );
    }

    #[test]
    fn what_is_no_playbook_is_refused() {
        assert_eq!(errors("")[0], "0:0 the playbook is empty | ");
        assert!(errors("hosts: x")[0].starts_with("1:1 a playbook is a list of plays"));
        assert!(errors("- tasks: []")[0].contains("a play needs `hosts`"));
    }
}
