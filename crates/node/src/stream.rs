//! What passes over a connection: outputs, exit statuses, byte streams, and
//! the ways in which they end early.

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::BoxFuture;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code (0 to 255).
    Code(u32),
    /// A signal ended it: its name without `SIG`, for instance `TERM`.
    Signal(String),
}

impl ExitStatus {
    /// Exit code 0, and nothing else.
    #[must_use]
    pub fn success(&self) -> bool {
        *self == Self::Code(0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(formatter, "exit code {code}"),
            Self::Signal(name) => write!(formatter, "signal {}", super::visible(name)),
        }
    }
}

/// What a command left behind. `Debug` shows lengths only, because output may
/// hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output, whole.
    pub stdout: Vec<u8>,
    /// Standard error, whole.
    pub stderr: Vec<u8>,
}

impl fmt::Debug for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Output")
            .field("status", &self.status)
            .field("stdout_bytes", &self.stdout.len())
            .field("stderr_bytes", &self.stderr.len())
            .finish()
    }
}

/// How long a command may take and how much it may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the call to the end of its output, waiting for a free channel
    /// included.
    pub deadline: Duration,
    /// Bytes of standard output and standard error together; more is
    /// [`ConnectionError::OutputTooLarge`], and the channel is closed.
    pub max_output: usize,
}

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl fmt::Debug for dyn Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Stream")
    }
}

/// Resolves when a process has ended, to its status and the beginning of its
/// standard error (at most 64 KiB).
pub type ExitFuture = BoxFuture<'static, Result<(ExitStatus, Vec<u8>), ConnectionError>>;

/// A process kept open on a node. Dropping `stdin` closes it. Over SSH the
/// channel is closed when both `stdout` and `exit` are dropped; on the local
/// machine dropping `exit` alone kills the process group.
/// `stdout` must be read: when more than 16 MiB wait unread, the channel is
/// closed, because one unread channel would block all others of its
/// connection.
pub struct Process {
    /// Standard input; `shutdown` or drop closes it.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// Standard output, up to its end.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// The beginning of standard error (the 64 KiB that `exit` will hand over)
    /// as it arrives. It may be dropped or left unread.
    pub stderr: mpsc::UnboundedReceiver<Vec<u8>>,
    /// How it ended.
    pub exit: ExitFuture,
}

impl fmt::Debug for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Process").finish_non_exhaustive()
    }
}

/// Why a command has no result, on a connection that once worked. A node is named as in
/// [`Connection::description`](super::Connection::description).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The connection ended; what was running may or may not have finished.
    #[error("the connection to {node} ended: {reason}")]
    Closed { node: String, reason: String },
    /// The deadline of [`Limits`] passed.
    #[error("the command on {node} did not end within {after:?}")]
    Timeout { node: String, after: Duration },
    /// More than [`Limits::max_output`].
    #[error("the command on {node} printed more than {limit} bytes and was cut off")]
    OutputTooLarge { node: String, limit: usize },
    /// sshd refused a channel or the command (`MaxSessions`, `ForceCommand`, …).
    #[error("{node} refused to start the command: {reason}")]
    Refused { node: String, reason: String },
    /// The channel was closed without saying how the command ended.
    #[error("{node} did not say how the command ended")]
    NoExitStatus { node: String },
    /// The command could not be started or fed (local machine).
    #[error("the command could not be run on {node}: {reason}")]
    Start { node: String, reason: String },
}

/// What `work` gives on a node, if it ends in time.
pub(crate) async fn within<T>(
    after: Duration,
    node: impl FnOnce() -> String,
    work: impl Future<Output = Result<T, ConnectionError>>,
) -> Result<T, ConnectionError> {
    let ended = tokio::time::timeout(after, work).await;
    ended.unwrap_or_else(|_| {
        Err(ConnectionError::Timeout {
            node: node(),
            after,
        })
    })
}

/// Why a port could not be reached from a node.
///
/// sshd tells little: it reports the operating system's text only for
/// attempts that fail later than at once. A connect that fails *at once*
/// (a refused one on the node's own addresses, no route) is "open failed".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// Nothing listens there.
    #[error("{host}:{port} refused the connection from {node}")]
    Refused {
        node: String,
        host: String,
        port: u16,
    },
    /// No answer within the deadline or the node's own timeout.
    #[error("{host}:{port} did not answer {node} in time")]
    Timeout {
        node: String,
        host: String,
        port: u16,
    },
    /// The node's resolver does not know the name.
    #[error("{node} cannot resolve the name {host}")]
    NameNotResolved { node: String, host: String },
    /// The node's sshd forbids it (`AllowTcpForwarding no`, `PermitOpen`,
    /// `DisableForwarding`).
    #[error("sshd on {node} forbids connections to {host}:{port} ({reason})")]
    Forbidden {
        node: String,
        host: String,
        port: u16,
        reason: String,
    },
    /// It failed, and all that is known is `reason`. sshd's bare "open failed"
    /// ends here: refused, no route, or unreachable, at once.
    #[error("{node} cannot connect to {host}:{port}: {reason}")]
    Other {
        node: String,
        host: String,
        port: u16,
        reason: String,
    },
    /// The connection to the node itself is gone.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}
