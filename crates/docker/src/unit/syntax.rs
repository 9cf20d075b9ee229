//! The syntax of unit files: lines, sections, words, quotes, variables.
//!
//! systemd.syntax(7) and systemd.service(5), "COMMAND LINES", as far as a docker unit uses them.

/// A file's text without the byte order mark that systemd skips at its beginning.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Whether a line says nothing to systemd.
pub(super) fn is_comment(line: &str) -> bool {
    line.starts_with(['#', ';'])
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
        let trimmed = line.trim();
        // A comment between continued lines does not end the continuation.
        if is_comment(trimmed) {
            lines.push(trimmed.to_owned());
            continue;
        }
        if let Some(continued) = trimmed.strip_suffix('\\') {
            current.push_str(continued);
            current.push(' ');
            continue;
        }
        current.push_str(trimmed);
        if !current.trim().is_empty() {
            lines.push(current.trim().to_owned());
        }
        current.clear();
    }
    if !current.trim().is_empty() {
        lines.push(current.trim().to_owned());
    }
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
            starts.push(value.trim().to_owned());
        }
    }
    starts
}

/// Splits a command line into words, quotes left in place.
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
            (None, _) if character.is_whitespace() => {
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

/// `$NAME` or `${NAME}` as a whole word.
pub(super) fn variable_of(word: &str) -> Option<&str> {
    let name = unquote(word).strip_prefix('$')?;
    Some(
        name.strip_prefix('{')
            .and_then(|inner| inner.strip_suffix('}'))
            .unwrap_or(name),
    )
}

pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
