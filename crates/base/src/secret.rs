//! Secret bytes: private keys, passphrases, passwords.
//!
//! They are passed only to a node's standard input or to a cryptographic function. The type cannot
//! be printed, logged or serialised. Its memory is zeroed on drop, and is not written to swap as
//! far as `RLIMIT_MEMLOCK` allows.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes that must never reach argv, an environment, a log or a temp file.
#[derive(PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

/// Keeps the pages of a buffer out of swap (mlock(2)). They stay locked, because other secrets may
/// share them and a page's content is freed with it. Beyond the limit, bytes are stored like any
/// others.
#[allow(
    unsafe_code,
    reason = "mlock reads and writes nothing, and the buffer is alive while it is called"
)]
fn lock(bytes: &[u8]) {
    if !bytes.is_empty() {
        // SAFETY: the range is that of a slice that is borrowed for the call.
        let _ = unsafe { rustix::mm::mlock(bytes.as_ptr().cast_mut().cast(), bytes.len()) };
    }
}

impl Clone for Secret {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl Secret {
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        lock(&bytes);
        Self(bytes)
    }

    /// The bytes themselves. Review every caller.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The secret as text.
    ///
    /// # Errors If the bytes are not UTF-8; the error does not contain them.
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

impl Secret {
    /// Bytes that were set aside and not needed.
    #[must_use]
    pub fn spare(&self) -> usize {
        self.0.capacity() - self.0.len()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
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

    /// `VmLck` of `/proc/self/status`, in KiB.
    fn locked() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }

    #[test]
    fn secrets_are_in_locked_memory() {
        let before = locked();
        // More than a page, so that it is not in one that is locked already.
        let secret = Secret::new(vec![7; 64 * 1024]);
        assert!(
            locked() >= before + 60,
            "{before} KiB before, {} KiB after",
            locked()
        );
        let copy = secret.clone();
        assert!(locked() >= before + 120, "{} KiB with a copy", locked());
        drop((secret, copy));
    }

    #[test]
    fn text_comes_back_and_other_bytes_are_refused() {
        assert_eq!(Secret::from("geheim".to_owned()).expose_str(), Ok("geheim"));
        assert!(Secret::new(vec![0xff, 0xfe]).expose_str().is_err());
    }
}
