//! The syntax of unit files: lines, sections, words, quotes, variables.
//!
//! systemd.syntax(7) and systemd.service(5), "COMMAND LINES", as far as docker units use them.

use std::fmt::Write as _;

/// What separates words, and what a line is trimmed of.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// A file's text without the byte order mark that systemd ignores.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Whether systemd ignores a line.
pub(super) fn is_comment(line: &str) -> bool {
    line.starts_with(['#', ';'])
}

/// Whether a line continues on the next one: it ends with an unescaped backslash.
pub(super) fn is_continued(line: &str) -> bool {
    let before = line.trim_end_matches('\\');
    (line.len() - before.len()) % 2 == 1
}

/// Lines with continuations joined, comments and blank lines dropped.
pub(super) fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = lines_and_comments(text);
    lines.retain(|line| !is_comment(line));
    lines
}

/// Lines with continuations joined, and the comments before each; blank lines dropped.
pub(super) fn lines_and_comments(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    for line in without_mark(text).lines() {
        let trimmed = line.trim_matches(BLANKS);
        // A comment between continued lines does not end the continuation.
        if is_comment(trimmed) {
            lines.push(trimmed.to_owned());
            continue;
        }
        if is_continued(trimmed)
            && let Some(continued) = trimmed.strip_suffix('\\')
        {
            current.push_str(continued);
            current.push(' ');
            continue;
        }
        current.push_str(trimmed);
        lines.push(current.trim_matches(BLANKS).to_owned());
        current.clear();
    }
    lines.push(current.trim_matches(BLANKS).to_owned());
    lines.retain(|line| !line.is_empty());
    lines
}

/// The values of a setting in a section, `[Service]` for instance.
pub(super) fn settings(text: &str, within: &str, wanted: &str) -> Vec<String> {
    let mut section = String::new();
    let mut starts = Vec::new();
    for line in logical_lines(text) {
        if line.starts_with('[') {
            section = line;
        } else if section == within
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == wanted
        {
            starts.push(value.trim_matches(BLANKS).to_owned());
        }
    }
    starts
}

/// Splits a command line into words, quotes and escapes left in place.
pub(super) fn split_words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (_, '\\') => {
                word.push(character);
                word.extend(characters.next());
            }
            (Some(open), _) if character == open => {
                word.push(character);
                quote = None;
            }
            (None, '"' | '\'') => {
                word.push(character);
                quote = Some(character);
            }
            (None, _) if BLANKS.contains(&character) => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(character),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

pub(super) fn unquote(word: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = word
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return inner;
        }
    }
    word
}

/// A word of a command line without its quotes and escapes: systemd.syntax(7), "QUOTING".
/// Specifiers and variables stay.
pub(super) fn plain(word: &str) -> String {
    if word == "\\;" {
        return ";".to_owned();
    }
    unescaped(word, escape)
}

/// The words into which systemd splits a variable's value: a backslash escapes the next character.
pub(super) fn words_of_value(value: &str) -> Vec<String> {
    let next = |text: &str| {
        text.chars()
            .next()
            .map(|next| (next.into(), next.len_utf8()))
    };
    let words = split_words(value);
    words.iter().map(|word| unescaped(word, next)).collect()
}

/// The value of an escape.
enum Escaped {
    Byte(u8),
    Character(char),
}

impl From<char> for Escaped {
    fn from(character: char) -> Self {
        Self::Character(character)
    }
}

/// A word without quotes; `escape` parses what follows a backslash, and returns its length. An
/// unknown escape keeps its backslash.
fn unescaped(word: &str, escape: impl Fn(&str) -> Option<(Escaped, usize)>) -> String {
    let mut text: Vec<u8> = Vec::new();
    let mut quote = None;
    let mut characters = word.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (_, '\\') => {
                if let Some((escaped, length)) = escape(characters.as_str()) {
                    match escaped {
                        Escaped::Byte(byte) => text.push(byte),
                        Escaped::Character(escaped) => push(&mut text, escaped),
                    }
                    let rest = characters.as_str().get(length..).unwrap_or_default();
                    characters = rest.chars();
                } else {
                    text.push(b'\\');
                    if let Some(next) = characters.next() {
                        push(&mut text, next);
                    }
                }
            }
            (Some(open), _) if character == open => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            _ => push(&mut text, character),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn push(text: &mut Vec<u8>, character: char) {
    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The escape after a backslash, as systemd's `cunescape_one` reads it, and its length.
fn escape(text: &str) -> Option<(Escaped, usize)> {
    let number = |from: usize, length: usize, radix: u32| {
        let digits = text.get(from..from + length)?;
        let are_digits = digits.chars().all(|digit| digit.is_digit(radix));
        let value = u32::from_str_radix(digits, radix).ok()?;
        (are_digits && value != 0).then_some((value, from + length))
    };
    let byte = |(value, length)| Some((Escaped::Byte(u8::try_from(value).ok()?), length));
    let character = |(value, length)| Some((char::from_u32(value)?.into(), length));
    let one = |escaped: char| Some((escaped.into(), 1));
    match text.chars().next()? {
        'a' => one('\u{7}'),
        'b' => one('\u{8}'),
        'f' => one('\u{c}'),
        'n' => one('\n'),
        'r' => one('\r'),
        't' => one('\t'),
        'v' => one('\u{b}'),
        's' => one(' '),
        same @ ('\\' | '"' | '\'') => one(same),
        'x' => number(1, 2, 16).and_then(byte),
        'u' => number(1, 4, 16).and_then(character),
        'U' => number(1, 8, 16).and_then(character),
        '0'..='7' => number(0, 3, 8).and_then(byte),
        _ => None,
    }
}

/// A word in the form for a unit file, so that [`plain`] and systemd read the same word.
pub(super) fn written(word: &str) -> String {
    let is_plain = |letter: char| {
        letter.is_ascii_alphanumeric() || "_-./:=,@+~^$(){}[]*?&|<>#!%".contains(letter)
    };
    if word == ";" {
        return "\\;".to_owned();
    }
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let mut text = String::from('"');
    for letter in word.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            _ if letter.is_control() => {
                let _ = write!(text, "\\u{:04x}", u32::from(letter));
            }
            _ => text.push(letter),
        }
    }
    text.push('"');
    text
}

/// The name in `$NAME` or `${NAME}` as a whole word.
pub(super) fn variable_of(word: &str) -> Option<String> {
    let word = plain(word);
    let name = word.strip_prefix('$')?;
    let inner = name
        .strip_prefix('{')
        .and_then(|inner| inner.strip_suffix('}'));
    Some(inner.unwrap_or(name).to_owned())
}

pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
