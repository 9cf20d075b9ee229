//! Pages that are made from the program: stale ones fail here.
//! `UPDATE_DOCS=1 cargo test --test fast docs::` writes them again.

use std::fmt::Write as _;
use std::path::Path;

use inventory::{ReadBy, variable_table};
use plan::playbook::MODULES;
use plan::playbook::{FACTS, SHIPPED, parse};

use crate::page;

/// A part of a page that is made from the program.
fn keep(page: &str, mark: &str, made: &str) {
    page::keep(page, mark, made, "cargo test --test fast docs::");
}

fn upper(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_uppercase().chain(characters).collect())
        .unwrap_or_default()
}

fn modules() -> String {
    let mut text = String::new();
    for module in MODULES {
        writeln!(text, "\n### {}\n\n{}.", module.name, upper(module.summary)).unwrap();
        if module.is_reversible {
            text.push_str("Can be part of a `transaction:`.\n");
        }
        if !module.parameters.is_empty() {
            text.push_str("\n| parameter | value | |\n|---|---|---|\n");
        }
        for parameter in module.parameters {
            let required = if parameter.required {
                "**required**; "
            } else {
                ""
            };
            writeln!(
                text,
                "| `{}` | {} | {required}{} |",
                parameter.name,
                parameter.kind.described(),
                parameter.summary
            )
            .unwrap();
        }
    }
    text.push('\n');
    text
}

/// Text of a cell: one line, and no border in it.
fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

#[test]
fn the_reference_of_variables_is_the_table() {
    let mut text = String::new();
    for (title, about, ours) in [
        ("Settings of hosts", "", true),
        (
            "Connection variables",
            "These are Ansible's variables, with the same meaning. If one is not set, `~/.ssh/config` decides:\nsee [ssh.md](ssh.md).\n\n",
            false,
        ),
    ] {
        writeln!(text, "\n### {title}\n\n{about}| variable | value | default | applies to | |\n|---|---|---|---|---|").unwrap();
        for variable in variable_table().filter(|one| one.name.starts_with("dtls_") == ours) {
            let mut names = format!("`{}`", variable.name);
            for alias in variable.aliases {
                write!(names, ", `{alias}`").unwrap();
            }
            let default = match variable.default {
                "" => String::new(),
                default => format!("`{}`", cell(default)),
            };
            let read_by = match variable.read_by {
                ReadBy::Every => "every host",
                ReadBy::Ca => "the CA",
                ReadBy::Daemons => "daemons",
                ReadBy::Clients => "clients",
            };
            let (expected, meaning) = (cell(variable.expected), cell(variable.doc));
            writeln!(
                text,
                "| {names} | {expected} | {default} | {read_by} | {meaning} |"
            )
            .unwrap();
        }
    }
    text.push('\n');
    keep("inventory.md", "variables", &text);
}

#[test]
fn the_reference_of_modules_is_the_registry() {
    keep("playbooks.md", "modules", &modules());
}

#[test]
fn the_reference_of_facts_is_the_table() {
    let mut text = String::from("\n| fact | value |\n|---|---|\n");
    for (name, meaning) in FACTS {
        writeln!(text, "| `facts.{name}` | {meaning} |").unwrap();
    }
    text.push('\n');
    keep("playbooks.md", "facts", &text);
}

#[test]
fn every_playbook_in_the_page_is_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/playbooks.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut count = 0;
    for block in text.split("```yaml\n").skip(1) {
        let (yaml, _) = block.split_once("```").unwrap();
        if yaml.starts_with("- hosts") || yaml.starts_with("- name") {
            parse("docs", yaml).unwrap_or_else(|problems| panic!("{yaml}: {problems:?}"));
            count += 1;
        }
    }
    assert!(count >= 3, "{count}");
    for (name, _) in SHIPPED {
        assert!(text.contains(&format!("{name}.yaml")), "{name}");
    }
}

#[test]
fn the_reference_of_commands_is_the_program() {
    keep("cli.md", "commands", &dtls_deploy::cli::reference::text());
}
