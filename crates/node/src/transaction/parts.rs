//! What a transaction is made of: files, a restart or a reload, and what is kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::script::call;
use base::secret::Secret;

/// A file to put in place.
#[derive(Debug)]
pub struct StagedFile {
    pub directory: String,
    /// Permission bits of the directory where it has to be made; one that is there
    /// keeps its own.
    pub directory_mode: u32,
    /// The first directory on the way that is not there yet.
    pub missing_from: Option<String>,
    pub name: String,
    /// Permission bits.
    pub mode: u32,
    /// The account that writes it and owns it then.
    pub account: String,
    /// SHA-256 of what is there now; `None` for nothing.
    pub before: Option<String>,
    pub bytes: Bytes,
    /// The file that is there gives the new one its owner and group.
    pub keeps_owner: bool,
}

#[derive(Debug)]
pub enum Bytes {
    Given(Secret),
    /// Of a program: any bytes.
    Program(Arc<[u8]>),
    /// Those of another file, which the account may read.
    CopyOf(String),
    /// Those that are kept in a generation.
    Kept {
        path: String,
        /// The account that keeps it, and reads it.
        keeper: String,
        sha256: String,
    },
    /// None: the file must not be there. Its directory goes when nothing is
    /// left in it, and so many levels in all.
    Gone {
        prune: u8,
    },
}

/// The unit to restart once the files are in place.
#[derive(Debug)]
pub struct UnitRestart {
    pub unit: String,
    /// Everything that it reads when it starts.
    pub reads: BTreeSet<String>,
    /// Seconds after which the node puts its old files back by itself.
    pub confirm_within: u32,
    /// Whose daemon it is from then on; none leaves that as it is.
    pub owner: Option<String>,
    /// What the restart may change.
    pub changes: RunningChanges,
}

impl UnitRestart {
    /// The call that compares the restarted daemon with the one before.
    pub(super) fn same_daemon(&self) -> String {
        let local = if self.changes.takes_local_sockets {
            "taken"
        } else {
            "kept"
        };
        let words = self.changes.command_line.iter().map(String::as_str);
        let containers = if self.changes.keeps_containers {
            "go-on"
        } else {
            "stop"
        };
        let arguments: Vec<&str> = [self.unit.as_str(), local, containers]
            .into_iter()
            .chain(words)
            .collect();
        call("same_daemon", &arguments)
    }
}

/// What a restart may change of the running daemon, besides TCP addresses and TLS. Any other
/// difference undoes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunningChanges {
    /// The sockets that local users have may go.
    pub takes_local_sockets: bool,
    /// Containers go on while it restarts (live-restore): if there are some, not all may end.
    pub keeps_containers: bool,
    /// The command line, where it is not the one that runs now: someone has changed the
    /// unit since. Empty otherwise.
    pub command_line: Vec<String>,
}

/// A reload that turns live-restore on, once the files are in place. The node
/// sees by itself whether it has worked, and undoes it by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitReload {
    pub unit: String,
    /// What dockerd has read then, lines as sha256sum prints them; `None` where it has not
    /// read everything that is there, so that a restart is needed all the same.
    pub has_read: Option<String>,
}

/// How what is replaced is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Generations that stay, this one included.
    pub generations: u32,
    /// This transaction makes one.
    pub is_new: bool,
    /// When the certificate in it expires, seconds since the epoch; 0 where
    /// there is none.
    pub expires: i64,
}
