//! Values that variables were given, and where.

use crate::yaml::source::names_a_secret;
use std::collections::BTreeMap;

use super::convert::Found;
use crate::yaml::node::Node;
use crate::yaml::source::Span;

/// A value that a variable was given, and where.
#[derive(Debug, Clone)]
pub(super) struct Assigned {
    pub(super) name_span: Span,
    pub(super) node: Node,
}

/// The variables of one group, one host, one file; or of a host with
/// everything laid over each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    pub(super) assigned: BTreeMap<String, Assigned>,
}

impl Variables {
    pub(super) fn get(&self, name: &str) -> Option<&Assigned> {
        self.assigned.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Assigned)> {
        self.assigned.iter()
    }

    /// Sets a variable that is known to be valid.
    pub(super) fn set(&mut self, name: &str, assigned: Assigned) {
        self.assigned.insert(name.to_owned(), assigned);
    }

    /// The approximate size of a copy in bytes.
    pub(super) fn weight(&self) -> usize {
        self.assigned
            .values()
            .map(|assigned| assigned.node.weight)
            .fold(0, usize::saturating_add)
    }

    /// Overrides these variables with others.
    pub(super) fn overlay(&mut self, other: &Self) {
        for (name, assigned) in &other.assigned {
            self.assigned.insert(name.clone(), assigned.clone());
        }
    }
}

impl Assigned {
    pub(super) fn found<'a>(&'a self, name: &'a str) -> Found<'a> {
        Found {
            name,
            name_span: self.name_span,
            node: &self.node,
            secret: names_a_secret(name),
        }
    }
}
