//! The parsed tree: values with their positions.
//!
//! [`super::yaml`] builds it, the rest of the inventory reads it. Scalars keep their text as
//! written:
//! [`super::scalar`] and the variable's type decide what it means.

use std::rc::Rc;

use super::source::{Span, quoted};

/// A value and its position.
#[derive(Debug, Clone)]
pub struct Node {
    pub span: Span,
    pub value: Value,
    /// What it expands to, in bytes and 64 for each value in it.
    pub(crate) weight: usize,
}

#[derive(Debug, Clone)]
pub enum Value {
    Scalar(Rc<Scalar>),
    Sequence(Rc<Vec<Node>>),
    Mapping(Rc<Vec<Entry>>),
}

/// A scalar as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    pub text: String,
    /// Neither quoted nor a block: may mean a number, a boolean or null.
    pub(crate) plain: bool,
    /// `!unsafe`: braces in it are not a template.
    pub verbatim: bool,
    /// `!vault`: encrypted, refused wherever it stands.
    pub(crate) vault: bool,
}

/// One line of a mapping.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: Scalar,
    pub key_span: Span,
    pub node: Node,
}

impl Node {
    /// A string that was not written in YAML, as `-e key=value` gives it.
    pub(crate) fn text(text: String, span: Span) -> Self {
        scalar(text, span, false, None)
    }

    /// A number that was not written as a value of its own.
    pub(crate) fn number(value: u16, span: Span) -> Self {
        scalar(value.to_string(), span, true, None)
    }

    /// The value of an empty entry.
    pub(crate) fn null(span: Span) -> Self {
        scalar(String::new(), span, true, None)
    }

    /// A missing value: `hosts:` with nothing after it.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.is_null())
    }

    /// Whether this is the root of a playbook.
    #[must_use]
    pub fn is_list_of_plays(&self) -> bool {
        let Value::Sequence(items) = &self.value else {
            return false;
        };
        let is_play = |item: &Node| match &item.value {
            Value::Mapping(entries) => entries
                .iter()
                .any(|entry| ["hosts", "tasks"].contains(&entry.key.text.as_str())),
            Value::Scalar(_) | Value::Sequence(_) => false,
        };
        !items.is_empty() && items.iter().all(is_play)
    }

    /// The kind of a value, for a message that does not quote it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Mapping(_) => "a mapping",
            Value::Sequence(_) => "a list",
            Value::Scalar(scalar) if scalar.is_null() => "nothing",
            Value::Scalar(_) => "text",
        }
    }

    /// What the value is, in words for a message.
    #[must_use]
    pub fn described(&self) -> String {
        match &self.value {
            Value::Mapping(_) => "a mapping".to_owned(),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Scalar(scalar) if scalar.is_null() => "nothing".to_owned(),
            Value::Scalar(scalar) => quoted(&scalar.text),
        }
    }
}

/// The effect of a tag on a scalar.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Text,
    Plain,
    Unsafe,
    Vault,
}

pub(crate) fn scalar(text: String, span: Span, plain: bool, tag: Option<Meaning>) -> Node {
    let weight = 64 + text.len();
    let scalar = Scalar {
        vault: tag == Some(Meaning::Vault) || text.starts_with("$ANSIBLE_VAULT;"),
        verbatim: tag == Some(Meaning::Unsafe),
        plain: match tag {
            None => plain,
            Some(meaning) => meaning == Meaning::Plain,
        },
        text,
    };
    Node {
        span,
        value: Value::Scalar(Rc::new(scalar)),
        weight,
    }
}
