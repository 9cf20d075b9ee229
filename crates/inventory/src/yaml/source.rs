//! The texts of an inventory, and positions in them.
//!
//! Every part of the parsed tree carries a [`Span`] of a file or `-e` argument. For an error, gives
//! the text as it may be shown: without secrets, and with control characters made visible.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A piece of one source, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub(crate) source: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// One file, or one `-e` argument.
#[derive(Debug)]
pub(crate) struct Source {
    /// The path as it was given or found, or `-e` for an argument.
    pub(crate) name: String,
    pub(crate) text: String,
    /// It parsed as the expected kind of file, so parts of it may be shown: any other file may be a
    /// private key behind a link.
    recognized: bool,
    hidden: Vec<Range<usize>>,
    /// What may be a secret, line by line.
    suspected: Vec<Range<usize>>,
}

/// Every text that was read, in the order of reading.
#[derive(Debug, Default)]
pub struct Sources {
    list: Vec<Source>,
    /// The secrets themselves, which are also removed from messages: an alias can copy one to a
    /// variable that is not secret.
    secrets: BTreeSet<String>,
}

impl Sources {
    /// Stores a text and returns the number in its spans.
    pub fn add(&mut self, name: &str, text: String) -> usize {
        let suspected = secret_looking(&text);
        self.list.push(Source {
            name: shown(name),
            text,
            recognized: false,
            hidden: Vec::new(),
            suspected,
        });
        self.list.len() - 1
    }

    /// Whether it is an argument of `-e`.
    pub(crate) fn is_argument(&self, span: Span) -> bool {
        self.get(span.source)
            .is_some_and(|source| source.name == "-e")
    }

    pub(crate) fn get(&self, source: usize) -> Option<&Source> {
        self.list.get(source)
    }

    /// The text is of the expected kind: parts of it may be shown from now on.
    pub fn recognize(&mut self, source: usize) {
        if let Some(source) = self.list.get_mut(source) {
            source.recognized = true;
        }
    }

    /// Removes a secret, and the place where it is written, from everything shown. Its exact place
    /// replaces the suspected one.
    pub(crate) fn hide(&mut self, span: Span, secret: &str) {
        // Shorter ones are part of many other words.
        if secret.trim().len() >= 4 {
            self.secrets.insert(secret.trim().to_owned());
        }
        if let Some(source) = self.list.get_mut(span.source) {
            source.suspected.retain(|range| {
                let found_in_it = (range.start..range.end).contains(&span.start);
                let around_it = span.start <= range.start && range.end <= span.end;
                !found_in_it && !around_it
            });
            source.hidden.push(span.start..span.end);
        }
    }
}

impl Sources {
    pub(crate) fn without_secrets(&self, message: String) -> String {
        self.secrets.iter().fold(message, |message, secret| {
            if message.contains(secret.as_str()) {
                message.replace(secret.as_str(), "[hidden]")
            } else {
                message
            }
        })
    }
}

/// A source as it may be shown.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) text: String,
    length: usize,
    /// Where the two texts diverge: (byte in the original, byte in the shown).
    steps: BTreeMap<usize, usize>,
}

impl Shown {
    /// The place in the shown text of a byte of the original.
    pub(crate) fn position(&self, original: usize) -> usize {
        let (from, to) = self
            .steps
            .range(..=original)
            .next_back()
            .map_or((0, 0), |(from, to)| (*from, *to));
        let next = self
            .steps
            .range(original + 1..)
            .next()
            .map_or(self.length, |(_, to)| *to);
        (to + (original - from)).min(next)
    }
}

impl Source {
    pub(crate) fn is_recognized(&self) -> bool {
        self.recognized
    }

    /// One-based line and column (in characters) of a byte.
    pub(crate) fn line_and_column(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(start..).unwrap_or("").chars().count() + 1;
        (line, column)
    }

    /// The text without its secrets, line for line the same.
    pub(crate) fn shown(&self) -> Shown {
        let mut shown = Shown {
            text: String::with_capacity(self.text.len()),
            length: 0,
            steps: BTreeMap::new(),
        };
        let mut ranges = merged(&[self.hidden.as_slice(), &self.suspected].concat())
            .into_iter()
            .peekable();
        let mut announced = false;
        let mut diverged = false;
        for (byte, character) in self.text.char_indices() {
            while ranges.next_if(|range| range.end <= byte).is_some() {
                announced = false;
            }
            if ranges.peek().is_some_and(|range| range.start <= byte) {
                if !announced {
                    shown.steps.insert(byte, shown.text.len());
                    shown.text.push_str("[hidden]");
                    announced = true;
                }
                if character == '\n' {
                    shown.text.push('\n');
                }
                diverged = true;
                continue;
            }
            if diverged {
                shown.steps.insert(byte, shown.text.len());
            }
            let visible = visible(character);
            shown.text.push_str(&visible);
            diverged = visible.len() != character.len_utf8();
        }
        shown.steps.insert(self.text.len(), shown.text.len());
        shown.length = shown.text.len();
        shown
    }
}

/// The same ranges, sorted and without overlaps.
fn merged(ranges: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// A character as it may be printed on a terminal.
fn visible(character: char) -> Cow<'static, str> {
    match character {
        '\r' => Cow::Borrowed(""),
        '\n' | '\t' | '\'' | '"' | '\\' => Cow::Owned(character.to_string()),
        _ => Cow::Owned(character.escape_debug().to_string()),
    }
}

/// A text as it may be printed on a terminal.
pub(crate) fn shown(text: &str) -> String {
    let is_plain = |character: char| character == '\n' || !is_hidden(character);
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    let escaped = text.chars().map(|character| {
        if is_plain(character) {
            character.to_string()
        } else {
            character.escape_unicode().to_string()
        }
    });
    escaped.collect()
}

/// Characters that a reader cannot see and a terminal may interpret: controls, line and paragraph
/// separators, and marks that change the writing direction.
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

/// A value as it may be shown in a message: quoted, escaped, not too long.
#[must_use]
pub fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    let escaped: String = shown
        .chars()
        .map(|character| visible(character).into_owned())
        .collect();
    let escaped = escaped.replace('\t', "\\t").replace('\n', "\\n");
    format!("`{escaped}`")
}

/// Whether a variable's name says that its value is a secret.
pub(crate) fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "secret", "token", "api_key", "credential", "vault_"]
        .iter()
        .any(|word| name.contains(word))
        // A misspelt password variable counts too.
        || (name.starts_with("ansible_")
            && ["ansible_password", "ansible_become_password", "ansible_become_pass", "ansible_ssh_pass"]
                .iter()
                .any(|known| strsim::damerau_levenshtein(&name, known) <= 2))
}

/// What looks like a secret's value, found line by line: it must not be shown
/// even where the file cannot be parsed.
fn secret_looking(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut offset = 0;
    let mut inside: Option<usize> = None;
    let mut open_quote = false;
    for line in text.split_inclusive('\n') {
        let indentation = line.len() - line.trim_start().len();
        let content_end = offset + line.trim_end().len();
        if let Some(outer) = inside {
            if open_quote || line.trim().is_empty() || indentation > outer {
                found.push(offset + indentation.min(line.trim_end().len())..content_end);
                offset += line.len();
                continue;
            }
            inside = None;
        }
        if let Some(value) = secret_value_start(line) {
            found.push(offset + value..content_end);
            let written = line.get(value..).unwrap_or("").trim();
            let name = line.get(..value).unwrap_or("").to_ascii_lowercase();
            // `secrets:` alone may be a group; `password:` alone is a password.
            if !written.is_empty() || name.contains("pass") {
                inside = Some(indentation);
            }
            open_quote = ['"', '\''].iter().any(|quote| {
                written.starts_with(*quote) && written.matches(*quote).count() % 2 == 1
            });
        }
        offset += line.len();
    }
    found.retain(|range| range.start < range.end);
    found
}

/// Where on a line the value of a secret begins: after `password: ` or
/// `password=`, in comments too.
fn secret_value_start(line: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let separator = from + line.get(from..)?.find([':', '='])?;
        let key = line.get(from..separator)?;
        let word = key
            .rsplit([' ', '{', ',', '"', '\'', '[', '\t', '#'])
            .find(|word| !word.is_empty());
        let after = separator + 1;
        if word.is_some_and(names_a_secret) {
            let blank = line
                .get(after..)
                .is_some_and(|value| value.starts_with(' '));
            return Some(after + usize::from(blank));
        }
        from = after;
    }
}
