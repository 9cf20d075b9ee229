//! An authenticated SSH connection.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::client::Handle;
use russh::{ChannelMsg, ChannelOpenFailure, Disconnect};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::channel::Halves;
use super::error::Endpoint;
use super::feed::feed;
use super::handler::{Remarks, Watcher};
use super::host_key::Trust;
use super::process;
use super::socket::Written;
use crate::stream::within;
use crate::{
    BoxFuture, Connection, ConnectionError, DialError, ExitStatus, Limits, Output, Process, Stream,
    visible,
};

/// Commands at one time; sshd allows ten sessions per connection
/// (`MaxSessions`), and one that was cut off may still be ending.
const SESSIONS: usize = 8;

/// Pauses before a refused session channel is asked for again, doubling from
/// the first to the last: a third of a second together.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(160);

/// For sshd to open a channel, where the caller gives no deadline.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);

/// A server that was identified and waits for a login.
pub(super) struct Session {
    pub handle: Handle<Watcher>,
    pub remarks: Arc<Remarks>,
    pub trust: Trust,
    pub written: Arc<Written>,
    pub address: Option<IpAddr>,
}

/// One connection; channels are opened as needed.
pub(super) struct SshConnection {
    handle: Handle<Watcher>,
    remarks: Arc<Remarks>,
    written: Arc<Written>,
    endpoint: Endpoint,
    sessions: Arc<Semaphore>,
    login_took: Duration,
    address: Option<IpAddr>,
    is_verified: bool,
    /// What this connection runs through must outlive it.
    _jump: Option<Arc<SshConnection>>,
}

impl fmt::Debug for SshConnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SshConnection")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl SshConnection {
    pub(super) fn new(
        session: Session,
        endpoint: &Endpoint,
        login_took: Duration,
        jump: Option<Arc<SshConnection>>,
    ) -> Self {
        Self {
            is_verified: session.trust == Trust::Identified,
            address: session.address,
            handle: session.handle,
            remarks: session.remarks,
            written: session.written,
            endpoint: endpoint.clone(),
            sessions: Arc::new(Semaphore::new(SESSIONS)),
            login_took,
            _jump: jump,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    fn lost(&self) -> ConnectionError {
        self.remarks.lost(&self.node())
    }

    fn node(&self) -> String {
        let Endpoint {
            name,
            user,
            host,
            port,
            ..
        } = &self.endpoint;
        format!("{user}@{name} ({host}:{port})")
    }

    /// A channel for a command, when one is free.
    ///
    /// sshd counts a session for a moment after its channel was closed, so a
    /// refused channel is asked for again a few times. Nothing has been sent
    /// over it by then: this never repeats a command.
    async fn session(&self) -> Result<(Halves, OwnedSemaphorePermit), ConnectionError> {
        let permit = self.sessions.clone().acquire_owned().await;
        let permit = permit.map_err(|_| self.lost())?;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.session_once().await {
                Err(ConnectionError::Refused { .. }) if pause <= LAST_PAUSE => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                result => return result.map(|halves| (halves, permit)),
            }
        }
    }

    async fn session_once(&self) -> Result<Halves, ConnectionError> {
        match self.handle.channel_open_session().await {
            Ok(channel) => Ok(Halves::new(channel)),
            Err(russh::Error::ChannelOpenFailure(code)) => {
                let text = self.remarks.refusal().await.unwrap_or_default();
                Err(ConnectionError::Refused {
                    node: self.node(),
                    reason: format!("{} ({code:?})", visible(&text)),
                })
            }
            Err(_) => Err(self.lost()),
        }
    }

    /// A TCP connection from the node; also how other nodes are reached
    /// through this one. sshd does not count these as sessions.
    pub(super) async fn forward(
        &self,
        host: &str,
        port: u16,
        deadline: Duration,
    ) -> Result<Box<dyn Stream>, DialError> {
        let open = self
            .handle
            .channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0);
        match tokio::time::timeout(deadline, open).await {
            Ok(Ok(channel)) => Ok(process::stream(
                Halves::new(channel),
                &self.remarks,
                &self.node(),
            )),
            Ok(Err(russh::Error::ChannelOpenFailure(code))) => {
                let text = self.remarks.refusal().await.unwrap_or_default();
                Err(self.dial_error(host, port, &code, &text))
            }
            Ok(Err(_)) => Err(self.lost().into()),
            Err(_) => Err(DialError::Timeout {
                node: self.node(),
                host: host.to_owned(),
                port,
            }),
        }
    }

    /// sshd sends `strerror` of a connect that failed after a while, the
    /// resolver's words for a name, and "open failed" for a connect that failed
    /// at once (`channels.c`: `channel_post_connecting`, `connect_to_helper`).
    fn dial_error(
        &self,
        host: &str,
        port: u16,
        code: &ChannelOpenFailure,
        text: &str,
    ) -> DialError {
        let (node, host) = (self.node(), host.to_owned());
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if *code == ChannelOpenFailure::AdministrativelyProhibited {
            let reason = visible(text);
            return DialError::Forbidden {
                node,
                host,
                port,
                reason,
            };
        }
        if has(&[
            "Name or service not known",
            "Temporary failure in name resolution",
            "No address associated",
            "nodename nor servname",
            "Name does not resolve",
        ]) {
            return DialError::NameNotResolved { node, host };
        }
        // Nothing but a closed port makes a connect to oneself fail at once.
        let loopback = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        if has(&["refused"]) || (text == "open failed" && loopback) {
            return DialError::Refused { node, host, port };
        }
        if has(&["timed out"]) {
            return DialError::Timeout { node, host, port };
        }
        DialError::Other {
            node,
            host,
            port,
            reason: visible(text),
        }
    }

    async fn collect(
        &self,
        command: &str,
        stdin: &[u8],
        limit: usize,
    ) -> Result<Output, ConnectionError> {
        let (mut halves, _permit) = self.session().await?;
        let end = halves.end();
        end.exec(command).await.map_err(|()| self.lost())?;
        let feed = feed(&end, &self.written, stdin);
        let mut feed = std::pin::pin!(feed);
        let mut feeding = true;
        let mut status = None;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            let message = tokio::select! {
                () = &mut feed, if feeding => {
                    feeding = false;
                    continue;
                }
                message = halves.read.wait() => message,
            };
            match message {
                Some(ChannelMsg::Data { data }) => stdout.extend_from_slice(&data),
                Some(ChannelMsg::ExtendedData { data, ext: 1 }) => stderr.extend_from_slice(&data),
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    status = Some(ExitStatus::Code(exit_status));
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    status = Some(ExitStatus::Signal(process::signal_name(&signal_name)));
                }
                Some(ChannelMsg::Failure) => {
                    return Err(ConnectionError::Refused {
                        node: self.node(),
                        reason: "sshd refused the exec request".to_owned(),
                    });
                }
                Some(ChannelMsg::Close) => {
                    end.set_closed();
                    break;
                }
                None => break,
                Some(_) => {}
            }
            if stdout.len() + stderr.len() > limit {
                return Err(ConnectionError::OutputTooLarge {
                    node: self.node(),
                    limit,
                });
            }
        }
        match status {
            Some(status) => Ok(Output {
                status,
                stdout,
                stderr,
            }),
            None if end.is_closed() => Err(ConnectionError::NoExitStatus { node: self.node() }),
            None => Err(self.lost()),
        }
    }
}

impl Connection for SshConnection {
    fn run<'a>(
        &'a self,
        command: &'a str,
        stdin: &'a [u8],
        limits: Limits,
    ) -> BoxFuture<'a, Result<Output, ConnectionError>> {
        let work = self.collect(command, stdin, limits.max_output);
        Box::pin(within(limits.deadline, || self.node(), work))
    }

    fn open<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Process, ConnectionError>> {
        let work = async {
            let (halves, permit) = self.session().await?;
            halves.end().exec(command).await.map_err(|()| self.lost())?;
            Ok(process::process(
                halves,
                permit,
                &self.remarks,
                &self.node(),
            ))
        };
        Box::pin(within(OPEN_DEADLINE, || self.node(), work))
    }

    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn Stream>, DialError>> {
        Box::pin(self.forward(host, port, deadline))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let bye = self.handle.disconnect(Disconnect::ByApplication, "", "");
            // A session task that is stuck must not hold up the end.
            let _ = tokio::time::timeout(Duration::from_secs(1), bye).await;
        })
    }

    fn description(&self) -> String {
        self.node()
    }

    fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn login_took(&self) -> Option<Duration> {
        Some(self.login_took)
    }

    fn is_verified(&self) -> bool {
        self.is_verified
    }
}
