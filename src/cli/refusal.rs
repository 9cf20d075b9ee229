//! Reports an error of the command line in the same form as every other error, with the next step.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use super::help;
use run::Exit;

/// Reports what is wrong with the command line of `command`, such as `ca backup`. clap reports a
/// request for help in the same way.
pub(crate) fn refuse(error: Error, command: &str) -> Exit {
    let has_colour =
        |terminal| run::report::wants_colour(terminal, |name| std::env::var(name).ok());
    if error.use_stderr() {
        let is_coloured = has_colour(std::io::stderr().is_terminal());
        base::output::error(&text(error, command, is_coloured));
        return Exit::Usage;
    }
    let is_coloured = has_colour(std::io::stdout().is_terminal());
    base::output::print(&rendered(&error, is_coloured));
    Exit::Fine
}

fn rendered(error: &Error, is_coloured: bool) -> String {
    let text = error.render();
    if is_coloured {
        text.ansi().to_string()
    } else {
        text.to_string()
    }
}

/// The commands that these words name, without options: `ca backup`.
pub(super) fn named<'a>(
    mut program: &Command,
    words: impl Iterator<Item = Option<&'a str>>,
) -> String {
    let mut names = Vec::new();
    for word in words {
        let Some(found) = word.and_then(|word| program.find_subcommand(word)) else {
            break;
        };
        names.push(found.get_name());
        program = found;
    }
    names.join(" ")
}

fn text(mut error: Error, command: &str, is_coloured: bool) -> String {
    let mut hints = Vec::new();
    if error.kind() == ErrorKind::UnknownArgument {
        // clap's advice to write `-- --option`: no command takes such a word.
        error.remove(ContextKind::Suggested);
    }
    let has_suggestion = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ]
    .iter()
    .any(|kind| error.get(*kind).is_some());
    let needs_example = matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::UnknownArgument
            | ErrorKind::InvalidSubcommand
            | ErrorKind::MissingSubcommand
    );
    let example = help::example(command).filter(|_| needs_example && !has_suggestion);
    hints.extend(example.map(|example| format!("for example: {example}")));
    let lacks_inventory = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(missing)) => missing.iter().any(|one| one == "<INVENTORY>"),
        _ => false,
    };
    if lacks_inventory {
        hints.push("`dtls-deploy init` writes a first inventory".to_owned());
    }
    let help = format!("dtls-deploy {command}").trim_end().to_owned() + " --help";
    let mut text = rendered(&error, is_coloured)
        .replacen("error:", "Error:", 1)
        .replace("tip:", "Hint:")
        .replacen("'--help'", &format!("'{help}'"), 1);
    for hint in hints {
        let _ = writeln!(text, "Hint: {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory as _;

    fn of(line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let program = Cli::command();
        let command = named(&program, words.iter().skip(1).map(|word| Some(*word)));
        let error = program.try_get_matches_from(&words).unwrap_err();
        text(error, &command, false)
    }

    #[test]
    fn an_error_of_the_command_line_ends_with_an_example_of_the_command() {
        for (line, example) in [
            ("dtls-deploy deploy", "dtls-deploy deploy inventory.yaml"),
            (
                "dtls-deploy revoke laptop",
                "dtls-deploy revoke inventory.yaml desk",
            ),
            (
                "dtls-deploy ca backup inventory.yaml",
                "dtls-deploy ca backup inventory.yaml --to ca.backup",
            ),
            (
                "dtls-deploy schedule inventory.yaml",
                "dtls-deploy schedule install inventory.yaml --ca-passphrase-file ca.pass",
            ),
            (
                "dtls-deploy init node1 node2",
                "dtls-deploy init inventory.yaml --ca vault --daemon docker1 --client desk",
            ),
            (
                "dtls-deploy completions",
                "dtls-deploy completions bash >~/.local/share/bash-completion/completions/dtls-deploy",
            ),
        ] {
            let text = of(line);
            let hint = format!("\nHint: for example: {example}\n");
            assert!(text.contains(&hint), "{text}");
        }
        let lacks = "`dtls-deploy init` writes a first inventory";
        assert!(of("dtls-deploy rotate").contains(lacks));
        assert!(!of("dtls-deploy completions").contains(lacks));
    }

    #[test]
    fn an_unknown_option_is_not_offered_as_a_value() {
        let text = of("dtls-deploy status i.yaml --metrics x");
        assert!(!text.contains("-- --metrics"), "{text}");
        assert!(text.contains("try 'dtls-deploy status --help'"), "{text}");
        // A similar option is the hint.
        let text = of("dtls-deploy deploy i.yaml --chekc");
        assert!(text.contains("--check"), "{text}");
        assert!(!text.contains("for example"), "{text}");
    }

    #[test]
    fn every_command_that_takes_a_word_has_an_example() {
        let program = Cli::command();
        let lacking = program.get_subcommands().filter(|command| {
            let takes = command.get_positionals().any(clap::Arg::is_required_set)
                || command.has_subcommands();
            takes && help::example(command.get_name()).is_none()
        });
        let lacking: Vec<&str> = lacking.map(clap::Command::get_name).collect();
        assert_eq!(lacking, Vec::<&str>::new());
    }
}
