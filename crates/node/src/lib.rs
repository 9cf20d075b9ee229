//! Nodes: connects to a machine and runs commands there.
//!
//! SSH and the local machine are the two implementations; a fake for tests implements the same
//! trait.

mod answer;
mod r#become;
mod begin;
pub mod facts;
pub mod generation;
mod local;
pub mod prelude;
mod report;
pub mod script;
pub mod settle;
#[cfg(test)]
mod shells;
mod ssh;
mod stream;
mod target;
mod text;
pub mod transaction;
pub mod validation;

use std::fmt::Debug;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use r#become::{ANSWER_DEADLINE, Become, BecomeError, SudoPassword};
pub use begin::{Marker, command_line};
pub use local::LocalConnection;
pub use ssh::{
    ConnectError, ConnectFault, Endpoint, HangUp, KeyFault, Phase, Prompt, PromptRequest,
    RecordedKey, SshContext, TriedMethod, Weakened,
};
pub use stream::{
    ConnectionError, DialError, ExitFuture, ExitStatus, Limits, Output, Process, Stream,
};
pub use target::{HostKeyChecking, Target};
pub use text::{is_visible, visible};

/// A future in the form that trait objects need: boxed, `Send`, unnamed.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Access to one machine, over SSH or locally.
///
/// Dropping the future of [`run`](Self::run) (or the parts of an
/// [`open`](Self::open)ed process) closes the remote channel. Over SSH that does *not* end the
/// remote process: sshd only closes its pipes, so a script that must not outlive its caller has to
/// check for the end of its standard input. On the local machine the process group is killed.
pub trait Connection: Send + Sync + Debug {
    /// Runs `command` through the account's login shell, as sshd does, feeds it `stdin`, closes its
    /// standard input, and collects its output. Reading and writing happen at the same time.
    ///
    /// # Errors A command that fails is not an error: see [`Output::status`]. Errors are a lost
    /// connection, a missed deadline, too much output.
    fn run<'a>(
        &'a self,
        command: &'a str,
        stdin: &'a [u8],
        limits: Limits,
    ) -> BoxFuture<'a, Result<Output, ConnectionError>>;

    /// Starts `command` and returns its streams, for a process that speaks a protocol. There is no
    /// deadline: the protocol has its own.
    fn open<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Process, ConnectionError>>;

    /// Opens a TCP connection from the node to `host:port`; the node resolves `host`.
    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn Stream>, DialError>>;

    /// Closes the connection cleanly; anything still running over it ends with
    /// [`ConnectionError::Closed`].
    fn close(&self) -> BoxFuture<'_, ()>;

    /// For messages: `ubuntu@node3 (10.0.0.12:22)`.
    fn description(&self) -> String;

    /// The address of the connection, if known.
    fn address(&self) -> Option<IpAddr> {
        None
    }

    /// How long the login took, once connected; none for the local machine.
    fn login_took(&self) -> Option<Duration> {
        None
    }

    /// Whether the node is verified, so that a password may be sent there. The local machine always
    /// is.
    fn is_verified(&self) -> bool {
        true
    }
}

/// Connects to `target` over SSH and authenticates.
///
/// One call is one node; `context` is shared by all calls of a run, so that
/// jump hosts, decrypted keys and `ssh -G` answers are fetched once.
///
/// # Errors
/// See [`ConnectError`]: each names host, port and user, and has a hint.
pub async fn connect(
    target: &Target,
    context: &SshContext,
) -> Result<Arc<dyn Connection>, ConnectError> {
    ssh::connect(target, context).await
}
