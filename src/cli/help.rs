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
        CHANGES,
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
        CHANGES,
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
];

/// The examples of commands whose help has none, such as `ca backup`.
const FIRST: &[(&str, &str)] = &[
    (
        "init",
        "dtls-deploy init inventory.yaml --ca vault --daemon docker1 --client desk",
    ),
    (
        "adopt",
        "dtls-deploy adopt inventory.yaml --ca-cert ca.pem --ca-key ca-key.pem",
    ),
    ("ca", "dtls-deploy ca backup inventory.yaml --to ca.backup"),
    (
        "ca restore",
        "dtls-deploy ca restore inventory.yaml --from ca.backup",
    ),
    ("env", "dtls-deploy env inventory.yaml desk"),
    (
        "completions",
        "dtls-deploy completions bash >~/.local/share/bash-completion/completions/dtls-deploy",
    ),
    ("man", "dtls-deploy man --to ~/.local/share/man/man1"),
    ("", "dtls-deploy plan inventory.yaml"),
];

/// A command line of the command, such as `ca backup`, or of the command that it is part of.
pub(super) fn example(command: &str) -> Option<&'static str> {
    let first = |name: &str| {
        let of_help = MORE.iter().find(|(of, ..)| *of == name);
        let of_help = of_help.and_then(|(_, examples, _)| examples.first());
        let own = || FIRST.iter().find(|(of, _)| *of == name);
        of_help
            .map(|(example, _)| *example)
            .or_else(|| own().map(|(_, example)| *example))
    };
    let outer = command.split(' ').next().unwrap_or_default();
    first(command).or_else(|| first(outer))
}

/// The program with grouped options, examples and exit codes.
pub(super) fn complete(mut program: Command) -> Command {
    let mut names: Vec<String> = program
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    names.retain(|name| name != "help");
    for name in names {
        program = program.mut_subcommand(&name, |command| {
            let hidden = WITHOUT.iter().find(|(of, _)| *of == name);
            let hidden = hidden.map_or(&[][..], |(_, options)| options);
            let command = command.mut_args(|argument| grouped(argument, hidden));
            match MORE.iter().find(|(of, ..)| *of == name) {
                Some(more) => command.after_help(after(more)),
                None => command,
            }
        });
    }
    program
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

    #[test]
    fn the_first_examples_are_command_lines() {
        for (command, example) in FIRST {
            let line = example.split(" >").next().unwrap_or_default();
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            crate::cli::check(&words).unwrap_or_else(|error| panic!("{command}: {error}"));
        }
    }

    #[test]
    fn the_examples_are_command_lines_of_their_command() {
        for (name, examples, _) in MORE {
            for (example, _) in *examples {
                let words = shlex::split(example).unwrap();
                assert_eq!(crate::cli::check(&words), Ok(()), "{example}");
                assert_eq!(&words[1], name);
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
            let command = program.find_subcommand(command).unwrap();
            for line in command.clone().render_help().to_string().lines() {
                assert!(line.chars().count() <= 110, "{line}");
            }
        }
    }
}
