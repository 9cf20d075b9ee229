//! One CA follows another: the directory's part of a rollover.
//!
//! The next CA lives in `next/` until every node trusts it and holds what it has signed, which the
//! controller sees to. Each step is finished by the next `Hello` if a crash cuts it short.

use time::OffsetDateTime;

use super::authority::{Authority, AuthorityProfile};
use super::certificate::Certificate;
use super::failure::Failure;
use super::keyfile;
use super::protocol::{ErrorKind, Response, Signer};
use super::session::{Session, certificate_name, key_name};
use super::store::{
    CA_CERTIFICATE, CA_KEY, CERTIFICATE_MODE, KEY_MODE, NewFile, RETIRED, ROLLED_OVER,
};
use super::subject::{LONGEST_COMMON_NAME, Subject};
use base::secret::Secret;

impl Session {
    /// The key is written before its certificate. A key without one has signed
    /// nothing, and a new one takes its place.
    pub(crate) fn begin_rollover(
        &mut self,
        mut profile: AuthorityProfile,
        passphrase: &Secret,
        now: OffsetDateTime,
    ) -> Result<Response, Failure> {
        // Both keys are under one passphrase: it has to open the present one.
        self.authority(Signer::Current, passphrase)?;
        let created = self.store.read(&certificate_name(Signer::Next))?.is_none();
        if created {
            profile.subject = self.unused_subject(&profile)?;
            let authority = Authority::create(&profile, now)?;
            let encrypted = keyfile::encrypt(authority.key(), passphrase)?;
            let certificate = authority.certificate().to_pem();
            // Left by a rollover that was over: this is another one.
            self.store.remove(ROLLED_OVER)?;
            self.write(&[
                (&key_name(Signer::Next), encrypted, KEY_MODE),
                (
                    &certificate_name(Signer::Next),
                    certificate,
                    CERTIFICATE_MODE,
                ),
            ])?;
            self.keep_created(Signer::Next, authority, passphrase)?;
        }
        self.described(Signer::Next, passphrase, now, created, Vec::new())
    }

    /// The subject with the number of the generation behind its common name.
    /// Chains are built by the issuer's name: two CAs of one name would be
    /// taken for each other by leaves without an authority key identifier.
    fn unused_subject(&self, profile: &AuthorityProfile) -> Result<Subject, Failure> {
        let subject = &profile.subject;
        // The directory may be an old copy, which lacks what has followed.
        let mut used: Vec<String> = profile
            .known
            .iter()
            .map(|known| known.to_lowercase())
            .collect();
        let retired = self.store.names_in(RETIRED);
        let files = retired
            .iter()
            .map(|number| format!("{RETIRED}/{number}/{CA_CERTIFICATE}"))
            .chain([CA_CERTIFICATE.to_owned()]);
        for file in files {
            if let Some(file) = self.store.read(&file)? {
                let known = Certificate::bundle_from_pem(file.expose())?;
                used.extend(known.iter().map(|known| known.subject().to_lowercase()));
            }
        }
        let base = subject.common_name.as_deref().unwrap_or("CA");
        // A restored directory lacks the CAs before its own.
        let last = used.iter().filter_map(|used| generation_of(used)).max();
        let mut generation = last.unwrap_or(1).max(retired.len() + 1) + 1;
        loop {
            let number = format!(" {generation}");
            let base: String = base
                .chars()
                .take(LONGEST_COMMON_NAME - number.len())
                .collect();
            let numbered = Subject {
                common_name: Some(base + &number),
                ..subject.clone()
            };
            if !used.contains(&numbered.to_string().to_lowercase()) {
                return Ok(numbered);
            }
            generation += 1;
        }
    }

    /// Copies first, then the key, then the certificate: from the moment at
    /// which the key is the next one's, [`Self::finish_promotion`] knows that
    /// the rest is to be done.
    pub(crate) fn promote(&mut self) -> Result<Response, Failure> {
        let (Some(next_key), Some(_)) = (
            self.store.read(&key_name(Signer::Next))?,
            self.store.read(&certificate_name(Signer::Next))?,
        ) else {
            return Err(Failure::new(
                ErrorKind::Request,
                "there is no next certificate authority: no rollover is under way",
            ));
        };
        let (Some(key), Some(certificate)) =
            (self.store.read(CA_KEY)?, self.certificates(CA_CERTIFICATE)?)
        else {
            return Err(Failure::new(
                ErrorKind::Authority,
                format!("{CA_KEY} and {CA_CERTIFICATE} are not both there"),
            ));
        };
        let place = self.retirement_of(&certificate)?;
        self.store.write(&[
            NewFile {
                name: &format!("{place}/{CA_KEY}"),
                content: key.expose(),
                mode: KEY_MODE,
            },
            NewFile {
                name: &format!("{place}/{CA_CERTIFICATE}"),
                content: certificate.as_bytes(),
                mode: CERTIFICATE_MODE,
            },
            NewFile {
                name: ROLLED_OVER,
                content: place.as_bytes(),
                mode: CERTIFICATE_MODE,
            },
        ])?;
        self.store.write(&[NewFile {
            name: CA_KEY,
            content: next_key.expose(),
            mode: KEY_MODE,
        }])?;
        self.opened.clear();
        self.finish_promotion()?;
        Ok(Response::Done)
    }

    /// The first free `retired/N`, or the one that holds this certificate
    /// since an attempt that was cut short.
    pub(super) fn retirement_of(&self, certificate: &str) -> Result<String, Failure> {
        let mut number = 1_u32;
        loop {
            let place = format!("{RETIRED}/{number}");
            let there = self.certificates(&format!("{place}/{CA_CERTIFICATE}"))?;
            if there.is_none_or(|there| there == certificate) {
                return Ok(place);
            }
            number = number.saturating_add(1);
        }
    }

    fn copy_next_certificate(&self) -> Result<(), Failure> {
        match self.certificates(&certificate_name(Signer::Next))? {
            Some(certificate) => self.write(&[(CA_CERTIFICATE, certificate, CERTIFICATE_MODE)]),
            None => Ok(()),
        }
    }

    /// Finishes a promotion whose key has been renamed already.
    pub(super) fn finish_promotion(&self) -> Result<(), Failure> {
        let (Some(key), Some(next)) = (
            self.store.read(CA_KEY)?,
            self.store.read(&key_name(Signer::Next))?,
        ) else {
            return Ok(());
        };
        if key.expose() != next.expose() {
            return Ok(());
        }
        self.copy_next_certificate()?;
        self.store.remove(&certificate_name(Signer::Next))?;
        self.store.remove(&key_name(Signer::Next))?;
        Ok(())
    }

    /// Removing a file does not erase its blocks: the passphrase is what keeps
    /// an encrypted key from anyone who reads them.
    pub(crate) fn end_rollover(&mut self, destroy_old: bool) -> Result<Response, Failure> {
        if destroy_old {
            for number in self.store.names_in(RETIRED) {
                self.store.remove(&format!("{RETIRED}/{number}/{CA_KEY}"))?;
            }
        }
        self.store.remove(ROLLED_OVER)?;
        Ok(Response::Done)
    }
}

/// The number at the end of the common name of a CA: which one of its directory it is. A greater
/// number, such as a year, is part of the name.
#[must_use]
pub fn generation_of(subject: &str) -> Option<usize> {
    let start = subject.to_ascii_lowercase().find("cn=")?;
    let name = subject.get(start..)?.split([',', '+']).next()?;
    let number = name.rsplit_once(' ')?.1;
    number.parse().ok().filter(|number| *number < 1000)
}
