//! The phases of a run.

use serde::{Deserialize, Serialize};

/// What a run waits for, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A free connection slot, then TCP and the key exchange, including jump hosts.
    Connect,
    /// Logging in.
    Auth,
    /// One script that reads facts.
    Facts,
    /// The CA agent: copied if it is missing, started, its lock taken.
    Agent,
    /// The CA created, keys generated, certificates issued.
    Keys,
    /// Files staged, checked and renamed.
    Push,
    /// The daemon's restart, until systemd says that it is ready.
    Restart,
    /// The restarted daemon was checked, and the change kept or undone.
    Confirm,
    /// Commands and waits of a playbook.
    Steps,
    /// Verification.
    Verify,
}

impl Phase {
    pub const ALL: [Self; 10] = [
        Self::Connect,
        Self::Auth,
        Self::Facts,
        Self::Agent,
        Self::Keys,
        Self::Push,
        Self::Restart,
        Self::Confirm,
        Self::Steps,
        Self::Verify,
    ];

    /// The column's heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Auth => "auth",
            Self::Facts => "facts",
            Self::Agent => "agent",
            Self::Keys => "keys",
            Self::Push => "push",
            Self::Restart => "restart",
            Self::Confirm => "confirm",
            Self::Steps => "steps",
            Self::Verify => "verify",
        }
    }
}
