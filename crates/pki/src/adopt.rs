//! The agent's part of `dtls-deploy adopt`: a CA and leaves made elsewhere.
//!
//! Nothing but the CA's own directory is touched: a key that is not encrypted is, and the ledger
//! learns of leaves that are in use.

use time::OffsetDateTime;

use super::authority::Authority;
use super::bundle::Bundle;
use super::certificate::Certificate;
use super::chain::Chain;
use super::encoding::sha256_hex;
use super::failure::Failure;
use super::issued_name::check_name;
use super::keyfile::{self, PrivateKey};
use super::ledger::{Entry, Event, IssuedName};
use super::protocol::{AdoptedLeaf, AuthorityFiles, ErrorKind, Response, Signer};
use super::session::{Session, own_certificate, said_of_encryption};
use super::store::{CA_CERTIFICATE, CA_KEY, CERTIFICATE_MODE, KEY_MODE};
use crate::key_error::KeyFileError;
use base::secret::Secret;

impl Session {
    /// Everything is checked before anything is written.
    pub(crate) fn adopt_authority(
        &mut self,
        files: Option<&AuthorityFiles>,
        passphrase: &Secret,
        now: OffsetDateTime,
    ) -> Result<Response, Failure> {
        if passphrase.is_empty() {
            return Err(KeyFileError::EmptyPassphrase.into());
        }
        let present = (self.store.read(CA_KEY)?, self.store.read(CA_CERTIFICATE)?);
        let (key_file, certificate_file) = match (files, present) {
            (None, (Some(key), Some(certificate))) => (key, certificate),
            (None, (None, None)) => {
                return Err(Failure::new(
                    ErrorKind::Authority,
                    "there is no certificate authority yet",
                ));
            }
            (None, (key, _)) => {
                let missing = if key.is_some() {
                    CA_CERTIFICATE
                } else {
                    CA_KEY
                };
                return Err(Failure::new(
                    ErrorKind::Authority,
                    format!("{missing} is missing from the CA directory"),
                ));
            }
            (Some(files), (None, None)) => (
                files.key.clone(),
                Secret::from(files.certificate_pem.clone()),
            ),
            (Some(_), _) => {
                return Err(Failure::new(
                    ErrorKind::Authority,
                    "there is a certificate authority in the CA directory already",
                )
                .hint("leave --ca-cert and --ca-key out to adopt that one, or name another dtls_ca_dir"));
            }
        };
        let is_encrypted = keyfile::is_encrypted(key_file.expose())?;
        let key = if is_encrypted {
            keyfile::decrypt(key_file.expose(), passphrase)?
        } else {
            keyfile::unencrypted(key_file.expose())?
        };
        let encrypted = keyfile::encrypt(&key, passphrase)?;
        let bundle = Bundle::read(certificate_file.expose())?;
        self.refuse_private_key(CA_CERTIFICATE, &bundle)?;
        check(&bundle, key, now)?;
        let mut warnings = Vec::new();
        if files.is_some() {
            self.write(&[
                (CA_KEY, encrypted, KEY_MODE),
                (CA_CERTIFICATE, bundle.to_pem(), CERTIFICATE_MODE),
            ])?;
        } else if !is_encrypted || !keyfile::is_strong(key_file.expose())? {
            self.write(&[(CA_KEY, encrypted, KEY_MODE)])?;
            if is_encrypted {
                warnings.push(said_of_encryption(CA_KEY));
            }
        }
        // From the disk: what was written is what opens.
        self.authority(Signer::Current, passphrase)?;
        Ok(Response::Adopted {
            encrypted: !is_encrypted,
            warnings,
        })
    }

    /// All of them or none.
    pub(crate) fn adopt_leaves(
        &mut self,
        leaves: &[AdoptedLeaf],
        now: OffsetDateTime,
    ) -> Result<Response, Failure> {
        let Some(authority) = self.opened() else {
            return Err(Failure::new(
                ErrorKind::Protocol,
                "the CA has to be opened before leaves are adopted",
            ));
        };
        let mut events = Vec::new();
        for leaf in leaves {
            let entry = self.adopted(authority, leaf, now)?;
            let older = self.ledger.live(&leaf.host, leaf.role);
            let superseded: Vec<Event> = older
                .map(|older| Event::Superseded {
                    serial: older.serial.clone(),
                    by: entry.serial.clone(),
                    at: now,
                })
                .collect();
            events.push(Event::Adopted(Box::new(entry)));
            events.extend(superseded);
        }
        // Whether they fit the ledger is known before it is written.
        let mut trial = self.ledger.clone();
        for event in events.clone() {
            trial
                .apply(event)
                .map_err(|reason| Failure::new(ErrorKind::Request, reason))?;
        }
        self.record(events)?;
        Ok(Response::Done)
    }

    /// What the ledger keeps of it. That it is this CA's is not taken on trust.
    fn adopted(
        &self,
        authority: &Authority,
        leaf: &AdoptedLeaf,
        now: OffsetDateTime,
    ) -> Result<Entry, Failure> {
        let refuse = |what: &str| {
            Failure::new(
                ErrorKind::Request,
                format!("{} certificate of {}: {what}", leaf.role, leaf.host),
            )
        };
        check_name(&leaf.key_name)?;
        check_name(&leaf.certificate_name)?;
        let certificate = Certificate::from_pem(leaf.certificate_pem.as_bytes())
            .map_err(|error| refuse(&error.to_string()))?;
        if !certificate.is_signed_by(authority.certificate()) {
            return Err(refuse("it was not issued by this CA"));
        }
        let key_type = certificate
            .key_type()
            .ok_or_else(|| refuse("its key is of a type that is not supported"))?;
        let key_sha256 = if let Some(hash) = &leaf.key_sha256 {
            hash.clone()
        } else {
            let file = self
                .store
                .read(&leaf.key_name)?
                .ok_or_else(|| refuse("its key is not in the CA directory"))?;
            let key =
                keyfile::unencrypted(file.expose()).map_err(|error| refuse(&error.to_string()))?;
            if key.public_key_sha256() != certificate.public_key_sha256() {
                return Err(refuse("its key in the CA directory is another one"));
            }
            sha256_hex(file.expose())
        };
        Ok(Entry {
            serial: certificate.serial().to_owned(),
            role: leaf.role,
            host: leaf.host.clone(),
            subject: certificate.subject().to_owned(),
            sans: certificate.sans().clone(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            certificate_sha256: certificate.sha256(),
            key_sha256,
            public_key_sha256: certificate.public_key_sha256(),
            key_type,
            issuer_sha256: authority.certificate().sha256(),
            issued_at: now,
            issued_name: IssuedName {
                key: leaf.key_name.clone(),
                certificate: leaf.certificate_name.clone(),
            },
            superseded: false,
            delivered: true,
            kept: false,
            adopted: true,
        })
    }
}

/// Whether this program can issue with it, now, and everyone would accept it.
fn check(bundle: &Bundle, key: PrivateKey, now: OffsetDateTime) -> Result<(), Failure> {
    let own = own_certificate(bundle, &key)?;
    Chain::check_alone(bundle.certificates())?;
    Chain::whole(bundle.certificates())?.check_dates(now)?;
    Authority::open(own, key)?;
    Ok(())
}
