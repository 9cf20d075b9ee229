//! What the agent holds between `Hello` and `Bye`: store, ledger, lock, and
//! the authority once a passphrase has opened it.
//!
//! The requests about leaves are in `leaves`.

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime};

use super::authority::{Authority, AuthorityProfile};
use super::bundle::{Bundle, ca_key_hint};
use super::certificate::Certificate;
use super::encoding::sha256_hex;
use super::failure::Failure;
use super::keyfile::{self, PrivateKey};
use super::ledger::{Entry, Event, Ledger};
use super::lock::Lock;
use super::protocol::{ErrorKind, Response, Signer};
use super::store::{
    CA_CERTIFICATE, CA_KEY, CERTIFICATE_MODE, KEY_MODE, NEXT, NewFile, RETIRED, Store,
};
use crate::authority_error::AuthorityError;
use crate::key_error::KeyFileError;
use base::secret::Secret;

/// From when on a person should hear that the CA ends.
const CA_ENDS_SOON: Duration = Duration::days(30);

/// What is there between `Hello` and `Bye`.
pub(crate) struct Session {
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    pub(super) opened: BTreeMap<Signer, Opened>,
    /// Given back last, after all else is done with.
    _lock: Lock,
}

/// An authority that a passphrase has opened, so that the next request need
/// not derive the key again. It counts for the same passphrase and files only.
pub(super) struct Opened {
    authority: Authority,
    passphrase: Secret,
    key_file_sha256: String,
    certificate_file_sha256: String,
}

impl Session {
    /// Reads the ledger and finishes what an interrupted run left undone.
    pub(crate) fn begin(store: Store, lock: Lock) -> Result<Self, Failure> {
        let bytes = store.ledger_bytes()?.unwrap_or_default();
        let session = Self {
            ledger: Ledger::parse_bytes(&bytes)?,
            store,
            opened: BTreeMap::new(),
            _lock: lock,
        };
        let retired = session.store.names_in(RETIRED);
        let own: Vec<String> = retired
            .iter()
            .map(|number| format!("{RETIRED}/{number}/{CA_KEY}"))
            .chain([key_name(Signer::Next)])
            .collect();
        let names = session
            .ledger
            .entries()
            .iter()
            .map(|entry| entry.issued_name.key.as_str());
        session
            .store
            .clean(names.chain(own.iter().map(String::as_str)))?;
        session.finish_promotion()?;
        session.remove_pairs(session.gone())?;
        Ok(session)
    }

    /// Leaves whose pairs have no business in the directory any more: no host waits for one that
    /// was revoked before it was delivered.
    pub(super) fn gone(&self) -> impl Iterator<Item = &Entry> {
        self.ledger.entries().iter().filter(|entry| {
            let is_revoked = || self.ledger.revocation(&entry.serial).is_some();
            entry.superseded
                || (entry.delivered && !entry.kept)
                || (!entry.delivered && is_revoked())
        })
    }

    pub(crate) fn ensure_authority(
        &mut self,
        profile: &AuthorityProfile,
        passphrase: &Secret,
        now: OffsetDateTime,
    ) -> Result<Response, Failure> {
        let mut warnings = Vec::new();
        let key_file = self.store.read(CA_KEY)?;
        let certificate_file = self.store.read(CA_CERTIFICATE)?;
        let created = certificate_file.is_none();
        if created {
            // The key is written before its certificate. Between the two there
            // is a key that has signed nothing, and it is as good as a new one.
            let (authority, mut files) = if let Some(file) = &key_file {
                warnings.push(format!(
                    "{CA_KEY} was there without {CA_CERTIFICATE}: a new certificate was made for it"
                ));
                let key = keyfile::decrypt(file.expose(), passphrase)?;
                (Authority::for_key(profile, key, now)?, Vec::new())
            } else {
                let authority = Authority::create(profile, now)?;
                let encrypted = keyfile::encrypt(authority.key(), passphrase)?;
                (authority, vec![(CA_KEY, encrypted, KEY_MODE)])
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
                CERTIFICATE_MODE,
            ));
            self.write(&files)?;
            if key_file.is_none() {
                self.keep_created(Signer::Current, authority, passphrase)?;
            }
        }
        self.described(Signer::Current, passphrase, now, created, warnings)
    }

    /// An authority that is there, with what people should know of it.
    pub(super) fn described(
        &mut self,
        signer: Signer,
        passphrase: &Secret,
        now: OffsetDateTime,
        created: bool,
        mut warnings: Vec<String>,
    ) -> Result<Response, Failure> {
        let authority = self.authority(signer, passphrase)?;
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

    /// Whether this passphrase opens an authority that can still sign, and the next one, too,
    /// while a rollover is under way.
    pub(crate) fn open_authority(
        &mut self,
        passphrase: &Secret,
        now: OffsetDateTime,
    ) -> Result<Response, Failure> {
        let certificate = self.authority(Signer::Current, passphrase)?.certificate();
        if now > certificate.not_after() {
            return Err(AuthorityError::Expired(certificate.not_after()).into());
        }
        let certificate_pem = certificate.to_pem();
        if self.store.read(&certificate_name(Signer::Next))?.is_some() {
            self.authority(Signer::Next, passphrase)?;
        }
        Ok(Response::Authority {
            certificate_pem,
            created: false,
            warnings: Vec::new(),
        })
    }

    /// Keeps what was just created.
    pub(super) fn keep_created(
        &mut self,
        signer: Signer,
        authority: Authority,
        passphrase: &Secret,
    ) -> Result<(), Failure> {
        let (Some(key_file), Some(certificate_file)) = (
            self.store.read(&key_name(signer))?,
            self.store.read(&certificate_name(signer))?,
        ) else {
            return Ok(());
        };
        let opened = Opened {
            authority,
            passphrase: passphrase.clone(),
            key_file_sha256: sha256_hex(key_file.expose()),
            certificate_file_sha256: sha256_hex(certificate_file.expose()),
        };
        self.opened.insert(signer, opened);
        Ok(())
    }

    /// An authority of the directory, opened with this passphrase.
    pub(crate) fn authority(
        &mut self,
        signer: Signer,
        passphrase: &Secret,
    ) -> Result<&Authority, Failure> {
        let (key_name, certificate_name) = (key_name(signer), certificate_name(signer));
        let (key_file, certificate_file) = match (
            self.store.read(&key_name)?,
            self.store.read(&certificate_name)?,
        ) {
            (Some(key_file), Some(certificate_file)) => (key_file, certificate_file),
            (None, Some(_)) => {
                return Err(Failure::new(
                    ErrorKind::Authority,
                    format!("{certificate_name} is there, and its key {key_name} is not"),
                )
                .hint(format!(
                    "restore {key_name} from your backup, or move {certificate_name} away to begin \
                     a new CA"
                )));
            }
            (_, None) => {
                let what = match signer {
                    Signer::Current => "there is no certificate authority yet",
                    Signer::Next => {
                        "there is no next certificate authority: no rollover is under way"
                    }
                };
                return Err(Failure::new(ErrorKind::Authority, what));
            }
        };
        let key_file_sha256 = sha256_hex(key_file.expose());
        let certificate_file_sha256 = sha256_hex(certificate_file.expose());
        let opened = match self.opened.remove(&signer) {
            Some(opened)
                if opened.key_file_sha256 == key_file_sha256
                    && opened.certificate_file_sha256 == certificate_file_sha256
                    && same(&opened.passphrase, passphrase) =>
            {
                opened
            }
            _ => {
                let key = keyfile::decrypt(key_file.expose(), passphrase)
                    .map_err(|error| named(signer, &error))?;
                let bundle = Bundle::read(certificate_file.expose())?;
                self.refuse_private_key(&certificate_name, &bundle)?;
                Opened {
                    authority: Authority::open(own_certificate(&bundle, &key)?, key)?,
                    passphrase: passphrase.clone(),
                    key_file_sha256,
                    certificate_file_sha256,
                }
            }
        };
        Ok(&self.opened.entry(signer).or_insert(opened).authority)
    }

    /// Encrypts again what an earlier version or another program has encrypted for
    /// less work. The key that is written has been opened before; the file is whole at
    /// any time, old or new.
    pub(crate) fn reencrypt(&mut self, passphrase: &Secret) -> Result<Response, Failure> {
        let mut said = Vec::new();
        for signer in [Signer::Current, Signer::Next] {
            let name = key_name(signer);
            let Some(file) = self.store.read(&name)? else {
                continue;
            };
            if keyfile::is_strong(file.expose())?
                || self.store.read(&certificate_name(signer))?.is_none()
            {
                continue;
            }
            let authority = self.authority(signer, passphrase)?;
            let expected = authority.key().public_key_sha256();
            let encrypted = keyfile::encrypt(authority.key(), passphrase)?;
            let again = keyfile::decrypt(encrypted.as_bytes(), passphrase)?;
            if again.public_key_sha256() != expected {
                return Err(KeyFileError::Library("encrypt the key").into());
            }
            let sha256 = sha256_hex(encrypted.as_bytes());
            self.write(&[(&name, encrypted, KEY_MODE)])?;
            if let Some(opened) = self.opened.get_mut(&signer) {
                opened.key_file_sha256 = sha256;
            }
            said.push(said_of_encryption(&name));
        }
        Ok(Response::Reencrypted { said })
    }

    /// The authority, where a passphrase has opened it before.
    pub(crate) fn opened(&self) -> Option<&Authority> {
        self.opened
            .get(&Signer::Current)
            .map(|opened| &opened.authority)
    }

    pub(crate) fn state(&self) -> Result<Response, Failure> {
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
            certificate_pem: self.certificates(CA_CERTIFICATE)?,
            next_certificate_pem: self.certificates(&certificate_name(Signer::Next))?,
            files: self.store.list(names.map(String::as_str))?,
        })
    }

    /// The certificates of a CA file, and nothing else that it holds; `None` if there
    /// is none.
    pub(super) fn certificates(&self, name: &str) -> Result<Option<String>, Failure> {
        let Some(file) = self.store.read(name)? else {
            return Ok(None);
        };
        Ok(Some(Bundle::read(file.expose())?.to_pem()))
    }

    /// A CA file is for everyone: a key in it is on its way to every daemon.
    pub(super) fn refuse_private_key(&self, name: &str, bundle: &Bundle) -> Result<(), Failure> {
        if !bundle.has_private_key() {
            return Ok(());
        }
        let path = self.store.path(name).display().to_string();
        let hint = ca_key_hint(&path);
        Err(Failure::from(AuthorityError::PrivateKey(path)).hint(hint))
    }

    /// Appends to the ledger's file and then to what is known of it.
    pub(crate) fn record(&mut self, events: Vec<Event>) -> Result<(), Failure> {
        self.store.append(&events)?;
        for event in events {
            self.ledger
                .apply(event)
                .map_err(|reason| Failure::new(ErrorKind::Ledger, reason))?;
        }
        Ok(())
    }

    pub(crate) fn write(&self, files: &[(&str, String, u32)]) -> Result<(), Failure> {
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
}

/// The keys of two CAs need one passphrase: which of them it does not open is reported.
fn named(signer: Signer, error: &KeyFileError) -> Failure {
    let failure = Failure::from(error.clone());
    match (signer, error) {
        (Signer::Next, KeyFileError::WrongPassphrase) => Failure {
            message: format!("{} of the next CA: {}", failure.message, key_name(signer)),
            ..failure
        }
        .hint(
            "while a rollover is under way, ca-key.pem and next/ca-key.pem need the same \
             passphrase: if that of one was changed, change the other's as well",
        ),
        _ => failure,
    }
}

pub(super) fn said_of_encryption(name: &str) -> String {
    format!("{name} is encrypted again: each guess of its passphrase costs more now")
}

/// Where the key of a CA lies, relative to the directory.
pub(super) fn key_name(signer: Signer) -> String {
    match signer {
        Signer::Current => CA_KEY.to_owned(),
        Signer::Next => format!("{NEXT}/{CA_KEY}"),
    }
}

/// Where its certificate lies.
pub(super) fn certificate_name(signer: Signer) -> String {
    match signer {
        Signer::Current => CA_CERTIFICATE.to_owned(),
        Signer::Next => format!("{NEXT}/{CA_CERTIFICATE}"),
    }
}

/// The first certificate of a CA file. It has to be that of the key: the plan, and
/// a reader of the file, takes the first one for the CA's own.
pub(crate) fn own_certificate(bundle: &Bundle, key: &PrivateKey) -> Result<Certificate, Failure> {
    let hash = key.public_key_sha256();
    let is_own = |certificate: &&Certificate| {
        certificate.may_sign_certificates() && certificate.public_key_sha256() == hash
    };
    let mut certificates = bundle.certificates().iter();
    match certificates.next() {
        Some(first) if !is_own(&first) => match certificates.find(is_own) {
            Some(own) => Err(AuthorityError::NotFirst(own.subject().to_owned()).into()),
            // Of which the authority says that it does not fit.
            None => Ok(first.clone()),
        },
        Some(first) => Ok(first.clone()),
        None => Err(super::certificate::CertificateError::None.into()),
    }
}

/// In a time that tells nothing of where they differ.
fn same(one: &Secret, other: &Secret) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one.expose(), other.expose()).is_ok()
}
