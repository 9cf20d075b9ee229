//! Words of a POSIX shell.

/// `text` as one word of a POSIX shell, byte for byte.
///
/// Inside single quotes a shell interprets nothing at all, newlines and
/// backslashes included; only the quote itself has to be taken out.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(quoted_length(text));
    push_quoted(&mut quoted, text);
    quoted
}

#[must_use]
pub fn quoted_length(text: &str) -> usize {
    text.len() + 2 + 3 * text.bytes().filter(|byte| *byte == b'\'').count()
}

pub fn push_quoted(quoted: &mut String, text: &str) {
    quoted.push('\'');
    for (index, piece) in text.split('\'').enumerate() {
        if index > 0 {
            quoted.push_str("'\\''");
        }
        quoted.push_str(piece);
    }
    quoted.push('\'');
}
