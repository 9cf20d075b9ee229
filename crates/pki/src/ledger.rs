//! The ledger of everything issued: one event in JSON on each line.
//!
//! Pure: appending the lines made here is the store's. The ledger is a memory of what was issued
//! and says nothing about what a certificate contains.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::profile::{KeyType, Role};
use super::san::San;

/// One leaf that was issued. Hashes are SHA-256 in lower-case hexadecimal.
// These states are independent of each other: booleans fit best.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Upper-case hexadecimal.
    pub serial: String,
    pub role: Role,
    /// The inventory's name of the host the leaf is for; of an identity on it,
    /// NAME@HOST.
    pub host: String,
    /// In the manner of RFC 4514.
    pub subject: String,
    pub sans: BTreeSet<San>,
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// Of the certificate's DER.
    pub certificate_sha256: String,
    /// Of the exact bytes of the key file as it was delivered: what
    /// `sha256sum` prints for it on a node.
    pub key_sha256: String,
    /// Of the subjectPublicKeyInfo.
    pub public_key_sha256: String,
    pub key_type: KeyType,
    /// Of the DER of the CA certificate that signed it.
    pub issuer_sha256: String,
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
    /// Where the pair lies in the CA directory, if it does.
    pub issued_name: IssuedName,
    /// A later leaf of the same host and role was delivered.
    #[serde(skip)]
    pub superseded: bool,
    /// It has arrived on its host.
    #[serde(skip)]
    pub delivered: bool,
    /// Its pair was to be kept in the CA directory when it was delivered.
    #[serde(skip)]
    pub kept: bool,
    /// It was not issued here but found on its host, and is good until it is
    /// due. Its files in the CA directory, if there are any, are the operator's.
    #[serde(skip)]
    pub adopted: bool,
}

/// Paths relative to the CA directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedName {
    pub key: String,
    pub certificate: String,
}

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Issued(Box<Entry>),
    /// A leaf that was made elsewhere with this CA's key, and lies on its host.
    Adopted(Box<Entry>),
    Delivered {
        serial: String,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        kept: bool,
    },
    Superseded {
        serial: String,
        /// Serial of the leaf that took its place.
        by: String,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// It must not be accepted any more.
    Revoked {
        serial: String,
        #[serde(flatten)]
        revocation: Revocation,
    },
    /// The mark is removed.
    Readmitted {
        serial: String,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// A run was asked for a new leaf in place of this holder's, whatever its age, and could not
    /// issue it.
    RenewalAsked {
        host: String,
        role: Role,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
}

/// When and why a leaf was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// In the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Event {
    /// Of the leaf the event is about, where it is about one.
    #[must_use]
    pub fn serial(&self) -> Option<&str> {
        match self {
            Self::Issued(entry) | Self::Adopted(entry) => Some(&entry.serial),
            Self::Delivered { serial, .. }
            | Self::Superseded { serial, .. }
            | Self::Revoked { serial, .. }
            | Self::Readmitted { serial, .. } => Some(serial),
            Self::RenewalAsked { .. } => None,
        }
    }
}

/// What the events add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    entries: Vec<Entry>,
    by_serial: HashMap<String, usize>,
    by_key: HashMap<String, usize>,
    /// By serial; a mark outlives the line of its leaf.
    revoked: HashMap<String, Revocation>,
    readmitted: HashSet<String>,
    /// By holder and role, when a new leaf was last asked for and not issued.
    renewals: HashMap<(String, Role), OffsetDateTime>,
    torn_line: Option<usize>,
}

/// Why a text is not a ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    #[error("line {line} of the ledger is damaged: {reason}")]
    Damaged {
        /// Counted from one.
        line: usize,
        reason: String,
    },
    #[error("an event could not be written as JSON: {0}")]
    Encoding(String),
}

impl LedgerError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Damaged { .. } => Some(
                "rebuild it from the certificates that are in use: dtls-deploy adopt INVENTORY \
                 --rebuild-ledger; what can be read of it is kept",
            ),
            Self::Encoding(_) => None,
        }
    }
}

impl Ledger {
    /// Folds the events of a ledger's text. A last line without an end that
    /// cannot be read was torn by a crash before it counted: it is passed over
    /// and reported by [`Self::torn_line`].
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        let mut ledger = Self::default();
        let mut rest = text;
        let mut line = 0;
        while !rest.is_empty() {
            line += 1;
            let (content, whole) = match rest.split_once('\n') {
                Some((content, after)) => {
                    rest = after;
                    (content, true)
                }
                None => (std::mem::take(&mut rest), false),
            };
            match serde_json::from_str(content) {
                Ok(event) => ledger
                    .apply(event)
                    .map_err(|reason| LedgerError::Damaged { line, reason })?,
                Err(_) if !whole => ledger.torn_line = Some(line),
                Err(error) => {
                    return Err(LedgerError::Damaged {
                        line,
                        reason: error.to_string(),
                    });
                }
            }
        }
        Ok(ledger)
    }

    /// As [`Self::parse`], of a file's bytes: a torn line need not be UTF-8.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, LedgerError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text),
            Err(error) => {
                let (before, after) = bytes
                    .split_at_checked(error.valid_up_to())
                    .unwrap_or_default();
                let line = before.split(|byte| *byte == b'\n').count();
                if after.contains(&b'\n') {
                    return Err(LedgerError::Damaged {
                        line,
                        reason: "it is not UTF-8 text".to_owned(),
                    });
                }
                let end = before
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(0, |end| end + 1);
                let whole = String::from_utf8_lossy(before.get(..end).unwrap_or_default());
                let mut ledger = Self::parse(&whole)?;
                ledger.torn_line = Some(line);
                Ok(ledger)
            }
        }
    }

    /// Adds one event, as reading its line would.
    pub(crate) fn apply(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Issued(entry) => self.add(*entry)?,
            Event::Adopted(entry) => self.add(Entry {
                adopted: true,
                delivered: true,
                ..*entry
            })?,
            Event::Delivered { serial, kept, .. } => {
                let entry = self.entry(&serial)?;
                entry.delivered = true;
                entry.kept = kept;
            }
            Event::Superseded { serial, .. } => self.entry(&serial)?.superseded = true,
            Event::Revoked { serial, revocation } => {
                // The first word of it counts.
                self.readmitted.remove(&serial);
                self.revoked.entry(serial).or_insert(revocation);
            }
            Event::Readmitted { serial, .. } => {
                self.revoked.remove(&serial);
                self.readmitted.insert(serial);
            }
            Event::RenewalAsked { host, role, at } => {
                self.renewals.insert((host, role), at);
            }
        }
        Ok(())
    }

    fn add(&mut self, entry: Entry) -> Result<(), String> {
        if self.by_serial.contains_key(&entry.serial) {
            return Err(format!("serial {} was issued before", entry.serial));
        }
        let index = self.entries.len();
        self.by_serial.insert(entry.serial.clone(), index);
        self.by_key.insert(entry.key_sha256.clone(), index);
        self.entries.push(entry);
        Ok(())
    }

    fn entry(&mut self, serial: &str) -> Result<&mut Entry, String> {
        self.by_serial
            .get(serial)
            .and_then(|index| self.entries.get_mut(*index))
            .ok_or_else(|| format!("serial {serial} was never issued"))
    }

    /// Every leaf, in the order of issue.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The newest leaf of this host and role that is not superseded. It may
    /// not have been delivered yet, and after a crash its files may be missing
    /// from the CA directory, which only a `Fetch` tells.
    #[must_use]
    pub fn current(&self, host: &str, role: Role) -> Option<&Entry> {
        self.live(host, role).next_back()
    }

    /// The newest leaf of this host and role that was delivered and is not
    /// superseded: what should lie on the host now.
    #[must_use]
    pub fn delivered(&self, host: &str, role: Role) -> Option<&Entry> {
        self.live(host, role).rfind(|entry| entry.delivered)
    }

    /// Every leaf of this host and role that is not superseded, oldest first.
    #[must_use]
    pub fn live(&self, host: &str, role: Role) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| !entry.superseded && entry.role == role && entry.host == host)
    }

    /// Whose key file has this SHA-256.
    #[must_use]
    pub fn by_key_sha256(&self, hash: &str) -> Option<&Entry> {
        self.by_key
            .get(hash)
            .and_then(|index| self.entries.get(*index))
    }

    /// The leaf with this serial, in upper-case hexadecimal.
    #[must_use]
    pub fn by_serial(&self, serial: &str) -> Option<&Entry> {
        self.by_serial
            .get(serial)
            .and_then(|index| self.entries.get(*index))
    }

    /// Whether the leaf with this serial was revoked, and when.
    #[must_use]
    pub fn revocation(&self, serial: &str) -> Option<&Revocation> {
        self.revoked.get(serial)
    }

    /// Marks leaves as revoked in memory, as the line of a mark would.
    pub fn mark<'a>(&mut self, serials: impl Iterator<Item = &'a String>, at: OffsetDateTime) {
        for serial in serials {
            let revocation = Revocation { at, reason: None };
            self.revoked.entry(serial.clone()).or_insert(revocation);
        }
    }

    /// Whether the last mark of this serial was removed.
    #[must_use]
    pub fn is_readmitted(&self, serial: &str) -> bool {
        self.readmitted.contains(serial)
    }

    /// When a new leaf of this host and role was asked for, where none was delivered since that was
    /// issued after it.
    #[must_use]
    pub fn renewal_asked(&self, host: &str, role: Role) -> Option<OffsetDateTime> {
        let at = *self.renewals.get(&(host.to_owned(), role))?;
        let is_answer = |entry: &Entry| {
            entry.delivered && entry.issued_at > at && entry.role == role && entry.host == host
        };
        (!self.entries.iter().any(is_answer)).then_some(at)
    }

    /// Marks of leaves whose own line is lost, in the order of their serials.
    #[must_use]
    pub fn lost_marks(&self) -> Vec<(&str, &Revocation)> {
        let marks = self.revoked.iter();
        let mut lost: Vec<(&str, &Revocation)> = marks
            .filter(|(serial, _)| !self.by_serial.contains_key(*serial))
            .map(|(serial, mark)| (serial.as_str(), mark))
            .collect();
        lost.sort_by_key(|(serial, _)| *serial);
        lost
    }

    /// The line that a crash tore, counted from one. The next append removes it.
    #[must_use]
    pub(crate) fn torn_line(&self) -> Option<usize> {
        self.torn_line
    }
}

pub(crate) fn lines(events: &[Event]) -> Result<String, LedgerError> {
    let mut text = String::new();
    for event in events {
        let line = serde_json::to_string(event)
            .map_err(|error| LedgerError::Encoding(error.to_string()))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
