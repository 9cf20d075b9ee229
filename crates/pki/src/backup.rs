//! The agent's part of `dtls-deploy ca backup` and `ca restore`.
//!
//! The CA's key is as encrypted in them as it is on the disk.

use time::OffsetDateTime;

use super::authority::Authority;
use super::bundle::Bundle;
use super::failure::Failure;
use super::keyfile::{self};
use super::ledger::Ledger;
use super::protocol::{CaFile, ErrorKind, Response, Signer};
use super::session::{Session, own_certificate};
use super::store::{
    CA_CERTIFICATE, CA_KEY, CA_SERIAL, CERTIFICATE_MODE, KEY_MODE, LEDGER, NEXT, NewFile,
};
use crate::authority_error::AuthorityError;
use crate::key_error::KeyFileError;
use base::secret::Secret;

/// The files of a backup with their modes, in the order in which they are put
/// back: with the certificate, the last one, there is a CA.
const FILES: [(&str, u32); 4] = [
    (LEDGER, 0o600),
    (CA_SERIAL, CERTIFICATE_MODE),
    (CA_KEY, KEY_MODE),
    (CA_CERTIFICATE, CERTIFICATE_MODE),
];

impl Session {
    pub(crate) fn export(&self) -> Result<Response, Failure> {
        let mut files = Vec::new();
        for (name, mode) in FILES {
            let content = match name {
                LEDGER => self.store.ledger_bytes()?.map(Secret::new),
                CA_CERTIFICATE => self.certificates_to_keep()?,
                _ => self.store.read(name)?,
            };
            match content {
                Some(content) => files.push(CaFile {
                    name: name.to_owned(),
                    mode,
                    content,
                }),
                None if name == CA_KEY || name == CA_CERTIFICATE => {
                    return Err(Failure::new(
                        ErrorKind::Authority,
                        format!("{name} is missing from the CA directory"),
                    ));
                }
                None => {}
            }
        }
        if let Some(key) = files.iter().find(|file| file.name == CA_KEY)
            && !keyfile::is_encrypted(key.content.expose())?
        {
            return Err(KeyFileError::NotEncrypted.into());
        }
        // A backup without it would be of a CA that no one trusts any more soon.
        if self
            .store
            .read(&format!("{NEXT}/{CA_CERTIFICATE}"))?
            .is_some()
        {
            return Err(
                Failure::new(ErrorKind::Authority, "a rollover of the CA is under way").hint(
                    "bring it to its end with `dtls-deploy rotate --ca INVENTORY`, then make the backup",
                ),
            );
        }
        Ok(Response::Exported { files })
    }

    fn certificates_to_keep(&self) -> Result<Option<Secret>, Failure> {
        let Some(file) = self.store.read(CA_CERTIFICATE)? else {
            return Ok(None);
        };
        let bundle = Bundle::read(file.expose())?;
        self.refuse_private_key(CA_CERTIFICATE, &bundle)?;
        Ok(Some(Secret::from(bundle.to_pem())))
    }

    /// Nothing is written before the authority has opened. After a crash in the
    /// middle the same can be put back again.
    pub(crate) fn import(
        &mut self,
        files: &[CaFile],
        followed_by: &[String],
        passphrase: &Secret,
        now: OffsetDateTime,
    ) -> Result<Response, Failure> {
        let of = |name: &str| {
            let file = files.iter().find(|file| file.name == name);
            file.map(|file| file.content.expose())
        };
        let (Some(key), Some(certificate)) = (of(CA_KEY), of(CA_CERTIFICATE)) else {
            return Err(Failure::new(
                ErrorKind::Request,
                "the backup holds no key and certificate of a CA",
            ));
        };
        let bundle = Bundle::read(certificate)?;
        self.check_empty(&bundle, of(LEDGER).unwrap_or_default())?;
        let private = keyfile::decrypt(key, passphrase)?;
        let own = own_certificate(&bundle, &private)?;
        let authority = Authority::open(own, private)?;
        Ledger::parse_bytes(of(LEDGER).unwrap_or_default())?;
        let has_ledger = self
            .store
            .ledger_bytes()?
            .is_some_and(|text| !text.is_empty());
        let certificates = bundle.to_pem();
        let files: Vec<NewFile<'_>> = FILES
            .iter()
            // One that is there is not older: see `check_empty`.
            .filter(|(name, _)| *name != LEDGER || !has_ledger)
            .filter_map(|(name, mode)| {
                let content = match *name {
                    CA_CERTIFICATE => certificates.as_bytes(),
                    name => of(name)?,
                };
                Some(NewFile {
                    name,
                    content,
                    mode: *mode,
                })
            })
            .collect();
        self.keep_followers(followed_by)?;
        self.store.write(&files)?;
        let bytes = self.store.ledger_bytes()?.unwrap_or_default();
        self.ledger = Ledger::parse_bytes(&bytes)?;
        let mut warnings = Vec::new();
        if bundle.has_private_key() {
            warnings.push(format!(
                "the backup's {CA_CERTIFICATE} held a private key, which was not restored; if others \
                 could read that file, replace the CA: dtls-deploy rotate --ca INVENTORY"
            ));
        }
        if authority.certificate().not_after() < now {
            let end = authority.certificate().not_after();
            warnings.push(AuthorityError::Expired(end).to_string());
        }
        let certificate_pem = self
            .authority(Signer::Current, passphrase)?
            .certificate()
            .to_pem();
        Ok(Response::Authority {
            certificate_pem,
            created: true,
            warnings,
        })
    }

    /// The CA of a backup may have been followed by others, of which the backup knows nothing.
    fn keep_followers(&self, followed_by: &[String]) -> Result<(), Failure> {
        for pem in followed_by {
            let certificate = Bundle::read(pem.as_bytes())?.to_pem();
            let name = format!("{}/{CA_CERTIFICATE}", self.retirement_of(&certificate)?);
            self.write(&[(&name, certificate, CERTIFICATE_MODE)])?;
        }
        Ok(())
    }

    /// A CA that is there stays. A directory from which only the key is gone, or
    /// into which a restore was begun, may be completed.
    fn check_empty(&self, bundle: &Bundle, ledger: &[u8]) -> Result<(), Failure> {
        let refuse = |what: &str| {
            Err(Failure::new(ErrorKind::Authority, what).hint(
                "a CA is never overwritten: name another dtls_ca_dir, or move the old files away",
            ))
        };
        let present = self.certificates(CA_CERTIFICATE)?;
        if present.is_some() && self.store.read(CA_KEY)?.is_some() {
            return refuse("there is a CA in the CA directory");
        }
        if present.is_some_and(|present| present != bundle.to_pem()) {
            return refuse("the CA directory holds the certificate of another CA");
        }
        let known = self.store.ledger_bytes()?.unwrap_or_default();
        if !known.starts_with(ledger) && !known.is_empty() {
            return refuse("the CA directory holds a ledger that does not continue the backup's");
        }
        Ok(())
    }
}
