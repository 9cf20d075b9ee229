//! Errors of the agent's parts as the answer that carries them.

use super::certificate::CertificateError;
use super::ledger::LedgerError;
use super::protocol::{ErrorKind, Response};
use super::store::StoreError;
use crate::authority_error::AuthorityError;
use crate::key_error::KeyFileError;

/// What the agent answers instead of what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub kind: ErrorKind,
    pub message: String,
    pub hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Failure> for Response {
    fn from(failure: Failure) -> Self {
        Self::Error {
            kind: failure.kind,
            message: failure.message,
            hint: failure.hint,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self {
            kind: match &error {
                StoreError::Directory(_) => ErrorKind::Directory,
                StoreError::Ledger(_) => ErrorKind::Ledger,
                StoreError::Name { .. } => ErrorKind::Request,
                StoreError::Io { .. } => ErrorKind::Io,
            },
            message: error.to_string(),
            hint: error.hint(),
        }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        StoreError::from(error).into()
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        Self {
            kind: match error {
                KeyFileError::WrongPassphrase | KeyFileError::EmptyPassphrase => {
                    ErrorKind::WrongPassphrase
                }
                _ => ErrorKind::KeyFile,
            },
            message: format!("CA key: {error}"),
            hint: error.hint().map(str::to_owned),
        }
    }
}

impl From<CertificateError> for Failure {
    fn from(error: CertificateError) -> Self {
        Self::new(ErrorKind::Authority, format!("CA certificate: {error}"))
    }
}

impl From<AuthorityError> for Failure {
    fn from(error: AuthorityError) -> Self {
        match error {
            AuthorityError::Key(error) => error.into(),
            AuthorityError::Certificate(error) => error.into(),
            other => Self {
                kind: match other {
                    AuthorityError::Subject(_) | AuthorityError::Validity(_) => ErrorKind::Request,
                    _ => ErrorKind::Authority,
                },
                message: other.to_string(),
                hint: other.hint().map(str::to_owned),
            },
        }
    }
}
