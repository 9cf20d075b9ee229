//! Fits text to the terminal: tables that become lists on a narrow terminal, wrapped texts,
//! shortened names.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns between two cells.
const GAP: usize = 2;
/// If the last column is narrower than this, the table becomes a list.
const NARROWEST: usize = 24;
/// Hexadecimal names of at least this many digits are shortened.
const LONG_HEX: usize = 32;

/// One cell: its text, and the colour applied after layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) colour: Option<&'static str>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            colour: None,
        }
    }
}

impl Cell {
    pub(super) fn painted(text: impl Into<String>, colour: &'static str) -> Self {
        Self {
            text: text.into(),
            colour: Some(colour),
        }
    }
}

/// Text with its escape sequences, or without.
pub(super) fn paint(colours: bool, colour: Option<&str>, text: &str) -> String {
    match colour {
        Some(code) if colours && !text.is_empty() => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        _ => text.to_owned(),
    }
}

/// Rows as lines: columns side by side with the last one wrapped, or, if that is too narrow, a list
/// with the last cell below the others.
pub(super) fn table(
    rows: &[Vec<Cell>],
    width: Option<usize>,
    indent: usize,
    colours: bool,
) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or_default();
    let mut widths = vec![0; count];
    for row in rows {
        for (cell, width) in row.iter().zip(&mut widths) {
            *width = (*width).max(cell.text.width());
        }
    }
    let last = widths.pop().unwrap_or_default();
    let before = indent + widths.iter().map(|width| width + GAP).sum::<usize>();
    let room = width.map(|width| width.saturating_sub(before));
    let mut lines = Vec::new();
    for row in rows {
        match room {
            Some(room) if room < NARROWEST.min(last) => {
                stacked(row, width.unwrap_or_default(), indent, colours, &mut lines);
            }
            _ => side_by_side(row, &widths, before, room, indent, colours, &mut lines),
        }
    }
    lines
}

fn side_by_side(
    row: &[Cell],
    widths: &[usize],
    before: usize,
    room: Option<usize>,
    indent: usize,
    colours: bool,
    lines: &mut Vec<String>,
) {
    let mut line = " ".repeat(indent);
    for (cell, width) in row.iter().zip(widths) {
        line.push_str(&paint(colours, cell.colour, &cell.text));
        line.push_str(&" ".repeat(width.saturating_sub(cell.text.width()) + GAP));
    }
    if let Some(cell) = row.get(widths.len()) {
        for (index, piece) in wrap(&cell.text, room).iter().enumerate() {
            if index > 0 {
                lines.push(std::mem::replace(&mut line, " ".repeat(before)));
            }
            line.push_str(&paint(colours, cell.colour, piece));
        }
    }
    lines.push(line);
}

fn stacked(row: &[Cell], width: usize, indent: usize, colours: bool, lines: &mut Vec<String>) {
    let Some((last, before)) = row.split_last() else {
        return;
    };
    let texts: Vec<&str> = before
        .iter()
        .map(|cell| cell.text.as_str())
        .filter(|text| !text.is_empty())
        .collect();
    let room = width.saturating_sub(indent + 2);
    let pad = " ".repeat(indent);
    let mut pieces = wrap(&texts.join("  "), Some(room));
    // A row that continues the last column of the one above.
    pieces.retain(|piece| !piece.is_empty());
    for (index, piece) in pieces.iter().enumerate() {
        let first = before
            .first()
            .filter(|cell| index == 0 && piece.starts_with(cell.text.as_str()));
        lines.push(match first {
            Some(cell) => {
                let rest = piece.get(cell.text.len()..).unwrap_or_default();
                format!("{pad}{}{rest}", paint(colours, cell.colour, &cell.text))
            }
            None if index == 0 => format!("{pad}{piece}"),
            None => format!("{pad}  {piece}"),
        });
    }
    for piece in wrap(&last.text, Some(width.saturating_sub(indent + 4))) {
        if !piece.is_empty() {
            lines.push(format!("{pad}    {}", paint(colours, last.colour, &piece)));
        }
    }
}

/// Lines of at most this many columns, at least one; a longer word is cut, a path after one of its
/// slashes if possible. A command of dtls-deploy stays on one line, whatever its length, so that it
/// can be pasted.
pub(super) fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width.map(|width| width.max(8)) else {
        return vec![text.to_owned()];
    };
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words(text) {
        let wanted = line.width() + usize::from(!line.is_empty()) + word.width();
        if !line.is_empty() && wanted > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        while line.width() > width && !word.starts_with(PROGRAM) {
            let rest = line.split_off(cut(&line, width));
            lines.push(std::mem::replace(&mut line, rest));
        }
    }
    lines.push(line);
    lines
}

/// The beginning of a dtls-deploy command.
const PROGRAM: &str = "dtls-deploy ";
/// Options with a value that hints use.
const WITH_VALUE: [&str; 6] = ["--limit", "-l", "--abandon", "--from", "--to", "-e"];

/// The words of a text; a dtls-deploy command is one word.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some((word, after)) = rest.split_once(' ') {
        let length = if word.ends_with("dtls-deploy") {
            word.len() + command_length(after)
        } else {
            word.len()
        };
        let (word, after) = rest.split_at(length);
        words.push(word);
        let Some(after) = after.strip_prefix(' ') else {
            return words;
        };
        rest = after;
    }
    words.push(rest);
    words
}

/// How much of the text after the program's name belongs to the command: its words, its options
/// with their values, and one path, up to the end of the sentence.
fn command_length(text: &str) -> usize {
    let mut length = 0;
    let mut is_value = false;
    let mut paths = 0;
    for word in text.split(' ') {
        let bare = word.trim_end_matches([';', ',', ':', '.', ')', '`']);
        let is_command = paths == 0
            && !bare.is_empty()
            && bare
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        let is_path = paths == 0 && bare.contains(['.', '/', '\'']);
        if !is_value && !bare.starts_with('-') && !is_command && !is_path {
            break;
        }
        paths += usize::from(is_path && !is_value);
        is_value = WITH_VALUE.contains(&bare);
        length += 1 + word.len();
        if bare.len() < word.len() {
            break;
        }
    }
    length
}

/// The byte offset at which a long word is cut.
fn cut(text: &str, width: usize) -> usize {
    let mut used = 0;
    let mut end = 0;
    let mut slash = None;
    for (index, character) in text.char_indices() {
        used += character.width().unwrap_or_default();
        if used > width && end > 0 {
            break;
        }
        end = index + character.len_utf8();
        if character == '/' && used > width / 2 {
            slash = Some(end);
        }
    }
    slash.unwrap_or(end)
}

/// A path with its long hexadecimal parts shortened, for example the names of docker contexts.
pub(super) fn shorten(text: &str) -> String {
    let is_long_hex =
        |part: &str| part.len() >= LONG_HEX && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split('/')
        .map(|part| match part.get(..4) {
            Some(begin) if is_long_hex(part) => format!("{begin}…"),
            _ => part.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("/")
}

/// The first names of many, and the number of the others.
pub(super) fn some_of(names: &[&str], most: usize) -> String {
    if names.len() <= most + 1 {
        return names.join(", ");
    }
    let shown: Vec<&str> = names.iter().take(most).copied().collect();
    format!(
        "{} and {} more",
        shown.join(", "),
        names.len() - shown.len()
    )
}

pub(super) fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        format!("{count} {word}")
    } else {
        format!("{count} {word}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_wrapped_and_long_words_cut() {
        assert_eq!(wrap("one two three", Some(8)), ["one two", "three"]);
        assert_eq!(wrap("", Some(8)), [""]);
        assert_eq!(
            wrap(
                "/etc/systemd/system/docker.service.d/50-dtls-deploy.conf",
                Some(24)
            ),
            [
                "/etc/systemd/system/",
                "docker.service.d/",
                "50-dtls-deploy.conf"
            ]
        );
        for width in 1..60 {
            for text in ["日本語のパス/とても長い", "a b c d e f g h", "x/y/z"] {
                let lines = wrap(text, Some(width));
                assert!(lines.iter().all(|line| line.width() <= width.max(8)));
                assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
            }
        }
    }

    #[test]
    fn a_command_is_never_broken() {
        let text = "let them go: dtls-deploy rotate --ca inventory.yaml --abandon ci-runner; or run dtls-deploy doctor a.yaml to see";
        assert_eq!(
            wrap(text, Some(30)),
            [
                "let them go:",
                "dtls-deploy rotate --ca inventory.yaml --abandon ci-runner;",
                "or run",
                "dtls-deploy doctor a.yaml to",
                "see"
            ]
        );
        for text in [
            "dtls-deploy",
            "by dtls-deploy and more",
            "run dtls-deploy a.yaml",
        ] {
            assert_eq!(wrap(text, None), [text]);
            assert_eq!(wrap(text, Some(80)), [text]);
        }
    }

    #[test]
    fn names_of_contexts_are_shortened_and_nothing_else() {
        let hex = "3b5b".repeat(16);
        assert_eq!(
            shorten(&format!("~/.docker/contexts/tls/{hex}/docker/key.pem")),
            "~/.docker/contexts/tls/3b5b…/docker/key.pem"
        );
        assert_eq!(
            shorten("/etc/docker/daemon.json"),
            "/etc/docker/daemon.json"
        );
    }

    #[test]
    fn many_names_are_counted() {
        assert_eq!(some_of(&["a", "b", "c", "d"], 3), "a, b, c, d");
        assert_eq!(some_of(&["a", "b", "c", "d", "e"], 3), "a, b, c and 2 more");
    }
}
