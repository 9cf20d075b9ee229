//! `dockerd --validate` inside a node's transaction.
//!
//! Comes in: how dockerd will be started, from the plan. Goes out: one call of
//! the prelude, between staging and the first rename. dockerd reads a private
//! copy of daemon.json there, in which the TLS files are those that are staged;
//! a dockerd without the flag (before 23.0) is not asked.

use super::facts::STATE;
use super::script::call;

/// What dockerd shall be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validation {
    /// The program and its arguments, as systemd will pass them.
    pub command_line: Vec<String>,
    /// The new daemon.json; its TLS files are named as [`TlsFile::link`] says.
    pub settings: String,
    /// The paths of CA, certificate and key on the node.
    pub files: [String; 3],
}

/// The files that dockerd loads when it validates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    Authority,
    Certificate,
    Key,
}

impl TlsFile {
    pub const ALL: [Self; 3] = [Self::Authority, Self::Certificate, Self::Key];

    /// Its key in daemon.json.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Authority => "tlscacert",
            Self::Certificate => "tlscert",
            Self::Key => "tlskey",
        }
    }

    /// The path that leads to it, staged or not, while dockerd validates.
    #[must_use]
    pub fn link(self) -> String {
        format!("{STATE}/validate/{}", self.key())
    }
}

impl Validation {
    /// The call; it fails when dockerd refuses.
    #[must_use]
    pub fn call(&self) -> String {
        let arguments: Vec<&str> = std::iter::once(self.settings.as_str())
            .chain(self.files.iter().map(String::as_str))
            .chain(self.command_line.iter().map(String::as_str))
            .collect();
        call("validate", &arguments)
    }
}
