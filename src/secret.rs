//! Secret bytes: private keys, passphrases, passwords.
//!
//! Comes in from key generation, prompts and files; goes out to a node's
//! standard input or to a cryptographic function, and nowhere else. The type
//! cannot be printed, logged or serialised, and its memory is zeroed on drop.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes that must never reach argv, an environment, a log or a temp file.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes themselves. Every caller of this is a place to review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The secret as text.
    ///
    /// # Errors
    /// When the bytes are not UTF-8; the error does not carry them.
    pub fn expose_str(&self) -> Result<&str, NotText> {
        std::str::from_utf8(&self.0).map_err(|_| NotText)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
impl Secret {
    /// Bytes that were set aside and not needed.
    pub(crate) fn spare(&self) -> usize {
        self.0.capacity() - self.0.len()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// A secret that was expected to be text is not valid UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is not valid UTF-8 text")]
pub struct NotText;

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        let secret = Secret::from("hunter2-hunter2".to_owned());
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(..) Secret(..)");
    }

    #[test]
    fn text_comes_back_and_other_bytes_are_refused() {
        assert_eq!(Secret::from("geheim".to_owned()).expose_str(), Ok("geheim"));
        assert!(Secret::new(vec![0xff, 0xfe]).expose_str().is_err());
    }
}
