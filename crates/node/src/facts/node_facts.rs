//! What is known of a node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::claims::Claims;
use super::engine::EngineFact;
use super::health::Health;
use super::network::Network;
use super::space::Space;
use super::unit::UnitFact;

/// Where a node keeps what is known of runs; the prelude's `$STATE`.
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
    /// SHA-256 of the bytes, lower-case hex; empty where it was not asked for.
    pub sha256: String,
    /// The bytes, where they were asked for; of a bundle with a private key in it, and
    /// of a file of which certificates were asked for, the blocks of certificates alone.
    pub content: Option<Vec<u8>>,
    /// A private key is in it, which stayed on the node.
    pub private_key: bool,
    /// The path is a symbolic link to the file.
    pub link: bool,
}

/// Where a generation of replaced files is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptGeneration {
    /// Its directory.
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
    /// The account that reads facts may not read it.
    Unreadable,
    /// A directory, device, a file larger than any that is read, or a link that leads
    /// nowhere.
    Other,
    /// Others than root can change the way to it, so that root does not follow it.
    Exposed,
}

/// One directory or link on the way to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    pub path: String,
    pub uid: u32,
    pub owner: String,
    pub mode: u32,
    /// A symbolic link; where it leads follows as components of its own.
    pub link: bool,
}

/// Everything known of one node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeFacts {
    /// Kernel name as `uname -s`, "Linux".
    pub kernel: String,
    /// Machine as `uname -m` says, `x86_64` for instance.
    pub machine: String,
    pub hostname: String,
    /// The node's clock, seconds since the epoch.
    pub clock: i64,
    /// Seconds by which that clock was ahead of the controller's, at least;
    /// negative when behind. Set by the code that reads the facts.
    pub skew: i64,
    /// When systemd last began to start the daemon's unit, as [`File::changed`]; `None` where
    /// there is no systemd, and before the first start.
    pub unit_started: Option<i64>,
    /// Seconds since boot.
    pub uptime: Option<f64>,
    /// The account the facts were read as.
    pub uid: u32,
    pub account: String,
    /// Home directory of the account that logged in (not root's below sudo).
    pub home: String,
    pub systemd: bool,
    /// Tools found in PATH, with their paths.
    pub tools: BTreeMap<String, String>,
    pub files: BTreeMap<String, FileFact>,
    pub claims: Claims,
    pub directories: BTreeMap<String, Vec<Component>>,
    /// Directories that cannot be made, and what is in the way: a file, for instance.
    pub blocked: BTreeMap<String, String>,
    /// Directories in which interrupted runs have left something.
    pub leftovers: BTreeSet<String>,
    /// Runs whose change here is not settled yet.
    pub armed: Vec<String>,
    /// Accounts whose own directories could not be read, and why.
    pub faults: BTreeMap<String, AccountFault>,
    /// Runs that are at work here, with the directories in which they are.
    pub working: BTreeMap<String, BTreeSet<String>>,
    /// Runs whose change here could neither be finished nor undone.
    pub undo_failed: Vec<String>,
    /// What the last changes here have replaced, the oldest first, where that was asked for:
    /// of each account that keeps something the generations of its last run.
    pub generations: Vec<KeptGeneration>,
    /// Where root keeps something that the account which reads facts cannot read.
    pub hidden_generations: Option<String>,
    /// Addresses of names, as the node resolves them.
    pub resolved: BTreeMap<String, Vec<String>>,
    /// Where ports were asked about, and the node has an awk.
    pub network: Option<Network>,
    /// Addresses under which others may reach the node, those of docker's own
    /// networks left out; where they were asked about, and there is an awk.
    pub own_addresses: Option<BTreeSet<IpAddr>>,
    /// Of the directories that are written to, where `df` could tell.
    pub space: BTreeMap<String, Space>,
    pub unit: Option<UnitFact>,
    /// The running daemon, where it was asked about and is there to be seen.
    pub engine: Option<EngineFact>,
    /// Whether something is at a path.
    pub exists: BTreeMap<String, bool>,
    /// Other units than the daemon's.
    pub services: BTreeMap<String, UnitFact>,
    /// The homes of the accounts that were asked about; `None` for one that is
    /// not there.
    pub accounts: BTreeMap<String, Option<String>>,
    /// The socket that listens for the daemon, where it was asked about.
    pub socket: Option<UnitFact>,
    /// Where it was asked about.
    pub health: Option<Health>,
}

impl NodeFacts {
    /// Runs of which something is to be settled before a plan can be made.
    #[must_use]
    pub fn unsettled(&self) -> BTreeSet<&str> {
        let armed = self.armed.iter().chain(&self.undo_failed);
        armed
            .chain(self.working.keys())
            .map(String::as_str)
            .collect()
    }

    /// A leading `~/` replaced by the home of the account that logs in, a leading
    /// `~NAME/` by that account's. As the prelude does it: where there is no such
    /// account, it is a place where nothing can be.
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

    /// Whether something is at a path, a link that leads nowhere included.
    ///
    /// # Errors
    /// When nothing was asked about it.
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

    /// The texts of the unit's environment files, as far as they are known, by their paths.
    #[must_use]
    pub fn environment_texts(&self) -> Vec<(&str, &str)> {
        let paths = self.unit.iter().flat_map(|unit| &unit.environment_files);
        paths
            .filter_map(|path| Some((path.as_str(), self.text(path)?)))
            .collect()
    }

    /// As which account to act below `directory`: the owner of the first
    /// directory on the way that does not belong to root.
    ///
    /// # Errors
    /// When a later directory belongs to yet another account: acting there as
    /// root would follow links that the first account can place.
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

    /// The first directory on the way to this one that is not there; `None`
    /// when all of them are.
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

    /// When the daemon was started, as [`File::changed`], and not later than that: rounded down
    /// to a second where systemd's own mark is not there, or is of another start.
    #[must_use]
    pub fn started_at(&self) -> Option<i64> {
        const SECOND: i64 = 1_000_000_000;
        let ago = self.uptime? - self.unit.as_ref()?.started()?;
        // In some containers uptime and the clock of what starts services are not the same
        // machine's.
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
        // Where it is a link the directory that it leads to comes last.
        asked.and_then(|asked| {
            if asked.link {
                components.last()
            } else {
                Some(asked)
            }
        })
    }

    /// Notes by how much the node's clock differs from the controller's, which
    /// showed `begun` when the facts were asked for and `ended` when they had
    /// arrived. Within that time and the second that `clock` is rounded down by
    /// nothing can be told.
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

/// What stat says of an owner without a name.
const NO_ACCOUNT: &str = "UNKNOWN";

const SLOW: &str = "a file there is a named pipe, or on a file system that does not answer";

/// Why facts could not be had.
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
