//! The controller's end of the agent's protocol.
//!
//! Pings go out in the background, so that the agent can tell a controller that works from one that
//! is gone.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::agent::Agent;
use super::protocol::{ErrorKind, Request, Response};
use super::wire::{self, Lines, SecretBuffer};

/// A quarter of what the agent waits for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(11);

/// Why a call brought no answer to work with.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The agent answered with an error.
    #[error("{message}")]
    Refused {
        kind: ErrorKind,
        message: String,
        hint: Option<String>,
    },
    #[error("the CA agent ended without an answer")]
    Closed,
    #[error("the CA agent's answer cannot be read: {0}")]
    Answer(String),
    #[error("the connection to the CA agent failed: {0}")]
    Io(#[from] io::Error),
    /// An earlier call was given up half-way: its answer is still to come.
    #[error("the CA agent is still busy with an earlier request")]
    OutOfStep,
}

impl AgentError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused { hint, .. } => hint.as_deref(),
            Self::Closed => Some("what it wrote to its standard error says why"),
            _ => None,
        }
    }
}

/// A conversation with one agent. Dropping it ends the agent, which gives the
/// lock back.
#[derive(Debug)]
pub struct AgentClient {
    agent: Connection,
}

enum Connection {
    Local(Arc<Mutex<Agent>>),
    Remote(Remote),
}

struct Remote {
    requests: mpsc::Sender<SecretBuffer>,
    answers: Box<dyn AsyncRead + Send + Unpin>,
    lines: Lines,
    writer: JoinHandle<io::Result<()>>,
    /// A request went out and its answer has not come in.
    pending: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Local(_) => "Local",
            Self::Remote(_) => "Remote",
        })
    }
}

impl AgentClient {
    /// With an agent that runs in this process.
    #[must_use]
    pub fn local(agent: Agent) -> Self {
        Self {
            agent: Connection::Local(Arc::new(Mutex::new(agent))),
        }
    }

    /// With `dtls-deploy ca-agent` at the other end of two streams: its
    /// standard output and its standard input. Must be called in a runtime.
    pub fn remote<R, W>(answers: R, requests: W) -> Self
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        Self::remote_pinging(answers, requests, PING_EVERY)
    }

    /// As [`Self::remote`], with pings as often as a test needs them.
    pub fn remote_pinging<R, W>(answers: R, requests: W, ping_every: Duration) -> Self
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        // A task of its own writes, so that a line is never cut by a call
        // that was given up, and a ping never lands in the middle of one.
        let (sender, receiver) = mpsc::channel(4);
        Self {
            agent: Connection::Remote(Remote {
                requests: sender,
                answers: Box::new(answers),
                lines: Lines::default(),
                writer: tokio::spawn(write(requests, receiver, ping_every)),
                pending: false,
            }),
        }
    }

    /// Sends one request and waits for its answer, however long it takes:
    /// the caller sets the deadline. A call that is given up leaves the client
    /// unusable, [`AgentError::OutOfStep`]. [`Response::Error`] comes back as
    /// [`AgentError::Refused`].
    pub async fn call(&mut self, request: Request) -> Result<Response, AgentError> {
        let response = match &mut self.agent {
            Connection::Local(agent) => {
                let agent = Arc::clone(agent);
                tokio::task::spawn_blocking(move || {
                    agent
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .handle(request)
                })
                .await
                .map_err(|error| AgentError::Io(io::Error::other(error)))?
            }
            Connection::Remote(remote) => remote.call(request).await?,
        };
        match response {
            Response::Error {
                kind,
                message,
                hint,
            } => Err(AgentError::Refused {
                kind,
                message,
                hint,
            }),
            other => Ok(other),
        }
    }
}

impl Remote {
    async fn call(&mut self, request: Request) -> Result<Response, AgentError> {
        if self.pending {
            return Err(AgentError::OutOfStep);
        }
        let line = wire::encode(&request)?;
        let answered = request != Request::Ping;
        drop(request);
        self.pending = answered;
        if self.requests.send(line).await.is_err() {
            return Err(self.why_closed().await);
        }
        if !answered {
            return Ok(Response::Done);
        }
        let mut chunk = zeroize::Zeroizing::new(vec![0_u8; 16 * 1024]);
        loop {
            if let Some(line) = self.lines.next_line() {
                self.pending = false;
                return wire::decode(&line).map_err(AgentError::Answer);
            }
            let length = self.answers.read(chunk.as_mut_slice()).await?;
            if length == 0 {
                return Err(self.why_closed().await);
            }
            self.lines.push(chunk.get(..length).unwrap_or_default())?;
        }
    }

    /// The writer's error, if it had one.
    async fn why_closed(&mut self) -> AgentError {
        if !self.writer.is_finished() {
            return AgentError::Closed;
        }
        match (&mut self.writer).await {
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => AgentError::Io(error),
            _ => AgentError::Closed,
        }
    }
}

/// Writes requests as they come and pings in between; ends, and with it closes
/// the agent's standard input, when the client is dropped.
async fn write<W: AsyncWrite + Unpin>(
    mut stream: W,
    mut requests: mpsc::Receiver<SecretBuffer>,
    ping_every: Duration,
) -> io::Result<()> {
    let ping = wire::encode(&Request::Ping)?;
    let mut clock = interval(ping_every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock.reset();
    loop {
        tokio::select! {
            biased;
            request = requests.recv() => match request {
                Some(line) => stream.write_all(line.as_bytes()).await?,
                None => return stream.shutdown().await,
            },
            _ = clock.tick() => stream.write_all(ping.as_bytes()).await?,
        }
        stream.flush().await?;
    }
}
