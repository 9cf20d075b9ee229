//! The certificate authority: makes its own certificate, and signs leaves.
//!
//! Nothing is read or written here, and the time is passed in.

use super::authority_error::AuthorityError;
use super::san::client_name;
use std::collections::BTreeSet;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    SanType, SerialNumber,
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::certificate::Certificate;
use super::chain::Chain;
use super::constraints::{self, Permitted};
use super::keyfile::{self, PrivateKey};
use super::profile::{KeyType, Role};
use super::san::San;
use super::serial::Serial;
use super::subject::Subject;
use super::usage::ExtendedKeyUsage;
use base::secret::Secret;

/// How far notBefore lies in the past, for clocks that are behind.
pub const BACKDATE: Duration = Duration::minutes(5);

/// A CA certificate together with its key. It can be shared between threads
/// that issue at the same time.
#[derive(Debug)]
pub struct Authority {
    certificate: Certificate,
    key: PrivateKey,
}

/// What a new CA is asked to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityProfile {
    pub subject: Subject,
    pub key_type: KeyType,
    /// Counted from now; the backdating comes on top.
    pub validity_days: u32,
    /// The names it may sign for; all of them when empty.
    pub permitted: BTreeSet<Permitted>,
    /// Subjects of the CAs that daemons and clients know: none of them is given again.
    pub known: BTreeSet<String>,
}

impl AuthorityProfile {
    /// A CA that may sign for every name.
    #[must_use]
    pub fn new(subject: Subject, key_type: KeyType, validity_days: u32) -> Self {
        Self {
            subject,
            key_type,
            validity_days,
            permitted: BTreeSet::new(),
            known: BTreeSet::new(),
        }
    }
}

/// What a leaf is asked to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafProfile {
    /// The host or the identity that it is for: [`Subject::of_leaf`].
    pub common_name: String,
    pub role: Role,
    pub sans: BTreeSet<San>,
    pub key_type: KeyType,
    /// Counted from now; the backdating comes on top.
    pub validity: Duration,
}

/// A certificate and its key, checked before they are handed out.
#[derive(Debug)]
pub struct SignedLeaf {
    pub certificate: Certificate,
    /// PKCS#8 PEM text: the bytes of the key file.
    pub key_pem: Secret,
    /// Whether the leaf ends with its authority, earlier than it was asked to.
    pub clipped_by_ca: bool,
}

impl Authority {
    /// A new authority with a new key, valid from five minutes before `now`.
    pub fn create(profile: &AuthorityProfile, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        profile.subject.check()?;
        Self::for_key(profile, keyfile::generate(profile.key_type)?, now)
    }

    /// A new self-signed certificate for a key that exists. It signs leaves alone
    /// (`pathlen:0`).
    pub(crate) fn for_key(
        profile: &AuthorityProfile,
        key: PrivateKey,
        now: OffsetDateTime,
    ) -> Result<Self, AuthorityError> {
        let subject = &profile.subject;
        subject.check()?;
        let validity = Duration::days(profile.validity_days.into());
        let mut parameters = parameters(Serial::random()?, subject, now, validity)?;
        parameters.name_constraints = constraints::extension(&profile.permitted);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters.self_signed(key.key_pair()).map_err(encoding)?;
        Self::open(Certificate::from_der(certificate.der())?, key)
    }

    /// An authority that exists. Its certificate and key must belong together,
    /// and its name must be one that leaves can repeat; dates are checked
    /// when something is issued.
    pub fn open(certificate: Certificate, key: PrivateKey) -> Result<Self, AuthorityError> {
        let subject = || certificate.subject().to_owned();
        if !certificate.may_sign_certificates() {
            return Err(AuthorityError::NotAnAuthority(subject()));
        }
        if certificate.public_key_sha256() != key.public_key_sha256() {
            return Err(AuthorityError::KeyMismatch(subject()));
        }
        let authority = Self { certificate, key };
        authority.check_name()?;
        Ok(authority)
    }

    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// A new key and its certificate. The key is generated in the caller's
    /// thread: see [`generate`](super::generate).
    pub fn issue(
        &self,
        profile: &LeafProfile,
        now: OffsetDateTime,
    ) -> Result<SignedLeaf, AuthorityError> {
        let key = keyfile::generate(profile.key_type)?;
        self.sign(profile, &key, Serial::random()?, now)
    }

    /// A certificate for this key with this serial number.
    pub fn sign(
        &self,
        profile: &LeafProfile,
        key: &PrivateKey,
        serial: Serial,
        now: OffsetDateTime,
    ) -> Result<SignedLeaf, AuthorityError> {
        if now > self.certificate.not_after() {
            return Err(AuthorityError::Expired(self.certificate.not_after()));
        }
        if now < self.certificate.not_before() {
            return Err(AuthorityError::NotYetValid(self.certificate.not_before()));
        }
        let subject = Subject::of_leaf(&profile.common_name);
        subject.check()?;
        Chain::known(std::slice::from_ref(&self.certificate))?.check_leaf(
            profile.role,
            &profile.common_name,
            &profile.sans,
        )?;
        let mut parameters = parameters(serial, &subject, now, profile.validity)?;
        // A leaf is never valid when its authority is not, at either end.
        let clipped_by_ca = parameters.not_after > self.certificate.not_after();
        parameters.not_after = parameters.not_after.min(self.certificate.not_after());
        parameters.not_before = parameters.not_before.max(self.certificate.not_before());
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if key.key_type().is_rsa() {
            parameters.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        parameters.extended_key_usages = vec![match profile.role {
            Role::Daemon => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        parameters.subject_alt_names = alternative_names(profile)?;
        let signed = parameters
            .signed_by(key.key_pair(), &self.issuer()?)
            .map_err(encoding)?;
        let certificate = Certificate::from_der(signed.der())?;
        self.check_leaf(&certificate, profile, key, serial)?;
        Ok(SignedLeaf {
            certificate,
            key_pem: key.to_pem(),
            clipped_by_ca,
        })
    }

    fn issuer(&self) -> Result<Issuer<'_, &rcgen::KeyPair>, AuthorityError> {
        Issuer::from_ca_cert_der(&self.certificate.der().into(), self.key.key_pair())
            .map_err(|_| AuthorityError::ForeignSubject(self.certificate.subject().to_owned()))
    }

    /// rcgen keeps one value for each attribute type and encodes the issuer
    /// again; a name it cannot reproduce is found here, by a certificate that
    /// is thrown away, rather than at the first handshake.
    fn check_name(&self) -> Result<(), AuthorityError> {
        let mut trial = CertificateParams::default();
        trial.serial_number = Some(SerialNumber::from_slice(&[1]));
        let trial = trial
            .signed_by(self.key.key_pair(), &self.issuer()?)
            .map_err(encoding)?;
        let trial = Certificate::from_der(trial.der())?;
        if trial.issuer_raw() != self.certificate.subject_raw() {
            return Err(AuthorityError::ForeignSubject(
                self.certificate.subject().to_owned(),
            ));
        }
        if trial.is_signed_by(&self.certificate) {
            Ok(())
        } else {
            Err(AuthorityError::SelfCheck("its signature does not verify"))
        }
    }

    /// The certificate as it came out, against what was asked.
    fn check_leaf(
        &self,
        certificate: &Certificate,
        profile: &LeafProfile,
        key: &PrivateKey,
        serial: Serial,
    ) -> Result<(), AuthorityError> {
        let usage = match profile.role {
            Role::Daemon => ExtendedKeyUsage::ServerAuth,
            Role::Client => ExtendedKeyUsage::ClientAuth,
        };
        let (asked, uri) = names(profile);
        if certificate.issuer_raw() != self.certificate.subject_raw() {
            return Err(AuthorityError::ForeignSubject(
                self.certificate.subject().to_owned(),
            ));
        }
        let checks = [
            (
                certificate.is_signed_by(&self.certificate),
                "its signature does not verify",
            ),
            (
                certificate.public_key_sha256() == key.public_key_sha256(),
                "it carries another key",
            ),
            (
                certificate.sans() == &asked && certificate.uris().iter().eq(&uri),
                "its alternative names differ",
            ),
            (
                certificate.serial() == serial.to_string(),
                "its serial number differs",
            ),
            (
                certificate.extended_key_usages() == &BTreeSet::from([usage]),
                "its extended key usage differs",
            ),
            (!certificate.is_ca(), "it could sign others"),
            (
                certificate.not_after() <= self.certificate.not_after(),
                "it outlives its authority",
            ),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(AuthorityError::SelfCheck(what)),
            None => Ok(()),
        }
    }
}

/// The names that a leaf is to carry, DNS names in lower case, and its URI.
fn names(profile: &LeafProfile) -> (BTreeSet<San>, Option<String>) {
    let mut names: BTreeSet<San> = profile
        .sans
        .iter()
        .map(|san| match san {
            San::Dns(name) => San::Dns(name.to_ascii_lowercase()),
            address @ San::Ip(_) => address.clone(),
        })
        .collect();
    let mut uri = None;
    if profile.role == Role::Client {
        match client_name(&profile.common_name) {
            Ok(name) => drop(names.insert(name)),
            Err(other) => uri = Some(other),
        }
    }
    (names, uri)
}

fn alternative_names(profile: &LeafProfile) -> Result<Vec<SanType>, AuthorityError> {
    let (names, uri) = names(profile);
    let names = names.into_iter().map(|san| match san {
        San::Dns(name) => name.try_into().map(SanType::DnsName).map_err(encoding),
        San::Ip(address) => Ok(SanType::IpAddress(address)),
    });
    let uri = uri.map(|uri| uri.try_into().map(SanType::URI).map_err(encoding));
    names.chain(uri).collect()
}

/// The parameters of every certificate: serial number, name, dates, key identifiers.
fn parameters(
    serial: Serial,
    subject: &Subject,
    now: OffsetDateTime,
    validity: Duration,
) -> Result<CertificateParams, AuthorityError> {
    let out_of_range = || AuthorityError::Validity(validity);
    if !validity.is_positive() {
        return Err(out_of_range());
    }
    let not_after = now.checked_add(validity).ok_or_else(out_of_range)?;
    // GeneralizedTime has four digits for the year (RFC 5280, 4.1.2.5.2).
    if not_after.year() > 9999 {
        return Err(out_of_range());
    }
    let mut parameters = CertificateParams::default();
    parameters.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    parameters.not_before = now.checked_sub(BACKDATE).ok_or_else(out_of_range)?;
    parameters.not_after = not_after;
    parameters.distinguished_name = subject.encoded().map_err(encoding)?;
    parameters.use_authority_key_identifier_extension = true;
    Ok(parameters)
}

#[allow(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn encoding(error: rcgen::Error) -> AuthorityError {
    AuthorityError::Encoding(error.to_string())
}
