//! All facts about one node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::claims::Claims;
use super::engine::EngineFact;
use super::health::Health;
use super::network::Network;
use super::space::Space;
use super::unit::UnitFact;

/// The node's state directory of runs; the prelude's `$STATE`.
pub const STATE: &str = "/var/lib/dtls-deploy";

/// A regular file on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Permission bits, as in `chmod`.
    pub mode: u32,
    pub owner: String,
    pub uid: u32,
    /// Bytes.
    pub size: u64,
    /// Last change of the inode, nanoseconds since the epoch on the node's clock.
    pub changed: i64,
    /// SHA-256 of the bytes, lower-case hex; empty if not requested.
    pub sha256: String,
    /// The bytes, if requested; only the certificate blocks of a bundle with a private key in it,
    /// and of a file requested for its certificates.
    pub content: Option<Vec<u8>>,
    /// It contains a private key, which stayed on the node.
    pub private_key: bool,
    /// The path is a symbolic link to the file.
    pub link: bool,
}

/// The directory of a generation of replaced files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptGeneration {
    pub path: String,
    /// The account that keeps it.
    pub account: String,
}

impl KeptGeneration {
    /// The number and the run, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    #[must_use]
    pub fn run(&self) -> Option<&str> {
        let (_, run) = self.name().split_once('-')?;
        Some(run.rsplit_once('.')?.0)
    }
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileFact {
    Absent,
    File(File),
    /// The account that reads facts has no permission to read it.
    Unreadable,
    /// A directory, a device, a file that is too large, or a dangling link.
    Other,
    /// Other accounts than root can change the path to it, so root does not follow it.
    Exposed,
}

/// One directory or link on the way to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    pub path: String,
    pub uid: u32,
    pub owner: String,
    pub mode: u32,
    /// A symbolic link; its target follows as separate components.
    pub link: bool,
}

/// All facts about one node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeFacts {
    /// Kernel name as `uname -s`, "Linux".
    pub kernel: String,
    /// Machine as in `uname -m`, for instance `x86_64`.
    pub machine: String,
    pub hostname: String,
    /// Entries of the guard's journal as `journalctl -o json` prints them.
    pub audit: Vec<u8>,
    /// The node's clock, seconds since the epoch.
    pub clock: i64,
    /// Seconds by which that clock was ahead of the controller's, at least; negative if behind. Set
    /// by the code that reads the facts.
    pub skew: i64,
    /// When systemd last began to start the daemon's unit, like [`File::changed`]; `None` without
    /// systemd, and before the first start.
    pub unit_started: Option<i64>,
    /// Seconds since boot.
    pub uptime: Option<f64>,
    /// The account the facts were read as.
    pub uid: u32,
    pub account: String,
    /// Home directory of the login account (not root's below sudo).
    pub home: String,
    pub systemd: bool,
    /// Tools found in PATH, with their paths.
    pub tools: BTreeMap<String, String>,
    pub files: BTreeMap<String, FileFact>,
    pub claims: Claims,
    pub directories: BTreeMap<String, Vec<Component>>,
    /// Directories that cannot be created, and what is in the way, for instance a file.
    pub blocked: BTreeMap<String, String>,
    /// Directories with leftovers of interrupted runs.
    pub leftovers: BTreeSet<String>,
    /// Runs with an unconfirmed change here.
    pub armed: Vec<String>,
    /// Accounts whose own directories could not be read, with the reason.
    pub faults: BTreeMap<String, AccountFault>,
    /// Active runs here, with the directories that they use.
    pub working: BTreeMap<String, BTreeSet<String>>,
    /// Runs whose change here could be neither completed nor undone.
    pub undo_failed: Vec<String>,
    /// What the last changes here replaced, the oldest first, if requested: each account's
    /// generations of its last run.
    pub generations: Vec<KeptGeneration>,
    /// A directory of root's generations that the account cannot read.
    pub hidden_generations: Option<String>,
    /// Addresses of names, as the node resolves them.
    pub resolved: BTreeMap<String, Vec<String>>,
    /// If ports were requested and the node has awk.
    pub network: Option<Network>,
    /// Addresses at which others may reach the node, without those of docker's own networks; if
    /// requested and awk exists.
    pub own_addresses: Option<BTreeSet<IpAddr>>,
    /// For the directories that are written to, if `df` reported it.
    pub space: BTreeMap<String, Space>,
    pub unit: Option<UnitFact>,
    /// The running daemon, if requested and visible.
    pub engine: Option<EngineFact>,
    /// Whether a path exists.
    pub exists: BTreeMap<String, bool>,
    /// Units other than the daemon's.
    pub services: BTreeMap<String, UnitFact>,
    /// The homes of the requested accounts; `None` for an account that does not exist.
    pub accounts: BTreeMap<String, Option<String>>,
    /// The socket that listens for the daemon, if requested.
    pub socket: Option<UnitFact>,
    /// If requested.
    pub health: Option<Health>,
}

impl NodeFacts {
    /// Runs that must be settled before a plan can be made.
    #[must_use]
    pub fn unsettled(&self) -> BTreeSet<&str> {
        let armed = self.armed.iter().chain(&self.undo_failed);
        armed
            .chain(self.working.keys())
            .map(String::as_str)
            .collect()
    }

    /// Replaces a leading `~/` with the home of the login account, and a leading `~NAME/` with that
    /// account's. Like the prelude, gives a path that cannot exist if there is no such account.
    #[must_use]
    pub fn expand(&self, path: &str) -> String {
        let Some(below) = path.strip_prefix('~') else {
            return path.to_owned();
        };
        let (account, rest) = match below.find('/') {
            Some(at) => below.split_at(at),
            None => (below, ""),
        };
        if account.is_empty() {
            return format!("{}{rest}", self.home);
        }
        match self.accounts.get(account) {
            Some(Some(home)) => format!("{}{rest}", home.trim_end_matches('/')),
            _ => format!("/nonexistent/{account}{rest}"),
        }
    }

    /// Whether a path exists, even as a dangling link.
    ///
    /// # Errors If the path was not requested.
    pub fn exists(&self, path: &str) -> Result<bool, FactError> {
        let path = self.expand(path);
        let known = self.exists.get(&path).copied();
        known.ok_or(FactError::NotAskedFile(path))
    }

    /// The fact for a path as it stands in a request.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&FileFact> {
        self.files.get(&self.expand(path))
    }

    /// The regular file at a path, if there is one.
    #[must_use]
    pub fn regular(&self, path: &str) -> Option<&File> {
        match self.file(path)? {
            FileFact::File(file) => Some(file),
            _ => None,
        }
    }

    /// The bytes of a file as text.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.regular(path)?.content.as_deref()?).ok()
    }

    /// The texts of the unit's environment files, as far as known, by path.
    #[must_use]
    pub fn environment_texts(&self) -> Vec<(&str, &str)> {
        let paths = self.unit.iter().flat_map(|unit| &unit.environment_files);
        paths
            .filter_map(|path| Some((path.as_str(), self.text(path)?)))
            .collect()
    }

    /// The account to act as below `directory`: the owner of the first directory on the path that
    /// does not belong to root.
    ///
    /// # Errors If a later directory belongs to yet another account: acting there as root would
    /// follow links that the first account can place.
    pub fn account_for(&self, directory: &str) -> Result<String, FactError> {
        let path = self.expand(directory);
        let components = self
            .directories
            .get(&path)
            .ok_or_else(|| FactError::NotAsked(path.clone()))?;
        let mut owners = components.iter().map(|component| &component.owner);
        if let Some((account, fault)) = owners.find_map(|owner| self.faults.get_key_value(owner)) {
            return Err(FactError::Account {
                account: account.clone(),
                fault: fault.clone(),
            });
        }
        let real = || components.iter().filter(|component| !component.link);
        if let Some(link) = components
            .iter()
            .find(|component| component.link && component.uid != 0)
        {
            return Err(FactError::LinkOfUser {
                path: link.path.clone(),
                owner: link.owner.clone(),
            });
        }
        if let Some(open) = real().find(|component| {
            component.uid == 0 && component.mode & 0o022 != 0 && component.mode & 0o1000 == 0
        }) {
            return Err(FactError::OpenToOthers {
                path: open.path.clone(),
                mode: open.mode,
            });
        }
        let Some(first) = real().find(|component| component.uid != 0) else {
            return Ok("root".to_owned());
        };
        if first.owner == NO_ACCOUNT {
            return Err(FactError::NoAccount {
                path: first.path.clone(),
                uid: first.uid,
            });
        }
        let foreign = real()
            .skip_while(|component| component.uid == 0)
            .find(|component| component.uid != first.uid);
        match foreign {
            None => Ok(first.owner.clone()),
            Some(foreign) => Err(FactError::MixedOwners {
                path: foreign.path.clone(),
                owner: foreign.owner.clone(),
                expected: first.owner.clone(),
            }),
        }
    }

    /// The first missing directory on the path to this one; `None` if all exist.
    #[must_use]
    pub fn missing_from(&self, directory: &str) -> Option<String> {
        let path = self.expand(directory);
        let components = self.directories.get(&path)?;
        let mut walked = String::new();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            walked.push('/');
            walked.push_str(name);
            if !components.iter().any(|component| component.path == walked) {
                return Some(walked);
            }
        }
        None
    }

    /// When the daemon was started, like [`File::changed`], and no later: rounded down to a second
    /// if systemd's own timestamp is missing or belongs to another start.
    #[must_use]
    pub fn started_at(&self) -> Option<i64> {
        const SECOND: i64 = 1_000_000_000;
        let ago = self.uptime? - self.unit.as_ref()?.started()?;
        // In some containers the uptime and the clock that services are started by belong to
        // different machines.
        if ago < 0.0 {
            return None;
        }
        #[allow(clippy::cast_possible_truncation)] // seconds since boot
        let seconds = self.clock.checked_sub(ago.ceil() as i64)?;
        let rough = seconds.checked_mul(SECOND)?;
        let near = rough..=rough.saturating_add(2 * SECOND);
        Some(
            self.unit_started
                .filter(|at| near.contains(at))
                .unwrap_or(rough),
        )
    }

    /// The directory itself, where it exists.
    #[must_use]
    pub fn directory(&self, directory: &str) -> Option<&Component> {
        let path = self.expand(directory);
        let components = self.directories.get(&path)?;
        let asked = components.iter().find(|component| component.path == path);
        // If it is a link, the directory that it leads to comes last.
        asked.and_then(|asked| {
            if asked.link {
                components.last()
            } else {
                Some(asked)
            }
        })
    }

    /// Adds what a later request for other files found.
    pub fn add_files(&mut self, more: Self) {
        self.files.extend(more.files);
        self.directories.extend(more.directories);
        self.blocked.extend(more.blocked);
        self.claims.keys.extend(more.claims.keys);
    }

    /// Records the difference between the node's clock and the controller's, which showed `begun`
    /// when the facts were requested and `ended` when they arrived. Differences within that time,
    /// plus the second that `clock` is rounded down by, are unknown.
    pub fn compare_clock(&mut self, begun: i64, ended: i64) {
        self.skew = if self.clock > ended {
            self.clock - ended
        } else {
            (self.clock + 1 - begun).min(0)
        };
    }
}

/// Why an account's own directories could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountFault {
    #[error("what runs as that account did not end in time and was killed: {SLOW}")]
    TimedOut,
    #[error("nothing could be run as that account")]
    Silent,
    #[error("its answer is not whole")]
    Malformed,
    #[error("its answer names {0:?}, which was not asked about")]
    NotAsked(String),
    #[error("{0} changed while it was read")]
    Changed(String),
    #[error("{0}")]
    Failed(String),
}

/// stat's output for an owner without a name.
const NO_ACCOUNT: &str = "UNKNOWN";

const SLOW: &str = "a file there is a named pipe, or on a file system that does not answer";

/// Why facts could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactError {
    #[error("the facts script stopped: {0}")]
    Failed(String),
    #[error("no script could be run there: the login shell or its start-up file ended first")]
    NoAnswer,
    #[error("{0} changed while it was read")]
    Changed(String),
    #[error("the answer names {0:?}, which was not asked about")]
    Unasked(String),
    #[error("the directories of {account} cannot be looked at: {fault}")]
    Account {
        account: String,
        fault: AccountFault,
    },
    #[error("the node's answer broke off or is not of the expected form near \"{0}\"")]
    Malformed(String),
    #[error("{path} belongs to {owner}, but lies in a directory of {expected}")]
    MixedOwners {
        path: String,
        owner: String,
        expected: String,
    },
    #[error("{path} is a symbolic link of {owner}'s")]
    LinkOfUser { path: String, owner: String },
    #[error("{path} belongs to the number {uid}, which no account there has")]
    NoAccount { path: String, uid: u32 },
    #[error("{path} can be written by others than root (mode {mode:04o})")]
    OpenToOthers { path: String, mode: u32 },
    #[error("nothing was asked about the directory {0}")]
    NotAsked(String),
    #[error(
        "nothing was asked about {0}: a path to look at may use the inventory's variables, but no facts"
    )]
    NotAskedFile(String),
}

#[cfg(test)]
mod tests;
