//! One channel, split into a reading and a shared writing end, and closed
//! when the last holder lets go.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use russh::client::Msg;
use russh::{Channel, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::AsyncWrite;

/// Both ends of a channel.
pub(super) struct Halves {
    pub read: ChannelReadHalf,
    end: ChannelEnd,
}

/// The writing end; clones share the channel, the last one closes it.
#[derive(Clone)]
pub(super) struct ChannelEnd(Arc<Inner>);

struct Inner {
    write: Option<ChannelWriteHalf<Msg>>,
    closed: AtomicBool,
}

impl Halves {
    pub(super) fn new(channel: Channel<Msg>) -> Self {
        let (read, write) = channel.split();
        Self {
            read,
            end: ChannelEnd(Arc::new(Inner {
                write: Some(write),
                closed: AtomicBool::new(false),
            })),
        }
    }

    pub(super) fn end(&self) -> ChannelEnd {
        self.end.clone()
    }
}

impl ChannelEnd {
    fn write(&self) -> Result<&ChannelWriteHalf<Msg>, ()> {
        self.0.write.as_ref().ok_or(())
    }

    /// Starts a command. The answer is not waited for, which saves a round
    /// trip; a refusal arrives as [`russh::ChannelMsg::Failure`].
    pub(super) async fn exec(&self, command: &str) -> Result<(), ()> {
        self.write()?.exec(true, command).await.map_err(|_| ())
    }

    /// Sends bytes, waiting for the window to open.
    pub(super) async fn send(&self, bytes: Vec<u8>) -> Result<(), ()> {
        self.write()?.data_bytes(bytes).await.map_err(|_| ())
    }

    /// No more input.
    pub(super) async fn eof(&self) {
        if let Ok(write) = self.write() {
            let _ = write.eof().await;
        }
    }

    /// The input as a stream.
    pub(super) fn writer(&self) -> Option<Pin<Box<dyn AsyncWrite + Send>>> {
        let write = self.write().ok()?;
        Some(Box::pin(write.make_writer()))
    }

    /// The other side has closed the channel.
    pub(super) fn set_closed(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Relaxed)
    }
}

impl Drop for Inner {
    /// Whatever ended early (a deadline, a cancelled task, too much output)
    /// gives the channel back. Dropping alone would leave it open on the
    /// server for as long as the connection lives.
    fn drop(&mut self) {
        let closed = self.closed.load(Ordering::Relaxed);
        if let (false, Some(write), Ok(runtime)) = (
            closed,
            self.write.take(),
            tokio::runtime::Handle::try_current(),
        ) {
            runtime.spawn(async move {
                let _ = write.close().await;
            });
        }
    }
}
