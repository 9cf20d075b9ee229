//! The agent's requests about leaves: issue, fetch, delivered, probe.
//!
//! Each keeps ledger and files in an order that a crash between any two steps does no harm to.

use std::collections::BTreeSet;

use time::{Duration, OffsetDateTime};

use super::authority::{LeafProfile, SignedLeaf};
use super::certificate::Certificate;
use super::encoding::sha256_hex;
use super::failure::Failure;
use super::issue;
use super::key_pool::KeyPool;
use super::ledger::{Entry, Event, IssuedName};
use super::profile::{KeyType, Role};
use super::protocol::{
    DeliveredLeaf, ErrorKind, IssuedLeaf, LeafName, LeafRequest, Response, Signer,
};
use super::session::{Session, certificate_name};
use super::store::{CA_SERIAL, CERTIFICATE_MODE, KEY_MODE, NewFile};
use base::secret::Secret;

/// How long a probe leaf lives.
const PROBE: Duration = Duration::minutes(30);

impl Session {
    /// The ledger is written first. A crash after it leaves an entry without
    /// files, which costs a leaf issued again; the other order would leave a
    /// valid certificate of which no one knows.
    pub(crate) fn issue(
        &mut self,
        leaves: &[LeafRequest],
        passphrase: &Secret,
        now: OffsetDateTime,
        keys: &KeyPool,
        give_up: &(dyn Fn() -> bool + Sync),
    ) -> Result<Response, Failure> {
        issue::check(leaves)?;
        let mut signed: Vec<(usize, SignedLeaf)> = Vec::with_capacity(leaves.len());
        let mut events = Vec::with_capacity(leaves.len());
        for signer in [Signer::Current, Signer::Next] {
            let (places, asked): (Vec<usize>, Vec<LeafRequest>) = leaves
                .iter()
                .enumerate()
                .filter(|(_, leaf)| leaf.signer == signer)
                .map(|(place, leaf)| (place, leaf.clone()))
                .unzip();
            if asked.is_empty() {
                continue;
            }
            let authority = self.authority(signer, passphrase)?;
            let made = issue::sign(authority, &asked, now, keys, give_up)?;
            events.extend(asked.iter().zip(&made).map(|(leaf, signed)| {
                Event::Issued(Box::new(issue::entry(leaf, signed, authority, now)))
            }));
            signed.extend(places.into_iter().zip(made));
        }
        // The answer is in the order asked for.
        signed.sort_by_key(|(place, _)| *place);
        let signed: Vec<SignedLeaf> = signed.into_iter().map(|(_, signed)| signed).collect();
        let pairs = || leaves.iter().zip(&signed);
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
                mode: KEY_MODE,
            });
            files.push(NewFile {
                name: &leaf.certificate_name,
                content: certificate.as_bytes(),
                mode: CERTIFICATE_MODE,
            });
        }
        files.extend(serial.as_ref().map(|serial| NewFile {
            name: CA_SERIAL,
            content: serial.as_bytes(),
            mode: CERTIFICATE_MODE,
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

    pub(crate) fn fetch(&self, names: Vec<LeafName>) -> Result<Response, Failure> {
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
    pub(crate) fn delivered(
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
            // Late word of a leaf that another has replaced changes nothing.
            if entry.superseded {
                continue;
            }
            if !entry.delivered || entry.kept != keep_keys {
                events.push(Event::Delivered {
                    serial: entry.serial.clone(),
                    at: now,
                    kept: keep_keys,
                });
            }
            // Leaves issued after this one are not older and stay, unless they are named.
            let mut is_newer = false;
            let live = self.ledger.live(&leaf.host, leaf.role);
            let others = live.filter(|other| {
                let is_same = other.serial == entry.serial;
                is_newer |= is_same;
                !is_same && (!is_newer || leaf.replaces.contains(&other.serial))
            });
            events.extend(others.map(|other| Event::Superseded {
                serial: other.serial.clone(),
                by: entry.serial.clone(),
                at: now,
            }));
        }
        let touched: BTreeSet<String> = events
            .iter()
            .filter_map(|event| event.serial().map(str::to_owned))
            .collect();
        self.record(events)?;
        let gone = touched
            .iter()
            .filter_map(|serial| self.ledger.by_serial(serial))
            .filter(|entry| entry.superseded || !entry.kept);
        self.remove_pairs(gone)?;
        Ok(Response::Done)
    }

    /// What is asked for again is not recorded again.
    pub(crate) fn ask_renewal(
        &mut self,
        leaves: Vec<LeafName>,
        now: OffsetDateTime,
    ) -> Result<Response, Failure> {
        let events = leaves
            .into_iter()
            .filter(|leaf| self.ledger.renewal_asked(&leaf.host, leaf.role).is_none())
            .map(|leaf| Event::RenewalAsked {
                host: leaf.host,
                role: leaf.role,
                at: now,
            })
            .collect::<Vec<_>>();
        if !events.is_empty() {
            self.record(events)?;
        }
        Ok(Response::Done)
    }

    pub(crate) fn probe(
        &mut self,
        signer: Signer,
        passphrase: &Secret,
        now: OffsetDateTime,
    ) -> Result<Response, Failure> {
        let profile = LeafProfile {
            common_name: "dtls-deploy probe".to_owned(),
            role: Role::Client,
            sans: BTreeSet::new(),
            key_type: KeyType::EcdsaP256,
            validity: PROBE,
        };
        let issued = self.authority(signer, passphrase)?.issue(&profile, now)?;
        Ok(Response::Probe {
            leaf: IssuedLeaf {
                host: String::new(),
                role: profile.role,
                certificate_pem: issued.certificate.to_pem(),
                serial: issued.certificate.serial().to_owned(),
                not_after: issued.certificate.not_after(),
                clipped_by_ca: issued.clipped_by_ca,
                key: issued.key_pem,
            },
        })
    }

    /// The entry's pair, if both files are there and are what was issued.
    pub(crate) fn pair(&self, entry: &Entry) -> Result<Option<IssuedLeaf>, Failure> {
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
        let mut authorities = Vec::new();
        for signer in [Signer::Current, Signer::Next] {
            if let Some(file) = self.store.read(&certificate_name(signer))? {
                authorities.extend(Certificate::from_pem(file.expose()).ok());
            }
        }
        let ca = authorities
            .iter()
            .find(|authority| certificate.is_signed_by(authority));
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

    /// Removes the entries' files, as far as they are still the entries': a
    /// later leaf may have taken their names. What was adopted was not put there
    /// by this program, and stays.
    pub(crate) fn remove_pairs<'a>(
        &self,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> Result<(), Failure> {
        let mut names: Vec<&str> = Vec::new();
        for entry in entries.filter(|entry| !entry.adopted) {
            let IssuedName { key, certificate } = &entry.issued_name;
            if let Some(file) = self.store.read(key)?
                && sha256_hex(file.expose()) == entry.key_sha256
            {
                names.push(key);
            }
            if let Some(file) = self.store.read(certificate)?
                && Certificate::from_pem(file.expose())
                    .is_ok_and(|found| found.sha256() == entry.certificate_sha256)
            {
                names.push(certificate);
            }
        }
        Ok(self.store.remove_all(&names)?)
    }
}
