//! Options of a run from the command line, in addition to its playbook.

use pki::Certificate;

/// How a run renews certificates by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Renewals {
    /// Renews certificates that are due, if that gains something.
    #[default]
    Due,
    /// Renews all, and ignores maintenance windows.
    Forced,
    /// Renews none: that is left to another run.
    Left,
}

/// What the command line allows by name. No inventory and no playbook can allow it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// A new CA may be created although nodes have certificates of another one.
    pub new_authority: bool,
    /// CAs that may be trusted again: the subject, or the certificate's SHA-256 in hexadecimal.
    pub readmitted: Vec<String>,
}

impl Allowed {
    /// Whether a CA is named.
    #[must_use]
    pub(crate) fn readmits(&self, authority: &Certificate) -> bool {
        let sha256 = authority.sha256();
        self.readmitted.iter().any(|name| {
            name == authority.subject() || name.replace(':', "").to_ascii_lowercase() == sha256
        })
    }
}
