//! The CA agent: owns the CA directory for the length of a run.
//!
//! What a request changes has reached the disk when its response is given.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration as Wait;

use time::OffsetDateTime;

use super::failure::Failure;
use super::key_pool::KeyPool;
use super::lock::{Holder, Lock, Taken};
use super::protocol::{ErrorKind, PROTOCOL, Request, Response};
use super::salvage::salvage;
use super::session::Session;
use super::store::{Store, StoreError};

/// Answers requests, one at a time.
pub struct Agent {
    session: Option<Session>,
    clock: fn() -> OffsetDateTime,
    give_up: Arc<dyn Fn() -> bool + Send + Sync>,
    /// A damaged ledger is no reason to end.
    salvage: bool,
    keys: KeyPool,
}

impl fmt::Debug for Agent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Agent")
            .field(
                "store",
                &self.session.as_ref().map(|session| &session.store),
            )
            .finish_non_exhaustive()
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self::new()
    }
}

impl Agent {
    /// An agent with the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(OffsetDateTime::now_utc)
    }

    /// An agent for a test that chooses the time.
    #[must_use]
    pub fn with_clock(clock: fn() -> OffsetDateTime) -> Self {
        Self {
            session: None,
            clock,
            give_up: Arc::new(|| false),
            salvage: false,
            keys: KeyPool::default(),
        }
    }

    /// Asks this while waiting for the lock and before each leaf.
    pub(crate) fn give_up_when(mut self, gone: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        self.give_up = gone;
        self
    }

    /// Does what is asked. Errors come back as [`Response::Error`]; what was
    /// asked is then undone or was never begun, as each request says.
    pub fn handle(&mut self, request: Request) -> Response {
        self.answer(request).unwrap_or_else(Response::from)
    }

    fn answer(&mut self, request: Request) -> Result<Response, Failure> {
        let now = (self.clock)();
        match request {
            Request::Hello {
                protocol,
                directory,
                holder,
                wait_seconds,
            } => self.hello(protocol, &directory, holder, wait_seconds),
            Request::Ping => Ok(Response::Done),
            Request::Bye => {
                self.session = None;
                Ok(Response::Done)
            }
            Request::EnsureAuthority {
                profile,
                passphrase,
            } => self.session()?.ensure_authority(&profile, &passphrase, now),
            Request::OpenAuthority { passphrase } => {
                self.session()?.open_authority(&passphrase, now)
            }
            Request::Reencrypt { passphrase } => self.session()?.reencrypt(&passphrase),
            Request::Issue { leaves, passphrase } => {
                let give_up = Arc::clone(&self.give_up);
                let session = self.session.as_mut().ok_or_else(no_lock)?;
                session.issue(&leaves, &passphrase, now, &self.keys, &|| give_up())
            }
            Request::GenerateKeys { types } => {
                self.keys.begin(types);
                Ok(Response::Done)
            }
            Request::Fetch { leaves } => self.session()?.fetch(leaves),
            Request::Delivered { leaves, keep_keys } => {
                self.session()?.delivered(&leaves, keep_keys, now)
            }
            Request::AskRenewal { leaves } => self.session()?.ask_renewal(leaves, now),
            Request::BeginRollover {
                profile,
                passphrase,
            } => self.session()?.begin_rollover(profile, &passphrase, now),
            Request::Promote {} => self.session()?.promote(),
            Request::EndRollover { destroy_old } => self.session()?.end_rollover(destroy_old),
            Request::Revoke { serials, reason } => {
                self.session()?.revoke(&serials, reason.as_deref(), now)
            }
            Request::Readmit { serials } => self.session()?.readmit(&serials, now),
            Request::Probe { signer, passphrase } => {
                self.session()?.probe(signer, &passphrase, now)
            }
            Request::SalvageLedger {} => {
                self.salvage = true;
                Ok(Response::Done)
            }
            Request::AdoptAuthority { files, passphrase } => {
                self.session()?
                    .adopt_authority(files.as_ref(), &passphrase, now)
            }
            Request::AdoptLeaves { leaves } => self.session()?.adopt_leaves(&leaves, now),
            Request::Export {} => self.session()?.export(),
            Request::Import {
                files,
                followed_by,
                passphrase,
            } => {
                let session = self.session()?;
                session.import(&files, &followed_by, &passphrase, now)
            }
            Request::State {} => self.session()?.state(),
        }
    }

    fn session(&mut self) -> Result<&mut Session, Failure> {
        self.session.as_mut().ok_or_else(no_lock)
    }

    fn hello(
        &mut self,
        protocol: u32,
        directory: &Path,
        holder: String,
        wait_seconds: u64,
    ) -> Result<Response, Failure> {
        if protocol != PROTOCOL {
            return Err(Failure::new(
                ErrorKind::Protocol,
                format!("this agent speaks protocol {PROTOCOL}, the controller {protocol}"),
            ));
        }
        if self.session.is_some() {
            return Err(Failure::new(
                ErrorKind::Protocol,
                "the CA's lock is held already",
            ));
        }
        let store = Store::open(directory)?;
        let ours = Holder {
            holder,
            since: Some((self.clock)()),
        };
        let wait = Wait::from_secs(wait_seconds);
        let path = store.lock_path();
        let taken = Lock::take(&path, &ours, wait, &*self.give_up)
            .map_err(|source| StoreError::Io { path, source })?;
        match taken {
            Taken::Held(Holder { holder, since }) => Ok(Response::Held { holder, since }),
            Taken::Ours(lock) => {
                if self.salvage {
                    salvage(&store, (self.clock)())?;
                }
                let session = Session::begin(store, lock)?;
                self.session = Some(session);
                Ok(Response::Hello {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    pid: std::process::id(),
                })
            }
        }
    }
}

fn no_lock() -> Failure {
    Failure::new(ErrorKind::Protocol, "the CA's lock is not held yet")
}
