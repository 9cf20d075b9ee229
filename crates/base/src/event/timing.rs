//! The parts that a run's time is made of.

use serde::{Deserialize, Serialize};

/// What was waited for, in the order in which a run comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A place among the connections under way, then TCP and the key exchange,
    /// jump hosts included.
    Connect,
    /// Logging in.
    Auth,
    /// One script that reads facts.
    Facts,
    /// The CA's agent: pushed where it is missing, started, its lock taken.
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
    /// The proof.
    Verify,
}

impl Phase {
    /// All of them, in their order.
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
