//! A certificate's serial number, in the one form in which two are compared.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// RFC 5280 allows 20 bytes; some CAs use a few more.
const MOST_DIGITS: usize = 64;

/// Upper-case hexadecimal, whole bytes, no leading zero byte: as the ledger and
/// `openssl x509 -serial` write it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(String);

impl Serial {
    /// From the content of the DER integer.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let digits = bytes.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02X}");
            text
        });
        Self::of_digits(&digits)
    }

    /// From hexadecimal, with or without colons.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|letter| *letter != ':').collect();
        let is_hexadecimal = digits.chars().all(|digit| digit.is_ascii_hexdigit());
        let is_sized = (1..=MOST_DIGITS).contains(&digits.len());
        (is_hexadecimal && is_sized).then(|| Self::of_digits(&digits.to_ascii_uppercase()))
    }

    fn of_digits(digits: &str) -> Self {
        let digits = digits.trim_start_matches('0');
        Self(match digits.len() {
            0 => "00".to_owned(),
            odd if odd % 2 == 1 => format!("0{digits}"),
            _ => digits.to_owned(),
        })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Serial {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| "a serial number is 1 to 64 hexadecimal digits".to_owned())
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.0
    }
}

#[cfg(test)]
mod tests {
    use super::Serial;

    #[test]
    fn one_number_has_one_form() {
        for text in ["a1b", "0A1B", "00:0a:1B", "000a1b"] {
            assert_eq!(Serial::parse(text).unwrap().as_str(), "0A1B", "{text}");
        }
        assert_eq!(Serial::from_bytes(&[0, 0x0A, 0x1B]).as_str(), "0A1B");
        assert_eq!(Serial::from_bytes(&[0]), Serial::parse("0").unwrap());
    }

    #[test]
    fn other_texts_are_no_serials() {
        for text in ["", ":", "xyz", "0x12", "-1", &"1".repeat(65)] {
            assert_eq!(Serial::parse(text), None, "{text}");
        }
    }
}
