//! The type of a public key.
//!
//! See RFC 5280, section 4.1.2.7.

use x509_parser::prelude::SubjectPublicKeyInfo;
use x509_parser::public_key::PublicKey;

use super::profile::KeyType;

pub(crate) const OID_P256: &str = "1.2.840.10045.3.1.7";
pub(crate) const OID_P384: &str = "1.3.132.0.34";
pub(crate) const OID_EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
pub(crate) const OID_RSA: &str = "1.2.840.113549.1.1.1";
pub(crate) const OID_ED25519: &str = "1.3.101.112";

/// `None` for a type this program does not issue.
pub(crate) fn key_type_of(key: &SubjectPublicKeyInfo<'_>) -> Option<KeyType> {
    match key.algorithm.algorithm.to_id_string().as_str() {
        OID_ED25519 => Some(KeyType::Ed25519),
        OID_EC_PUBLIC_KEY => {
            let curve = key.algorithm.parameters.as_ref()?.as_oid().ok()?;
            match curve.to_id_string().as_str() {
                OID_P256 => Some(KeyType::EcdsaP256),
                OID_P384 => Some(KeyType::EcdsaP384),
                _ => None,
            }
        }
        OID_RSA => match key.parsed().ok()? {
            PublicKey::RSA(rsa) => match rsa.key_size() {
                2048 => Some(KeyType::Rsa2048),
                3072 => Some(KeyType::Rsa3072),
                4096 => Some(KeyType::Rsa4096),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}
