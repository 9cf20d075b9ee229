//! `--list-tasks` and `--list-hosts`: what a run would do, and where.
//!
//! Connects to no host.

use std::fmt::Write as _;

use super::{Play, Playbook, Step, Task};
use inventory::{Host, Inventory};

/// Every play with its tasks, their modules and tags.
#[must_use]
pub fn tasks_text(playbook: &Playbook) -> String {
    let mut text = format!("playbook: {}\n", playbook.name);
    for play in &playbook.plays {
        let _ = writeln!(text, "\n{} ({})", play.name, play.patterns.join(":"));
        for step in &play.steps {
            match step {
                Step::Task(task) => line(&mut text, "  ", task),
                Step::Transaction { name, tasks } => {
                    let _ = writeln!(text, "  transaction: {name}");
                    for task in tasks {
                        line(&mut text, "    ", task);
                    }
                }
            }
        }
    }
    text
}

fn line(text: &mut String, indent: &str, task: &Task) {
    let _ = write!(text, "{indent}{} ({})", task.name, task.module.name);
    if !task.tags.is_empty() {
        let tags: Vec<&str> = task.tags.iter().map(String::as_str).collect();
        let _ = write!(text, "  tags: {}", tags.join(", "));
    }
    if !task.when.is_empty() {
        let when: Vec<&str> = task.when.iter().map(super::Expression::text).collect();
        let _ = write!(text, "  when: {}", when.join(" and "));
    }
    text.push('\n');
}

/// Every play with its hosts.
#[must_use]
pub fn hosts_text(playbook: &Playbook, inventory: &Inventory) -> String {
    let mut text = format!("playbook: {}\n", playbook.name);
    for play in &playbook.plays {
        let hosts: Vec<&Host> = hosts(play, inventory);
        let count = match hosts.len() {
            1 => "1 host".to_owned(),
            count => format!("{count} hosts"),
        };
        let _ = writeln!(text, "\n{} ({count})", play.name);
        for host in hosts {
            let _ = writeln!(text, "  {}", host.name);
        }
    }
    text
}

fn hosts<'a>(play: &Play, inventory: &'a Inventory) -> Vec<&'a Host> {
    play.hosts(inventory)
}
