//! The traditional encryption of a PEM block: `Proc-Type: 4,ENCRYPTED`.
//!
//! It is read and never written: the passphrase goes through MD5 once, which is no protection worth
//! the name.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockCipherDecrypt, BlockModeDecrypt as _, KeyInit, KeyIvInit as _};
use zeroize::Zeroizing;

use super::key_error::KeyFileError;
use base::secret::Secret;

/// A cipher OpenSSL names in `DEK-Info`, with its initialization vector.
#[derive(Debug)]
pub(crate) struct Cipher {
    kind: Kind,
    vector: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Aes128,
    Aes192,
    Aes256,
    TripleDes,
}

impl Cipher {
    /// What the block's headers say; `None` if it is not encrypted.
    pub(crate) fn of(block: &::pem::Pem) -> Result<Option<Self>, KeyFileError> {
        let malformed = KeyFileError::Damaged("its DEK-Info line is malformed");
        match block.headers().get("Proc-Type") {
            None => return Ok(None),
            Some("4,ENCRYPTED") => {}
            Some(_) => return Err(KeyFileError::Damaged("its Proc-Type line is malformed")),
        }
        let (name, vector) = block
            .headers()
            .get("DEK-Info")
            .and_then(|line| line.split_once(','))
            .ok_or(malformed.clone())?;
        let kind = match name {
            "AES-128-CBC" => Kind::Aes128,
            "AES-192-CBC" => Kind::Aes192,
            "AES-256-CBC" => Kind::Aes256,
            "DES-EDE3-CBC" => Kind::TripleDes,
            // A name that is no name would be text of the file in an error.
            other if other.len() < 32 && other.bytes().all(is_name_byte) => {
                return Err(KeyFileError::UnsupportedCipher(other.to_owned()));
            }
            _ => return Err(malformed),
        };
        let vector = unhex(vector.trim())
            .filter(|bytes| bytes.len() == kind.block())
            .ok_or(malformed)?;
        Ok(Some(Self { kind, vector }))
    }

    pub(crate) fn decrypt(
        &self,
        encrypted: &[u8],
        passphrase: &Secret,
    ) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
        if encrypted.is_empty() || !encrypted.len().is_multiple_of(self.kind.block()) {
            return Err(KeyFileError::Damaged("the encrypted part is cut short"));
        }
        // The first eight bytes of the vector are the salt, whatever the cipher.
        let salt = self.vector.get(..8).unwrap_or_default();
        let key = derive(passphrase.expose(), salt, self.kind.key());
        let mut plain = Zeroizing::new(encrypted.to_vec());
        let length = match self.kind {
            Kind::Aes128 => cbc::<aes::Aes128>(&key, &self.vector, &mut plain),
            Kind::Aes192 => cbc::<aes::Aes192>(&key, &self.vector, &mut plain),
            Kind::Aes256 => cbc::<aes::Aes256>(&key, &self.vector, &mut plain),
            Kind::TripleDes => cbc::<des::TdesEde3>(&key, &self.vector, &mut plain),
        }
        .ok_or(KeyFileError::WrongPassphrase)?;
        plain.truncate(length);
        // One wrong passphrase in 256 leaves a valid padding behind, and then
        // not the frame of a DER sequence.
        if is_sequence(&plain) {
            Ok(plain)
        } else {
            Err(KeyFileError::WrongPassphrase)
        }
    }
}

impl Kind {
    /// Key length in bytes.
    const fn key(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 | Self::TripleDes => 24,
            Self::Aes256 => 32,
        }
    }

    /// Block length in bytes.
    const fn block(self) -> usize {
        match self {
            Self::Aes128 | Self::Aes192 | Self::Aes256 => 16,
            Self::TripleDes => 8,
        }
    }
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round.
fn derive(passphrase: &[u8], salt: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(length + 16));
    let mut block = Zeroizing::new(Vec::new());
    while key.len() < length {
        let mut input = Zeroizing::new(Vec::with_capacity(16 + passphrase.len() + salt.len()));
        input.extend_from_slice(&block);
        input.extend_from_slice(passphrase);
        input.extend_from_slice(salt);
        block = Zeroizing::new(md5::compute(input.as_slice()).0.to_vec());
        key.extend_from_slice(&block);
    }
    key.truncate(length);
    key
}

/// Decrypts in place; the length of what was padded, `None` if the padding is
/// not one.
fn cbc<C: BlockCipherDecrypt + KeyInit>(
    key: &[u8],
    vector: &[u8],
    buffer: &mut [u8],
) -> Option<usize> {
    let decryptor = ::cbc::Decryptor::<C>::new_from_slices(key, vector).ok()?;
    decryptor
        .decrypt_padded::<Pkcs7>(buffer)
        .ok()
        .map(<[u8]>::len)
}

/// Whether the bytes are one DER SEQUENCE from end to end.
fn is_sequence(bytes: &[u8]) -> bool {
    let Some((0x30, rest)) = bytes.split_first() else {
        return false;
    };
    let Some((first, rest)) = rest.split_first() else {
        return false;
    };
    if *first < 0x80 {
        return rest.len() == usize::from(*first);
    }
    let count = usize::from(*first & 0x7f);
    if count > 4 {
        return false;
    }
    rest.split_at_checked(count).is_some_and(|(length, body)| {
        length
            .iter()
            .fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte))
            == body.len()
    })
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        })
        .collect()
}
