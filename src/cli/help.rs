//! Extends clap's help for `dtls-deploy COMMAND --help`: options by subject, examples, and exit
//! codes.

mod commands;

use std::fmt::Write as _;

use clap::{Arg, Command};

use commands::{MORE, More};

/// Shared options, by subject.
const SUBJECTS: &[(&str, &[&str])] = &[
    (
        "Hosts and tasks",
        &[
            "limit",
            "tags",
            "skip_tags",
            "list_tasks",
            "list_hosts",
            "extra_vars",
            "untrusted",
            "no_defaults",
        ],
    ),
    (
        "Connection",
        &[
            "forks",
            "timeout",
            "ssh_config",
            "known_hosts",
            "host_key_checking",
            "ask_pass",
            "ask_become_pass",
        ],
    ),
    (
        "CA",
        &[
            "ca_passphrase_file",
            "ca_passphrase_command",
            "wait",
            "agent_program",
            "no_journal",
            "readmit_ca",
            "new_ca",
        ],
    ),
    ("Output", &["output", "verbose", "quiet", "timings", "log"]),
];

/// Shared options that a command does not need.
const WITHOUT: &[(&str, &[&str])] = &[(
    "plan",
    &[
        "check",
        "diff",
        "yes",
        "allow_container_restart",
        "fail_fast",
        "wait",
        "no_journal",
        "agent_program",
        "ca_passphrase_file",
        "ca_passphrase_command",
    ],
)];

/// A command line of the command, such as `ca backup`, or of the command that it is part of.
pub(super) fn example(command: &str) -> Option<&'static str> {
    let first = |name: &str| {
        // Without a command.
        let name = if name.is_empty() { "plan" } else { name };
        let (_, examples, _) = MORE.iter().find(|(of, ..)| *of == name)?;
        examples.first().map(|(example, _)| *example)
    };
    let outer = command.split(' ').next().unwrap_or_default();
    first(command).or_else(|| first(outer))
}

/// The program with grouped options, examples and exit codes.
pub(super) fn complete(program: Command) -> Command {
    completed(program, "")
}

/// The commands of `command`, whose own name is in `before`: `ca `.
fn completed(mut command: Command, before: &str) -> Command {
    let mut names: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    names.retain(|name| name != "help");
    for name in names {
        let full = format!("{before}{name}");
        command = command.mut_subcommand(&name, |command| {
            let hidden = WITHOUT.iter().find(|(of, _)| *of == full);
            let hidden = hidden.map_or(&[][..], |(_, options)| options);
            let command = command.mut_args(|argument| grouped(argument, hidden));
            let mut command = completed(command, &format!("{full} "));
            if full == "plan" {
                // It has no --check.
                command = command.mut_arg("exit_code", |argument| {
                    argument.help("Exit with 3 if something would change")
                });
            }
            match MORE.iter().find(|(of, ..)| *of == full) {
                Some(more) => command.after_help(after(more)),
                None => command,
            }
        });
    }
    command
}

fn grouped(argument: Arg, hidden: &[&str]) -> Arg {
    let id = argument.get_id().to_string();
    let subject = SUBJECTS.iter().find(|(_, options)| options.contains(&&*id));
    let is_hidden = hidden.contains(&&*id) || argument.is_hide_set();
    let argument = argument.hide(is_hidden);
    match subject {
        Some((subject, _)) => argument.help_heading(*subject),
        None => argument,
    }
}

fn after((_, examples, codes): &More) -> String {
    let mut text = "Examples:\n".to_owned();
    for (example, what) in *examples {
        let _ = writeln!(text, "  {example}\n      {what}");
    }
    text.push_str("\nExit codes:\n");
    for (code, meaning) in codes.iter().copied().flatten() {
        let _ = writeln!(text, "  {code:<4} {meaning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory as _;

    /// The full names of all commands that users see.
    fn names(command: &Command, before: &str, all: &mut Vec<String>) {
        for inner in command.get_subcommands() {
            if inner.is_hide_set() || inner.get_name() == "help" {
                continue;
            }
            let name = format!("{before}{}", inner.get_name());
            names(inner, &format!("{name} "), all);
            all.push(name);
        }
    }

    #[test]
    fn every_command_has_two_examples_and_its_exit_codes() {
        let mut all = Vec::new();
        names(&Cli::command(), "", &mut all);
        assert!(all.len() > 20, "{all:?}");
        for name in &all {
            let more = MORE.iter().filter(|(of, ..)| of == name);
            let [(_, examples, codes)] = more.collect::<Vec<_>>()[..] else {
                panic!("{name}");
            };
            assert!(examples.len() >= 2, "{name}");
            let mut codes = codes.iter().copied().flatten();
            assert!(codes.any(|(code, _)| *code == 0), "{name}");
        }
        for (name, ..) in MORE {
            assert!(all.iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn the_examples_are_command_lines_of_their_command() {
        for (name, examples, _) in MORE {
            for (example, _) in *examples {
                let line = example.split(" >").next().unwrap_or_default();
                let words = shlex::split(line).unwrap();
                assert_eq!(crate::cli::check(&words), Ok(()), "{example}");
                let line = line.trim_start_matches("dtls-deploy ");
                assert!(line.starts_with(name), "{line}");
            }
        }
    }

    #[test]
    fn every_option_named_here_is_one_of_the_program() {
        let program = complete(Cli::command());
        program.clone().debug_assert();
        let known: Vec<String> = program
            .get_subcommands()
            .flat_map(Command::get_arguments)
            .map(|argument| argument.get_id().to_string())
            .collect();
        let named = SUBJECTS
            .iter()
            .chain(WITHOUT)
            .flat_map(|(_, options)| *options);
        for option in named {
            assert!(known.iter().any(|id| id == option), "{option}");
        }
        for (command, ..) in MORE {
            let command = command
                .split(' ')
                .fold(&program, |of, name| of.find_subcommand(name).unwrap());
            for line in command.clone().render_help().to_string().lines() {
                assert!(line.chars().count() <= 110, "{line}");
            }
        }
    }
}
