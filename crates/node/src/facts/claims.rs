//! What decides whether a path of the inventory is what it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What a node says of declared paths besides their files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Files that are private keys in PEM, of those that were asked about.
    pub keys: BTreeSet<String>,
    /// Files in other places that dockerd has read at its last confirmed restart, its
    /// settings and units left out, with the SHA-256 that they had then.
    pub former: BTreeMap<String, String>,
    /// Addresses of its own that other nodes claim, too, by whom; set by the code that has
    /// the facts of all of them.
    pub shared: BTreeMap<IpAddr, Vec<String>>,
    /// Where the node was connected to, as far as the connection knows.
    pub reached: Option<IpAddr>,
    /// Why sudo records what the account sends, in sudo's own word.
    pub sudo_records: Option<String>,
    /// In a handshake the daemon has asked for certificates of a CA that is not in
    /// its bundle; set by the code that has seen it.
    pub foreign_authority: bool,
    /// Clients that would be asked what a restarted daemon serves, where the sshd of each of
    /// them forwards no connections to it; set by the code that has tried.
    pub unheard: Vec<String>,
    /// Why dockerd would not start with what is planned; set by the caller that asked it.
    pub rejected: Option<String>,
}

impl Claims {
    /// Takes a record in; false where it is of another form.
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
