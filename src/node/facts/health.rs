//! What else of a node decides whether docker can be deployed to and reached.
//!
//! Comes in: fields of records that `fact_health` prints. Goes out: one
//! [`Health`] a node. Asked for by `doctor` alone.

use std::collections::BTreeMap;

/// Programs that scripts on a node call; busybox has them all.
pub const TOOLS: &[&str] = &[
    "cat",
    "chmod",
    "cp",
    "cut",
    "date",
    "df",
    "find",
    "grep",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "sha256sum",
    "sleep",
    "stat",
    "sync",
    "tail",
    "timeout",
    "tr",
    "uname",
];

/// What `fact_health` saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// `SELinux` is there, and enforces its policy or only logs.
    pub selinux: Option<bool>,
    /// The security label of the daemon's process; empty where it has none.
    pub label: Option<String>,
    /// What `dockerd --version` and `docker --version` say, by program.
    pub versions: BTreeMap<String, String>,
    /// Of [`TOOLS`], those that are not there.
    pub missing: Vec<String>,
}

impl Health {
    /// Takes in one record; false when it is not one.
    pub(super) fn record(&mut self, name: &str, value: &str) -> bool {
        match name {
            "selinux" => self.selinux = Some(value == "1"),
            "label" => self.label = Some(value.to_owned()),
            "dockerd" | "docker" => {
                self.versions.insert(name.to_owned(), value.to_owned());
            }
            "missing" => self.missing.push(value.to_owned()),
            _ => return false,
        }
        true
    }
}
