//! `dtls-deploy` and `dtls-deploy --help`: lists the commands by purpose.

use std::fmt::Write as _;

use clap::CommandFactory as _;

use super::Cli;

/// Every visible command, once.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Everyday",
        &[
            "deploy", "plan", "verify", "status", "doctor", "audit", "env", "history",
        ],
    ),
    (
        "Certificates",
        &["rotate", "revoke", "schedule", "adopt", "ca"],
    ),
    ("Recovery", &["rollback", "remove"]),
    (
        "Set-up",
        &["init", "check-access", "schema", "completions", "man"],
    ),
];

const EXAMPLES: &[(&str, &str)] = &[
    ("dtls-deploy plan inventory.yaml", "show what would change"),
    (
        "dtls-deploy inventory.yaml --limit 'docker*'",
        "deploy to some hosts",
    ),
    (
        "dtls-deploy rotate inventory.yaml",
        "renew what is about to expire",
    ),
];

/// The overview, for a terminal of 80 columns.
pub(super) fn text() -> String {
    let program = Cli::command();
    let about = program.get_about().map(ToString::to_string);
    let mut text = format!(
        "{}\n\nUsage: dtls-deploy [COMMAND] INVENTORY [OPTIONS]\n",
        about.unwrap_or_default()
    );
    for (group, names) in GROUPS {
        let _ = writeln!(text, "\n{group}:");
        for name in *names {
            let about = program
                .find_subcommand(name)
                .and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {name:<13} {about}");
        }
    }
    text.push_str("\nExamples:\n");
    for (example, what) in EXAMPLES {
        let _ = writeln!(text, "  {example:<45} # {what}");
    }
    text.push_str(
        "\nWithout a command, `deploy` runs. plan, verify, status, doctor, audit and\n\
         check-access change nothing. INVENTORY may come first, or as -i FILE, or in\n\
         DTLS_INVENTORY if there is a command. Options: `dtls-deploy COMMAND --help`.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group_and_every_line_fits() {
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.to_vec())
            .collect();
        let program = Cli::command();
        let known = program
            .get_subcommands()
            .filter(|known| !known.is_hide_set());
        let mut known: Vec<&str> = known.map(clap::Command::get_name).collect();
        grouped.sort_unstable();
        known.sort_unstable();
        assert_eq!(grouped, known);
        for line in text().lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn the_examples_are_command_lines() {
        for (example, _) in EXAMPLES {
            let words = shlex::split(example).unwrap();
            assert_eq!(crate::cli::check(&words), Ok(()), "{example}");
        }
    }
}
