//! Certificates, keys, the certificate authority and its agent.
//!
//! ```text
//! profile, san, subject ──> authority ──> certificate     keyfile: keys under a passphrase
//!                               │
//!        store, lock, ledger ──> agent <── protocol ──> client (the controller's side)
//! ```
//!
//! The agent owns the CA directory; the controller reads a ledger or a
//! certificate only as text that it was given.

mod authority;
mod certificate;
mod encoding;
mod keyfile;
mod name;
mod passphrase;
mod profile;
mod public_key;
mod san;
mod serial;
mod subject;
mod traditional;

pub use authority::{Authority, AuthorityError, LeafProfile, SignedLeaf};
pub use certificate::{Certificate, CertificateError, ExtendedKeyUsage};
pub use encoding::sha256_hex;
pub use keyfile::{KeyFileError, PrivateKey, decrypt, encrypt, generate};
pub use profile::{KeyType, Role, UnknownKeyType};
pub use san::{San, SanError};
pub use serial::Serial;
pub use subject::{Subject, SubjectError};
