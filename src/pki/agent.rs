//! The CA agent: owns the CA directory for the length of a run.
//!
//! Comes in as requests, from `serve` on the CA node or from `client` in this
//! process; goes out as responses. What a request changes has reached the disk
//! when its response is given.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration as Wait;

use time::{Duration, OffsetDateTime};

use super::authority::{Authority, AuthorityError, LeafProfile};
use super::certificate::Certificate;
use super::encoding::sha256_hex;
use super::failure::Failure;
use super::issue;
use super::keyfile::{self, PrivateKey};
use super::ledger::{Entry, Event, IssuedName, Ledger};
use super::lock::{Holder, Lock, Taken};
use super::profile::{KeyType, Role};
use super::protocol::{
    DeliveredLeaf, ErrorKind, IssuedLeaf, LeafName, LeafRequest, PROTOCOL, Request, Response,
};
use super::san::San;
use super::store::{CA_CERTIFICATE, CA_KEY, CA_SERIAL, NewFile, Store};
use super::subject::Subject;
use crate::secret::Secret;

/// How long a probe leaf lives.
const PROBE: Duration = Duration::minutes(5);
/// From when on a person should hear that the CA ends.
const CA_ENDS_SOON: Duration = Duration::days(30);

/// Modes of the files in the CA directory.
const KEY: u32 = 0o400;
const CERTIFICATE: u32 = 0o444;

/// Answers requests, one at a time.
pub struct Agent {
    session: Option<Session>,
    clock: fn() -> OffsetDateTime,
    give_up: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// What is there between `Hello` and `Bye`.
struct Session {
    store: Store,
    ledger: Ledger,
    opened: Option<Opened>,
    /// Given back last, after all else is done with.
    _lock: Lock,
}

/// An authority that a passphrase has opened, so that the next request need
/// not derive the key again. It counts for the same passphrase and files only.
struct Opened {
    authority: Authority,
    passphrase: Secret,
    key_file_sha256: String,
    certificate_file_sha256: String,
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
                subject,
                key_type,
                validity_days,
                passphrase,
            } => self.session()?.ensure_authority(
                &subject,
                key_type,
                validity_days,
                &passphrase,
                now,
            ),
            Request::Issue { leaves, passphrase } => {
                let give_up = Arc::clone(&self.give_up);
                self.session()?
                    .issue(&leaves, &passphrase, now, &|| give_up())
            }
            Request::Fetch { leaves } => self.session()?.fetch(leaves),
            Request::Delivered { leaves, keep_keys } => {
                self.session()?.delivered(&leaves, keep_keys, now)
            }
            Request::Probe { sans, passphrase } => self.session()?.probe(sans, &passphrase, now),
            Request::State {} => self.session()?.state(),
        }
    }

    fn session(&mut self) -> Result<&mut Session, Failure> {
        self.session
            .as_mut()
            .ok_or_else(|| Failure::new(ErrorKind::Protocol, "the CA's lock is not held yet"))
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
        let taken =
            Lock::take(&store.lock_path(), &ours, wait, &*self.give_up).map_err(|error| {
                Failure::new(
                    ErrorKind::Io,
                    format!("{}: {error}", store.lock_path().display()),
                )
            })?;
        match taken {
            Taken::Held(Holder { holder, since }) => Ok(Response::Held { holder, since }),
            Taken::Ours(lock) => {
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

impl Session {
    /// Reads the ledger and finishes what an interrupted run left undone.
    fn begin(store: Store, lock: Lock) -> Result<Self, Failure> {
        let bytes = store.ledger_bytes()?.unwrap_or_default();
        let session = Self {
            ledger: Ledger::parse_bytes(&bytes)?,
            store,
            opened: None,
            _lock: lock,
        };
        let names = || {
            session
                .ledger
                .entries()
                .iter()
                .map(|entry| entry.issued_name.key.as_str())
        };
        session.store.clean(names())?;
        for entry in session.ledger.entries() {
            if entry.superseded || (entry.delivered && !entry.kept) {
                session.remove_pair(entry)?;
            }
        }
        Ok(session)
    }

    fn ensure_authority(
        &mut self,
        subject: &Subject,
        key_type: KeyType,
        validity_days: u32,
        passphrase: &Secret,
        now: OffsetDateTime,
    ) -> Result<Response, Failure> {
        let mut warnings = Vec::new();
        let key_file = self.store.read(CA_KEY)?;
        let certificate_file = self.store.read(CA_CERTIFICATE)?;
        let created = certificate_file.is_none();
        if created {
            let validity = Duration::days(validity_days.into());
            // The key is written before its certificate. Between the two there
            // is a key that has signed nothing, and it is as good as a new one.
            let (authority, mut files) = if let Some(file) = &key_file {
                warnings.push(format!(
                    "{CA_KEY} was there without {CA_CERTIFICATE}: a new certificate was made for it"
                ));
                let key = keyfile::decrypt(file.expose(), passphrase)?;
                (Authority::for_key(subject, key, validity, now)?, Vec::new())
            } else {
                let authority = Authority::create(subject, key_type, validity, now)?;
                let encrypted = keyfile::encrypt(authority.key(), passphrase)?;
                (authority, vec![(CA_KEY, encrypted, KEY)])
            };
            if !self.ledger.entries().is_empty() {
                warnings.push(
                    "the ledger lists certificates of an earlier authority; none of them is valid \
                     under this one"
                        .to_owned(),
                );
            }
            files.push((
                CA_CERTIFICATE,
                authority.certificate().to_pem(),
                CERTIFICATE,
            ));
            self.write(&files)?;
        }
        // Also what was just created is read back and opened.
        let authority = self.authority(passphrase)?;
        let certificate = authority.certificate();
        if now > certificate.not_after() {
            return Err(AuthorityError::Expired(certificate.not_after()).into());
        }
        if certificate.not_after() - now < CA_ENDS_SOON {
            warnings.push(format!(
                "the CA certificate expires on {}, and every leaf with it",
                certificate.not_after()
            ));
        }
        warnings.extend(authority.key().key_type().warning().map(str::to_owned));
        let certificate_pem = certificate.to_pem();
        for (name, what, allowed) in [("", "the CA directory", 0o700), (CA_KEY, CA_KEY, 0o700)] {
            if let Some(mode) = self.store.mode(name)
                && mode & 0o777 & !allowed != 0
            {
                warnings.push(format!(
                    "{what} is open to other accounts (mode {mode:04o})"
                ));
            }
        }
        Ok(Response::Authority {
            certificate_pem,
            created,
            warnings,
        })
    }

    /// The authority in the directory, opened with this passphrase.
    fn authority(&mut self, passphrase: &Secret) -> Result<&Authority, Failure> {
        let (key_file, certificate_file) =
            match (self.store.read(CA_KEY)?, self.store.read(CA_CERTIFICATE)?) {
                (Some(key_file), Some(certificate_file)) => (key_file, certificate_file),
                (None, Some(_)) => {
                    return Err(Failure::new(
                        ErrorKind::Authority,
                        format!("{CA_CERTIFICATE} is there, and its key {CA_KEY} is not"),
                    )
                    .hint(format!(
                        "restore {CA_KEY} from your backup, or move {CA_CERTIFICATE} away to begin \
                         a new CA"
                    )));
                }
                (_, None) => {
                    return Err(Failure::new(
                        ErrorKind::Authority,
                        "there is no certificate authority yet",
                    ));
                }
            };
        let key_file_sha256 = sha256_hex(key_file.expose());
        let certificate_file_sha256 = sha256_hex(certificate_file.expose());
        let opened = match self.opened.take() {
            Some(opened)
                if opened.key_file_sha256 == key_file_sha256
                    && opened.certificate_file_sha256 == certificate_file_sha256
                    && same(&opened.passphrase, passphrase) =>
            {
                opened
            }
            _ => {
                let key = keyfile::decrypt(key_file.expose(), passphrase)?;
                let certificates = Certificate::bundle_from_pem(certificate_file.expose())?;
                Opened {
                    authority: Authority::open(own_certificate(certificates, &key)?, key)?,
                    passphrase: passphrase.clone(),
                    key_file_sha256,
                    certificate_file_sha256,
                }
            }
        };
        Ok(&self.opened.insert(opened).authority)
    }

    /// The ledger is written first. A crash after it leaves an entry without
    /// files, which costs a leaf issued anew; the other order would leave a
    /// valid certificate of which nobody knows.
    fn issue(
        &mut self,
        leaves: &[LeafRequest],
        passphrase: &Secret,
        now: OffsetDateTime,
        give_up: &(dyn Fn() -> bool + Sync),
    ) -> Result<Response, Failure> {
        issue::check(leaves)?;
        let authority = self.authority(passphrase)?;
        let signed = issue::sign(authority, leaves, now, give_up)?;
        let pairs = || leaves.iter().zip(&signed);
        let events: Vec<Event> = pairs()
            .map(|(leaf, signed)| {
                Event::Issued(Box::new(issue::entry(leaf, signed, authority, now)))
            })
            .collect();
        self.record(events)?;
        let certificates: Vec<String> = signed
            .iter()
            .map(|signed| signed.certificate.to_pem())
            .collect();
        let serial = signed
            .last()
            .map(|last| format!("{}\n", last.certificate.serial()));
        let mut files = Vec::with_capacity(2 * leaves.len() + 1);
        for ((leaf, signed), certificate) in pairs().zip(&certificates) {
            files.push(NewFile {
                name: &leaf.key_name,
                content: signed.key_pem.expose(),
                mode: KEY,
            });
            files.push(NewFile {
                name: &leaf.certificate_name,
                content: certificate.as_bytes(),
                mode: CERTIFICATE,
            });
        }
        files.extend(serial.as_ref().map(|serial| NewFile {
            name: CA_SERIAL,
            content: serial.as_bytes(),
            mode: CERTIFICATE,
        }));
        self.store.write(&files)?;
        Ok(Response::Issued {
            leaves: leaves
                .iter()
                .zip(signed)
                .map(|(leaf, signed)| issue::answer(leaf, signed))
                .collect(),
        })
    }

    fn fetch(&self, names: Vec<LeafName>) -> Result<Response, Failure> {
        let (mut leaves, mut missing) = (Vec::new(), Vec::new());
        for name in names {
            let entry = self.ledger.current(&name.host, name.role);
            match entry.map(|entry| self.pair(entry)).transpose()?.flatten() {
                Some(leaf) => leaves.push(leaf),
                None => missing.push(name),
            }
        }
        Ok(Response::Fetched { leaves, missing })
    }

    /// Events before files: a crash in between leaves a pair that the next
    /// `Hello` removes.
    fn delivered(
        &mut self,
        leaves: &[DeliveredLeaf],
        keep_keys: bool,
        now: OffsetDateTime,
    ) -> Result<Response, Failure> {
        let mut events = Vec::new();
        for leaf in leaves {
            let entry = self
                .ledger
                .by_serial(&leaf.serial)
                .filter(|entry| entry.host == leaf.host && entry.role == leaf.role)
                .ok_or_else(|| {
                    Failure::new(
                        ErrorKind::Request,
                        format!(
                            "no {} certificate with serial {:?} was issued for {:?}",
                            leaf.role, leaf.serial, leaf.host
                        ),
                    )
                })?;
            if !entry.delivered || entry.kept != keep_keys {
                events.push(Event::Delivered {
                    serial: entry.serial.clone(),
                    at: now,
                    kept: keep_keys,
                });
            }
            // Leaves issued after this one are not older and stay.
            let older = self.ledger.live(&leaf.host, leaf.role);
            events.extend(
                older
                    .take_while(|older| older.serial != entry.serial)
                    .map(|older| Event::Superseded {
                        serial: older.serial.clone(),
                        by: entry.serial.clone(),
                        at: now,
                    }),
            );
        }
        let touched: BTreeSet<String> = events
            .iter()
            .map(|event| event.serial().to_owned())
            .collect();
        self.record(events)?;
        for entry in touched
            .iter()
            .filter_map(|serial| self.ledger.by_serial(serial))
        {
            if entry.superseded || !entry.kept {
                self.remove_pair(entry)?;
            }
        }
        Ok(Response::Done)
    }

    fn probe(
        &mut self,
        sans: BTreeSet<San>,
        passphrase: &Secret,
        now: OffsetDateTime,
    ) -> Result<Response, Failure> {
        let profile = LeafProfile {
            common_name: "dtls-deploy probe".to_owned(),
            role: Role::Daemon,
            sans,
            key_type: KeyType::EcdsaP256,
            validity: PROBE,
        };
        let signed = self.authority(passphrase)?.issue(&profile, now)?;
        Ok(Response::Probe {
            leaf: IssuedLeaf {
                host: String::new(),
                role: profile.role,
                certificate_pem: signed.certificate.to_pem(),
                serial: signed.certificate.serial().to_owned(),
                not_after: signed.certificate.not_after(),
                clipped_by_ca: signed.clipped_by_ca,
                key: signed.key_pem,
            },
        })
    }

    fn state(&self) -> Result<Response, Failure> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let names = self
            .ledger
            .entries()
            .iter()
            .filter(|entry| !entry.superseded);
        let names =
            names.flat_map(|entry| [&entry.issued_name.key, &entry.issued_name.certificate]);
        Ok(Response::State {
            ledger: self.store.ledger_bytes()?.as_deref().map(text),
            certificate_pem: self
                .store
                .read(CA_CERTIFICATE)?
                .map(|file| text(file.expose())),
            files: self.store.list(names.map(String::as_str))?,
        })
    }

    /// Appends to the ledger's file and then to what is known of it.
    fn record(&mut self, events: Vec<Event>) -> Result<(), Failure> {
        self.store.append(&events)?;
        for event in events {
            self.ledger
                .apply(event)
                .map_err(|reason| Failure::new(ErrorKind::Ledger, reason))?;
        }
        Ok(())
    }

    fn write(&self, files: &[(&str, String, u32)]) -> Result<(), Failure> {
        let files: Vec<NewFile<'_>> = files
            .iter()
            .map(|(name, content, mode)| NewFile {
                name,
                content: content.as_bytes(),
                mode: *mode,
            })
            .collect();
        Ok(self.store.write(&files)?)
    }

    /// The entry's pair, if both files are there and are what was issued.
    fn pair(&self, entry: &Entry) -> Result<Option<IssuedLeaf>, Failure> {
        let (Some(key), Some(certificate)) = (
            self.store.read(&entry.issued_name.key)?,
            self.store.read(&entry.issued_name.certificate)?,
        ) else {
            return Ok(None);
        };
        let Ok(certificate) = Certificate::from_pem(certificate.expose()) else {
            return Ok(None);
        };
        if sha256_hex(key.expose()) != entry.key_sha256
            || certificate.sha256() != entry.certificate_sha256
        {
            return Ok(None);
        }
        let ca = self.store.read(CA_CERTIFICATE)?;
        let ca = ca.and_then(|file| Certificate::from_pem(file.expose()).ok());
        Ok(Some(IssuedLeaf {
            host: entry.host.clone(),
            role: entry.role,
            certificate_pem: certificate.to_pem(),
            key,
            serial: entry.serial.clone(),
            not_after: certificate.not_after(),
            clipped_by_ca: ca.is_some_and(|ca| ca.not_after() == certificate.not_after()),
        }))
    }

    /// Removes the entry's files, as far as they are still the entry's: a
    /// later leaf may have taken their names.
    fn remove_pair(&self, entry: &Entry) -> Result<(), Failure> {
        let IssuedName { key, certificate } = &entry.issued_name;
        if let Some(file) = self.store.read(key)?
            && sha256_hex(file.expose()) == entry.key_sha256
        {
            self.store.remove(key)?;
        }
        if let Some(file) = self.store.read(certificate)?
            && Certificate::from_pem(file.expose())
                .is_ok_and(|found| found.sha256() == entry.certificate_sha256)
        {
            self.store.remove(certificate)?;
        }
        Ok(())
    }
}

/// The certificate of this key among those of `ca.pem`, or the first one, of
/// which the authority then says that it does not fit.
fn own_certificate(
    certificates: Vec<Certificate>,
    key: &PrivateKey,
) -> Result<Certificate, Failure> {
    let hash = key.public_key_sha256();
    let position = certificates
        .iter()
        .position(|certificate| certificate.is_ca() && certificate.public_key_sha256() == hash)
        .unwrap_or_default();
    certificates
        .into_iter()
        .nth(position)
        .ok_or_else(|| super::certificate::CertificateError::None.into())
}

/// In a time that tells nothing of where they differ.
fn same(one: &Secret, other: &Secret) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one.expose(), other.expose()).is_ok()
}
