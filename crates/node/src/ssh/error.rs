//! Why a node could not be connected to, and what to do about it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::keys::KeyFault;

/// The destination as it was finally understood, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The inventory's name, or the jump host's as written.
    pub name: String,
    /// The account.
    pub user: String,
    /// Name or address that was connected to.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The name `known_hosts` is asked for: `host`, `[host]:port` or an alias.
    pub known_as: String,
    /// The jump hosts, where there are any.
    pub via: Option<String>,
}

impl Endpoint {
    /// Name and port as one looks them up in `known_hosts`, for commands.
    pub(super) fn keyscan(&self) -> String {
        if self.port == 22 {
            format!("ssh-keyscan {}", self.host)
        } else {
            format!("ssh-keyscan -p {} {}", self.port, self.host)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            user,
            host,
            port,
            ..
        } = self;
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        write!(formatter, "{user}@{host}:{port}")?;
        if *name != self.host {
            write!(formatter, " ({name})")?;
        }
        match &self.via {
            Some(via) => write!(formatter, " through {via}"),
            None => Ok(()),
        }
    }
}

/// A step of connecting that has a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Name resolution and TCP.
    Tcp,
    /// The server's greeting and the key exchange.
    Handshake,
    Authentication,
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "opening the TCP connection",
            Self::Handshake => "the SSH handshake",
            Self::Authentication => "authentication",
        })
    }
}

/// Why a server ends a connection before anyone has logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HangUp {
    /// `PerSourcePenalties`: every further attempt lengthens the penalty.
    Penalty,
    /// `MaxStartups`.
    TooManyLogins,
    /// It has not said why.
    Unexplained,
}

impl HangUp {
    /// From what OpenSSH says in place of its greeting (`sshd.c`, `drop_connection`).
    pub(super) fn of(said: &str) -> Self {
        if said.contains("Not allowed at this time") {
            Self::Penalty
        } else if said.contains("MaxStartups") {
            Self::TooManyLogins
        } else {
            Self::Unexplained
        }
    }
}

/// A key that a `known_hosts` file has on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedKey {
    pub file: PathBuf,
    /// Line, counted from 1.
    pub line: usize,
    /// For instance `ssh-ed25519`.
    pub algorithm: String,
    /// `SHA256:…`
    pub fingerprint: String,
}

impl fmt::Display for RecordedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {} ({}:{})",
            self.algorithm,
            self.fingerprint,
            self.file.display(),
            self.line
        )
    }
}

/// One authentication attempt, or a reason why there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriedMethod {
    /// `publickey`, `password`, `keyboard-interactive`, `agent`.
    pub method: &'static str,
    /// The key's path or agent comment, and fingerprint; empty for passwords.
    pub what: String,
    /// What came of it.
    pub outcome: String,
}

impl fmt::Display for TriedMethod {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.what.is_empty() {
            write!(formatter, "{}: {}", self.method, self.outcome)
        } else {
            write!(formatter, "{} {}: {}", self.method, self.what, self.outcome)
        }
    }
}

/// Why [`connect`](crate::connect) failed: a full sentence with host, port and user.
#[derive(Debug, Clone)]
pub struct ConnectError {
    /// Where it was meant to go.
    pub endpoint: Box<Endpoint>,
    pub fault: ConnectFault,
}

#[derive(Debug, Clone)]
pub enum ConnectFault {
    /// No address for the name.
    NameNotResolved { reason: String },
    /// Nothing listens on the port.
    Refused,
    /// No route, network down, and the like.
    Unreachable { reason: String },
    /// EMFILE or ENFILE: this machine opens no more files.
    NoMoreFiles,
    /// A deadline passed.
    Timeout { phase: Phase, after: Duration },
    /// The other side ended the connection before authentication was through.
    Closed {
        phase: Phase,
        why: HangUp,
        reason: String,
    },
    /// No `known_hosts` file has a key for this host.
    HostKeyUnknown {
        algorithm: String,
        fingerprint: String,
        files: Vec<PathBuf>,
    },
    /// The recorded keys are others (of whatever algorithm).
    HostKeyMismatch {
        expected: Vec<RecordedKey>,
        algorithm: String,
        got: String,
    },
    /// The key, or the authority that signed it, is marked `@revoked`.
    HostKeyRevoked { revoked: Box<RecordedKey> },
    /// A host certificate of a recorded authority is not good for this host.
    HostCertificate { key_id: String, reason: String },
    /// A `known_hosts` file could not be read or written.
    KnownHostsFile { path: PathBuf, reason: String },
    /// Every method was refused.
    AuthenticationFailed {
        tried: Vec<TriedMethod>,
        offered: Vec<String>,
        disconnected: Option<String>,
    },
    /// A private key that was asked for cannot be used.
    IdentityFile { path: PathBuf, fault: KeyFault },
    /// A jump host could not be connected to or would not pass us on.
    JumpHost {
        which: String,
        source: Arc<ConnectError>,
    },
    /// The jump host connected, but it could not reach the node.
    JumpRefused { which: String, reason: String },
    /// `~/.ssh/config` or the inventory asks for something that is not done.
    Configuration { reason: String },
    /// No algorithm in common, a bad signature, not an SSH server.
    Protocol { reason: String },
}

impl ConnectFault {
    pub(super) fn at(self, endpoint: &Endpoint) -> ConnectError {
        ConnectError {
            endpoint: Box::new(endpoint.clone()),
            fault: self,
        }
    }

    /// Whether the same attempt may work a moment later: refused, timed out or
    /// cut off before authentication (a full `MaxStartups` queue, a reboot).
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Refused => true,
            Self::Timeout { phase, .. } => *phase != Phase::Authentication,
            Self::Closed { phase, why, .. } => {
                *phase != Phase::Authentication && *why != HangUp::Penalty
            }
            _ => false,
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            ConnectFault::JumpHost { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = &self.endpoint;
        write!(out, "Cannot connect to {to}: ")?;
        match &self.fault {
            ConnectFault::NameNotResolved { reason, .. } => {
                write!(out, "the name {} cannot be resolved ({reason})", to.host)
            }
            ConnectFault::Refused => write!(out, "nothing listens on port {}", to.port),
            ConnectFault::Unreachable { reason, .. } => write!(out, "{reason}"),
            ConnectFault::NoMoreFiles => write!(
                out,
                "this machine allows no more open files, and each connection is one"
            ),
            ConnectFault::Timeout { phase, after, .. } => {
                write!(out, "{phase} did not finish within {after:?}")
            }
            ConnectFault::Closed { phase, reason, .. } => {
                write!(out, "the connection ended during {phase}: {reason}")
            }
            ConnectFault::HostKeyUnknown {
                algorithm,
                fingerprint,
                ..
            } => write!(
                out,
                "its host key {algorithm} {fingerprint} is in no known_hosts file"
            ),
            ConnectFault::HostKeyMismatch {
                expected,
                algorithm,
                got,
                ..
            } => write!(
                out,
                "THE HOST KEY DIFFERS from the recorded one; the server shows {algorithm} {got}, on record is {}",
                list(expected)
            ),
            ConnectFault::HostKeyRevoked { revoked, .. } => {
                write!(out, "its host key is marked as revoked: {revoked}")
            }
            ConnectFault::HostCertificate { key_id, reason, .. } => {
                write!(
                    out,
                    "its host certificate \"{key_id}\" is not valid: {reason}"
                )
            }
            ConnectFault::KnownHostsFile { path, reason, .. } => {
                write!(
                    out,
                    "the known_hosts file {} is unusable: {reason}",
                    path.display()
                )
            }
            ConnectFault::AuthenticationFailed {
                tried,
                offered,
                disconnected,
                ..
            } => {
                write!(out, "authentication as {} failed", to.user)?;
                if tried.is_empty() {
                    write!(out, "; there was no key or password to try")?;
                } else {
                    write!(out, "; tried {}", list(tried))?;
                }
                if !offered.is_empty() {
                    write!(out, "; the server accepts {}", offered.join(", "))?;
                }
                match disconnected {
                    Some(words) => write!(out, "; the server hung up: {words}"),
                    None => Ok(()),
                }
            }
            ConnectFault::IdentityFile { path, fault, .. } => {
                write!(
                    out,
                    "the key file {} cannot be used: {fault}",
                    path.display()
                )
            }
            ConnectFault::JumpHost { which, .. } => write!(out, "its jump host {which} failed"),
            ConnectFault::JumpRefused { which, reason, .. } => write!(
                out,
                "the jump host {which} could not reach {}:{} ({reason})",
                to.host, to.port
            ),
            ConnectFault::Configuration { reason, .. } | ConnectFault::Protocol { reason, .. } => {
                write!(out, "{reason}")
            }
        }
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_penalty_is_not_lengthened_whatever_the_message_says() {
        let closed = |why, reason: &str| ConnectFault::Closed {
            phase: Phase::Handshake,
            why,
            reason: reason.to_owned(),
        };
        let said = "Not allowed at this time\r\n";
        assert_eq!(HangUp::of(said), HangUp::Penalty);
        assert!(!closed(HangUp::Penalty, "reworded").is_transient());
        assert!(closed(HangUp::Unexplained, said).is_transient());
    }
}
