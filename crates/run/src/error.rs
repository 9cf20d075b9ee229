//! The end of a run: its exit code, and why it ended early.

use crate::agent::StartError;
use crate::journal::JournalError;
use crate::passphrase::PassphraseError;
use crate::session::causes;
use base::event::{Error, ErrorKind, FailureKind};

/// How a run ended; the numbers are documented in docs/exit-codes.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Fine = 0,
    /// An unexpected internal error.
    Internal = 1,
    /// The command line, inventory or playbook is wrong; nothing was changed.
    Usage = 2,
    /// With `--check --exit-code`: there are changes to make.
    ChangesNeeded = 3,
    /// A change failed on some host, or a host could not be planned for.
    Failed = 4,
    Unreachable = 5,
    /// All changes were made, but some check failed or could not be made.
    NotProved = 6,
    /// Another run holds the CA's lock.
    Locked = 7,
    /// A restart would stop running containers, and no user agreed to it.
    ContainersRunning = 8,
    Interrupted = 130,
}

/// A run that ended early, before any change was made on a daemon or client.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// Account, controller, time and node of the other run.
    #[error("another run holds the lock of this CA: {0}")]
    Locked(String),
    #[error("restarting docker would stop {what}; nothing was changed")]
    ContainersRunning {
        what: String,
        /// The operator declined.
        asked: bool,
        /// Earlier changes are undone: no inventory setting keeps containers running.
        goes_back: bool,
    },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the CA agent on {host} failed")]
    Agent { host: String, source: StartError },
    #[error("{} cannot be read", path.display())]
    Program {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error("{} {host}", not_seen(*kind))]
    NoAuthority { host: String, kind: FailureKind },
    /// A passphrase was given, but it is wrong.
    #[error("{message}")]
    NotOpened {
        /// None for a file on the controller.
        host: Option<String>,
        message: String,
        source: Box<dyn std::error::Error + Send + Sync>,
        hint: Option<String>,
    },
    #[error("there is no CA on {host}")]
    NoCertificate { host: String },
    /// The request is impossible with this CA or this file.
    #[error("{message}")]
    Refused {
        /// None for a file on the controller.
        host: Option<String>,
        step: &'static str,
        message: String,
        hint: Option<String>,
    },
    #[error("the answer was no; nothing was changed")]
    Declined,
    #[error("interrupted; no daemon and no client was changed")]
    Interrupted,
    #[error("the prompt ended without an answer")]
    Prompt(#[source] tokio::task::JoinError),
}

impl RunError {
    /// `what` could not be opened; `changed`: this run has already changed something.
    pub(crate) fn not_opened(
        host: Option<&String>,
        what: &str,
        changed: bool,
        source: impl std::error::Error + Send + Sync + 'static,
        hint: Option<String>,
    ) -> Self {
        let end = if changed { "" } else { "; nothing was changed" };
        Self::NotOpened {
            host: host.cloned(),
            message: format!("{what} was not opened{end}"),
            source: Box::new(source),
            hint,
        }
    }

    /// A refusal about something on the controller.
    pub(crate) fn local(step: &'static str, message: String, hint: Option<String>) -> Self {
        Self::Refused {
            host: None,
            step,
            message,
            hint,
        }
    }

    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Passphrase(error) => Some(error.hint()),
            Self::Locked(_) => Some("wait for it, with --wait 5m for instance".to_owned()),
            Self::Journal(error) => Some(error.hint()),
            Self::Agent { source, .. } => source.hint(),
            Self::Program { .. } => {
                Some("--agent-program names a static build of this program".to_owned())
            }
            Self::NoAuthority { host, .. } => Some(format!(
                "nothing can be issued without {host}; fix what is reported about it above"
            )),
            Self::NoCertificate { .. } => {
                Some("if there never was one, deploy once by hand: dtls-deploy INVENTORY; if it is lost, put it back from its backup: dtls-deploy ca restore INVENTORY --from FILE".to_owned())
            }
            Self::ContainersRunning {
                goes_back: true, ..
            } => Some(
                "--allow-container-restart agrees to it; live-restore itself may be among what is taken back here"
                    .to_owned(),
            ),
            Self::ContainersRunning { asked: true, .. } => Some(
                "dtls_live_restore: true in the inventory keeps containers running through a restart"
                    .to_owned(),
            ),
            Self::ContainersRunning { asked: false, .. } => Some(
                "there is no terminal to ask on: --allow-container-restart agrees to it; dtls_live_restore: true in the inventory keeps containers running"
                    .to_owned(),
            ),
            Self::Refused { hint, .. } | Self::NotOpened { hint, .. } => hint.clone(),
            Self::Declined => Some("--check only shows a plan; --yes carries it out without a question".to_owned()),
            Self::Interrupted | Self::Prompt(_) => None,
        }
    }

    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Locked(_) => Exit::Locked,
            Self::ContainersRunning { .. } => Exit::ContainersRunning,
            Self::Passphrase(_)
            | Self::Program { .. }
            | Self::Journal(_)
            | Self::Declined
            | Self::Refused { host: None, .. }
            | Self::NotOpened { host: None, .. } => Exit::Usage,
            Self::NoAuthority {
                kind: FailureKind::Unreachable,
                ..
            } => Exit::Unreachable,
            Self::Agent { .. }
            | Self::NoAuthority { .. }
            | Self::NoCertificate { .. }
            | Self::NotOpened { .. }
            | Self::Refused { .. } => Exit::Failed,
            Self::Interrupted => Exit::Interrupted,
            Self::Prompt(_) => Exit::Internal,
        }
    }

    #[must_use]
    pub fn event(&self) -> Error {
        let (kind, host, step) = match self {
            Self::Passphrase(_) => (ErrorKind::Passphrase, None, "open the CA's key"),
            Self::Locked(_) => (ErrorKind::Locked, None, "take the CA's lock"),
            Self::ContainersRunning { .. } => (
                ErrorKind::ContainersRunning,
                None,
                "ask before containers are stopped",
            ),
            Self::Journal(_) => (ErrorKind::Journal, None, "write the journal"),
            Self::NotOpened { host, .. } => (
                match host {
                    Some(_) => ErrorKind::Authority,
                    None => ErrorKind::Passphrase,
                },
                host.as_ref(),
                "try the passphrase",
            ),
            Self::Agent { host, .. } => (ErrorKind::Authority, Some(host), "ask the CA"),
            Self::NoAuthority { host, .. } => (ErrorKind::Authority, Some(host), "reach the CA"),
            Self::NoCertificate { host } => (ErrorKind::Authority, Some(host), "look at the CA"),
            Self::Program { .. } => (ErrorKind::Usage, None, "read the agent's program"),
            Self::Refused {
                host: None, step, ..
            } => (ErrorKind::Usage, None, *step),
            Self::Refused { host, step, .. } => (ErrorKind::Authority, host.as_ref(), *step),
            Self::Declined => (ErrorKind::Usage, None, "agree to the plan"),
            Self::Interrupted => (ErrorKind::Interrupted, None, "before any change"),
            Self::Prompt(_) => (ErrorKind::Internal, None, "ask for the passphrase"),
        };
        Error {
            kind,
            host: host.cloned(),
            place: None,
            step: step.to_owned(),
            message: self.to_string(),
            causes: match self {
                Self::Journal(error) => error.reason().map(str::to_owned).into_iter().collect(),
                _ => causes(self),
            },
            hint: self.hint(),
        }
    }
}

/// Why nothing is known of the CA; precedes the name of its node.
const fn not_seen(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Unreachable => "there is no connection to the CA node",
        FailureKind::TimedOut => "there is no answer from the CA node",
        _ => "nothing could be read on the CA node",
    }
}
