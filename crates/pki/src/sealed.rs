//! Bytes under a passphrase: the file of `dtls-deploy ca backup`.
//!
//! The block's content: the parameters of scrypt (RFC 7914), log2 of N, r and p in one byte each;
//! 16 bytes of salt; 12 bytes of nonce; then AES-256-GCM (NIST SP 800-38D) over the bytes, its
//! 16-byte tag last, with all that stands before as associated data. docs/adopt.md opens one
//! without this program.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use pkcs5::scrypt;
use zeroize::Zeroizing;

use super::encoding::pem_block;
use base::secret::Secret;

/// The label of the PEM block.
const LABEL: &str = "DTLS-DEPLOY CA BACKUP";
/// 128 MiB for each guess, a third of a second: a backup is opened rarely, and
/// lies where no one watches.
const LOG_N: u8 = 17;
const R: u8 = 8;
const P: u8 = 1;
/// The most that a file may ask for: 1 GiB.
const LARGEST_LOG_N: u8 = 20;
const SALT: usize = 16;
const NONCE: usize = 12;
const HEADER: usize = 3 + SALT + NONCE;

/// Why a sealed file gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    #[error("it is not a file that `dtls-deploy ca backup` has written")]
    Foreign,
    #[error("the passphrase does not open the backup, or the file is damaged")]
    Closed,
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    #[error("the cryptographic library failed")]
    Library,
}

/// Encrypts.
pub fn seal(content: &Secret, passphrase: &Secret) -> Result<String, SealedError> {
    let mut document = vec![LOG_N, R, P];
    let mut random = [0; SALT + NONCE];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| SealedError::Library)?;
    document.extend(random);
    let header = Header::of(&document)?;
    // Made once, so that growing leaves no copy behind.
    let mut body = Zeroizing::new(Vec::with_capacity(content.len() + AES_256_GCM.tag_len()));
    body.extend_from_slice(content.expose());
    let tag = header
        .key(passphrase)?
        .seal_in_place_separate_tag(header.nonce(), Aad::from(&document), body.as_mut_slice())
        .map_err(|_| SealedError::Library)?;
    document.extend_from_slice(&body);
    document.extend_from_slice(tag.as_ref());
    Ok(pem_block(LABEL, &document))
}

/// Decrypts what [`seal`] made.
pub fn unseal(pem: &[u8], passphrase: &Secret) -> Result<Secret, SealedError> {
    let block = ::pem::parse(pem).map_err(|_| SealedError::Foreign)?;
    if block.tag() != LABEL {
        return Err(SealedError::Foreign);
    }
    let (head, body) = block
        .contents()
        .split_at_checked(HEADER)
        .ok_or(SealedError::Foreign)?;
    let header = Header::of(head)?;
    let mut body = Zeroizing::new(body.to_vec());
    let plain = header
        .key(passphrase)?
        .open_in_place(header.nonce(), Aad::from(head), body.as_mut_slice())
        .map_err(|_| SealedError::Closed)?;
    Ok(Secret::new(plain.to_vec()))
}

struct Header {
    cost: scrypt::Params,
    salt: [u8; SALT],
    nonce: [u8; NONCE],
}

impl Header {
    fn of(bytes: &[u8]) -> Result<Self, SealedError> {
        let Some(([log_n, r, p], rest)) = bytes.split_first_chunk::<3>() else {
            return Err(SealedError::Foreign);
        };
        if *log_n > LARGEST_LOG_N || *r > R || *p > 4 {
            return Err(SealedError::Foreign);
        }
        let (salt, rest) = rest
            .split_first_chunk::<SALT>()
            .ok_or(SealedError::Foreign)?;
        let nonce = rest.first_chunk::<NONCE>().ok_or(SealedError::Foreign)?;
        Ok(Self {
            cost: scrypt::Params::new(*log_n, (*r).into(), (*p).into())
                .map_err(|_| SealedError::Foreign)?,
            salt: *salt,
            nonce: *nonce,
        })
    }

    fn nonce(&self) -> Nonce {
        Nonce::assume_unique_for_key(self.nonce)
    }

    /// Every file has a salt, and so a key, of its own.
    fn key(&self, passphrase: &Secret) -> Result<LessSafeKey, SealedError> {
        if passphrase.is_empty() {
            return Err(SealedError::EmptyPassphrase);
        }
        let mut key = Zeroizing::new([0; 32]);
        scrypt::scrypt(
            passphrase.expose(),
            &self.salt,
            &self.cost,
            key.as_mut_slice(),
        )
        .map_err(|_| SealedError::Library)?;
        let key =
            UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| SealedError::Library)?;
        Ok(LessSafeKey::new(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    #[test]
    fn what_is_sealed_opens_with_its_passphrase_alone() {
        let sealed = seal(&secret("the ledger"), &secret("one")).unwrap();
        assert!(!sealed.contains("ledger"));
        assert_eq!(
            unseal(sealed.as_bytes(), &secret("one")).unwrap(),
            secret("the ledger")
        );
        assert_eq!(
            unseal(sealed.as_bytes(), &secret("two")),
            Err(SealedError::Closed)
        );
        assert_ne!(seal(&secret("the ledger"), &secret("one")).unwrap(), sealed);
        assert_eq!(
            seal(&secret("x"), &secret("")),
            Err(SealedError::EmptyPassphrase)
        );
    }

    #[test]
    fn a_file_that_was_changed_or_cut_gives_nothing() {
        let sealed = seal(&secret("the ledger"), &secret("one")).unwrap();
        let whole = ::pem::parse(&sealed).unwrap().into_contents();
        // Of the header only the salt: other costs take their time.
        for at in [3, HEADER - 1, HEADER, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            let text = pem_block(LABEL, &changed);
            assert_eq!(
                unseal(text.as_bytes(), &secret("one")),
                Err(SealedError::Closed),
                "byte {at}"
            );
        }
        for end in [0, 2, HEADER - 1] {
            let text = pem_block(LABEL, &whole[..end]);
            assert!(unseal(text.as_bytes(), &secret("one")).is_err(), "{end}");
        }
        let mut greedy = whole;
        greedy[0] = 40;
        let text = pem_block(LABEL, &greedy);
        assert_eq!(
            unseal(text.as_bytes(), &secret("one")),
            Err(SealedError::Foreign)
        );
    }
}
