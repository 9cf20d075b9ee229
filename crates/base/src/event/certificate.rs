//! What `status` tells of one certificate, and of all of them.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// One certificate in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The host whose certificate it is.
    pub host: String,
    /// The identity on that host whose certificate it is, where it is not the
    /// host's own.
    #[serde(default)]
    pub identity: Option<String>,
    pub role: CertificateRole,
    pub source: CertificateSource,
    /// A path on the host, the address of a daemon, or the ledger's path.
    pub place: String,
    /// Who holds its key, as far as anyone can tell.
    pub holder: String,
    pub state: CertificateState,
    /// What is not as declared, each in a few words; its age is not among it.
    pub drift: Vec<String>,
    /// What the guards of daemons allow it, where they have one: a client's `dtls_role`.
    #[serde(default)]
    pub allowed: Option<String>,
    /// Why it is to be renewed, where it is: its age.
    pub due: Option<String>,
    /// What the certificate says; null where none could be read.
    pub certificate: Option<CertificateText>,
}

/// What a certificate says of itself, and how much of its life is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateText {
    /// In the manner of RFC 4514.
    pub subject: String,
    /// `DNS:node3`, `IP:10.0.0.12`.
    pub sans: Vec<String>,
    pub issuer: String,
    /// Upper-case hexadecimal.
    pub serial: String,
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
    /// Whole days; negative once it has expired.
    pub days_left: i64,
    /// Of its life, in percent; 100 once it has expired.
    pub used: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateRole {
    Ca,
    Daemon,
    Client,
}

impl CertificateRole {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Daemon => "daemon",
            Self::Client => "client",
        }
    }
}

/// How it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateSource {
    /// A daemon shows it in a handshake.
    Served,
    /// It lies where the daemon or the client reads it.
    Disk,
    /// The copy of a docker context.
    Context,
    /// It was issued; no one has checked it now.
    Ledger,
}

impl CertificateSource {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Disk => "disk",
            Self::Context => "context",
            Self::Ledger => "ledger",
        }
    }
}

/// The most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateState {
    /// It must be rejected, and a daemon accepts it.
    Revoked,
    Expired,
    /// It is missing, or does not work.
    Broken,
    /// Its host could not be checked.
    Unknown,
    /// A renewal or another change is due.
    Due,
    /// It is good, and its host or its identity is not in the inventory any more.
    Unlisted,
    Fine,
}

impl CertificateState {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Broken => "broken",
            Self::Unknown => "unknown",
            Self::Due => "due",
            Self::Unlisted => "unlisted",
            Self::Fine => "fine",
        }
    }
}

/// How many certificates there are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateCounts {
    #[serde(default)]
    pub revoked: usize,
    pub expired: usize,
    pub broken: usize,
    pub unknown: usize,
    pub due: usize,
    pub unlisted: usize,
    pub fine: usize,
}

impl CertificateCounts {
    #[must_use]
    pub fn of(certificates: &[CertificateStatus]) -> Self {
        let count = |state| {
            let same = certificates.iter().filter(|one| one.state == state);
            same.count()
        };
        Self {
            revoked: count(CertificateState::Revoked),
            expired: count(CertificateState::Expired),
            broken: count(CertificateState::Broken),
            unknown: count(CertificateState::Unknown),
            due: count(CertificateState::Due),
            unlisted: count(CertificateState::Unlisted),
            fine: count(CertificateState::Fine),
        }
    }
}
