//! `-e` arguments: variables with the highest precedence.
//!
//! `name=value` (several in one argument, quoted as in a shell), a JSON or YAML mapping, or `@FILE`
//! with one.

use std::path::Path;

use super::assigned::Variables;
use super::convert::Context;
use super::files;
use crate::yaml::node::Node;
use crate::yaml::source::{Span, names_a_secret, quoted};

/// The variables of all arguments; a later one counts more.
pub(super) fn read(arguments: &[String], context: &mut Context) -> Variables {
    let mut variables = Variables::default();
    for argument in arguments {
        if let Some(file) = argument.strip_prefix('@') {
            let path = expanded(file, context);
            if let Some(node) = files::read_variables(&path, files::By::Operator, context) {
                variables.define(&node, &format!("the file {}", quoted(file)), context);
            }
            continue;
        }
        let source = context.problems.sources.add("-e", argument.clone());
        context.problems.sources.recognize(source);
        let span = Span {
            source,
            start: 0,
            end: argument.len(),
        };
        if argument.trim_start().starts_with(['{', '[']) {
            if let Some(node) = files::parse_argument(source, argument, context) {
                variables.define(&node, "-e", context);
            }
            continue;
        }
        let Some(words) = shlex::split(argument) else {
            context.problems.error(
                span,
                "a quote in this argument is not closed",
                "this argument",
                None,
            );
            continue;
        };
        let mut after = 0;
        for word in words {
            match word.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    let (name_span, value_span) = places(argument, after, &word, name, span);
                    after = value_span.end.min(argument.len());
                    let node = Node::text(value.to_owned(), value_span);
                    variables.define_text(name, name_span, node, context);
                }
                _ => {
                    let message = format!("{} sets no variable", quoted(&word));
                    let help = Some("write name=value, or {name: value}, or @FILE".to_owned());
                    context.problems.error(span, message, "this argument", help);
                }
            }
        }
    }
    variables
}

/// The arguments as options of a command that repeats a run, each with a space before it. A variable
/// that is no setting of this program, or that may be a secret, is left out as `...`.
#[must_use]
pub fn repeated(arguments: &[String]) -> String {
    let options = arguments.iter().map(|argument| {
        let quoted = shlex::try_quote(argument)
            .ok()
            .filter(|_| is_plain(argument));
        format!(" -e {}", quoted.as_deref().unwrap_or("..."))
    });
    options.collect()
}

/// Whether an argument shows nothing that may be a secret: also a value can, such as the password in
/// a `ProxyCommand` with sshpass.
fn is_plain(argument: &str) -> bool {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let is_setting = |name: &str| name.starts_with("dtls_") || name.starts_with("ansible_");
    if argument.starts_with('@') {
        return true;
    }
    let words = || {
        argument
            .split(|letter| !is_name(letter))
            .filter(|word| !word.is_empty())
    };
    let is_mapping = argument.trim_start().starts_with(['{', '[']);
    let assigned = shlex::split(argument).unwrap_or_default();
    let sets_settings = if is_mapping {
        words().next().is_some_and(is_setting)
    } else {
        assigned.iter().all(|word| is_setting(word))
    };
    sets_settings && !words().any(names_a_secret)
}

fn expanded(file: &str, context: &Context) -> std::path::PathBuf {
    match file.strip_prefix("~/") {
        Some(_) => context
            .environment
            .local_path(file)
            .unwrap_or_else(|| Path::new(file).to_owned()),
        None => Path::new(file).to_owned(),
    }
}

/// The positions of a word's name and value; the whole argument if quotes make them hard to locate.
fn places(argument: &str, after: usize, word: &str, name: &str, whole: Span) -> (Span, Span) {
    let found = argument
        .get(after..)
        .and_then(|rest| rest.find(&format!("{name}=")));
    let Some(start) = found.map(|start| after + start) else {
        return (whole, whole);
    };
    let name_span = Span {
        start,
        end: start + name.len(),
        ..whole
    };
    let value_start = name_span.end + 1;
    let unquoted = argument
        .get(start..)
        .is_some_and(|rest| rest.starts_with(word));
    let end = if unquoted {
        start + word.len()
    } else {
        whole.end
    };
    (
        name_span,
        Span {
            start: value_start,
            end,
            ..whole
        },
    )
}

#[cfg(test)]
mod tests {
    use super::repeated;

    #[test]
    fn a_command_repeats_settings_and_shows_no_secret() {
        for (argument, expected) in [
            ("dtls_guard=true", " -e 'dtls_guard=true'"),
            ("@more vars.yaml", " -e '@more vars.yaml'"),
            (
                "{dtls_extra_sans: [a, b]}",
                " -e '{dtls_extra_sans: [a, b]}'",
            ),
            (
                "ansible_user=x dtls_guard=true",
                " -e 'ansible_user=x dtls_guard=true'",
            ),
            ("ansible_become_password=x", " -e ..."),
            ("dtls_guard=true ansible_password=x", " -e ..."),
            ("{dtls_guard: true, ansible_become_pass: x}", " -e ..."),
            ("{\"vault_x\": 1}", " -e ..."),
            ("anything=x", " -e ..."),
            (
                "ansible_ssh_extra_args='-o ProxyCommand=\"sshpass -p x ssh jump\"'",
                " -e ...",
            ),
        ] {
            assert_eq!(repeated(&[argument.to_owned()]), expected);
        }
        assert_eq!(repeated(&[]), "");
    }
}
