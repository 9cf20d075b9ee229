//! The page of error messages: every kind of error that stops a run has a row, and every row is
//! about a message that exists.

use std::path::Path;

use base::event::{Check, Topic};

use crate::pages::{files_in, read};
use crate::wording::code;

/// Files with kinds of errors that the page leaves out, and why. Every other file with `#[error(` has
/// its messages there.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "crates/plan/src/change.rs",
        "what a plan changes, not an error",
    ),
    (
        "crates/plan/src/leaf/pair.rs",
        "why a plan issues a certificate, not an error",
    ),
    (
        "crates/plan/src/playbook/template.rs",
        "an error of minijinja, shown with its line",
    ),
    (
        "crates/plan/src/refusal.rs",
        "each refusal has its own text",
    ),
    (
        "crates/policy/src/document.rs",
        "the guard's log: dtls-deploy writes no such policy",
    ),
    (
        "crates/policy/src/path.rs",
        "the guard's answer to a client, in guard.md",
    ),
    ("crates/base/src/secret.rs", "internal"),
    ("crates/pki/src/serial.rs", "internal"),
    ("crates/pki/src/store.rs", "internal"),
    (
        "crates/pki/src/certificate.rs",
        "the cause in a message that names the file",
    ),
    (
        "crates/docker/src/daemon_json.rs",
        "the cause in `daemon.json is not valid`",
    ),
    (
        "crates/pki/src/constraints.rs",
        "an error of the inventory, shown with its line",
    ),
    (
        "crates/pki/src/profile.rs",
        "an error of the inventory, shown with its line",
    ),
    (
        "crates/pki/src/san.rs",
        "an error of the inventory, shown with its line",
    ),
    (
        "crates/pki/src/subject.rs",
        "an error of the inventory, shown with its line",
    ),
    (
        "crates/run/src/verify/mod.rs",
        "a check that was not made, which has a row",
    ),
    (
        "crates/run/src/verify/probe.rs",
        "a check that was not made, which has a row",
    ),
    ("src/cli/words.rs", "each names the right command line"),
    (
        "src/cli/defaults.rs",
        "each names the line and what is right",
    ),
    ("src/cli/env.rs", "each names the choices"),
    ("src/cli/init.rs", "each names what is missing or wrong"),
    ("src/history.rs", "each names the runs or the directory"),
];

/// Messages without a row, and why.
const WITHOUT_ROW: &[(&str, &str)] = &[
    ("the CA agent on … failed", "its cause has a row"),
    (
        "it could not be started, because its machine failed before: see above",
        "the failure above has a row",
    ),
    (
        "the answer was no; nothing was changed",
        "the operator's own",
    ),
    (
        "interrupted; no daemon and no client was changed",
        "the operator's own",
    ),
    (
        "Cannot connect to …: ",
        "before each message of a connection",
    ),
    ("the two passphrases differ", "asked for again"),
    ("the prompt ended without an answer", "internal"),
    ("the prompt failed: …", "internal"),
    ("the journal is closed already", "internal"),
    ("the cryptographic library failed to …", "internal"),
    ("the unit cannot be written: …", "internal"),
    ("its answer names …, which was not asked about", "internal"),
    ("the answer names …, which was not asked about", "internal"),
    ("nothing was asked about the directory …", "internal"),
    (
        "nothing was asked about …: a path to look at may use the inventory's variables, but no facts",
        "internal",
    ),
    (
        "the CA agent is still busy with an earlier request",
        "internal",
    ),
    ("an event could not be written as JSON: …", "internal"),
    ("a validity of … is out of range", "internal"),
    (
        "the certificate just made is not what was asked for: …",
        "internal",
    ),
    ("the certificate could not be made: …", "internal"),
    ("the cryptographic library failed", "internal"),
];

/// What stands in a row in place of `…`, because users search for it.
const VALUES: [&str; 5] = [
    "docker.service",
    "/etc/docker/daemon.json",
    "dtls_listen",
    "opening the TCP connection",
    "the SSH handshake",
];

/// A text with `…` for each value in it.
fn template(text: &str) -> String {
    let mut result = String::new();
    let mut depth = 0_usize;
    for letter in text.chars() {
        match letter {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                result.push('…');
            }
            '\\' => {}
            letter if depth == 0 => result.push(letter),
            _ => {}
        }
    }
    result
}

/// The literals that follow `mark`.
fn literals_after(code: &str, mark: &str) -> Vec<String> {
    let parts = code.split(mark).skip(1);
    let literals = parts.filter_map(|part| {
        let inside = part.trim_start().strip_prefix('"')?;
        let mut is_escaped = false;
        let end = inside.find(|letter| {
            let ends = letter == '"' && !is_escaped;
            is_escaped = letter == '\\' && !is_escaped;
            ends
        })?;
        Some(template(&inside[..end]))
    });
    literals.collect()
}

fn page(name: &str) -> String {
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs")
            .join(name),
    )
}

/// The code in the first cell of each row.
fn rows() -> Vec<String> {
    let page = page("troubleshooting.md");
    let tables = page.split("| message | cause | fix |\n").skip(1);
    let lines = tables.flat_map(|table| table.lines().take_while(|line| line.starts_with('|')));
    let cells = lines.filter_map(|line| line.strip_prefix("| "));
    let cells = cells.filter_map(|line| line.split(" | ").next());
    let spans = cells.flat_map(|cell| {
        let mark = if cell.contains("``") { "``" } else { "`" };
        let spans = cell.split(mark).skip(1).step_by(2);
        spans.map(|span| span.trim().to_owned()).collect::<Vec<_>>()
    });
    spans.collect()
}

/// What a row says without the host before it.
fn without_host(row: &str) -> &str {
    row.trim_start_matches("Cannot connect to ")
        .trim_start_matches("…: ")
}

/// Whether the words of `one` are in the other text, in their order.
fn is_in(one: &str, other: &str) -> bool {
    let mut rest = other;
    one.split('…').all(|part| {
        let part = part.trim();
        match rest.split_once(part) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        }
    })
}

#[test]
fn every_kind_of_error_has_a_row() {
    let rows = rows();
    let mut messages = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut left_out: Vec<&str> = LEFT_OUT.iter().map(|(path, _)| *path).collect();
    for path in [files_in("crates", ".rs"), files_in("src", ".rs")].concat() {
        let found = literals_after(&code(&path), "#[error(");
        let name = path.strip_prefix(root).unwrap_or(&path).to_str().unwrap();
        let known = left_out.iter().position(|known| *known == name);
        match known {
            Some(known) if !found.is_empty() => {
                left_out.remove(known);
            }
            _ => messages.extend(found),
        }
    }
    assert_eq!(left_out, Vec::<&str>::new(), "no errors there");
    assert!(messages.len() > 150, "{}", messages.len());
    let connect = code(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/node/src/ssh/error.rs"));
    let (_, display) = connect
        .split_once("impl fmt::Display for ConnectError {")
        .unwrap();
    let (display, _) = display.split_once("fn list<").unwrap();
    let found = literals_after(display, "write!(out,");
    let spaced = literals_after(display, "write!(out, ");
    assert!(found.len() + spaced.len() > 12, "{found:?} {spaced:?}");
    messages.extend(found);
    messages.extend(spaced);

    let has_words = |message: &String| {
        message
            .split(' ')
            .filter(|word| word.len() > 1 && *word != "…")
            .count()
            > 1
    };
    let mut missing = Vec::new();
    for message in messages.iter().filter(|message| has_words(message)) {
        let is_part = message.starts_with(';');
        let is_excepted = WITHOUT_ROW.iter().any(|(known, _)| known == message);
        let has_row = rows.iter().any(|row| {
            let row = without_host(row);
            is_in(row, message) || is_in(message, row)
        });
        if !is_part && has_row == is_excepted {
            missing.push(message.as_str());
        }
    }
    assert!(
        missing.is_empty(),
        "no row, or an exception for nothing:\n{}",
        missing.join("\n")
    );
    for (known, _) in WITHOUT_ROW {
        assert!(messages.iter().any(|message| message == known), "{known}");
    }
}

#[test]
fn every_check_and_every_topic_of_doctor_has_a_row() {
    let rows = rows();
    for check in Check::ALL {
        let row = format!("FAILED … {}", check.title());
        assert!(rows.contains(&row), "{row}");
    }
    let page = page("doctor.md");
    for topic in Topic::ALL {
        let row = format!("| `{}` | ", topic.word());
        assert!(page.contains(&row), "{row}");
    }
}

#[test]
fn every_row_is_about_a_message_that_exists() {
    let mut sources = String::new();
    for folder in ["crates", "src"] {
        for path in files_in(folder, ".rs") {
            sources += &code(&path).replace('\\', "");
        }
        for path in files_in(folder, ".sh") {
            sources += &read(&path);
        }
    }
    // Values are between the words.
    let mut stale = Vec::new();
    for row in rows() {
        let fixed = VALUES
            .iter()
            .fold(without_host(&row).to_owned(), |row, value| {
                row.replace(value, "…")
            });
        for part in fixed.split(['…', '`', '"', ';', ':']).map(str::trim) {
            if part.len() > 11 && !sources.contains(part) {
                stale.push(format!("{row}: {part}"));
            }
        }
    }
    assert!(stale.is_empty(), "{}", stale.join("\n"));
}
