//! Changes: what a plan is made of.
//!
//! Modules make them while they plan, the report shows them, apply executes
//! them. A change carries no secret: keys that are yet to be issued are named,
//! not held.

use std::collections::BTreeSet;

use crate::host::address::DaemonAddress;
use crate::host::guard::Program;
use docker::tls::DaemonMode;
use node::facts::KeptGeneration;
use node::transaction::{RunningChanges, UnitReload};
use node::validation::Validation;
use pki::{AuthorityProfile, LeafRequest, Role, San};

/// One thing that will be done on one host, and why.
#[derive(Debug, Clone)]
pub struct Change {
    pub host: String,
    /// The task's name, as the playbook gives it.
    pub task: String,
    /// What is changed: a path, "certificate for node3", "docker.service".
    pub subject: String,
    /// Each reason in a few words: "none present", "SAN 10.0.0.13 missing".
    pub reasons: Vec<String>,
    /// Old and new text, for `--diff`; only of files that hold no secret.
    pub diff: Option<TextDiff>,
    pub action: Action,
}

impl Change {
    /// Whether the host itself is changed, as opposed to the CA for it.
    #[must_use]
    pub fn is_on_node(&self) -> bool {
        match self.action {
            Action::Authority(_)
            | Action::NextAuthority(_)
            | Action::Promote
            | Action::EndRollover { .. }
            | Action::Issue(_)
            | Action::Fetch { .. } => false,
            Action::File(_)
            | Action::Sweep { .. }
            | Action::Forget(_)
            | Action::Restart(_)
            | Action::Reload(_)
            | Action::Command { .. }
            | Action::Service { .. }
            | Action::Wait { .. } => true,
        }
    }
}

/// The texts that a diff is drawn from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextDiff {
    pub before: String,
    pub after: String,
}

/// What apply has to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// The CA's own key and certificate, on the CA node.
    Authority(AuthorityProfile),
    /// The CA that shall follow: its key and certificate, on the CA node.
    NextAuthority(AuthorityProfile),
    /// The next CA becomes the present one, which retires.
    Promote,
    /// A rollover is over.
    EndRollover {
        /// The keys of retired CAs are removed.
        destroy_old: bool,
    },
    /// A new leaf key and certificate, on the CA node.
    Issue(LeafRequest),
    /// A pair that was issued before and lies on the CA node undelivered.
    Fetch {
        holder: String,
        role: Role,
        /// The names that are in it.
        sans: BTreeSet<San>,
    },
    /// A file on the node.
    File(FileChange),
    /// What interrupted runs have left in a directory, old keys perhaps.
    Sweep { directory: String, account: String },
    /// What the node keeps of earlier changes, once this one holds.
    Forget(Forget),
    /// The daemon's unit.
    Restart(Restart),
    /// The daemon reads daemon.json anew and goes on running.
    Reload(UnitReload),
    /// A program of the operator's.
    Command { argv: Vec<String>, seconds: u64 },
    /// A unit of the operator's.
    Service {
        unit: String,
        verb: ServiceVerb,
        seconds: u64,
    },
    /// A pause until something is as it should be.
    Wait { awaited: Awaited, seconds: u64 },
}

impl Action {
    /// A step of the operator's own: it reaches the node alone and cannot be
    /// undone.
    #[must_use]
    pub fn is_own_step(&self) -> bool {
        matches!(
            self,
            Self::Command { .. } | Self::Service { .. } | Self::Wait { .. }
        )
    }

    /// It is settled on its node before anything that comes after it begins.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.is_own_step() || matches!(self, Self::Reload(_))
    }
}

/// What a node keeps of earlier changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forget {
    /// The generation in this directory: the node has gone back to it.
    Generation(KeptGeneration),
    /// All of it.
    Everything,
}

/// What `systemctl` is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceVerb {
    Start,
    Stop,
    Restart,
    Reload,
}

impl ServiceVerb {
    /// The word as systemctl knows it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }
}

/// What is waited for, as the node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    Port { host: String, port: u16, open: bool },
    Path { path: String, present: bool },
}

impl std::fmt::Display for Awaited {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Port { host, port, open } => {
                let state = if *open { "open" } else { "closed" };
                write!(formatter, "wait until {host}:{port} is {state}")
            }
            Self::Path { path, present } => {
                let state = if *present { "there" } else { "gone" };
                write!(formatter, "wait until {path} is {state}")
            }
        }
    }
}

/// A file to write, or to give another mode or owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    pub directory: String,
    /// Permission bits of the directory where it has to be made; the mode of one
    /// that is there is not ours to change.
    pub directory_mode: u32,
    pub name: String,
    /// Permission bits of the new file.
    pub mode: u32,
    /// As whom the node writes it, and so who owns it.
    pub account: String,
    /// SHA-256 of the file that the plan was made from; `None` for no file.
    pub before: Option<String>,
    /// What is wrong with that file besides its bytes; in words these are reasons, too.
    pub attributes: Vec<AttributeFault>,
    pub content: Content,
}

/// What is wrong with a file besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeFault {
    /// Permission bits.
    #[error("mode {found:04o}, want {want:04o}")]
    Mode { found: u32, want: u32 },
    /// Names of accounts.
    #[error("owner {found}, want {want}")]
    Owner { found: String, want: String },
    #[error("a symbolic link, want a file")]
    Link,
}

impl FileChange {
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.directory, self.name)
    }
}

/// Where the bytes of a file come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Text(String),
    /// CA certificates, PEM: see `Authority::is_delivered`.
    Certificates(String),
    /// The guard's program.
    Program(Program),
    /// The bytes it has, with another mode or owner.
    Same,
    /// The bytes of another file of the same node.
    Copy {
        from: String,
    },
    /// The certificate of the CA, which may be created in this very run.
    Authority,
    /// A leaf that is issued or fetched in this run.
    Leaf {
        /// Whose: see `Host::holder`.
        holder: String,
        role: Role,
        part: LeafPart,
    },
    /// What is kept in a generation.
    Kept {
        copy: String,
        /// The account that keeps it.
        keeper: String,
        /// SHA-256 of the copy, lower-case hex.
        sha256: String,
    },
    /// No file at all. Its directory goes when nothing else is in it, and so
    /// many levels in all.
    Gone {
        prune: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafPart {
    Certificate,
    Key,
}

/// A restart of the daemon, and what it reads then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    pub unit: String,
    /// Paths of all files that dockerd and systemd read for it.
    pub reads: BTreeSet<String>,
    /// Running containers that it stops; `None` where that is not known.
    pub stops: Option<usize>,
    /// The node is a manager of a swarm: two at one time could cost its quorum.
    pub swarm_manager: bool,
    /// What dockerd is asked before anything is renamed.
    pub validation: Option<Box<Validation>>,
    /// What it has to serve afterwards, or the old files come back.
    pub serves: Served,
    /// What else of the running daemon it may change.
    pub changes: RunningChanges,
}

/// What a restarted daemon serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// TLS, with the certificate that this run issues, or the one in place.
    Issued(DaemonMode),
    /// TLS, with the certificate and the CAs of a generation, in PEM.
    Kept {
        mode: DaemonMode,
        certificate: Vec<u8>,
        authorities: Vec<u8>,
        /// Where it is reached, by the settings of the generation.
        address: DaemonAddress,
    },
    /// No TLS: its local socket.
    Socket,
}
