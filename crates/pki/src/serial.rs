//! Serial numbers.

use std::fmt;

use super::encoding::hex;

/// A certificate's serial number: 128 random bits, positive and of always the
/// same length (RFC 5280, section 4.1.2.2 allows 20 bytes and asks for
/// uniqueness, which randomness gives without a counter to keep).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Serial([u8; 16]);

/// The system gave no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random numbers")]
pub struct NoRandomness;

impl Serial {
    /// A new one from the system's generator.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut bytes = [0; 16];
        // A leading zero byte would be dropped in DER and shorten the text.
        while bytes.first() == Some(&0) {
            aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        }
        Ok(Self(bytes))
    }

    /// A chosen one, for tests. The first byte should not be zero.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Upper-case hexadecimal, as OpenSSL prints a serial.
impl fmt::Display for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&hex(&self.0).to_ascii_uppercase())
    }
}

#[cfg(test)]
mod tests {
    use super::Serial;

    #[test]
    fn serials_differ_and_have_one_length() {
        let one = Serial::random().unwrap();
        let two = Serial::random().unwrap();
        assert_ne!(one, two);
        for serial in [one, two] {
            assert_eq!(serial.to_string().len(), 32);
            assert!(!serial.to_string().starts_with("00"));
        }
    }
}
