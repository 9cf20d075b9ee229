//! The command line reference in the documentation: every command with its options by subject, its
//! examples and its exit codes.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use super::{Cli, help};

/// The page's generated part, in Markdown.
#[must_use]
pub fn text() -> String {
    let mut program = help::complete(Cli::command()).disable_help_subcommand(true);
    program.build();
    let mut text = String::new();
    for command in program.get_subcommands() {
        section(command, &mut text);
    }
    text.push('\n');
    text
}

fn section(command: &Command, text: &mut String) {
    if command.is_hide_set() {
        return;
    }
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let title = name.trim_start_matches("dtls-deploy ");
    let _ = write!(
        text,
        "\n## {title}\n\n{}.\n\n```text\n{usage}\n```\n",
        about.trim_end_matches('.')
    );
    for inner in command.get_subcommands() {
        section(inner, text);
    }
    if command.has_subcommands() {
        return;
    }
    let shown = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set());
    let mut subjects: Vec<(String, Vec<&Arg>)> = Vec::new();
    for argument in
        shown.filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
    {
        let subject = argument.get_help_heading().unwrap_or("Command").to_owned();
        match subjects.iter_mut().find(|(known, _)| *known == subject) {
            Some((_, arguments)) => arguments.push(argument),
            None => subjects.push((subject, vec![argument])),
        }
    }
    for (subject, arguments) in subjects {
        let _ = write!(text, "\n| {subject} | |\n|---|---|\n");
        for argument in arguments {
            let _ = writeln!(text, "| `{}` | {} |", name_of(argument), summary(argument));
        }
    }
    if let Some(after) = command.get_after_help() {
        let _ = write!(text, "\n```text\n{}\n```\n", after.to_string().trim_end());
    }
}

/// "-l, --limit <PATTERN>".
fn name_of(argument: &Arg) -> String {
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let values = argument.get_value_names().unwrap_or_default();
    let takes = argument.get_action().takes_values();
    let value = values.first().filter(|_| takes);
    let value = value.map(|value| format!("<{value}>"));
    let names: Vec<String> = short.into_iter().chain(long).collect();
    let names = (!names.is_empty()).then(|| names.join(", "));
    let parts: Vec<String> = names.into_iter().chain(value).collect();
    parts.join(" ")
}

fn summary(argument: &Arg) -> String {
    let help = argument.get_long_help().or_else(|| argument.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let mut text = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let values = argument.get_possible_values();
    let values: Vec<String> = values
        .iter()
        .filter(|_| argument.get_action().takes_values())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() {
        let _ = write!(text, ": {}", values.join(", "));
    }
    let defaults = argument.get_default_values();
    if let [default] = defaults
        && argument.get_action().takes_values()
    {
        let _ = write!(text, " (default `{}`)", default.to_string_lossy());
    }
    text.replace('|', "\\|").replace('<', "&lt;")
}
