//! Shared foundations: secrets, bounded and safe file access, events.

pub mod dumps;
pub mod event;
pub mod file;
pub mod output;
pub mod randomness;
pub mod secret;
pub mod shell;
pub mod wildcard;

/// Bytes as lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
