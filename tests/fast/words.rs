//! The words that texts do not use: what operators read is plain technical English.

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

fn problems(name: &str, text: &str, found: &mut Vec<String>) {
    for line in text.lines() {
        // What is code stays.
        let text: String = line.split('`').step_by(2).collect();
        let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '\'');
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let plain = format!(" {} ", words.join(" ").to_lowercase());
        for (word, instead) in WORDS {
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
    for (folder, ending) in [
        ("docs", ".md"),
        ("playbooks", ".yaml"),
        ("inventory", ".yaml"),
    ] {
        for path in files_in(folder, ending) {
            problems(&path.display().to_string(), &read(&path), &mut found);
        }
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
                problems(&name, &text, &mut found);
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
