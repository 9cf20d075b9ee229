//! What the controller and the CA agent say to each other.
//!
//! Requests are answered in order, one response each, [`Request::Ping`] excepted. Secrets travel as
//! base64 and are not shown by `Debug`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::authority::AuthorityProfile;
use super::profile::{KeyType, Role};
use super::san::San;
use base::secret::Secret;

/// The protocol this program speaks. Controller and agent are of one build,
/// so that a difference means that a wrong file was run.
pub const PROTOCOL: u32 = 2;

/// From the controller to the agent.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The first message: opens the directory, which is created if it is
    /// missing, and takes its lock. Answered by `Hello` or `Held`.
    Hello {
        protocol: u32,
        directory: PathBuf,
        /// Who asks, for people who find the lock taken: run, account,
        /// controller, since when.
        holder: String,
        /// How long to wait for the lock, in seconds; 0 asks once.
        wait_seconds: u64,
    },
    /// Opens the authority with the passphrase, or creates it where there is
    /// none. Answered by `Authority`.
    EnsureAuthority {
        profile: AuthorityProfile,
        #[serde(with = "secret")]
        passphrase: Secret,
    },
    /// Opens the authority with the passphrase, and neither creates nor changes
    /// anything. Answered by `Authority`.
    OpenAuthority {
        #[serde(with = "secret")]
        passphrase: Secret,
    },
    /// Encrypts the keys of the present CA and of the next one again, with the same
    /// passphrase, where a guess of it costs less than with a new key. Answered by
    /// `Reencrypted`.
    Reencrypt {
        #[serde(with = "secret")]
        passphrase: Secret,
    },
    /// Keys of these types will be asked for: the agent begins to generate them
    /// while it does what comes next. Answered by `Done`, at once.
    GenerateKeys { types: Vec<KeyType> },
    /// New keys and certificates, kept in the directory and recorded in the
    /// ledger until `Delivered`. Answered by `Issued`, in the same order.
    Issue {
        leaves: Vec<LeafRequest>,
        #[serde(with = "secret")]
        passphrase: Secret,
    },
    /// The pairs that lie in the directory. Answered by `Fetched`.
    Fetch { leaves: Vec<LeafName> },
    /// These leaves have arrived: each is marked, older ones of the same host
    /// and role are superseded, and key and certificate are removed from the
    /// directory unless they are to be kept. Answered by `Done`.
    Delivered {
        leaves: Vec<DeliveredLeaf>,
        keep_keys: bool,
    },
    /// New leaves were asked for in place of these: a later run issues them if this one does not.
    /// Answered by `Done`.
    AskRenewal { leaves: Vec<LeafName> },
    /// Makes the CA that will follow the present one, in `next/`, unless it
    /// is there already. Its common name is the subject's with the number of
    /// its generation, so that no two CAs of a directory share a subject.
    /// The passphrase is that of the present CA. Answered by `Authority`.
    BeginRollover {
        profile: AuthorityProfile,
        #[serde(with = "secret")]
        passphrase: Secret,
    },
    /// The next CA becomes the present one, and that one retires into
    /// `retired/N/`. Answered by `Done`.
    Promote {},
    /// The operator has been told that a rollover is over. With `destroy_old`
    /// the keys of all retired CAs are removed; their certificates stay.
    /// Answered by `Done`.
    EndRollover { destroy_old: bool },
    /// Marks leaves as revoked in the ledger, and removes the pairs of those that
    /// were not delivered. Those that are marked already stay as they are.
    /// Answered by `Done`.
    Revoke {
        /// Upper-case hexadecimal.
        serials: Vec<String>,
        reason: Option<String>,
    },
    /// Takes the marks of these leaves back, where there are any. Answered by `Done`.
    Readmit {
        /// Upper-case hexadecimal.
        serials: Vec<String>,
    },
    /// A client's pair that expires after half an hour and is neither stored nor
    /// recorded: what a restarted daemon has to accept. Answered by `Probe`.
    Probe {
        #[serde(default)]
        signer: Signer,
        #[serde(with = "secret")]
        passphrase: Secret,
    },
    /// Before `Hello`: a damaged ledger is set aside by it, and what can be read
    /// of it goes on. Answered by `Done`.
    SalvageLedger {},
    /// Opens an authority that was made elsewhere: the one in the directory, or
    /// `files`, which are written there. A key that is not encrypted is, with
    /// this passphrase. Answered by `Adopted`.
    AdoptAuthority {
        files: Option<AuthorityFiles>,
        #[serde(with = "secret")]
        passphrase: Secret,
    },
    /// Enters leaves that were made elsewhere with the authority's key, which
    /// `AdoptAuthority` has opened, into the ledger. Answered by `Done`.
    AdoptLeaves { leaves: Vec<AdoptedLeaf> },
    /// The authority's own files, its key as encrypted as it is. Answered by
    /// `Exported`.
    Export {},
    /// Puts back what `Export` gave, where there is no authority, and opens it.
    /// Answered by `Authority`.
    Import {
        files: Vec<CaFile>,
        /// Certificates of CAs that followed it, in PEM: they are kept as retired ones, so that
        /// no CA to come takes their names.
        followed_by: Vec<String>,
        #[serde(with = "secret")]
        passphrase: Secret,
    },
    /// What the directory holds, under the lock. Answered by `State`.
    State {},
    /// Keeps the agent alive; not answered over a connection.
    Ping,
    /// Gives the lock back. Answered by `Done`, the last message.
    Bye,
}

/// Which CA of the directory signs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signer {
    /// `ca.pem`.
    #[default]
    Current,
    /// `next/ca.pem`, while a rollover is under way.
    Next,
}

/// One leaf to issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafRequest {
    /// The inventory's name of the host the leaf is for; of an identity on it,
    /// NAME@HOST.
    pub host: String,
    pub role: Role,
    pub signer: Signer,
    pub common_name: String,
    pub sans: BTreeSet<San>,
    pub key_type: KeyType,
    pub validity_days: u32,
    /// Path of the key file, relative to the CA directory.
    pub key_name: String,
    /// Path of the certificate, relative to the CA directory.
    pub certificate_name: String,
}

/// Key and certificate of an authority, as files hold them.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityFiles {
    pub certificate_pem: String,
    #[serde(with = "secret")]
    pub key: Secret,
}

/// A leaf that is not replaced until it is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedLeaf {
    pub host: String,
    pub role: Role,
    pub certificate_pem: String,
    /// Of the key file on its host, of which it is known that it belongs to the
    /// certificate. `None`: the pair lies in the CA directory, under the names
    /// below, and the agent looks itself.
    pub key_sha256: Option<String>,
    /// Where such a pair would lie in the CA directory.
    pub key_name: String,
    pub certificate_name: String,
}

/// A file of the authority's own.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaFile {
    pub name: String,
    /// Permission bits.
    pub mode: u32,
    #[serde(with = "secret")]
    pub content: Secret,
}

/// Whose leaf: there is one current leaf for a host, or an identity on it, and role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeafName {
    pub host: String,
    pub role: Role,
}

/// A leaf that has arrived where it belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveredLeaf {
    pub host: String,
    pub role: Role,
    /// Upper-case hexadecimal.
    pub serial: String,
    /// Serials of newer leaves of the same holder that were never delivered, and that it does not
    /// want any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<String>,
}

/// From the agent to the controller.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The lock is held by this agent.
    Hello {
        /// The agent's version: that of the crate.
        version: String,
        pid: u32,
    },
    /// Someone else holds the lock. The agent can be asked again.
    Held {
        /// What the other said of itself in its `Hello`.
        holder: String,
        /// When the other took the lock.
        #[serde(with = "time::serde::rfc3339::option")]
        since: Option<OffsetDateTime>,
    },
    Authority {
        certificate_pem: String,
        /// Whether it was made just now.
        created: bool,
        /// For people; the authority can be used in spite of them.
        warnings: Vec<String>,
    },
    Adopted {
        /// The key was not encrypted before.
        encrypted: bool,
        /// For people; the authority can be used in spite of them.
        warnings: Vec<String>,
    },
    /// One line for each key, for people.
    Reencrypted {
        said: Vec<String>,
    },
    Exported {
        files: Vec<CaFile>,
    },
    Issued {
        leaves: Vec<IssuedLeaf>,
    },
    Fetched {
        leaves: Vec<IssuedLeaf>,
        /// Those of which no complete pair lies in the directory.
        missing: Vec<LeafName>,
    },
    /// Its host is empty and its role is client.
    Probe {
        leaf: IssuedLeaf,
    },
    State {
        /// The ledger's text; `None` if there is no ledger.
        ledger: Option<String>,
        /// `ca.pem`; `None` if there is no authority.
        certificate_pem: Option<String>,
        /// `next/ca.pem`; `None` where no rollover is under way.
        next_certificate_pem: Option<String>,
        files: Vec<FileFact>,
    },
    Done,
    Error {
        kind: ErrorKind,
        message: String,
        hint: Option<String>,
    },
}

/// A certificate and its key.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedLeaf {
    pub host: String,
    pub role: Role,
    pub certificate_pem: String,
    /// The exact bytes of the key file: PKCS#8 PEM text without a passphrase.
    #[serde(with = "secret")]
    pub key: Secret,
    /// Upper-case hexadecimal.
    pub serial: String,
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// Whether the leaf ends with its authority, earlier than asked.
    pub clipped_by_ca: bool,
}

/// A file or directory below the CA directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFact {
    /// Relative to the CA directory.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// In bytes.
    pub size: u64,
    pub is_directory: bool,
}

/// What went wrong, for programs; the message is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Not a message of this protocol, or not in this order.
    Protocol,
    /// The CA directory cannot be trusted or used.
    Directory,
    /// A file could not be read or written.
    Io,
    /// The ledger is damaged.
    Ledger,
    /// The passphrase does not open the CA key.
    WrongPassphrase,
    /// The key file cannot be used for another reason.
    KeyFile,
    /// The authority's certificate cannot be used.
    Authority,
    /// What was asked for cannot be issued.
    Request,
    /// The controller went away while the agent worked.
    Cancelled,
}

/// A secret on the wire: base64, because it may be any bytes.
mod secret {
    use std::fmt;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;
    use zeroize::Zeroizing;

    use base::secret::Secret;

    pub(super) fn serialize<S: Serializer>(
        secret: &Secret,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(STANDARD.encode(secret.expose())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Secret, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Secret;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a secret in base64")
            }

            // Base64 needs no escapes in JSON, so that the text is borrowed
            // from the line; the error must not carry what could not be read.
            fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
                STANDARD
                    .decode(text)
                    .map(Secret::new)
                    .map_err(|_| E::custom("a secret is not base64"))
            }
        }
        deserializer.deserialize_str(Base64)
    }
}

#[cfg(test)]
mod tests;
