//! Channels that are kept: processes that speak a protocol, and dialled TCP
//! connections.
//!
//! A task per channel moves what arrives into a bounded store at once, because russh stops the
//! whole connection while one channel is not read.

use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use futures::task::AtomicWaker;
use russh::{ChannelMsg, Sig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};

use super::channel::{ChannelEnd, Halves};
use super::handler::Remarks;
use crate::{ConnectionError, ExitStatus, Process, Stream};

/// Bytes that may wait for their reader; more closes the channel.
const MOST_UNREAD: usize = 16 * 1024 * 1024;

/// Bytes of standard error that are kept.
const STDERR_KEPT: usize = 64 * 1024;

type Exit = Result<(ExitStatus, Vec<u8>), ConnectionError>;

/// A started command as streams.
pub(super) fn process(
    halves: Halves,
    permit: OwnedSemaphorePermit,
    remarks: &Arc<Remarks>,
    node: &str,
) -> Process {
    let (exit, ended) = oneshot::channel();
    let (errors, stderr) = mpsc::unbounded_channel();
    let kept = CommandEnds {
        permit,
        exit,
        errors,
    };
    let (inbox, outbox, interest) = start(halves, Some(kept), remarks, node);
    let node = node.to_owned();
    Process {
        stdin: Box::new(outbox),
        stdout: Box::new(inbox),
        stderr,
        exit: Box::pin(async move {
            let result = ended.await;
            drop(interest);
            result.unwrap_or(Err(ConnectionError::NoExitStatus { node }))
        }),
    }
}

/// A dialled connection as one stream.
pub(super) fn stream(halves: Halves, remarks: &Arc<Remarks>, node: &str) -> Box<dyn Stream> {
    let (inbox, outbox, _) = start(halves, None, remarks, node);
    Box::new(tokio::io::join(inbox, outbox))
}

/// What a command has and a dialled connection has not.
struct CommandEnds {
    permit: OwnedSemaphorePermit,
    exit: oneshot::Sender<Exit>,
    errors: mpsc::UnboundedSender<Vec<u8>>,
}

fn start(
    halves: Halves,
    command: Option<CommandEnds>,
    remarks: &Arc<Remarks>,
    node: &str,
) -> (Inbox, Outbox, Interest) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let abandoned = Arc::new(Notify::new());
    let interest = Interest(Arc::new(Abandon(abandoned.clone())));
    let over = Arc::new(Over::default());
    let outbox = Outbox {
        writer: halves.end().writer(),
        end: halves.end(),
        over: over.clone(),
        shut: false,
    };
    let inbox = Inbox {
        receiver,
        current: io::Cursor::default(),
        waiting: waiting.clone(),
        _interest: interest.clone(),
    };
    let pump = Pump {
        out: Some(sender),
        waiting,
        remarks: remarks.clone(),
        node: node.to_owned(),
        status: None,
        stderr: Vec::new(),
        errors: command.as_ref().map(|kept| kept.errors.clone()),
    };
    tokio::spawn(async move {
        let result = pump.run(halves, &abandoned).await;
        over.announce();
        if let Some(kept) = command {
            let _ = kept.exit.send(result);
            drop(kept.permit);
        }
    });
    (inbox, outbox, interest)
}

/// Held by everyone who wants something from the channel.
#[derive(Clone)]
struct Interest(#[allow(dead_code, reason = "its drop is what counts")] Arc<Abandon>);

struct Abandon(Arc<Notify>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Tells a blocked writer that no one reads any more.
#[derive(Default)]
struct Over {
    done: std::sync::atomic::AtomicBool,
    writer: AtomicWaker,
}

impl Over {
    fn announce(&self) {
        self.done.store(true, Ordering::Release);
        self.writer.wake();
    }
}

/// Moves messages from the channel to whom they concern.
struct Pump {
    out: Option<mpsc::UnboundedSender<io::Result<Vec<u8>>>>,
    waiting: Arc<AtomicUsize>,
    remarks: Arc<Remarks>,
    node: String,
    status: Option<ExitStatus>,
    stderr: Vec<u8>,
    /// Who wants to see it before the end.
    errors: Option<mpsc::UnboundedSender<Vec<u8>>>,
}

impl Pump {
    async fn run(mut self, mut halves: Halves, abandoned: &Notify) -> Exit {
        let end = halves.end();
        loop {
            let message = tokio::select! {
                message = halves.read.wait() => message,
                () = abandoned.notified() => {
                    return Err(self.closed("it was no longer wanted"));
                }
            };
            match message {
                Some(ChannelMsg::Data { data }) => self.data(&data)?,
                Some(ChannelMsg::ExtendedData { data, ext: 1 }) => {
                    self.error_data(&data);
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    self.status = Some(ExitStatus::Code(exit_status));
                }
                Some(ChannelMsg::ExitSignal {
                    signal_name: sig, ..
                }) => {
                    self.status = Some(ExitStatus::Signal(signal_name(&sig)));
                }
                Some(ChannelMsg::Eof) => self.out = None,
                Some(ChannelMsg::Failure) => {
                    return Err(ConnectionError::Refused {
                        node: self.node,
                        reason: "sshd refused the exec request".to_owned(),
                    });
                }
                Some(ChannelMsg::Close) => {
                    end.set_closed();
                    break;
                }
                None => {
                    let error = self.remarks.lost(&self.node);
                    if let Some(out) = self.out.take() {
                        let text = error.to_string();
                        let _ =
                            out.send(Err(io::Error::new(io::ErrorKind::ConnectionAborted, text)));
                    }
                    return Err(error);
                }
                Some(_) => {}
            }
        }
        match self.status {
            Some(status) => Ok((status, self.stderr)),
            None => Err(ConnectionError::NoExitStatus { node: self.node }),
        }
    }

    /// Hands bytes to the reader; without one they are dropped.
    fn data(&mut self, data: &[u8]) -> Result<(), ConnectionError> {
        let Some(out) = &self.out else { return Ok(()) };
        let waiting = self.waiting.fetch_add(data.len(), Ordering::Relaxed) + data.len();
        if waiting > MOST_UNREAD {
            let error = ConnectionError::OutputTooLarge {
                node: self.node.clone(),
                limit: MOST_UNREAD,
            };
            let _ = out.send(Err(io::Error::other(error.to_string())));
            return Err(error);
        }
        if out.send(Ok(data.to_vec())).is_err() {
            self.out = None;
        }
        Ok(())
    }

    /// Keeps the beginning of standard error, and shows it to who waits for it.
    fn error_data(&mut self, data: &[u8]) {
        let room = STDERR_KEPT.saturating_sub(self.stderr.len());
        let kept = data.get(..room).unwrap_or(data);
        self.stderr.extend_from_slice(kept);
        if let Some(errors) = self.errors.as_ref().filter(|_| !kept.is_empty()) {
            let _ = errors.send(kept.to_vec());
        }
    }

    fn closed(&self, reason: &str) -> ConnectionError {
        ConnectionError::Closed {
            node: self.node.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// The reading side of a kept channel.
struct Inbox {
    receiver: mpsc::UnboundedReceiver<io::Result<Vec<u8>>>,
    current: io::Cursor<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
    _interest: Interest,
}

impl AsyncRead for Inbox {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let read = self.current.read(buf.initialize_unfilled())?;
            if read > 0 || buf.remaining() == 0 {
                buf.advance(read);
                return Poll::Ready(Ok(()));
            }
            match ready!(self.receiver.poll_recv(cx)) {
                Some(Ok(bytes)) => {
                    self.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                    self.current = io::Cursor::new(bytes);
                }
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// The writing side of a kept channel; dropping it ends the input.
struct Outbox {
    writer: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    end: ChannelEnd,
    over: Arc<Over>,
    shut: bool,
}

impl AsyncWrite for Outbox {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // russh waits for a window that a closed channel never opens.
        self.over.writer.register(cx.waker());
        let over = self.over.done.load(Ordering::Acquire);
        match &mut self.writer {
            Some(writer) if !over => {
                if buf.is_empty() {
                    return Poll::Ready(Ok(0));
                }
                writer.as_mut().poll_write(cx, buf)
            }
            _ => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.writer {
            Some(writer) => writer.as_mut().poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shut || self.over.done.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        if let Some(writer) = &mut self.writer {
            ready!(writer.as_mut().poll_shutdown(cx))?;
        }
        self.shut = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        if self.shut || self.end.is_closed() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let end = self.end.clone();
            runtime.spawn(async move { end.eof().await });
        }
    }
}

/// The name without `SIG`, as RFC 4254 has it.
pub(super) fn signal_name(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => crate::visible(name),
        known => format!("{known:?}"),
    }
}
