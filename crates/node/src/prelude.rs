//! The prelude: the shell functions that scripts for a node consist of.
//!
//! A read-only script contains only the functions that it calls, directly or indirectly: most runs
//! only read, and every 14 KiB cost another round trip on a new connection (RFC 6928). A script
//! that changes something contains everything, because the scripts that undo it later are written
//! on the node from it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Files with read-only functions.
const LOOKING: [&str; 10] = [
    include_str!("prelude/base.sh"),
    include_str!("prelude/accounts.sh"),
    include_str!("prelude/init_script.sh"),
    include_str!("prelude/facts.sh"),
    include_str!("prelude/running.sh"),
    include_str!("prelude/claims.sh"),
    include_str!("prelude/network.sh"),
    include_str!("prelude/health.sh"),
    include_str!("prelude/proof.sh"),
    include_str!("prelude/guard.sh"),
];

/// Files with functions that change something.
const CHANGING: [&str; 7] = [
    include_str!("prelude/files.sh"),
    include_str!("prelude/daemon.sh"),
    include_str!("prelude/same_daemon.sh"),
    include_str!("prelude/generations.sh"),
    include_str!("prelude/live_restore.sh"),
    include_str!("prelude/own_steps.sh"),
    include_str!("prelude/without_systemd.sh"),
];

/// Called by every script before its own statements: see [`super::script`].
const ALWAYS: [&str; 3] = ["require_builtin_printf", "login_home", "record"];

static PRELUDE: LazyLock<Prelude> = LazyLock::new(Prelude::read);

/// The part of the prelude that these statements need.
#[must_use]
pub(crate) fn for_statements(statements: &[String]) -> Cow<'static, str> {
    PRELUDE.for_statements(statements)
}

#[must_use]
pub fn whole() -> &'static str {
    &PRELUDE.whole
}

struct Prelude {
    whole: String,
    /// What is outside of functions in the read-only files.
    settings: String,
    looking: BTreeMap<&'static str, Function>,
    /// The names of all functions, including those that change something.
    known: BTreeSet<&'static str>,
}

struct Function {
    text: String,
    /// Functions of the prelude that it names, possibly itself.
    names: BTreeSet<&'static str>,
}

impl Prelude {
    fn read() -> Self {
        let mut whole = String::new();
        let mut settings = String::new();
        let mut texts = BTreeMap::new();
        for file in LOOKING {
            for piece in pieces(file) {
                whole.push_str(&piece.text);
                match piece.function {
                    Some(name) => drop(texts.insert(name, piece.text)),
                    None => settings.push_str(&piece.text),
                }
            }
        }
        let mut changing = BTreeSet::new();
        for file in CHANGING {
            for piece in pieces(file) {
                whole.push_str(&piece.text);
                changing.extend(piece.function);
            }
        }
        let known: BTreeSet<&'static str> = texts
            .keys()
            .copied()
            .chain(changing.iter().copied())
            .collect();
        let looking = texts
            .into_iter()
            .map(|(name, text)| {
                let names = named_in(&text, &known);
                (name, Function { text, names })
            })
            .collect();
        Self {
            whole,
            settings,
            looking,
            known,
        }
    }

    fn for_statements(&self, statements: &[String]) -> Cow<'_, str> {
        let mut open: Vec<&'static str> = ALWAYS.to_vec();
        for statement in statements {
            open.extend(named_in(statement, &self.known));
        }
        let mut needed = BTreeSet::new();
        while let Some(name) = open.pop() {
            if !needed.insert(name) {
                continue;
            }
            match self.looking.get(name) {
                Some(function) => open.extend(&function.names),
                None => return Cow::Borrowed(&self.whole),
            }
        }
        let mut text = self.settings.clone();
        for name in needed {
            if let Some(function) = self.looking.get(name) {
                text.push_str(&function.text);
            }
        }
        Cow::Owned(text)
    }
}

struct Piece {
    /// The name of the function; none for text outside of functions.
    function: Option<&'static str>,
    text: String,
}

/// Splits a file into its functions and what is between them, without comments. A function begins
/// in the first column, and ends at a brace there or on its own line; comments are on separate
/// lines.
fn pieces(file: &'static str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut open: Option<Piece> = None;
    for line in file.lines() {
        let is_comment = line.trim_start().starts_with('#');
        match &mut open {
            Some(piece) => {
                // Inside, a line with # may belong to a here-document.
                piece.text.push_str(line);
                piece.text.push('\n');
                if line == "}" || line == ")" {
                    pieces.extend(open.take());
                }
            }
            None if is_comment || line.is_empty() => {}
            None => {
                let piece = Piece {
                    function: function_begun(line),
                    text: format!("{line}\n"),
                };
                if piece.function.is_some() && !line.ends_with('}') {
                    open = Some(piece);
                } else {
                    pieces.push(piece);
                }
            }
        }
    }
    pieces.extend(open);
    pieces
}

fn function_begun(line: &'static str) -> Option<&'static str> {
    let (name, rest) = line.split_once("()")?;
    let rest = rest.trim_start();
    (is_word(name) && (rest.starts_with('{') || rest.starts_with('('))).then_some(name)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_word_character)
}

fn is_word_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// Every word of the text that is the name of a function, even in strings: too many do no harm.
fn named_in(text: &str, known: &BTreeSet<&'static str>) -> BTreeSet<&'static str> {
    text.split(|character| !is_word_character(character))
        .filter_map(|word| known.get(word).copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(call: &str) -> String {
        for_statements(&[call.to_owned()]).into_owned()
    }

    #[test]
    fn every_function_is_found_once_and_every_file_is_read_to_its_end() {
        let mut found = 0;
        let mut written = 0;
        for file in LOOKING.into_iter().chain(CHANGING) {
            for piece in pieces(file) {
                found += usize::from(piece.function.is_some());
                assert!(
                    piece.function.is_none() || piece.text.trim_end().ends_with('}'),
                    "{}",
                    piece.text
                );
            }
            written += file
                .lines()
                .filter(|line| line.contains("() {") && !line.starts_with([' ', '#']))
                .count();
        }
        assert_eq!(found, written);
        assert_eq!(found, PRELUDE.known.len());
    }

    #[test]
    fn looking_brings_what_it_calls_and_nothing_that_changes() {
        let text = script("fact_unit 'docker.service'");
        assert!(text.contains("\nfact_unit() {"));
        assert!(text.contains("\nfact_files() {"), "fact_unit calls it");
        assert!(text.contains("set -u\n"));
        assert!(!text.contains("\nprove_identity() {"));
        assert!(!text.contains("\nswap() {"));
        assert!(text.len() < whole().len() / 3, "{}", text.len());
    }

    #[test]
    fn changing_brings_everything() {
        for call in [
            "swap '/etc/docker'",
            "settle",
            "in_account 'a' 'stage_open'",
        ] {
            assert_eq!(script(call), whole(), "{call}");
        }
    }

    #[test]
    fn only_looking_is_declared_by_files_that_only_look() {
        for (name, function) in &PRELUDE.looking {
            assert!(
                function
                    .names
                    .iter()
                    .all(|other| PRELUDE.looking.contains_key(other)),
                "{name} calls a function that changes something"
            );
        }
    }
}
