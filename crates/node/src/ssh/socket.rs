//! The byte stream under SSH, with three things russh does not do.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Bytes of the server's greeting that are kept for explanations.
const GREETING_KEPT: usize = 512;

/// Reads after which acknowledgements may be delayed again: the handshake, the
/// login and the first command take about thirty.
const PROMPT_READS: u32 = 64;

/// A TCP stream that acknowledges at once while a connection is young.
///
/// sshd announces its host keys right after the login, and turns Nagle's
/// algorithm off only when it starts the first command. Until then its next
/// packet waits for the acknowledgement of that announcement, which the kernel
/// delays by 40 ms: with this the first command takes 4 ms instead of 47.
pub(super) struct Prompt {
    inner: TcpStream,
    left: u32,
}

impl Prompt {
    pub(super) fn new(inner: TcpStream) -> Self {
        Self {
            inner,
            left: PROMPT_READS,
        }
    }
}

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if self.left > 0 {
            self.left -= 1;
            // The kernel forgets it at will, hence after every read.
            #[cfg(target_os = "linux")]
            let _ = self.inner.set_quickack(true);
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A stream whose first bytes are also kept, because sshd says in plain text
/// why it will not talk ("Exceeded MaxStartups") and russh passes over that.
pub(super) struct Overheard<S> {
    inner: S,
    heard: Arc<Mutex<Vec<u8>>>,
    left: usize,
    cut: Arc<Cut>,
    written: Arc<Written>,
}

impl<S> Overheard<S> {
    pub(super) fn new(inner: S, heard: Arc<Mutex<Vec<u8>>>) -> (Self, Scissors) {
        let cut = Arc::new(Cut::default());
        let stream = Self {
            inner,
            heard,
            left: GREETING_KEPT,
            cut: cut.clone(),
            written: Arc::default(),
        };
        (stream, Scissors(Some(cut)))
    }

    pub(super) fn written(&self) -> Arc<Written> {
        self.written.clone()
    }
}

/// How many bytes russh has given to the stream, for [`super::feed`].
#[derive(Debug, Default)]
pub(super) struct Written {
    bytes: AtomicUsize,
    more: Notify,
}

impl Written {
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// Waits until this many bytes have been written since there were `before`.
    pub(super) async fn since(&self, before: usize, bytes: usize) {
        loop {
            let more = self.more.notified();
            if self.bytes().wrapping_sub(before) >= bytes {
                return;
            }
            more.await;
        }
    }
}

/// Ends the stream when dropped. russh's session task would otherwise keep a
/// connection whose handshake was given up until the server closes it.
pub(super) struct Scissors(Option<Arc<Cut>>);

impl Scissors {
    /// The handshake went well: from now on the session ends the stream.
    pub(super) fn put_away(mut self) {
        self.0 = None;
    }
}

impl Drop for Scissors {
    fn drop(&mut self) {
        if let Some(cut) = &self.0 {
            cut.done.store(true, Ordering::Release);
            cut.reader.wake();
        }
    }
}

#[derive(Default)]
pub(super) struct Cut {
    done: AtomicBool,
    reader: AtomicWaker,
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.cut.reader.register(cx.waker());
        if self.cut.done.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if self.left > 0 {
            let new = buf.filled().get(before..).unwrap_or_default();
            let kept = new.get(..self.left.min(new.len())).unwrap_or_default();
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.extend_from_slice(kept);
            drop(heard);
            self.left -= kept.len();
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.written.bytes.fetch_add(count, Ordering::Release);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // russh flushes when it has written all it had.
        self.written.more.notify_waiters();
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
