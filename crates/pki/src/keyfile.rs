//! Private keys: generated, and kept in a file under a passphrase.

use crate::KeyFileError;
use std::fmt;

use ::pkcs8::PrivateKeyInfoRef;
use ::pkcs8::der::asn1::{AnyRef, UintRef};
use ::pkcs8::der::{self, Decode as _, Reader as _};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RsaKeyPair,
};
use rcgen::{KeyPair, PublicKeyData as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::encoding::{pem_block, sha256_hex};
use super::profile::KeyType;
use super::public_key::{OID_EC_PUBLIC_KEY, OID_ED25519, OID_P256, OID_P384, OID_RSA};
use super::{passphrase, traditional};
use base::secret::Secret;

/// PKCS#8, encrypted (RFC 7468, section 11).
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
/// PKCS#8 in the clear (RFC 7468, section 10).
const PLAIN: &str = "PRIVATE KEY";

/// A private key that can sign. Its bytes are zeroed on drop as far as this
/// program holds them; AWS-LC clears its own copy.
pub struct PrivateKey {
    key_pair: KeyPair,
    key_type: KeyType,
}

impl PrivateKey {
    /// The key as PKCS#8 PEM text without a passphrase: what a node's key file
    /// holds.
    #[must_use]
    pub fn to_pem(&self) -> Secret {
        Secret::from(pem_block(PLAIN, self.key_pair.serialized_der()))
    }

    /// Reads what [`PrivateKey::to_pem`] writes.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyFileError> {
        let block = ::pem::parse(pem).map_err(|_| KeyFileError::Damaged("it is not PEM text"))?;
        if block.tag() != PLAIN {
            return Err(KeyFileError::NoKey);
        }
        read_pkcs8(&Zeroizing::new(block.into_contents()))
    }

    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// SHA-256 of the subjectPublicKeyInfo, as
    /// [`Certificate::public_key_sha256`](super::Certificate::public_key_sha256)
    /// gives it for the certificate of this key.
    #[must_use]
    pub fn public_key_sha256(&self) -> String {
        sha256_hex(&self.key_pair.subject_public_key_info())
    }

    pub(crate) fn key_pair(&self) -> &KeyPair {
        &self.key_pair
    }

    /// From PKCS#8 version 1, the only one OpenSSL 3.0 reads.
    fn from_pkcs8(der: &[u8], key_type: KeyType) -> Result<Self, KeyFileError> {
        let key_pair = KeyPair::from_pkcs8_der_and_sign_algo(&der.into(), algorithm(key_type))
            .map_err(|_| KeyFileError::Damaged("the key does not belong together"))?;
        Ok(Self { key_pair, key_type })
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.key_pair.zeroize();
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PrivateKey")
            .field("key_type", &self.key_type)
            .finish_non_exhaustive()
    }
}

/// How a key of this type signs certificates.
fn algorithm(key_type: KeyType) -> &'static rcgen::SignatureAlgorithm {
    match key_type {
        KeyType::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        KeyType::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => &rcgen::PKCS_RSA_SHA256,
        KeyType::Ed25519 => &rcgen::PKCS_ED25519,
    }
}

/// A new key. RSA takes its time in the caller's thread: about 0.7 s for 4096
/// bits, at times 2 s.
pub fn generate(key_type: KeyType) -> Result<PrivateKey, KeyFileError> {
    let failed = |_| KeyFileError::Library("generate a key");
    let rsa = |size| -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
        let key = RsaKeyPair::generate(size).map_err(failed)?;
        Ok(Zeroizing::new(
            AsDer::as_der(&key).map_err(failed)?.as_ref().to_vec(),
        ))
    };
    let ecdsa = |curve| -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
        let key = EcdsaKeyPair::generate(curve).map_err(failed)?;
        Ok(Zeroizing::new(
            key.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
        ))
    };
    let der = match key_type {
        KeyType::Rsa2048 => rsa(KeySize::Rsa2048)?,
        KeyType::Rsa3072 => rsa(KeySize::Rsa3072)?,
        KeyType::Rsa4096 => rsa(KeySize::Rsa4096)?,
        KeyType::EcdsaP256 => ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING)?,
        KeyType::EcdsaP384 => ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING)?,
        KeyType::Ed25519 => {
            let key = Ed25519KeyPair::generate().map_err(failed)?;
            Zeroizing::new(key.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())
        }
    };
    PrivateKey::from_pkcs8(&der, key_type)
}

/// The key as encrypted PKCS#8 PEM text (RFC 5958, PBES2 of RFC 8018): scrypt
/// (RFC 7914) and AES-256-CBC, which `openssl pkey` opens.
pub fn encrypt(key: &PrivateKey, passphrase: &Secret) -> Result<String, KeyFileError> {
    if passphrase.is_empty() {
        return Err(KeyFileError::EmptyPassphrase);
    }
    let document = passphrase::encrypt(key.key_pair.serialized_der(), passphrase)?;
    Ok(pem_block(ENCRYPTED, &document))
}

/// A key out of the PEM text of an encrypted key file: PKCS#8 with PBES2, as
/// this program and OpenSSL 3 write it, or the traditional form with
/// `Proc-Type: 4,ENCRYPTED` of RFC 1421. Blocks of other kinds, such as the
/// `EC PARAMETERS` of `openssl ecparam`, are passed over.
pub fn decrypt(pem: &[u8], passphrase: &Secret) -> Result<PrivateKey, KeyFileError> {
    let block = key_block(pem)?;
    if block.tag() == ENCRYPTED {
        return read(PLAIN, &passphrase::decrypt(block.contents(), passphrase)?);
    }
    let Some(cipher) = traditional::Cipher::of(&block)? else {
        return Err(KeyFileError::NotEncrypted);
    };
    let der = cipher.decrypt(block.contents(), passphrase)?;
    read(block.tag(), &der)
}

/// A key out of the PEM text of a key file that is not encrypted: PKCS#8, and
/// the PKCS#1 and SEC 1 forms of `openssl genrsa` and `openssl ecparam`.
pub fn unencrypted(pem: &[u8]) -> Result<PrivateKey, KeyFileError> {
    let block = key_block(pem)?;
    if is_block_encrypted(&block)? {
        return Err(KeyFileError::UnsupportedKey("it is encrypted".to_owned()));
    }
    let label = block.tag().to_owned();
    read(&label, &Zeroizing::new(block.into_contents()))
}

/// Whether a key file needs a passphrase.
pub fn is_encrypted(pem: &[u8]) -> Result<bool, KeyFileError> {
    is_block_encrypted(&key_block(pem)?)
}

/// Whether a guess of the passphrase of an encrypted key file costs as much as with
/// what [`encrypt`] writes.
pub(crate) fn is_strong(pem: &[u8]) -> Result<bool, KeyFileError> {
    let block = key_block(pem)?;
    Ok(block.tag() == ENCRYPTED && passphrase::is_strong(block.contents()))
}

fn is_block_encrypted(block: &::pem::Pem) -> Result<bool, KeyFileError> {
    Ok(block.tag() == ENCRYPTED || traditional::Cipher::of(block)?.is_some())
}

/// The first block that holds a private key.
fn key_block(pem: &[u8]) -> Result<::pem::Pem, KeyFileError> {
    ::pem::parse_many(pem)
        .map_err(|_| KeyFileError::Damaged("it is not PEM text"))?
        .into_iter()
        .find(|block| block.tag().ends_with(PLAIN))
        .ok_or(KeyFileError::NoKey)
}

/// A key out of the DER that a block of this label held.
fn read(label: &str, der: &[u8]) -> Result<PrivateKey, KeyFileError> {
    match label {
        "RSA PRIVATE KEY" => {
            let key = RsaKeyPair::from_der(der).map_err(|_| why_no_rsa(der))?;
            let pkcs8 = AsDer::as_der(&key).map_err(|_| KeyFileError::Library("encode a key"))?;
            read_pkcs8(pkcs8.as_ref())
        }
        "EC PRIVATE KEY" => {
            let key = [
                &ECDSA_P256_SHA256_ASN1_SIGNING,
                &ECDSA_P384_SHA384_ASN1_SIGNING,
            ]
            .into_iter()
            .find_map(|curve| EcdsaKeyPair::from_private_key_der(curve, der).ok())
            .ok_or_else(|| {
                KeyFileError::UnsupportedKey("EC, on a curve that is not P-256 or P-384".to_owned())
            })?;
            let pkcs8 = key
                .to_pkcs8v1()
                .map_err(|_| KeyFileError::Library("encode a key"))?;
            read_pkcs8(pkcs8.as_ref())
        }
        PLAIN => read_pkcs8(der),
        other => Err(KeyFileError::UnsupportedKey(other.to_owned())),
    }
}

fn read_pkcs8(der: &[u8]) -> Result<PrivateKey, KeyFileError> {
    let info = PrivateKeyInfoRef::try_from(der)
        .map_err(|_| KeyFileError::Damaged("what it encrypts is not a PKCS#8 key"))?;
    let identifier = info.algorithm.oid.to_string();
    let damaged = KeyFileError::Damaged("the key does not belong together");
    let key_type = match identifier.as_str() {
        OID_RSA => {
            let key =
                RsaKeyPair::from_pkcs8(der).map_err(|_| why_no_rsa(info.private_key.as_bytes()))?;
            match key.public_modulus_len() {
                256 => KeyType::Rsa2048,
                384 => KeyType::Rsa3072,
                512 => KeyType::Rsa4096,
                bytes => {
                    return Err(KeyFileError::UnsupportedKey(format!(
                        "RSA of {} bits",
                        bytes * 8
                    )));
                }
            }
        }
        OID_EC_PUBLIC_KEY => match info.algorithm.parameters_oid().map(|oid| oid.to_string()) {
            Ok(curve) if curve == OID_P256 => KeyType::EcdsaP256,
            Ok(curve) if curve == OID_P384 => KeyType::EcdsaP384,
            Ok(curve) => return Err(KeyFileError::UnsupportedKey(format!("EC on curve {curve}"))),
            Err(_) => return Err(damaged),
        },
        // Version 2 of the format, with the public key, is not what OpenSSL 3.0
        // writes or reads; one that came from elsewhere is written again.
        OID_ED25519 => {
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| damaged)?;
            let der = key
                .to_pkcs8v1()
                .map_err(|_| KeyFileError::Library("encode a key"))?;
            return PrivateKey::from_pkcs8(der.as_ref(), KeyType::Ed25519);
        }
        other => return Err(KeyFileError::UnsupportedKey(format!("algorithm {other}"))),
    };
    PrivateKey::from_pkcs8(der, key_type)
}

/// Why the library does not take an RSA key (PKCS#1): it refuses short ones
/// without a word.
fn why_no_rsa(pkcs1: &[u8]) -> KeyFileError {
    let bytes = AnyRef::from_der(pkcs1).and_then(|outer| {
        outer.sequence(|reader| -> der::Result<_> {
            AnyRef::decode(reader)?;
            let modulus = UintRef::decode(reader)?.as_bytes().len();
            while !reader.is_finished() {
                AnyRef::decode(reader)?;
            }
            Ok(modulus)
        })
    });
    match bytes {
        Ok(bytes) if bytes < 256 => {
            KeyFileError::UnsupportedKey(format!("RSA of {} bits", bytes * 8))
        }
        _ => KeyFileError::Damaged("the RSA key does not belong together"),
    }
}
