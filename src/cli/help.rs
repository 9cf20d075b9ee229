//! Extends clap's help for `dtls-deploy COMMAND --help`: options by subject, examples, and exit
//! codes.

use std::fmt::Write as _;

use clap::{Arg, Command};

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

/// Exit codes of commands that change hosts.
const CHANGES: &[(u8, &str)] = &[
    (0, "every host is as declared, and every check passed"),
    (
        2,
        "wrong command line or input, or the answer was no; nothing was changed",
    ),
    (
        4,
        "a change failed, or a host was refused; others may be done",
    ),
    (5, "a host could not be reached; the others are done"),
    (
        6,
        "everything was done, but a check failed or could not be made",
    ),
    (7, "another run holds the CA's lock; nothing was changed"),
    (8, "running containers would stop, and no one agreed to it"),
    (130, "interrupted; the next run completes it"),
];
/// Exit codes of commands that take changes back.
const RESTORES: &[(u8, &str)] = &[
    (0, "everything is undone or removed, or there was nothing"),
    (
        2,
        "wrong command line or input, or the answer was no; nothing was changed",
    ),
    (
        4,
        "a change failed, or a host was refused; others may be done",
    ),
    (5, "a host could not be reached; the others are done"),
    (
        6,
        "everything was done, but a check failed or could not be made",
    ),
    (7, "another run holds the CA's lock; nothing was changed"),
    (8, "running containers would stop, and no one agreed to it"),
    (130, "interrupted; the next run completes it"),
];
/// Exit codes of commands that concern the CA alone.
const AUTHORITY: &[(u8, &str)] = &[
    (0, "it is done"),
    (2, "wrong command line, input or passphrase"),
    (4, "the CA node was refused, or the work on it failed"),
    (5, "the CA node could not be reached"),
    (7, "another run holds the CA's lock; nothing was changed"),
    (130, "interrupted"),
];
const ADOPTS: &[(u8, &str)] = &[
    (0, "the ledger has the CA and the certificates"),
    (2, "wrong command line, input or passphrase"),
    (3, "with --check --exit-code: something would be adopted"),
    (4, "the CA node was refused, or the work on it failed"),
    (5, "a host could not be reached"),
    (7, "another run holds the CA's lock; nothing was changed"),
    (130, "interrupted"),
];
/// Exit codes of `schedule`, except those of the runs.
const SCHEDULES: &[(u8, &str)] = &[
    (0, "it is done"),
    (2, "wrong command line or input, or not root"),
    (4, "systemd failed"),
];
const INSTALLS: &[(u8, &str)] = &[
    (0, "the test succeeded, and the schedule is installed"),
    (2, "wrong command line or input, or not root"),
    (4, "the test or systemd failed; nothing is installed"),
    (5, "a host could not be reached; nothing is installed"),
    (7, "another run holds the CA's lock; nothing is installed"),
];
/// Exit codes of commands that connect to no host.
const LOCAL: &[(u8, &str)] = &[
    (0, "it is printed or written"),
    (1, "the output cannot be written"),
    (2, "wrong command line or input"),
];
const SHOWS: &[(u8, &str)] = &[
    (0, "the plan is shown"),
    (2, "wrong command line or input"),
    (3, "with --exit-code: something would change"),
    (4, "a host was refused, or did not answer in time"),
    (5, "a host could not be reached"),
];
const CHECKS: &[(u8, &str)] = &[
    (0, "every check passed"),
    (2, "wrong command line or input"),
    (4, "a host did not answer in time"),
    (5, "a host could not be reached"),
    (6, "a check failed or could not be made"),
];
const STATES: &[(u8, &str)] = &[
    (0, "every certificate is good"),
    (2, "wrong command line or input"),
    (3, "something is due"),
    (4, "a host did not tell what is there"),
    (5, "a host could not be reached"),
    (
        6,
        "a certificate does not work, has expired, or is revoked and still accepted",
    ),
];
const LISTS: &[(u8, &str)] = &[
    (0, "the entries are listed, if there are any"),
    (2, "wrong command line or input"),
    (4, "a host did not answer in time"),
    (
        5,
        "a host could not be reached; the entries of the others are listed",
    ),
];
const FINDS: &[(u8, &str)] = &[
    (0, "nothing was found"),
    (2, "wrong command line or input"),
    (3, "warnings only"),
    (4, "a host did not tell what is there"),
    (5, "a host could not be reached"),
    (6, "errors were found"),
];
const ACCESS: &[(u8, &str)] = &[
    (0, "a run from here could do its work"),
    (2, "wrong command line or input, or no passphrase"),
    (4, "a host was refused, or the passphrase is wrong"),
    (5, "a host could not be reached"),
    (7, "another run holds the CA's lock"),
];

/// The examples of a command, each with a description, and its exit codes.
type More = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [(u8, &'static str)],
);

const MORE: &[More] = &[
    (
        "deploy",
        &[
            (
                "dtls-deploy deploy inventory.yaml",
                "show the plan, ask, carry it out",
            ),
            (
                "dtls-deploy deploy inventory.yaml -l 'docker*' --yes",
                "some hosts, without a question",
            ),
        ],
        CHANGES,
    ),
    (
        "plan",
        &[
            (
                "dtls-deploy plan inventory.yaml",
                "all changes, down to lines of files",
            ),
            (
                "dtls-deploy plan inventory.yaml --exit-code",
                "for CI: exit code 3 if something would change",
            ),
        ],
        SHOWS,
    ),
    (
        "verify",
        &[
            (
                "dtls-deploy verify inventory.yaml",
                "check every pair of a client and a daemon",
            ),
            (
                "dtls-deploy verify inventory.yaml -l docker1:desk",
                "one pair",
            ),
        ],
        CHECKS,
    ),
    (
        "rotate",
        &[
            ("dtls-deploy rotate inventory.yaml", "renew what is due"),
            (
                "dtls-deploy rotate --ca inventory.yaml",
                "replace the CA step by step",
            ),
        ],
        CHANGES,
    ),
    (
        "revoke",
        &[
            (
                "dtls-deploy revoke inventory.yaml desk",
                "reject the client desk",
            ),
            (
                "dtls-deploy revoke inventory.yaml desk --check",
                "show what that restarts",
            ),
        ],
        CHANGES,
    ),
    (
        "status",
        &[
            (
                "dtls-deploy status inventory.yaml",
                "what is due, and what is wrong",
            ),
            ("dtls-deploy status inventory.yaml -v", "every certificate"),
            (
                "dtls-deploy status inventory.yaml --html status.html",
                "a page for an auditor",
            ),
        ],
        STATES,
    ),
    (
        "doctor",
        &[
            ("dtls-deploy doctor inventory.yaml", "look at everything"),
            ("dtls-deploy doctor inventory.yaml -l docker1", "one host"),
        ],
        FINDS,
    ),
    (
        "audit",
        &[
            (
                "dtls-deploy audit inventory.yaml",
                "the last hour of all daemons",
            ),
            (
                "dtls-deploy audit inventory.yaml --denied --since 1day",
                "what was rejected",
            ),
            (
                "dtls-deploy audit inventory.yaml --identity ci --json",
                "of one client, for programs",
            ),
        ],
        LISTS,
    ),
    (
        "rollback",
        &[
            ("dtls-deploy rollback inventory.yaml", "undo the last run"),
            (
                "dtls-deploy rollback inventory.yaml -l docker1",
                "on one host",
            ),
        ],
        RESTORES,
    ),
    (
        "remove",
        &[
            (
                "dtls-deploy remove inventory.yaml --check",
                "show what would be removed",
            ),
            (
                "dtls-deploy remove inventory.yaml -l docker1",
                "uninstall one daemon",
            ),
        ],
        RESTORES,
    ),
    (
        "schedule",
        &[
            (
                "dtls-deploy schedule install inventory.yaml --ca-passphrase-file ca.pass",
                "renew every night; nothing is installed if the test fails",
            ),
            (
                "dtls-deploy schedule status",
                "the next and the last run of each schedule",
            ),
            (
                "dtls-deploy schedule run-now inventory.yaml",
                "start a run, and end with its exit code",
            ),
        ],
        CHANGES,
    ),
    (
        "check-access",
        &[
            (
                "dtls-deploy check-access inventory.yaml",
                "before the first deployment",
            ),
            (
                "dtls-deploy check-access inventory.yaml --needs-ca",
                "before a schedule is installed",
            ),
        ],
        ACCESS,
    ),
    (
        "schedule install",
        &[
            (
                "dtls-deploy schedule install inventory.yaml --ca-passphrase-file ca.pass",
                "renew every night; nothing is installed if the test fails",
            ),
            (
                "dtls-deploy schedule install inventory.yaml --ca-passphrase-file ca.pass --on-calendar weekly",
                "renew once a week",
            ),
        ],
        INSTALLS,
    ),
    (
        "schedule status",
        &[
            ("dtls-deploy schedule status", "all schedules"),
            ("dtls-deploy schedule status inventory.yaml", "one schedule"),
        ],
        SCHEDULES,
    ),
    (
        "schedule run-now",
        &[
            (
                "dtls-deploy schedule run-now inventory.yaml",
                "start a run, and end with its exit code",
            ),
            ("dtls-deploy schedule run-now nightly", "by its name"),
        ],
        CHANGES,
    ),
    (
        "schedule remove",
        &[
            (
                "dtls-deploy schedule remove inventory.yaml",
                "the schedule of an inventory",
            ),
            ("dtls-deploy schedule remove nightly", "by its name"),
        ],
        SCHEDULES,
    ),
    (
        "adopt",
        &[
            (
                "dtls-deploy adopt inventory.yaml --ca-cert ca.pem --ca-key ca-key.pem",
                "a CA whose files are on this machine",
            ),
            (
                "dtls-deploy adopt inventory.yaml --check",
                "show what would be adopted",
            ),
        ],
        ADOPTS,
    ),
    (
        "ca",
        &[
            (
                "dtls-deploy ca backup inventory.yaml --to ca.backup",
                "write the CA to one encrypted file",
            ),
            (
                "dtls-deploy ca restore inventory.yaml --from ca.backup",
                "onto a CA node that has no CA",
            ),
        ],
        AUTHORITY,
    ),
    (
        "ca backup",
        &[
            (
                "dtls-deploy ca backup inventory.yaml --to ca.backup",
                "asks for the passphrase of the backup",
            ),
            (
                "dtls-deploy ca backup inventory.yaml --to ca.backup --backup-passphrase-file backup.pass",
                "without a question",
            ),
        ],
        AUTHORITY,
    ),
    (
        "ca restore",
        &[
            (
                "dtls-deploy ca restore inventory.yaml --from ca.backup",
                "onto a CA node that has no CA",
            ),
            (
                "dtls-deploy ca restore inventory.yaml --from ca.backup --check",
                "only read the backup and the CA node",
            ),
        ],
        AUTHORITY,
    ),
    (
        "init",
        &[
            (
                "dtls-deploy init inventory.yaml --ca vault --daemon docker1 --client desk",
                "an inventory of three hosts",
            ),
            ("dtls-deploy init", "ask for the hosts"),
        ],
        LOCAL,
    ),
    (
        "env",
        &[
            (
                "dtls-deploy env inventory.yaml desk",
                "the variables for the default daemon of desk",
            ),
            (
                "dtls-deploy env inventory.yaml desk --daemon docker1",
                "for another daemon",
            ),
        ],
        LOCAL,
    ),
    (
        "history",
        &[
            ("dtls-deploy history", "the last runs"),
            ("dtls-deploy history last", "the output of the last run"),
        ],
        LOCAL,
    ),
    (
        "schema",
        &[
            ("dtls-deploy schema >inventory.schema.json", "for an editor"),
            ("dtls-deploy schema", "print it"),
        ],
        LOCAL,
    ),
    (
        "completions",
        &[
            (
                "dtls-deploy completions bash >~/.local/share/bash-completion/completions/dtls-deploy",
                "for bash",
            ),
            ("dtls-deploy completions zsh", "print the code for zsh"),
        ],
        LOCAL,
    ),
    (
        "man",
        &[
            (
                "dtls-deploy man --to ~/.local/share/man/man1",
                "for your account",
            ),
            (
                "dtls-deploy man --to /usr/local/share/man/man1",
                "for all accounts",
            ),
        ],
        LOCAL,
    ),
];

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
    for (code, meaning) in *codes {
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
            assert!(codes.iter().any(|(code, _)| *code == 0), "{name}");
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
