//! `-e` arguments: text in, variables that count more than any other out.
//!
//! `name=value` (several in one argument, quoted as in a shell), a JSON or YAML
//! mapping, or `@FILE` with one.

use std::path::Path;

use super::convert::Context;
use super::definitions::Variables;
use super::files;
use super::source::{Span, quoted};
use super::yaml::Node;

/// The variables of all arguments; a later one counts more.
pub(super) fn read(arguments: &[String], context: &mut Context) -> Variables {
    let mut variables = Variables::default();
    for argument in arguments {
        if let Some(file) = argument.strip_prefix('@') {
            let path = expanded(file, context);
            if let Some(node) = files::read_variables(&path, context) {
                variables.define(&node, &format!("the file {}", quoted(file)), context);
            }
            continue;
        }
        let source = context
            .problems
            .sources
            .add("-e".to_owned(), argument.clone());
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
        for word in words {
            match word.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    let name_span = place(argument, name, source).unwrap_or(span);
                    variables.define_text(
                        name,
                        name_span,
                        Node::text(value.to_owned(), span),
                        context,
                    );
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

fn expanded(file: &str, context: &Context) -> std::path::PathBuf {
    match file.strip_prefix("~/") {
        Some(_) => context
            .environment
            .local_path(file)
            .unwrap_or_else(|| Path::new(file).to_owned()),
        None => Path::new(file).to_owned(),
    }
}

fn place(argument: &str, name: &str, source: usize) -> Option<Span> {
    let start = argument.find(&format!("{name}="))?;
    Some(Span {
        source,
        start,
        end: start + name.len(),
    })
}
