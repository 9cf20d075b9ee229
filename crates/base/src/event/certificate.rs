//! The events of `status`: one certificate, and the totals.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// One certificate in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The certificate's host.
    pub host: String,
    /// The identity on that host, if the certificate is not the host's own.
    #[serde(default)]
    pub identity: Option<String>,
    pub role: CertificateRole,
    pub source: CertificateSource,
    /// A path on the host, the address of a daemon, or the ledger's path.
    pub place: String,
    /// The holder of its key, as far as known.
    pub holder: String,
    pub state: CertificateState,
    /// How it differs from the declared state; its age does not count.
    pub drift: Vec<String>,
    /// What the guards of daemons allow it: a client's `dtls_role`.
    #[serde(default)]
    pub allowed: Option<String>,
    /// Why it must be renewed, if its age requires it.
    pub due: Option<String>,
    /// The data of the certificate; null if it could not be read.
    pub certificate: Option<CertificateText>,
}

/// The data of a certificate, and the elapsed part of its validity period.
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
    /// The elapsed part of its validity period in percent; 100 once it has expired.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateSource {
    /// A daemon shows it in a handshake.
    Served,
    /// In the file that the daemon or the client reads.
    Disk,
    /// The copy of a docker context.
    Context,
    /// It was issued; its file was not checked.
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
    /// It is valid, but its host or its identity is no longer in the inventory.
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
