//! Why a key file gives no key.

/// Why a key file gives no key. No text of these carries any of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    #[error("there is no private key in this file")]
    NoKey,
    #[error("the private key is not encrypted")]
    NotEncrypted,
    #[error("the passphrase does not open the key")]
    WrongPassphrase,
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    #[error("the key file is damaged: {0}")]
    Damaged(&'static str),
    #[error("the key is encrypted with {0}, which is not supported")]
    UnsupportedCipher(String),
    #[error("the key is of a type that is not supported: {0}")]
    UnsupportedKey(String),
    #[error("the cryptographic library failed to {0}")]
    Library(&'static str),
}

impl KeyFileError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoKey | Self::Damaged(_) => Some("restore the CA key from your backup"),
            Self::NotEncrypted => Some(
                "put it under a passphrase: dtls-deploy adopt INVENTORY encrypts it where it lies",
            ),
            Self::WrongPassphrase => Some(
                "use the passphrase that was chosen when this CA was created; dtls-deploy check-access INVENTORY tests it",
            ),
            Self::EmptyPassphrase => Some("the CA key is always kept under a passphrase"),
            Self::UnsupportedCipher(_) => Some(
                "encrypt it again: openssl pkcs8 -topk8 -v2 aes256 -in ca-key.pem -out ca-key.new \
                 && mv ca-key.new ca-key.pem",
            ),
            Self::UnsupportedKey(_) => {
                Some("RSA of 2048, 3072 or 4096 bits, ECDSA on P-256 or P-384, and Ed25519 are")
            }
            Self::Library(_) => None,
        }
    }
}
