//! Changes: what a plan is made of.
//!
//! Modules create them while planning, the report shows them, apply executes them. A change carries
//! no secret: it names keys that are yet to be issued but does not hold them.

use std::collections::BTreeSet;

use crate::host::address::DaemonAddress;
use crate::host::guard::Program;
use docker::tls::DaemonMode;
use node::facts::KeptGeneration;
use node::transaction::{RunningChanges, UnitReload};
use node::validation::Validation;
use pki::{AuthorityProfile, LeafRequest, Role, San};

/// One thing to do on one host, and why.
#[derive(Debug, Clone)]
pub struct Change {
    pub host: String,
    /// The task's name from the playbook.
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
    /// Whether it changes the host itself, as opposed to the CA for it.
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

/// The old and new text of a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextDiff {
    pub before: String,
    pub after: String,
}

#[derive(Debug, Clone)]
pub enum Action {
    /// The CA's own key and certificate, on the CA node.
    Authority(AuthorityProfile),
    /// The CA that will follow: its key and certificate, on the CA node.
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
    /// A pair that was issued earlier and is on the CA node, undelivered.
    Fetch {
        holder: String,
        role: Role,
        sans: BTreeSet<San>,
    },
    /// A file on the node.
    File(FileChange),
    /// What interrupted runs left in a directory, possibly old keys.
    Sweep { directory: String, account: String },
    /// What the node keeps of earlier changes, once this change is confirmed.
    Forget(Forget),
    /// The daemon's unit.
    Restart(Restart),
    /// The daemon reloads daemon.json and keeps running.
    Reload(UnitReload),
    /// A program of the operator.
    Command { argv: Vec<String>, seconds: u64 },
    /// A unit of the operator.
    Service {
        unit: String,
        verb: ServiceVerb,
        seconds: u64,
    },
    /// A pause until a condition holds.
    Wait { awaited: Awaited, seconds: u64 },
}

impl Action {
    /// A step that the operator defined: it affects only the node and cannot be undone.
    #[must_use]
    pub fn is_own_step(&self) -> bool {
        matches!(
            self,
            Self::Command { .. } | Self::Service { .. } | Self::Wait { .. }
        )
    }

    /// It is confirmed on its node before any later change begins.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.is_own_step() || matches!(self, Self::Reload(_))
    }
}

/// What a node keeps of earlier changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forget {
    /// The generation in this directory, once the node has gone back to it.
    Generation(KeptGeneration),
    /// All of it.
    Everything,
}

/// The systemctl command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceVerb {
    Start,
    Stop,
    Restart,
    Reload,
}

impl ServiceVerb {
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

/// What the node waits for.
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

/// A file to write, or whose mode or owner to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    pub directory: String,
    /// Permission bits of the directory if it must be created; the mode of an existing one is not
    /// changed.
    pub directory_mode: u32,
    pub name: String,
    /// Permission bits of the new file.
    pub mode: u32,
    /// The account that writes it on the node, and so owns it.
    pub account: String,
    /// SHA-256 of the file that the plan was made from; `None` for no file.
    pub before: Option<String>,
    /// What is wrong with that file apart from its bytes; as text, these are reasons too.
    pub attributes: Vec<AttributeFault>,
    pub content: Content,
}

/// What is wrong with a file apart from its bytes.
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
    /// The guard binary.
    Program(Program),
    /// The same bytes, with another mode or owner.
    Same,
    /// The bytes of another file on the same node.
    Copy {
        from: String,
    },
    /// The certificate of the CA, which this run may create.
    Authority,
    /// A leaf that this run issues or fetches.
    Leaf {
        /// Its holder: see `Host::holder`.
        holder: String,
        role: Role,
        part: LeafPart,
    },
    /// What is kept in a generation.
    Kept {
        copy: String,
        /// The account that owns the generation.
        keeper: String,
        /// SHA-256 of the copy, lower-case hex.
        sha256: String,
    },
    /// No file. Its directory is removed if it is then empty, and so are its parents, up to this
    /// many levels.
    Gone {
        prune: u8,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafPart {
    Certificate,
    Key,
}

/// A restart of the daemon, and what it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    pub unit: String,
    /// Paths of all files that dockerd and systemd read for it.
    pub reads: BTreeSet<String>,
    /// The number of running containers that it stops; `None` if unknown.
    pub stops: Option<usize>,
    /// The node is a swarm manager: restarting two at once could cost the quorum.
    pub swarm_manager: bool,
    /// How dockerd validates its settings before anything is renamed.
    pub validation: Option<Box<Validation>>,
    /// What it must serve afterwards, or the old files are restored.
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
        /// Its address, by the settings of the generation.
        address: DaemonAddress,
    },
    /// No TLS: its local socket.
    Socket,
}
