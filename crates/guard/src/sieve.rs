//! JSON without its long strings: a message of dockerd's carries the body of the
//! request, which decides nothing and is not kept.

/// Bytes of a string that is kept; a longer one becomes an empty one.
const LONGEST_STRING: usize = 64 * 1024;
/// Bytes of a whole message without its long strings.
const LONGEST_MESSAGE: usize = 1024 * 1024;

/// Takes a message as it arrives. What is kept is JSON exactly if the message is.
#[derive(Debug, Default)]
pub struct Sieve {
    kept: Vec<u8>,
    /// Where the content of the current string begins.
    string: Option<usize>,
    is_escaped: bool,
    is_cut: bool,
}

/// The message is too long even without its long strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl Sieve {
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        for byte in bytes {
            self.byte(*byte);
        }
        if self.kept.len() > LONGEST_MESSAGE {
            return Err(TooLong);
        }
        Ok(())
    }

    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    fn byte(&mut self, byte: u8) {
        let Some(start) = self.string else {
            self.kept.push(byte);
            if byte == b'"' {
                self.string = Some(self.kept.len());
                self.is_cut = false;
            }
            return;
        };
        if self.is_escaped {
            self.is_escaped = false;
        } else if byte == b'\\' {
            self.is_escaped = true;
        } else if byte == b'"' {
            self.string = None;
            self.kept.push(byte);
            return;
        }
        if !self.is_cut {
            self.kept.push(byte);
            if self.kept.len() - start > LONGEST_STRING {
                self.kept.truncate(start);
                self.is_cut = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_STRING, Sieve, TooLong};

    fn sieved(text: &str, piece: usize) -> String {
        let mut sieve = Sieve::default();
        for bytes in text.as_bytes().chunks(piece) {
            sieve.take(bytes).unwrap();
        }
        String::from_utf8(sieve.kept().to_vec()).unwrap()
    }

    #[test]
    fn short_strings_stay_and_long_ones_become_empty() {
        let long = "x\\\"\\\\".repeat(LONGEST_STRING / 2);
        let text = format!(r#"{{"a": "b\"\\", "c": "{long}", "d": ["{long}", "e"]}}"#);
        for piece in [1, 7, text.len()] {
            assert_eq!(
                sieved(&text, piece),
                r#"{"a": "b\"\\", "c": "", "d": ["", "e"]}"#
            );
        }
    }

    #[test]
    fn a_string_of_the_longest_length_stays() {
        let text = format!("\"{}\"", "x".repeat(LONGEST_STRING));
        assert_eq!(sieved(&text, 1000), text);
    }

    #[test]
    fn many_short_strings_are_too_long_together() {
        let mut sieve = Sieve::default();
        let text = "\"0123456789\",".repeat(1000);
        let mut taken = (0..1000).map(|_| sieve.take(text.as_bytes()));
        assert!(taken.any(|result| result == Err(TooLong)));
    }
}
