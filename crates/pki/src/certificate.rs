//! Certificates as they really are.
//!
//! Nothing is taken from a record here: names, dates, usages and signatures are read from the DER.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use time::OffsetDateTime;
use x509_parser::prelude::{
    FromDer, GeneralName, ParsedExtension, SubjectPublicKeyInfo, X509Certificate, X509Name,
    X509Version,
};

use super::encoding::{hex, pem_block, sha256_hex};
use super::limits::Limits;
use super::name::name_text;
use super::profile::KeyType;
use super::public_key::key_type_of;
use super::san::San;
use super::usage::{ExtendedKeyUsage, usage_allows_signing, usages_of};

/// The label of a certificate's PEM block (RFC 7468, section 5).
const LABEL: &str = "CERTIFICATE";
/// One X.509 certificate, parsed once when it is read.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    serial: String,
    subject: Name,
    issuer: Name,
    sans: BTreeSet<San>,
    is_ca: bool,
    may_sign: bool,
    extended_key_usages: BTreeSet<ExtendedKeyUsage>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    public_key_info: Vec<u8>,
    key_type: Option<KeyType>,
    uris: BTreeSet<String>,
    limits: Limits,
}

#[derive(Clone, PartialEq, Eq)]
struct Name {
    text: String,
    raw: Vec<u8>,
}

/// Why bytes are not certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("there is no certificate in this PEM text")]
    None,
    #[error("certificate {position} cannot be read: {reason}")]
    Damaged {
        /// Counted from one, in the order of the text.
        position: usize,
        reason: String,
    },
}

impl Certificate {
    /// A certificate in DER, as a TLS peer sends it.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        Self::parse(der, 1)
    }

    pub(super) fn parse(der: &[u8], position: usize) -> Result<Self, CertificateError> {
        let damaged = |reason: String| CertificateError::Damaged { position, reason };
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|error| damaged(error.to_string()))?;
        if !rest.is_empty() {
            return Err(damaged("bytes follow its end".to_owned()));
        }
        // OpenSSL and Go refuse a repeated extension (RFC 5280, section 4.2);
        // a reader of only one of the two would see what they do not.
        parsed
            .extensions_map()
            .map_err(|error| damaged(error.to_string()))?;
        if let Some(broken) =
            parsed
                .iter_extensions()
                .find_map(|extension| match extension.parsed_extension() {
                    ParsedExtension::ParseError { .. } => Some(extension.oid.to_id_string()),
                    _ => None,
                })
        {
            return Err(damaged(format!("extension {broken} is malformed")));
        }
        // RFC 5280, section 4.1.1.2; and what the signature's bits are must not
        // be left to the reader.
        if parsed.signature_algorithm != parsed.tbs_certificate.signature
            || parsed.signature_value.unused_bits != 0
        {
            return Err(damaged("its signature is malformed".to_owned()));
        }
        Ok(Self {
            serial: serial_text(parsed.raw_serial()),
            subject: Name::of(parsed.subject()),
            issuer: Name::of(parsed.issuer()),
            sans: sans_of(&parsed),
            is_ca: parsed.is_ca(),
            may_sign: (parsed.is_ca() && usage_allows_signing(&parsed)) || is_old_root(&parsed),
            extended_key_usages: usages_of(&parsed),
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
            public_key_info: parsed.public_key().raw.to_vec(),
            key_type: key_type_of(parsed.public_key()),
            uris: uris_of(&parsed),
            limits: Limits::of(&parsed),
            der: der.to_vec(),
        })
    }

    /// Upper-case hexadecimal, whole bytes, as `openssl x509 -serial` prints it.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The subject in the manner of RFC 4514, most specific attribute first.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject.text
    }

    /// The subject's DER.
    #[must_use]
    pub fn subject_raw(&self) -> &[u8] {
        &self.subject.raw
    }

    /// The issuer in the manner of RFC 4514, most specific attribute first.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer.text
    }

    /// The issuer's DER.
    #[must_use]
    pub(crate) fn issuer_raw(&self) -> &[u8] {
        &self.issuer.raw
    }

    /// DNS names (in lower case) and addresses of the subjectAltName: what a Docker
    /// client can call a daemon.
    #[must_use]
    pub fn sans(&self) -> &BTreeSet<San> {
        &self.sans
    }

    /// URIs of the subjectAltName.
    #[must_use]
    pub fn uris(&self) -> &BTreeSet<String> {
        &self.uris
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether a CA's certificate limits the names that it signs for (RFC 5280,
    /// section 4.2.1.10).
    #[must_use]
    pub fn limits_names(&self) -> bool {
        self.limits.any_names()
    }

    /// Whether basicConstraints says CA:TRUE.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// Whether it is a CA's, and keyUsage, if there is one, has keyCertSign
    /// (RFC 5280, section 4.2.1.3); or whether it is a self-signed one of
    /// version 1, from before there were extensions.
    #[must_use]
    pub(crate) fn may_sign_certificates(&self) -> bool {
        self.may_sign
    }

    /// Empty where the extension is absent, which allows every usage.
    #[must_use]
    pub fn extended_key_usages(&self) -> &BTreeSet<ExtendedKeyUsage> {
        &self.extended_key_usages
    }

    /// First second of validity, UTC.
    #[must_use]
    pub fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// Last second of validity, UTC.
    #[must_use]
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// `None` for a type this program does not issue.
    #[must_use]
    pub fn key_type(&self) -> Option<KeyType> {
        self.key_type
    }

    /// SHA-256 of the subjectPublicKeyInfo, lower-case hexadecimal.
    #[must_use]
    pub fn public_key_sha256(&self) -> String {
        sha256_hex(&self.public_key_info)
    }

    /// SHA-256 of the DER, lower-case hexadecimal: `openssl x509 -fingerprint
    /// -sha256` without the colons.
    #[must_use]
    pub fn sha256(&self) -> String {
        sha256_hex(&self.der)
    }

    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// One PEM block with 64 columns and LF line ends (RFC 7468).
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem_block(LABEL, &self.der)
    }

    /// Whether `issuer` signed this certificate: its subject is this one's
    /// issuer byte for byte, and the signature verifies with its key. Says
    /// nothing of dates or of whether `issuer` may sign.
    #[must_use]
    pub fn is_signed_by(&self, issuer: &Self) -> bool {
        if self.issuer.raw != issuer.subject.raw {
            return false;
        }
        let (Ok((_, leaf)), Ok((_, key))) = (
            X509Certificate::from_der(&self.der),
            SubjectPublicKeyInfo::from_der(&issuer.public_key_info),
        ) else {
            return false;
        };
        leaf.verify_signature(Some(&key)).is_ok()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("serial", &self.serial)
            .field("subject", &self.subject.text)
            .field("issuer", &self.issuer.text)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Name {
    fn of(name: &X509Name<'_>) -> Self {
        Self {
            text: name_text(name),
            raw: name.as_raw().to_vec(),
        }
    }
}

/// Version 1 has no extensions and cannot say that it is a CA's; OpenSSL and Go
/// accept it where it is trusted itself. `openssl x509 -req -signkey` makes it.
fn is_old_root(certificate: &X509Certificate<'_>) -> bool {
    certificate.version() == X509Version::V1
        && certificate.subject().as_raw() == certificate.issuer().as_raw()
}

fn serial_text(raw: &[u8]) -> String {
    let start = raw.iter().position(|byte| *byte != 0).unwrap_or(raw.len());
    match raw.get(start..) {
        Some([]) | None => "00".to_owned(),
        Some(bytes) => hex(bytes).to_ascii_uppercase(),
    }
}

fn sans_of(certificate: &X509Certificate<'_>) -> BTreeSet<San> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return BTreeSet::new();
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(San::Dns(name.to_ascii_lowercase())),
            GeneralName::IPAddress(bytes) => address_of(bytes).map(San::Ip),
            _ => None,
        })
        .collect()
}

fn uris_of(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return BTreeSet::new();
    };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        })
        .collect()
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|octets| Ipv6Addr::from(octets).into())
}
