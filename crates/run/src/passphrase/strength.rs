//! How hard a passphrase is to guess.
//!
//! A guess at the CA's key takes about a fifth of a second of one core: 10^8 guesses are seven
//! months of one core, 10^10 sixty years.

use zxcvbn::{Score, zxcvbn};

use base::secret::Secret;

/// More makes no difference: zxcvbn reads 100 characters.
const LOOKED_AT: usize = 100;

/// The rating of a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// Fewer than 10^8 guesses: rejected for a new key.
    TooWeak,
    /// Fewer than 10^10.
    Weak,
    Fine,
}

/// Loads the word lists in a separate thread while a run waits for other machines, so that nothing
/// waits for them.
pub fn prepare() {
    // Without a thread the first rating just takes longer.
    let _ = std::thread::Builder::new().spawn(|| zxcvbn("prepare", &[]));
}

#[must_use]
pub(crate) fn strength(passphrase: &Secret) -> Strength {
    let text = zeroize::Zeroizing::new(
        String::from_utf8_lossy(passphrase.expose())
            .chars()
            .take(LOOKED_AT)
            .collect::<String>(),
    );
    match zxcvbn(&text, &["docker", "dtls", "deploy", "dtls-deploy"]).score() {
        Score::Four => Strength::Fine,
        Score::Three => Strength::Weak,
        _ => Strength::TooWeak,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_guessed_soon_is_too_weak_and_what_is_not_is_fine() {
        for (text, expected) in [
            ("x", Strength::TooWeak),
            ("password", Strength::TooWeak),
            ("12345678901234567890", Strength::TooWeak),
            ("Summer2026!", Strength::TooWeak),
            ("dtls-deploy", Strength::TooWeak),
            (&"a".repeat(4096), Strength::TooWeak),
            ("correct horse", Strength::Weak),
            ("only-for-the-lab", Strength::Fine),
            ("correct horse battery staple", Strength::Fine),
            ("a passphrase of its own", Strength::Fine),
            ("b2iWq0mXh3Tz", Strength::Fine),
        ] {
            let short: String = text.chars().take(20).collect();
            assert_eq!(
                strength(&Secret::from(text.to_owned())),
                expected,
                "{short}"
            );
        }
        let bytes = Secret::new(vec![0xff, 0xfe, 0x00, 0x80]);
        assert_eq!(strength(&bytes), Strength::TooWeak);
    }
}
