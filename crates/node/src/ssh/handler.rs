//! What the server says outside of channels: its key, its banner, its last
//! words.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use russh::client::{DisconnectReason, Handler, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{ChannelId, ChannelOpenFailure};
use tokio::sync::{Notify, oneshot};

use super::error::ConnectError;
use super::host_key::{self, Trust};
use super::known_hosts::Records;
use super::settings::Settings;
use crate::ConnectionError;

/// How long the session waits for the opener of a refused channel to take the
/// reason. Only an opener that was cancelled makes it wait that long; one that
/// waits for a processor takes its time.
const PICK_UP: Duration = Duration::from_secs(2);

/// What has been heard so far.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    state: Mutex<Heard>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Heard {
    verdict: Option<Result<Trust, ConnectError>>,
    last_words: Option<String>,
    /// Dropping the second half says that the text was taken.
    refusal: Option<(String, oneshot::Sender<()>)>,
}

impl Remarks {
    fn with<T>(&self, act: impl FnOnce(&mut Heard) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The verdict on the host key, once.
    pub(super) fn verdict(&self) -> Option<Result<Trust, ConnectError>> {
        self.with(|heard| heard.verdict.take())
    }

    /// Why the connection ended, in the server's words or the system's.
    pub(super) fn last_words(&self) -> Option<String> {
        self.with(|heard| heard.last_words.clone())
    }

    /// The error for whatever was using the connection when it ended.
    pub(super) fn lost(&self, node: &str) -> ConnectionError {
        ConnectionError::Closed {
            node: node.to_owned(),
            reason: self
                .last_words()
                .unwrap_or_else(|| "it was closed".to_owned()),
        }
    }

    /// The text of the refusal that just ended the caller's channel open.
    ///
    /// russh hands an opener the reason's code only, and the text to the
    /// handler. The session handles one packet at a time and waits in
    /// [`Handler::channel_open_failure`] until the text is fetched, so what is
    /// found here always belongs to the caller.
    pub(super) async fn refusal(&self) -> Option<String> {
        let wait = async {
            loop {
                let filled = self.filled.notified();
                if let Some((text, _)) = self.with(|heard| heard.refusal.take()) {
                    return text;
                }
                filled.await;
            }
        };
        tokio::time::timeout(2 * PICK_UP, wait).await.ok()
    }

    async fn offer_refusal(&self, text: String) {
        let (kept, taken) = oneshot::channel();
        self.with(|heard| heard.refusal = Some((text, kept)));
        self.filled.notify_one();
        let _ = tokio::time::timeout(PICK_UP, taken).await;
        self.with(|heard| heard.refusal = None);
    }
}

/// russh's callbacks for one connection.
#[derive(Debug)]
pub(super) struct Watcher {
    pub settings: Arc<Settings>,
    pub records: Arc<Records>,
    pub remarks: Arc<Remarks>,
}

impl Handler for Watcher {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        // Recording a new key is a line and an fsync, once in a host's life.
        let verdict = host_key::check(&self.settings, &self.records, shown, SystemTime::now())
            .map_err(|fault| fault.at(&self.settings.endpoint));
        let good = verdict.is_ok();
        self.remarks.with(|heard| heard.verdict = Some(verdict));
        Ok(good)
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut Session) -> Result<(), Self::Error> {
        tracing::debug!(host = %self.settings.endpoint, banner = %crate::visible(banner));
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        _: ChannelId,
        _: ChannelOpenFailure,
        description: &str,
        _: &str,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.remarks.offer_refusal(description.to_owned()).await;
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<Self::Error>,
    ) -> Result<(), Self::Error> {
        let words = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => crate::visible(&info.message),
            DisconnectReason::Error(error) => describe(error),
        };
        self.remarks.with(|heard| {
            heard.last_words.get_or_insert(words);
        });
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

/// russh's errors in an operator's words.
pub(super) fn describe(error: &russh::Error) -> String {
    match error {
        russh::Error::HUP | russh::Error::Disconnect => "the other side closed it".to_owned(),
        russh::Error::KeepaliveTimeout => {
            "the node has not answered for a minute (keepalives)".to_owned()
        }
        russh::Error::IO(error) => match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "the other side closed it".to_owned(),
            _ => error.to_string(),
        },
        russh::Error::NoAuthMethod => "the server accepts no further method".to_owned(),
        russh::Error::NoCommonAlgo { kind, theirs, .. } => format!(
            "no {} algorithm in common; the server offers {}",
            format!("{kind:?}").to_lowercase(),
            crate::visible(&theirs.join(", "))
        ),
        other => crate::visible(&other.to_string()),
    }
}
