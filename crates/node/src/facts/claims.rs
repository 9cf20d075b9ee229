//! Facts that decide whether a path of the inventory holds what it should.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What a node reports about declared paths, apart from their files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Which of the requested files are private keys in PEM.
    pub keys: BTreeSet<String>,
    /// Files in other places that dockerd read at its last confirmed restart, without its settings
    /// and units, with their SHA-256 at that time.
    pub former: BTreeMap<String, String>,
    /// Addresses of its own that other nodes claim too, with those nodes; set by the code that has
    /// all facts.
    pub shared: BTreeMap<IpAddr, Vec<String>>,
    /// The address that the connection goes to, if known.
    pub reached: Option<IpAddr>,
    /// Why sudo records what the account sends, in sudo's own word.
    pub sudo_records: Option<String>,
    /// In a handshake the daemon asked for certificates of a CA that is not in its bundle; set by
    /// the code that saw it.
    pub foreign_authority: bool,
    /// The daemon has a guard, and dockerd does not ask it: it has read other files than those that
    /// are there now, or these do not name it.
    pub guard_not_asked: bool,
    /// Clients that would check a restarted daemon, if none of them can; set by the code that tried.
    pub unheard: BTreeMap<String, Unheard>,
    /// Why dockerd would not start with the planned settings; set by the caller that asked it.
    pub rejected: Option<String>,
    /// On the CA's host: the policies of guards on daemons outside of the run, by daemon; set by
    /// the code that read them.
    pub policies: BTreeMap<String, String>,
}

/// Why a client cannot check a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unheard {
    /// Its sshd forwards no connections to the daemon.
    Forbidden,
    /// It does not know the daemon's name.
    NotResolved,
}

impl Claims {
    /// Adds a record; false if its form is wrong.
    pub(super) fn record(&mut self, fields: &[&str]) -> bool {
        match fields {
            ["key", path] => {
                self.keys.insert((*path).to_owned());
            }
            ["former", hash, path] => {
                self.former.insert((*path).to_owned(), (*hash).to_owned());
            }
            ["sudo", word] => self.sudo_records = Some((*word).to_owned()),
            _ => return false,
        }
        true
    }
}
