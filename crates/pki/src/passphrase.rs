//! PKCS#8 under a passphrase: PBES2 of RFC 8018, section 6.2.
//!
//! What is read is checked before the library sees it, because it panics on parameters it does not
//! expect, and a key file may be damaged.

use ::pkcs8::der::asn1::{AnyRef, OctetStringRef};
use ::pkcs8::der::{self, Decode as _, Encode as _, Reader as _};
use ::pkcs8::{
    AlgorithmIdentifierRef, EncryptedPrivateKeyInfoRef, ObjectIdentifier, PrivateKeyInfoRef,
};
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use pkcs5::{pbes2, scrypt};
use zeroize::Zeroizing;

use super::key_error::KeyFileError;
use base::secret::Secret;

/// As much as `openssl pkey` opens. OpenSSL gives scrypt 32 MiB (`SCRYPT_MAX_MEM`,
/// `crypto/evp/pbe_scrypt.c`; tried with 3.0.19), and no option of its tools
/// raises it, so that N = 2^17 with r = 8, which needs 128 MiB, cannot be had in a
/// PKCS#8 file: only the backup has it. N = 2^14 with r = 15 needs 30 MiB, and p = 4
/// makes N·r·p, the work of a guess, that of N = 2^17, r = 8, p = 1. A guess takes
/// about a fifth of a second of one core, 2.2 times as long as with the r = 8, p = 3 of
/// earlier versions, and an attacker's hardware has to find the memory for each.
const SCRYPT_LOG_N: u8 = 14;
const SCRYPT_R: u32 = 15;
const SCRYPT_P: u32 = 4;

/// The most memory a key file may make scrypt ask for, in bytes.
const SCRYPT_MEMORY: u64 = 1 << 30;
/// The longest salt the library holds, in bytes.
const SALT: usize = 32;

/// The PKCS#8 key, encrypted with AES-256-CBC. What was made is read and decrypted again before
/// it is given out. The key derivation, which is meant to be slow, is done once for both.
pub(crate) fn encrypt(pkcs8: &[u8], passphrase: &Secret) -> Result<Vec<u8>, KeyFileError> {
    let failed = || KeyFileError::Library("encrypt the key");
    PrivateKeyInfoRef::try_from(pkcs8).map_err(|_| failed())?;
    let (mut salt, mut vector) = ([0; 16], [0; 16]);
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| failed())?;
    aws_lc_rs::rand::fill(&mut vector).map_err(|_| failed())?;
    let cost = scrypt::Params::new(SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P).map_err(|_| failed())?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(passphrase.expose(), &salt, &cost, key.as_mut()).map_err(|_| failed())?;
    let parameters =
        pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, vector).map_err(|_| failed())?;
    let encryptor = cbc::Encryptor::<aes::Aes256>::new(&(*key).into(), &vector.into());
    let encrypted = encryptor.encrypt_padded_vec::<Pkcs7>(pkcs8);
    let info = EncryptedPrivateKeyInfoRef {
        encryption_algorithm: parameters.into(),
        encrypted_data: OctetStringRef::new(&encrypted).map_err(|_| failed())?,
    };
    let document = info.to_der().map_err(|_| failed())?;

    check(&document)?;
    let read = EncryptedPrivateKeyInfoRef::from_der(&document).map_err(|_| failed())?;
    let decryptor = cbc::Decryptor::<aes::Aes256>::new(&(*key).into(), &vector.into());
    let plain = decryptor.decrypt_padded_vec::<Pkcs7>(read.encrypted_data.as_bytes());
    let plain = Zeroizing::new(plain.map_err(|_| failed())?);
    if read.encryption_algorithm != info.encryption_algorithm || *plain != pkcs8 {
        return Err(failed());
    }
    Ok(document)
}

/// The PKCS#8 key out of its encryption.
pub(crate) fn decrypt(
    encrypted: &[u8],
    passphrase: &Secret,
) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    check(encrypted)?;
    let info = EncryptedPrivateKeyInfoRef::from_der(encrypted)
        .map_err(|_| KeyFileError::Damaged("the encryption's parameters are malformed"))?;
    let plain = info
        .encryption_algorithm
        .decrypt(passphrase.expose(), info.encrypted_data.as_bytes())
        .map(Zeroizing::new)
        .map_err(|error| match error {
            pkcs5::Error::DecryptFailed => KeyFileError::WrongPassphrase,
            pkcs5::Error::UnsupportedAlgorithm { oid } => unsupported(oid),
            _ => KeyFileError::Damaged("the encryption's parameters are out of range"),
        })?;
    // One wrong passphrase in 256 leaves a valid padding behind.
    PrivateKeyInfoRef::try_from(plain.as_slice()).map_err(|_| KeyFileError::WrongPassphrase)?;
    Ok(plain)
}

/// Whether the library can be given this: every algorithm known, and every
/// parameter of a size it expects.
fn check(encrypted: &[u8]) -> Result<(), KeyFileError> {
    let malformed = |_| KeyFileError::Damaged("it is not an encrypted PKCS#8 key");
    let (scheme, data) = AnyRef::from_der(encrypted)
        .and_then(|outer| {
            outer.sequence(|reader| -> der::Result<_> {
                Ok((
                    AlgorithmIdentifierRef::decode(reader)?,
                    <&OctetStringRef>::decode(reader)?,
                ))
            })
        })
        .map_err(malformed)?;
    if scheme.oid != pbes2::PBES2_OID {
        return Err(unsupported(scheme.oid));
    }
    let (derivation, cipher) = scheme
        .parameters
        .ok_or(KeyFileError::Damaged(
            "the encryption's parameters are missing",
        ))?
        .sequence(|reader| -> der::Result<_> {
            Ok((
                AlgorithmIdentifierRef::decode(reader)?,
                AlgorithmIdentifierRef::decode(reader)?,
            ))
        })
        .map_err(malformed)?;
    let block = check_cipher(&cipher)?;
    if data.as_bytes().is_empty() || !data.as_bytes().len().is_multiple_of(block) {
        return Err(KeyFileError::Damaged("the encrypted part is cut short"));
    }
    check_derivation(&derivation)
}

/// The cipher's block size in bytes, 1 for a stream.
fn check_cipher(cipher: &AlgorithmIdentifierRef<'_>) -> Result<usize, KeyFileError> {
    let (vector, block) = match cipher.oid {
        pbes2::AES_128_CBC_OID | pbes2::AES_192_CBC_OID | pbes2::AES_256_CBC_OID => (16, 16),
        pbes2::DES_EDE3_CBC_OID => (8, 8),
        other => return Err(unsupported(other)),
    };
    let length = cipher
        .parameters
        .and_then(|parameters| parameters.decode_as::<&OctetStringRef>().ok())
        .map(|octets| octets.as_bytes().len());
    if length == Some(vector) {
        Ok(block)
    } else {
        Err(KeyFileError::Damaged(
            "the initialization vector is malformed",
        ))
    }
}

/// Whether a guess of the passphrase costs as much as with what [`encrypt`] writes.
pub(crate) fn is_strong(encrypted: &[u8]) -> bool {
    if check(encrypted).is_err() {
        return false;
    }
    let read = AnyRef::from_der(encrypted).and_then(|outer| {
        outer.sequence(|reader| -> der::Result<_> {
            let scheme = AlgorithmIdentifierRef::decode(reader)?;
            AnyRef::decode(reader)?;
            Ok(scheme)
        })
    });
    let Some(parameters) = read.ok().and_then(|scheme| scheme.parameters) else {
        return false;
    };
    let Ok(parameters) = parameters.decode_as::<pbes2::Parameters>() else {
        return false;
    };
    let Some(cost) = parameters.kdf.scrypt() else {
        return false;
    };
    let memory = cost.cost_parameter.saturating_mul(cost.block_size.into());
    let own = (1 << SCRYPT_LOG_N) * u64::from(SCRYPT_R);
    let is_aes256 = matches!(
        parameters.encryption,
        pbes2::EncryptionScheme::Aes256Cbc { .. }
    );
    is_aes256
        && memory >= own
        && memory.saturating_mul(cost.parallelization.into()) >= own * u64::from(SCRYPT_P)
}

fn check_derivation(derivation: &AlgorithmIdentifierRef<'_>) -> Result<(), KeyFileError> {
    let malformed = KeyFileError::Damaged("the key derivation's parameters are malformed");
    let parameters = derivation.parameters.ok_or(malformed.clone())?;
    let (salt, memory) = match derivation.oid {
        pbes2::PBKDF2_OID => parameters
            .sequence(|reader| -> der::Result<_> {
                let salt = <&OctetStringRef>::decode(reader)?.as_bytes().len();
                while !reader.is_finished() {
                    AnyRef::decode(reader)?;
                }
                Ok((salt, Some(0)))
            })
            .map_err(|_| malformed.clone())?,
        pbes2::SCRYPT_OID => parameters
            .sequence(|reader| -> der::Result<_> {
                let salt = <&OctetStringRef>::decode(reader)?.as_bytes().len();
                let cost = u64::decode(reader)?;
                let size = u64::decode(reader)?;
                while !reader.is_finished() {
                    AnyRef::decode(reader)?;
                }
                let memory = cost
                    .checked_mul(size)
                    .and_then(|product| product.checked_mul(128))
                    .filter(|_| cost.is_power_of_two() && size > 0);
                Ok((salt, memory))
            })
            .map_err(|_| malformed.clone())?,
        other => return Err(unsupported(other)),
    };
    match memory {
        None => Err(malformed),
        Some(bytes) if bytes > SCRYPT_MEMORY => Err(KeyFileError::UnsupportedCipher(format!(
            "scrypt that needs {} MiB",
            bytes >> 20
        ))),
        Some(_) if salt > SALT => Err(KeyFileError::UnsupportedCipher(format!(
            "a salt of {salt} bytes"
        ))),
        Some(_) => Ok(()),
    }
}

fn unsupported(identifier: ObjectIdentifier) -> KeyFileError {
    let text = identifier.to_string();
    let name = match text.as_str() {
        "1.2.840.113549.1.5.3" => "pbeWithMD5AndDES-CBC",
        "1.2.840.113549.1.5.10" => "pbeWithSHA1AndDES-CBC",
        "1.2.840.113549.1.12.1.1" => "pbeWithSHA1And128BitRC4",
        "1.2.840.113549.1.12.1.3" => "pbeWithSHA1And3-KeyTripleDES-CBC",
        "1.2.840.113549.1.12.1.6" => "pbeWithSHA1And40BitRC2-CBC",
        "1.3.14.3.2.7" => "DES-CBC",
        "1.2.392.200011.61.1.1.1.2" => "CAMELLIA-128-CBC",
        "1.2.392.200011.61.1.1.1.3" => "CAMELLIA-192-CBC",
        "1.2.392.200011.61.1.1.1.4" => "CAMELLIA-256-CBC",
        "1.2.410.200046.1.1.2" => "ARIA-128-CBC",
        "1.2.410.200046.1.1.12" => "ARIA-256-CBC",
        "1.2.840.113549.3.2" => "RC2-CBC",
        other => return KeyFileError::UnsupportedCipher(format!("algorithm {other}")),
    };
    KeyFileError::UnsupportedCipher(name.to_owned())
}
