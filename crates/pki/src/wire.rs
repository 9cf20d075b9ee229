//! Messages as lines of JSON, in buffers that are zeroed.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// The longest line, in bytes: ten thousand leaves with RSA keys fit.
const LONGEST: usize = 128 << 20;

/// Bytes that may contain a secret: zeroed on drop, and also where a growing
/// buffer moves, which `Vec` alone would leave behind.
#[derive(Default)]
pub(crate) struct SecretBuffer(Zeroizing<Vec<u8>>);

impl SecretBuffer {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * self.0.capacity())));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }
}

impl io::Write for SecretBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One message as a line, its end included.
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<SecretBuffer> {
    let mut line = SecretBuffer::default();
    serde_json::to_writer(&mut line, message)?;
    line.extend(b"\n");
    Ok(line)
}

/// One message out of a line. The error says where and what was expected, and
/// nothing of the content.
pub(crate) fn decode<T: DeserializeOwned>(line: &SecretBuffer) -> Result<T, String> {
    serde_json::from_slice(line.as_bytes()).map_err(|error| {
        format!(
            "{} at column {} of the line",
            match error.classify() {
                serde_json::error::Category::Io => "it could not be read",
                serde_json::error::Category::Syntax => "it is not JSON",
                serde_json::error::Category::Data => "it is no message of this protocol",
                serde_json::error::Category::Eof => "it ends too early",
            },
            error.column()
        )
    })
}

/// Cuts a stream of bytes into lines.
#[derive(Default)]
pub(crate) struct Lines {
    buffer: SecretBuffer,
    /// How far the buffer has been searched for the end of a line.
    searched: usize,
}

impl Lines {
    /// The next whole line, without its end.
    pub(crate) fn next_line(&mut self) -> Option<SecretBuffer> {
        let bytes = self.buffer.as_bytes();
        let unsearched = bytes.get(self.searched..).unwrap_or_default();
        let Some(position) = unsearched.iter().position(|byte| *byte == b'\n') else {
            self.searched = bytes.len();
            return None;
        };
        let (line, rest) = bytes.split_at_checked(self.searched + position)?;
        let mut first = SecretBuffer::default();
        first.extend(line);
        let mut remaining = SecretBuffer::default();
        remaining.extend(rest.get(1..).unwrap_or_default());
        self.buffer = remaining;
        self.searched = 0;
        Some(first)
    }

    /// More bytes of the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.as_bytes().len() + bytes.len() > LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a message is longer than any of this protocol",
            ));
        }
        self.buffer.extend(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_however_the_bytes_arrive() {
        let text = b"{\"one\":1}\n{}\n\nlast";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut seen = Vec::new();
            for piece in text.chunks(size) {
                lines.push(piece).unwrap();
                while let Some(line) = lines.next_line() {
                    seen.push(String::from_utf8(line.as_bytes().to_vec()).unwrap());
                }
            }
            assert_eq!(seen, ["{\"one\":1}", "{}", ""], "pieces of {size}");
        }
    }

    #[test]
    fn an_error_repeats_nothing_of_the_line() {
        let mut line = SecretBuffer::default();
        line.extend(br#"{"hunter2":"hunter2"}"#);
        let error = decode::<super::super::protocol::Request>(&line).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
