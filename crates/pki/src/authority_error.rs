//! Why an authority cannot be opened or does not sign.

use crate::NoRandomness;
use crate::SubjectError;
use time::{Duration, OffsetDateTime};

use super::certificate::CertificateError;
use super::limits::Exclusion;
use crate::key_error::KeyFileError;

/// Why the authority cannot be opened or does not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    #[error(transparent)]
    Subject(#[from] SubjectError),
    #[error(transparent)]
    Key(#[from] KeyFileError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    #[error(
        "the certificate {0:?} is not that of an authority \
         (basicConstraints CA:TRUE, keyUsage keyCertSign)"
    )]
    NotAnAuthority(String),
    #[error(
        "the CA {subject:?} is an intermediate: it was issued by {issuer:?}, and ca.pem does not \
         lead to a certificate that signed itself"
    )]
    Intermediate { subject: String, issuer: String },
    /// Subjects of the others.
    #[error("beside the certificate of the CA are certificates of other CAs: {0}")]
    Foreign(String),
    #[error("{0} holds a private key")]
    PrivateKey(String),
    #[error("the certificate of the CA key, {0:?}, is not the first one in ca.pem")]
    NotFirst(String),
    #[error("the CA key does not belong to the CA certificate {0:?}")]
    KeyMismatch(String),
    #[error("the CA certificate is valid only from {0}")]
    NotYetValid(OffsetDateTime),
    #[error("the CA certificate has expired on {0}")]
    Expired(OffsetDateTime),
    #[error("a validity of {0} is out of range")]
    Validity(Duration),
    #[error(
        "the CA's subject {0:?} is encoded in a way that this program does not reproduce: \
         no certificate issued here would chain to it"
    )]
    ForeignSubject(String),
    #[error("the CA {subject:?} excludes what it is to issue: {why}")]
    Excluded { subject: String, why: Exclusion },
    #[error("the certificate just made is not what was asked for: {0}")]
    SelfCheck(&'static str),
    #[error("the certificate could not be made: {0}")]
    Encoding(String),
}

impl AuthorityError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Key(error) => error.hint(),
            Self::NotAnAuthority(_) => Some("ca.pem must be the certificate of the CA itself"),
            Self::Intermediate { .. } => Some(
                "append the certificates of its issuers to ca.pem, up to the root, each after the \
                 one that it signed",
            ),
            Self::Foreign(_) => Some(
                "daemons would accept clients of these CAs too: keep in ca.pem only the CA's own \
                 certificate and those of its issuers, and find out who can write the file",
            ),
            Self::NotFirst(_) => Some(
                "put it first in ca.pem, and after it the certificates of its issuers, up to the root",
            ),
            Self::KeyMismatch(_) => Some("ca.pem and ca-key.pem must come from the same CA"),
            Self::NotYetValid(_) => Some("check the clock of the CA node"),
            Self::Expired(_) => Some("make a new CA, or check the clock of the CA node"),
            Self::ForeignSubject(_) => Some(
                "attributes given twice (two OU, or DC=...,DC=...) or sharing one level (+) cannot \
                 be adopted; let dtls-deploy make a CA of its own in another dtls_ca_dir",
            ),
            Self::Excluded { .. } => Some(
                "let dtls-deploy make a CA of its own in another dtls_ca_dir, or have this one issued \
                 again without that limit",
            ),
            _ => None,
        }
    }
}
