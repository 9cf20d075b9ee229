//! What `audit` tells of one request to a daemon.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// An entry of the journal of a daemon's guard. All texts but the host are the node's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// The daemon's.
    pub host: String,
    /// By the daemon's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// `allowed` or `rejected`; null for what the guard says of itself: entries that it left out, a
    /// policy that is broken.
    pub decision: Option<String>,
    /// Why it was rejected, in a word.
    pub reason: Option<String>,
    /// The name in the policy; `local` for the local socket.
    pub identity: Option<String>,
    pub role: Option<String>,
    /// Of the client's certificate, upper-case hexadecimal.
    pub serial: Option<String>,
    pub method: Option<String>,
    /// Without a query.
    pub path: Option<String>,
    /// The entry in words.
    pub message: String,
}
