//! The certificates of a PEM file, and nothing else of it.
//!
//! Whatever stands beside them stays behind: comments, the text of `openssl x509 -text`, blocks of
//! other kinds. A private key among them is reported. Every CA file goes through here before it is
//! kept, delivered or shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::certificate::{Certificate, CertificateError};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// What a CA file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    certificates: Vec<Certificate>,
    private_key: bool,
}

impl Bundle {
    /// Reads a CA file. A certificate that stands in it twice counts once.
    pub fn read(bytes: &[u8]) -> Result<Self, CertificateError> {
        let mut certificates: Vec<Certificate> = Vec::new();
        for certificate in certificates_of(bytes)? {
            if !certificates.contains(&certificate) {
                certificates.push(certificate);
            }
        }
        Ok(Self {
            certificates,
            private_key: has_private_key(bytes),
        })
    }

    /// At least one, in the order of the file.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Whether a private key was in the file, encrypted or not, whole or in part.
    #[must_use]
    pub fn has_private_key(&self) -> bool {
        self.private_key
    }

    /// The certificates alone.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.certificates.iter().map(Certificate::to_pem).collect()
    }
}

/// How an operator takes a private key out of a file of CA certificates on a daemon or a client;
/// `path` is absolute.
#[must_use]
pub fn private_key_hint(path: &str) -> String {
    format!(
        "{}; if others could read the file and the key is this host's own, renew it then: \
         dtls-deploy rotate --force INVENTORY",
        certificates_alone(path)
    )
}

/// The same of the CA's own file: the key in it is taken for the CA's.
#[must_use]
pub fn ca_key_hint(path: &str) -> String {
    format!(
        "{}; if others could read the file, replace the CA then: dtls-deploy rotate --ca INVENTORY",
        certificates_alone(path)
    )
}

fn certificates_alone(path: &str) -> String {
    format!(
        "keep only the certificates: sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END \
         CERTIFICATE-----/p' {path} >{path}.new && chmod 0444 {path}.new && mv {path}.new {path}"
    )
}

/// Whether the first or last line of a private key's PEM block is anywhere in these
/// bytes.
#[must_use]
pub fn has_private_key(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'\n').any(|line| {
        let line = String::from_utf8_lossy(line);
        line.contains("PRIVATE KEY") && (line.contains("BEGIN ") || line.contains("END "))
    })
}

impl Certificate {
    /// The first certificate of a PEM text.
    pub fn from_pem(text: &[u8]) -> Result<Self, CertificateError> {
        Self::bundle_from_pem(text)?
            .into_iter()
            .next()
            .ok_or(CertificateError::None)
    }

    /// Every certificate of a PEM text, in its order; blocks of other kinds
    /// and text between blocks are passed over. At least one.
    pub fn bundle_from_pem(text: &[u8]) -> Result<Vec<Self>, CertificateError> {
        certificates_of(text)
    }
}

/// Every certificate of a PEM text, as Go's `AppendCertsFromPEM` and so dockerd finds
/// them: blocks that begin at the start of a line and have no headers.
pub fn certificates_of(bytes: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
    let mut found = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    let damaged = |found: &[Certificate], reason: &str| CertificateError::Damaged {
        position: found.len() + 1,
        reason: reason.to_owned(),
    };
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_end();
        match open.as_mut() {
            None if line == BEGIN.as_bytes() => open = Some(Vec::new()),
            None => {}
            Some(body) if line == END.as_bytes() => {
                let der = STANDARD
                    .decode(&*body)
                    .map_err(|_| damaged(&found, "it is not base64"))?;
                found.push(Certificate::parse(&der, found.len() + 1)?);
                open = None;
            }
            Some(_) if line.starts_with(b"-----") => {
                return Err(damaged(&found, "another block begins before its end"));
            }
            Some(body) => body.extend(line.trim_ascii_start()),
        }
    }
    if open.is_some() {
        return Err(damaged(&found, "its last line is missing"));
    }
    if found.is_empty() {
        return Err(CertificateError::None);
    }
    Ok(found)
}
