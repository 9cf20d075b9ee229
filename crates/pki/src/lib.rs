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

mod adopt;
mod agent;
mod authority;
mod authority_error;
mod backup;
mod bundle;
mod certificate;
mod chain;
mod client;
mod constraints;
mod directory;
mod encoding;
mod failure;
mod issue;
pub mod issued_name;
mod key_error;
mod key_pool;
mod keyfile;
mod leaves;
mod ledger;
mod limits;
mod lock;
mod name;
mod passphrase;
mod profile;
mod protocol;
mod public_key;
mod revoke;
mod rollover;
mod salvage;
mod san;
mod sealed;
mod serial;
mod serve;
mod session;
mod store;
mod subject;
mod traditional;
mod usage;
mod wire;

pub use crate::authority_error::AuthorityError;
pub use crate::key_error::KeyFileError;
pub use crate::san::client_name;
pub use agent::Agent;
pub use authority::{Authority, AuthorityProfile, BACKDATE, LeafProfile, SignedLeaf};
pub use bundle::{Bundle, ca_key_hint, has_private_key, private_key_hint};
pub use certificate::{Certificate, CertificateError};
pub use chain::Chain;
pub use client::{AgentClient, AgentError};
pub use constraints::{NotPermitted, Permitted};
pub use directory::DirectoryError;
pub use encoding::sha256_hex;
pub use keyfile::{PrivateKey, decrypt, encrypt, generate, is_encrypted, unencrypted};
pub use ledger::{Entry, Event, IssuedName, Ledger, LedgerError, Revocation};
pub use limits::Exclusion;
pub use lock::{Holder, Lock, Taken};
pub use name::subject_text;
pub use profile::{KeyType, Role, UnknownKeyType};
pub use protocol::{
    AdoptedLeaf, AuthorityFiles, CaFile, DeliveredLeaf, ErrorKind, FileFact, IssuedLeaf, LeafName,
    LeafRequest, PROTOCOL, Request, Response, Signer,
};
pub use rollover::generation_of;
pub use salvage::readable;
pub use san::{San, SanError};
pub use sealed::{SealedError, seal, unseal};
pub use serial::{NoRandomness, Serial};
pub use serve::{IDLE, agent_main, serve, serve_with};
pub use store::{
    CA_CERTIFICATE, CA_KEY, CA_SERIAL, LEDGER, LOCK, NEXT, NewFile, RETIRED, ROLLED_OVER, Store,
    StoreError,
};
pub use subject::{Subject, SubjectError};
pub use usage::ExtendedKeyUsage;
