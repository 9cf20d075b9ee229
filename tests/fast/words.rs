//! The words that texts and comments do not use: both are plain technical English.

use std::path::Path;

use crate::pages::{files_in, read};
use crate::wording::code;

/// What reads like a translation, and what to write instead.
const WORDS: &[(&str, &str)] = &[
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("anew", "again"),
    ("amiss", "wrong"),
    ("shall", "will, must"),
    ("nobody", "no one, no client"),
    ("somebody", "someone, a user"),
    ("everybody", "everyone, all clients"),
    ("whoever", "anyone who"),
    ("let in", "accepted"),
    ("lets in", "accepts"),
    ("kept out", "rejected"),
    ("is said", "is reported"),
    ("is told", "is reported"),
    ("held back", "skipped"),
    ("take away", "remove"),
    ("taken away", "removed"),
    ("proof", "check"),
    ("proofs", "checks"),
];

/// More of that, from comments.
const IN_COMMENTS: &[(&str, &str)] = &[
    ("comes in", "takes"),
    ("goes out", "returns"),
    ("in come", "takes"),
    ("out come", "returns"),
    ("of ours", "of dtls-deploy"),
    ("as ever", "as usual"),
    ("taken back", "undone"),
    ("put right", "fixed"),
    ("left alone", "unchanged"),
    ("what became of", "the outcome of"),
    ("what becomes of", "the outcome of"),
];

/// Folders with comments.
const COMMENTED: [&str; 10] = [
    "src",
    "crates",
    "tests",
    "benches",
    "packaging",
    "vagrant",
    ".ci",
    "examples",
    "playbooks",
    "inventory",
];

/// Files whose lines with `#` are no comments: text for readers, and recorded output.
const WITHOUT_COMMENTS: [&str; 6] = [".md", ".txt", ".json", ".snap", ".html", ".base64"];

fn problems(name: &str, text: &str, words: &[(&str, &str)], found: &mut Vec<String>) {
    for line in text.lines() {
        // What is code stays.
        let text: String = line.split('`').step_by(2).collect();
        let parts = text.split(|letter: char| !letter.is_alphanumeric() && letter != '\'');
        let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
        let plain = format!(" {} ", parts.join(" ").to_lowercase());
        for (word, instead) in words {
            if plain.contains(&format!(" {word} ")) {
                found.push(format!(
                    "{name}: {line:?}: not \"{word}\" but \"{instead}\""
                ));
            }
        }
    }
}

#[test]
fn documents_use_plain_words() {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
        .map(|name| root.join(name))
        .to_vec();
    for (folder, ending) in [
        ("docs", ".md"),
        ("packaging", ".md"),
        ("playbooks", ".yaml"),
        ("inventory", ".yaml"),
        ("packaging", ".yaml"),
        ("packaging", ".yml"),
    ] {
        let before = files.len();
        files.extend(files_in(folder, ending));
        assert!(
            files.len() > before || ending == ".yml",
            "{folder} {ending}"
        );
    }
    for path in files {
        problems(&path.display().to_string(), &read(&path), WORDS, &mut found);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Texts of four words and more; those of tests aside.
#[test]
fn messages_use_plain_words() {
    let mut found = Vec::new();
    for path in [files_in("crates", ".rs"), files_in("src", ".rs")].concat() {
        let name = path.display().to_string();
        if name.contains("tests") {
            continue;
        }
        for text in code(&path).split('"').skip(1).step_by(2) {
            let text = text.replace('\\', " ");
            if text.split_whitespace().count() >= 4 {
                problems(&name, &text, WORDS, &mut found);
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn comments_use_plain_words() {
    let words = [WORDS, IN_COMMENTS].concat();
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile")];
    for folder in COMMENTED {
        files.extend(files_in(folder, ""));
    }
    let mut found = Vec::new();
    for path in files {
        let name = path.display().to_string();
        if WITHOUT_COMMENTS.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        // What is no text has no comments.
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        let mark = if is_rust { "//" } else { "#" };
        for line in text.lines().map(str::trim_start) {
            if let Some(comment) = line.strip_prefix(mark) {
                problems(&name, comment, &words, &mut found);
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
