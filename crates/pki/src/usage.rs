//! What a certificate may be used for.

use std::collections::BTreeSet;
use std::fmt;

use x509_parser::prelude::X509Certificate;

/// What a certificate may be used for (RFC 5280, section 4.2.1.12).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExtendedKeyUsage {
    ServerAuth,
    ClientAuth,
    /// anyExtendedKeyUsage.
    Any,
    /// Any other, as a dotted object identifier.
    Other(String),
}

impl fmt::Display for ExtendedKeyUsage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ServerAuth => "serverAuth",
            Self::ClientAuth => "clientAuth",
            Self::Any => "anyExtendedKeyUsage",
            Self::Other(identifier) => identifier,
        })
    }
}

/// Whether keyUsage, if there is one, has keyCertSign.
pub(crate) fn usage_allows_signing(certificate: &X509Certificate<'_>) -> bool {
    match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// The extended key usages; none where the extension is absent.
pub(crate) fn usages_of(certificate: &X509Certificate<'_>) -> BTreeSet<ExtendedKeyUsage> {
    let Ok(Some(extension)) = certificate.extended_key_usage() else {
        return BTreeSet::new();
    };
    let usage = extension.value;
    let other = [
        (usage.code_signing, "1.3.6.1.5.5.7.3.3"),
        (usage.email_protection, "1.3.6.1.5.5.7.3.4"),
        (usage.time_stamping, "1.3.6.1.5.5.7.3.8"),
        (usage.ocsp_signing, "1.3.6.1.5.5.7.3.9"),
    ];
    let mut usages: BTreeSet<_> = other
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, identifier)| ExtendedKeyUsage::Other(identifier.to_owned()))
        .chain(
            usage
                .other
                .iter()
                .map(|identifier| ExtendedKeyUsage::Other(identifier.to_id_string())),
        )
        .collect();
    for (set, known) in [
        (usage.server_auth, ExtendedKeyUsage::ServerAuth),
        (usage.client_auth, ExtendedKeyUsage::ClientAuth),
        (usage.any, ExtendedKeyUsage::Any),
    ] {
        if set {
            usages.insert(known);
        }
    }
    usages
}
