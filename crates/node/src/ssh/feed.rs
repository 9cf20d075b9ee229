//! Standard input of a command, sent so that a connection stays small.
//!
//! russh takes whatever it is sent into one buffer per connection, writes that
//! out, and keeps the buffer as large as it ever was, for as long as the
//! connection lives. With a script sent at once that is as much memory as all the
//! rest of a connection takes. Nothing waits for the network here: a piece has
//! left when the kernel has it.

use super::channel::ChannelEnd;
use super::socket::Written;

/// Bytes in a piece. Each is one message to russh's session task, which keeps
/// some memory for every message too, up to the thirty-second.
const PIECE: usize = 8 * 1024;

/// Writes all of `stdin` and closes it. Errors are left to the reader, which
/// sees how the command or the connection ended.
pub(super) async fn feed(end: &ChannelEnd, written: &Written, stdin: &[u8]) {
    let mut pieces = stdin.chunks(PIECE).peekable();
    while let Some(piece) = pieces.next() {
        let before = written.bytes();
        if end.send(piece.to_vec()).await.is_err() {
            return;
        }
        if pieces.peek().is_some() {
            // What is encrypted is longer than what it is made from.
            written.since(before, piece.len()).await;
        }
    }
    end.eof().await;
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll};

    use russh::keys::PrivateKey;
    use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
    use russh::{ChannelId, client, server};
    use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
    use tokio::sync::Notify;

    use super::super::channel::Halves;
    use super::super::socket::Overheard;
    use super::*;

    /// The most that was ever offered at once: what russh's buffer held.
    struct Largest {
        inner: DuplexStream,
        offered: Arc<AtomicUsize>,
    }

    impl AsyncRead for Largest {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Largest {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.offered.fetch_max(buf.len(), Ordering::Relaxed);
            Pin::new(&mut self.inner).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_shutdown(cx)
        }
    }

    struct Client;

    impl client::Handler for Client {
        type Error = russh::Error;

        async fn check_server_key(
            &mut self,
            _: &russh::keys::PublicKeyOrCertificate,
        ) -> Result<bool, Self::Error> {
            Ok(true)
        }
    }

    #[derive(Clone, Default)]
    struct Server {
        received: Arc<Mutex<Vec<u8>>>,
        ended: Arc<Notify>,
    }

    impl server::Handler for Server {
        type Error = russh::Error;

        async fn auth_none(&mut self, _: &str) -> Result<server::Auth, Self::Error> {
            Ok(server::Auth::Accept)
        }

        async fn channel_open_session(
            &mut self,
            _: russh::Channel<server::Msg>,
            reply: server::ChannelOpenHandle,
            _: &mut server::Session,
        ) -> Result<(), Self::Error> {
            reply.accept().await;
            Ok(())
        }

        async fn data(
            &mut self,
            _: ChannelId,
            data: &[u8],
            _: &mut server::Session,
        ) -> Result<(), Self::Error> {
            self.received.lock().unwrap().extend_from_slice(data);
            Ok(())
        }

        async fn channel_eof(
            &mut self,
            _: ChannelId,
            _: &mut server::Session,
        ) -> Result<(), Self::Error> {
            self.ended.notify_one();
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_long_input_arrives_whole_and_the_buffer_stays_small() {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = Server::default();
        let key = KeypairData::from(Ed25519Keypair::from_seed(&[7; 32]));
        let config = server::Config {
            keys: vec![PrivateKey::new(key, "").unwrap()],
            ..server::Config::default()
        };
        let running = tokio::spawn(server::run_stream(Arc::new(config), far, server.clone()));
        let offered = Arc::new(AtomicUsize::new(0));
        let stream = Largest {
            inner: near,
            offered: offered.clone(),
        };
        let (stream, scissors) = Overheard::new(stream, Arc::default());
        let written = stream.written();
        let session = client::connect_stream(Arc::default(), stream, Client).await;
        scissors.put_away();
        let mut session = session.unwrap();
        assert!(session.authenticate_none("me").await.unwrap().success());
        let halves = Halves::new(session.channel_open_session().await.unwrap());
        // Three times what the window lets through without an answer, and a rest.
        let input: Vec<u8> = (0..6_500_000_u32).map(|at| (at % 251) as u8).collect();
        feed(&halves.end(), &written, &input).await;
        server.ended.notified().await;
        assert!(*server.received.lock().unwrap() == input);
        let offered = offered.load(Ordering::Relaxed);
        assert!(offered < 2 * PIECE, "{offered} bytes at once");
        drop(running);
    }
}
