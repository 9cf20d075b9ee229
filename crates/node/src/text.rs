//! Text from other machines, made fit to be shown.

use std::fmt::Write as _;

/// Escapes control characters and invisible or direction-changing ones, so
/// that a node cannot move the cursor, recolour or forge lines on the
/// operator's terminal. Newlines inside become `\n`; the ends are trimmed.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.trim().chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if is_visible(character) => out.push(character),
            _ => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
            }
        }
    }
    out
}

/// Whether a terminal only draws this character.
#[must_use]
pub fn is_visible(character: char) -> bool {
    !character.is_control() && !misleads(character)
}

/// Zero-width, bidirectional and line-separating characters.
fn misleads(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
    )
}

/// The last line that says something, as it may be shown.
pub fn last_words(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    Some(visible(line))
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn a_terminal_sees_no_escape_sequence() {
        assert_eq!(
            visible("\u{1b}[2Jgone\r\nok: forged\u{9b}31m\u{202e}"),
            "\\u{1b}[2Jgone\\r\\nok: forged\\u{9b}31m\\u{202e}"
        );
        assert_eq!(visible(" Grüße \n"), "Grüße");
    }
}
