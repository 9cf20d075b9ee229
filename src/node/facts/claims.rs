//! What decides whether a path of the inventory is what it should be.
//!
//! Comes in: the fields of a `declared` record. Goes out: [`Claims`].

use std::collections::BTreeSet;

/// What a node says of declared paths besides their files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Files that are private keys in PEM, of those that were asked about.
    pub keys: BTreeSet<String>,
}

impl Claims {
    /// Takes a record in; false where it is of another form.
    pub(super) fn record(&mut self, fields: &[&str]) -> bool {
        match fields {
            ["key", path] => {
                self.keys.insert((*path).to_owned());
            }
            _ => return false,
        }
        true
    }
}
