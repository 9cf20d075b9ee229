//! Converts values of the parsed tree to text, numbers, booleans and lists, and refuses what no
//! variable may contain.

use super::environment::Environment;
use crate::yaml::node::{Entry, Node, Scalar, Value};
use crate::yaml::problems::Problems;
use crate::yaml::scalar::{Meaning, boolean};
pub(super) use crate::yaml::source::is_hidden;
use crate::yaml::source::{Span, quoted};

/// A type that a variable can have.
pub(super) trait Convert {
    type Output;
    /// What is expected, as it completes "… must be".
    const EXPECTED: &'static str;
    /// The type in JSON schema.
    const SCHEMA: &'static str;
    fn convert(value: &Found, context: &mut Context) -> Option<Self::Output>;
}

/// A value to convert.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    /// The variable, for messages.
    pub(super) name: &'a str,
    pub(super) name_span: Span,
    pub(super) node: &'a Node,
    /// Its text must not be shown.
    pub(super) secret: bool,
}

/// The environment of a conversion.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) problems: &'a mut Problems,
    pub(super) environment: &'a Environment,
}

impl<'a> Found<'a> {
    /// A value inside a mapping, under its whole name.
    pub(super) fn part(name: &'a str, entry: &'a Entry) -> Self {
        Self {
            name,
            name_span: entry.key_span,
            node: &entry.node,
            secret: false,
        }
    }

    /// The value's place, or its name's where nothing is written.
    pub(super) fn span(&self) -> Span {
        if self.node.span.start == self.node.span.end {
            self.name_span
        } else {
            self.node.span
        }
    }

    pub(super) fn item(&self, node: &'a Node) -> Self {
        Self {
            node,
            name_span: self.span(),
            ..*self
        }
    }

    fn described(&self) -> String {
        match &self.node.value {
            Value::Scalar(scalar) if self.secret && !scalar.is_null() => "this value".to_owned(),
            _ => self.node.described(),
        }
    }

    /// Reports that the value is not of the type.
    pub(super) fn wrong_type<T>(&self, expected: &str, context: &mut Context) -> Option<T> {
        let message = format!(
            "{} must be {expected}, not {}",
            quoted(self.name),
            self.described()
        );
        context
            .problems
            .error(self.span(), message, "wrong type", None);
        None
    }

    /// Reports that the value is of the type, but impossible.
    pub(super) fn refuse<T>(
        &self,
        message: impl Into<String>,
        help: impl Into<String>,
        context: &mut Context,
    ) -> Option<T> {
        let help = Some(help.into()).filter(|help| !help.is_empty());
        context
            .problems
            .error(self.span(), message, "this value", help);
        None
    }

    /// The text of a scalar that was written as one. A plain scalar that YAML
    /// takes for something else is text when that changes nothing.
    pub(super) fn text(&self, expected: &str, context: &mut Context) -> Option<&'a str> {
        let Value::Scalar(scalar) = &self.node.value else {
            return self.wrong_type(expected, context);
        };
        let same = match scalar.meaning() {
            Meaning::Text => true,
            Meaning::Null => return self.wrong_type(expected, context),
            Meaning::Integer(value) => value.to_string() == scalar.text,
            Meaning::Bool(_) | Meaning::Float(_) => false,
        };
        if !same {
            let kind = match scalar.meaning() {
                Meaning::Bool(_) => "a boolean",
                Meaning::Float(_) => "a floating-point number",
                _ => "a number in another notation",
            };
            return self.refuse(
                format!(
                    "{} must be {expected}; without quotes YAML reads this as {kind}",
                    quoted(self.name)
                ),
                if self.secret {
                    "put it in quotes".to_owned()
                } else {
                    format!("write '{}'", scalar.text)
                },
                context,
            );
        }
        let scalar: &'a Scalar = scalar;
        Some(&scalar.text)
    }

    /// Text of one line without control characters and not empty.
    pub(super) fn line(&self, expected: &str, context: &mut Context) -> Option<&'a str> {
        let text = self.text(expected, context)?;
        if text.is_empty() {
            return self.refuse(
                format!("{} is empty", quoted(self.name)),
                format!("it must be {expected}"),
                context,
            );
        }
        if let Some(character) = text.chars().find(|character| is_hidden(*character)) {
            let character = character.escape_unicode();
            return self.refuse(
                format!(
                    "{} contains the control character {character}",
                    quoted(self.name)
                ),
                "remove it; only visible characters can be part of it",
                context,
            );
        }
        Some(text)
    }

    /// A whole number, quoted or not.
    pub(super) fn integer(&self, expected: &str, context: &mut Context) -> Option<i128> {
        let Value::Scalar(scalar) = &self.node.value else {
            return self.wrong_type(expected, context);
        };
        let decimal = |text: &str| {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let leading_zero = digits.len() > 1 && digits.starts_with('0');
            let all = digits.chars().all(|digit| digit.is_ascii_digit());
            (all && !leading_zero).then(|| text.parse().ok()).flatten()
        };
        match decimal(&scalar.text) {
            Some(value) => Some(value),
            None => self.wrong_type(expected, context),
        }
    }

    /// A boolean in any of Ansible's spellings.
    pub(super) fn boolean(&self, context: &mut Context) -> Option<bool> {
        const EXPECTED: &str = "true or false (or yes, no, on, off)";
        match &self.node.value {
            Value::Scalar(scalar) => match boolean(&scalar.text) {
                Some(value) => Some(value),
                None => self.wrong_type(EXPECTED, context),
            },
            _ => self.wrong_type(EXPECTED, context),
        }
    }

    pub(super) fn list(&self, expected: &str, context: &mut Context) -> Option<&'a [Node]> {
        if let Value::Sequence(items) = &self.node.value {
            return Some(items);
        }
        let message = format!(
            "{} must be {expected}, not {}",
            quoted(self.name),
            self.described()
        );
        let help = match &self.node.value {
            // The value in the form that a shell passes it.
            Value::Scalar(scalar) if scalar.text.starts_with('[') && !self.secret => Some(format!(
                "with -e, write it as JSON: -e '{{\"{}\": [\"…\"]}}'",
                self.name
            )),
            Value::Scalar(scalar) if scalar.meaning() == Meaning::Text && !self.secret => {
                let items: Vec<&str> = scalar.text.split(',').map(str::trim).collect();
                let sources = &context.problems.sources;
                let help = if sources.is_argument(self.span()) {
                    let items: Vec<String> =
                        items.iter().map(|item| format!("\"{item}\"")).collect();
                    format!(
                        "with -e, write it as JSON: -e '{{\"{}\": [{}]}}'",
                        self.name,
                        items.join(", ")
                    )
                } else {
                    format!("write a list: [{}]", items.join(", "))
                };
                Some(help).filter(|help| !help.chars().any(is_hidden))
            }
            _ => None,
        };
        context
            .problems
            .error(self.span(), message, "wrong type", help);
        None
    }

    pub(super) fn mapping(&self, expected: &str, context: &mut Context) -> Option<&'a [Entry]> {
        match &self.node.value {
            Value::Mapping(entries) => Some(entries),
            _ => self.wrong_type(expected, context),
        }
    }

    /// Converts every item; none if one is wrong, with an error for each.
    pub(super) fn each<T>(
        &self,
        expected: &str,
        context: &mut Context,
        mut convert: impl FnMut(&Found, &mut Context) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.list(expected, context)?;
        let converted: Vec<Option<T>> = items
            .iter()
            .map(|item| convert(&self.item(item), context))
            .collect();
        converted.into_iter().collect()
    }
}

/// The first scalar inside a value that Ansible would render as a template.
pub(super) fn template_in(node: &Node) -> Option<Span> {
    match &node.value {
        Value::Scalar(scalar) => {
            let braces = ["{{", "{%", "{#"]
                .iter()
                .any(|open| scalar.text.contains(open));
            (braces && !scalar.verbatim).then_some(node.span)
        }
        Value::Sequence(items) => items.iter().find_map(template_in),
        Value::Mapping(entries) => entries.iter().find_map(|entry| template_in(&entry.node)),
    }
}

/// The first encrypted value inside a value.
pub(super) fn vault_in(node: &Node) -> Option<Span> {
    match &node.value {
        Value::Scalar(scalar) => scalar.vault.then_some(node.span),
        Value::Sequence(items) => items.iter().find_map(vault_in),
        Value::Mapping(entries) => entries.iter().find_map(|entry| vault_in(&entry.node)),
    }
}
