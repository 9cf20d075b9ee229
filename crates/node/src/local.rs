//! The local machine as a node.
//!
//! A command runs under `sh -c` in its own process group, which is killed once its result is no
//! longer needed.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::Either;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use super::{
    BoxFuture, Connection, ConnectionError, DialError, ExitStatus, Limits, Output, Process, Stream,
};
use crate::stream::within;

/// Maximum bytes of standard error that are kept of an [`open`](Connection::open)ed process.
const STDERR_KEPT: usize = 64 * 1024;

/// Runs commands on this machine, as the current user.
#[derive(Debug, Clone)]
pub struct LocalConnection {
    name: String,
}

impl LocalConnection {
    /// `name` is the inventory's name of the node.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    fn spawn(&self, command: &str) -> Result<Group, ConnectionError> {
        let child = Command::new("/bin/sh")
            .arg("-c")
            .arg(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| self.start_error(&error))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Ok(Group { child, id })
    }

    fn start_error(&self, error: &io::Error) -> ConnectionError {
        ConnectionError::Start {
            node: self.description(),
            reason: error.to_string(),
        }
    }

    async fn collect(
        &self,
        command: &str,
        stdin: &[u8],
        max_output: usize,
    ) -> Result<Output, ConnectionError> {
        let mut group = self.spawn(command)?;
        let input = group.child.stdin.take();
        let output = group.child.stdout.take();
        let errors = group.child.stderr.take();
        let feed = async move {
            if let Some(mut pipe) = input {
                // A command may end without reading its input.
                let _ = pipe.write_all(stdin).await;
            }
        };
        let node = self.description();
        let too_large = || ConnectionError::OutputTooLarge {
            node: node.clone(),
            limit: max_output,
        };
        let work = async {
            let mut stdout = Vec::new();
            let mut stderr = Vec::new();
            tokio::try_join!(
                read_up_to(output, &mut stdout, max_output),
                read_up_to(errors, &mut stderr, max_output),
            )
            .map_err(|error| match error.kind() {
                io::ErrorKind::FileTooLarge => too_large(),
                _ => self.start_error(&error),
            })?;
            if stdout.len().saturating_add(stderr.len()) > max_output {
                return Err(too_large());
            }
            let status = group.wait().await;
            let status = status.map_err(|error| self.start_error(&error))?;
            Ok((status, stdout, stderr))
        };
        let feed = std::pin::pin!(feed);
        let work = std::pin::pin!(work);
        let (status, stdout, stderr) = match futures::future::select(work, feed).await {
            Either::Left((result, _)) => result?,
            Either::Right(((), work)) => work.await?,
        };
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }
}

/// Reads to the end; `FileTooLarge` after `limit` bytes.
async fn read_up_to(
    pipe: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    limit: usize,
) -> io::Result<()> {
    if let Some(pipe) = pipe {
        let more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        pipe.take(more).read_to_end(into).await?;
        if into.len() > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
    Ok(())
}

/// Reads standard error to its end and returns its beginning, which is also sent to `shown` as it
/// arrives.
async fn keep_errors(
    mut pipe: impl AsyncRead + Unpin,
    shown: &mpsc::UnboundedSender<Vec<u8>>,
) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 8192];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        let room = STDERR_KEPT.saturating_sub(kept.len()).min(read);
        let new = buffer.get(..room).unwrap_or_default();
        if !new.is_empty() {
            kept.extend_from_slice(new);
            let _ = shown.send(new.to_vec());
        }
    }
    kept
}

/// A child and everything it started, killed on drop unless it has ended.
struct Group {
    child: Child,
    id: Option<i32>,
}

impl Group {
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.id = None;
        Ok(exit_status(status))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.id.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// A pipe that `shutdown` closes; tokio's own closes only when dropped.
struct Input(Option<ChildStdin>);

impl AsyncWrite for Input {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(pipe) => Pin::new(pipe).poll_write(cx, buf),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Some(pipe) => Pin::new(pipe).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

fn exit_status(status: std::process::ExitStatus) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt as _;
    if let Some(code) = status.code() {
        return ExitStatus::Code(u32::try_from(code).unwrap_or(u32::MAX));
    }
    let number = status.signal().unwrap_or_default();
    let name = match number {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        6 => "ABRT",
        8 => "FPE",
        9 => "KILL",
        11 => "SEGV",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        _ => return ExitStatus::Signal(number.to_string()),
    };
    ExitStatus::Signal(name.to_owned())
}

impl Connection for LocalConnection {
    fn run<'a>(
        &'a self,
        command: &'a str,
        stdin: &'a [u8],
        limits: Limits,
    ) -> BoxFuture<'a, Result<Output, ConnectionError>> {
        let work = self.collect(command, stdin, limits.max_output);
        Box::pin(within(limits.deadline, || self.description(), work))
    }

    fn open<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Process, ConnectionError>> {
        Box::pin(async move {
            let mut group = self.spawn(command)?;
            let missing = || ConnectionError::Start {
                node: self.description(),
                reason: "no pipe".to_owned(),
            };
            let stdin = group.child.stdin.take().ok_or_else(missing)?;
            let stdout = group.child.stdout.take().ok_or_else(missing)?;
            let errors = group.child.stderr.take();
            let node = self.description();
            let (shown, stderr) = mpsc::unbounded_channel();
            // Standard error is read from the start, so that a process with a lot of output is not
            // blocked before its end is awaited.
            let reader = tokio::spawn(async move {
                match errors {
                    Some(pipe) => keep_errors(pipe, &shown).await,
                    None => Vec::new(),
                }
            });
            let exit = Box::pin(async move {
                let status = group.wait().await.map_err(|error| ConnectionError::Start {
                    node,
                    reason: error.to_string(),
                })?;
                Ok((status, reader.await.unwrap_or_default()))
            });
            Ok(Process {
                stdin: Box::new(Input(Some(stdin))),
                stdout: Box::new(stdout),
                stderr,
                exit,
            })
        })
    }

    fn dial<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        deadline: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn Stream>, DialError>> {
        Box::pin(async move {
            let node = self.description();
            let work = async {
                let addresses: Vec<_> = tokio::net::lookup_host((host, port))
                    .await
                    .map_err(|_| DialError::NameNotResolved {
                        node: node.clone(),
                        host: host.to_owned(),
                    })?
                    .collect();
                TcpStream::connect(addresses.as_slice())
                    .await
                    .map_err(|error| dial_error(&error, node.clone(), host, port))
            };
            let stream = tokio::time::timeout(deadline, work)
                .await
                .unwrap_or_else(|_| {
                    Err(DialError::Timeout {
                        node: node.clone(),
                        host: host.to_owned(),
                        port,
                    })
                })?;
            let _ = stream.set_nodelay(true);
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn description(&self) -> String {
        format!("{} (this machine)", self.name)
    }
}

fn dial_error(error: &io::Error, node: String, host: &str, port: u16) -> DialError {
    let host = host.to_owned();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused { node, host, port },
        io::ErrorKind::TimedOut => DialError::Timeout { node, host, port },
        _ => DialError::Other {
            node,
            host,
            port,
            reason: error.to_string(),
        },
    }
}
