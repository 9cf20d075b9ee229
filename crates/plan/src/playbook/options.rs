//! What the command line says of a run, beside its playbook.

use pki::Certificate;

/// What a run does about the age of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Renewals {
    /// Those that are due are renewed, where that gains something.
    #[default]
    Due,
    /// All are renewed, and no maintenance window is kept to.
    Forced,
    /// None is: it is another run's business.
    Left,
}

/// What the command line allows by name. No inventory and no playbook can say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// A new CA may be made although nodes carry certificates of another one.
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
