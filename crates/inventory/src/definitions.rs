//! Definitions of variables: name, value and place.
//!
//! Collects the mappings below `vars:`, below a host, from `group_vars/` and `host_vars/` files and
//! from `-e` into scopes that [`super::resolve`] combines. Each definition is checked once, here,
//! even if another one overrides it.

use super::assigned::{Assigned, Variables};
use super::convert::{Context, Convert, template_in, vault_in};
use super::names;
use super::other_variables;
use super::variables::{self, ReadBy};
use crate::yaml::node::{Node, Value};
use crate::yaml::source::{Span, names_a_secret, quoted};

impl Variables {
    /// Takes in a mapping of variables, each checked.
    pub(super) fn define(&mut self, node: &Node, whose: &str, context: &mut Context) {
        if node.is_null() {
            return;
        }
        let Value::Mapping(entries) = &node.value else {
            let message = format!(
                "the variables of {whose} must be a mapping, not {}",
                node.described()
            );
            let help = Some("write one `name: value` per line".to_owned());
            context
                .problems
                .error(node.span, message, "wrong type", help);
            return;
        };
        for entry in entries.iter() {
            let assigned = Assigned {
                name_span: entry.key_span,
                node: entry.node.clone(),
            };
            check(&entry.key.text, &assigned, context);
            self.assigned.insert(entry.key.text.clone(), assigned);
        }
    }

    /// Takes in one variable, checked.
    pub(super) fn define_text(
        &mut self,
        name: &str,
        name_span: Span,
        node: Node,
        context: &mut Context,
    ) {
        let assigned = Assigned { name_span, node };
        check(name, &assigned, context);
        self.assigned.insert(name.to_owned(), assigned);
    }

    /// The value under one of a variable's names; none when it is not set or
    /// wrong. Two names with different values are an error.
    pub(super) fn read<T: Convert>(
        &self,
        names: &[&str],
        context: &mut Context,
    ) -> Option<T::Output> {
        let mut found: Option<(&str, &Assigned)> = None;
        for name in names {
            let Some(assigned) = self.get(name) else {
                continue;
            };
            if let Some((first, earlier)) = found {
                if !same(&earlier.node, &assigned.node) {
                    let place = context
                        .problems
                        .place(earlier.name_span, assigned.name_span);
                    let message = format!(
                        "{} and {} say two things about one host",
                        quoted(name),
                        quoted(first)
                    );
                    let help = Some(format!(
                        "they are one variable; the other one is on {place}: keep {}",
                        quoted(first)
                    ));
                    context
                        .problems
                        .error(assigned.name_span, message, "this one", help);
                }
                continue;
            }
            found = Some((name, assigned));
        }
        let (name, assigned) = found?;
        if !usable(name, assigned) {
            return None;
        }
        T::convert(&assigned.found(name), context)
    }

    /// Whether a mapping with this key is written as the variable's value, right or wrong.
    pub(super) fn has_key(&self, name: &str, key: &str) -> bool {
        let value = self.get(name).map(|assigned| &assigned.node.value);
        matches!(value, Some(Value::Mapping(entries)) if entries.iter().any(|entry| entry.key.text == key))
    }

    /// The place of each definition, name and value.
    pub(super) fn places(&self) -> impl Iterator<Item = Span> {
        self.assigned.values().map(|assigned| Span {
            end: assigned.node.span.end.max(assigned.name_span.end),
            ..assigned.name_span
        })
    }

    /// The place of a variable, under any of its names.
    pub(super) fn place(&self, name: &str) -> Option<Span> {
        self.get(name).map(|assigned| assigned.found(name).span())
    }
}

fn same(one: &Node, other: &Node) -> bool {
    crate::yaml::scalar::to_json(one) == crate::yaml::scalar::to_json(other)
}

/// Encrypted values and templates were refused when they were defined.
fn usable(name: &str, assigned: &Assigned) -> bool {
    vault_in(&assigned.node).is_none()
        && (name == "dtls_issued_name" || template_in(&assigned.node).is_none())
}

/// Checks one definition: the name, and the value if the name means something.
fn check(name: &str, assigned: &Assigned, context: &mut Context) {
    if names_a_secret(name) {
        hide(&assigned.node, context);
    }
    if let Some(span) = vault_in(&assigned.node) {
        if !is_read(name) {
            // It belongs to another program and is not needed here.
            return;
        }
        context.problems.error(
            span,
            format!(
                "the value of {} is encrypted with ansible-vault, which is not read here",
                quoted(name)
            ),
            "encrypted",
            Some(vault_help(name)),
        );
        return;
    }
    if let Some((_, help)) = other_variables::REFUSED
        .iter()
        .find(|(refused, _)| *refused == name)
    {
        let message = format!("{} is not understood here", quoted(name));
        context.problems.error(
            assigned.name_span,
            message,
            "this variable",
            Some((*help).to_owned()),
        );
        return;
    }
    if let Some(variable) = variables::find(name) {
        if name != "dtls_issued_name"
            && let Some(span) = template_in(&assigned.node)
        {
            context.problems.error(
                span,
                format!(
                    "{} cannot be a template: values are not rendered here",
                    quoted(name)
                ),
                "a template",
                Some("write the value itself; only dtls_issued_name is a template".to_owned()),
            );
            return;
        }
        (variable.check)(&assigned.found(name), context);
        return;
    }
    if is_ours(name) {
        let names = variables::table().map(|variable| variable.name);
        let known: Vec<&str> = names.filter(|name| name.starts_with("dtls_")).collect();
        let help = match names::nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the variables are: {}", known.join(", ")),
        };
        let message = format!("there is no variable {}", quoted(name));
        context
            .problems
            .error(assigned.name_span, message, "unknown", Some(help));
    } else if name.starts_with("ansible_") && !other_variables::has_no_meaning(name) {
        let known = variables::table().flat_map(|variable| {
            [variable.name]
                .into_iter()
                .chain(variable.aliases.iter().copied())
        });
        let near = names::nearest(
            name,
            known
                .filter(|name| name.starts_with("ansible_"))
                .chain(other_variables::WITHOUT_MEANING.iter().copied()),
        );
        let help = near.map(|near| format!("did you mean `{near}`?"));
        let message = format!("{} has no meaning here", quoted(name));
        context
            .problems
            .warning(assigned.name_span, message, "ignored", help);
    } else if let Some(near) = misspelt(name) {
        let message = format!("{} has no meaning here", quoted(name));
        let help = Some(format!("did you mean `{near}`?"));
        context
            .problems
            .warning(assigned.name_span, message, "ignored", help);
    }
}

/// The variable that a misspelt name may mean: `ansbile_user`.
fn misspelt(name: &str) -> Option<&'static str> {
    let (start, _) = name.split_once('_')?;
    let is_near = |word: &str| strsim::damerau_levenshtein(start, word) == 1;
    if !is_near("ansible") && !is_near("dtls") {
        return None;
    }
    let known = variables::table().map(|variable| variable.name);
    known
        .filter(|known| strsim::damerau_levenshtein(name, known) <= 2)
        .min_by_key(|known| strsim::damerau_levenshtein(name, known))
}

/// Whether a variable is used here, or looks as if it should be.
fn is_read(name: &str) -> bool {
    variables::find(name).is_some()
        || is_ours(name)
        || other_variables::REFUSED
            .iter()
            .any(|(refused, _)| *refused == name)
}

/// Any spelling that may be meant as `dtls_`.
fn is_ours(name: &str) -> bool {
    let start: String = name
        .chars()
        .take(5)
        .collect::<String>()
        .to_ascii_lowercase();
    start == "dtls_" || start == "dtls-"
}

fn vault_help(name: &str) -> String {
    if name.starts_with("ansible_") && names_a_secret(name) {
        "leave it out: log in with a key or the agent, and let sudo ask (or give -e on the command line)".to_owned()
    } else {
        "write the value unencrypted, or leave it out of this inventory".to_owned()
    }
}

fn hide(node: &Node, context: &mut Context) {
    match &node.value {
        Value::Scalar(scalar) => context.problems.sources.hide(node.span, &scalar.text),
        Value::Sequence(items) => items.iter().for_each(|item| hide(item, context)),
        Value::Mapping(entries) => entries.iter().for_each(|entry| hide(&entry.node, context)),
    }
}

/// Warns about variables of a single host that have no effect there.
pub(super) fn warn_of_useless(
    variables: &Variables,
    roles: [bool; 3],
    host: &str,
    context: &mut Context,
) {
    let [ca, daemon, client] = roles;
    for (name, assigned) in variables.iter() {
        let Some(variable) = variables::find(name) else {
            continue;
        };
        let (read, readers) = match variable.read_by {
            ReadBy::Every => continue,
            ReadBy::Ca => (ca, "the host in the group ca"),
            ReadBy::Daemons => (daemon, "hosts in the group daemons"),
            ReadBy::Clients => (client, "hosts in the group clients"),
        };
        if !read {
            let message = format!("{} means nothing for {}", quoted(name), quoted(host));
            let help = Some(format!("it is read for {readers}"));
            context
                .problems
                .warning(assigned.name_span, message, "ignored", help);
        }
    }
}
