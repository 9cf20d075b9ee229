//! Nothing is decided on what this program itself says: each comparison with words in the sources is
//! with those of another program, and named here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is compared with, and whose it is.
const FOREIGN: &[(&str, &str)] = &[
    ("# BEGIN ", "our mark in a profile"),
    ("# BEGIN dtls-deploy ", "our mark in a profile"),
    ("# END dtls-deploy ", "our mark in a profile"),
    ("ca ", "a field of the owner record"),
    ("dropin ", "a field of the record of a restart"),
    ("export ", "a shell's"),
    ("BEGIN ", "PEM's"),
    ("END ", "PEM's"),
    ("EC PARAMETERS", "PEM's"),
    ("PRIVATE KEY", "PEM's"),
    ("PRIVATE KEY-----", "PEM's"),
    ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "PEM's"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----", "PEM's"),
    ("Proc-Type: 4,ENCRYPTED", "PEM's"),
    (" ; argv[]=", "systemctl's"),
    (" ; ignore_errors=no ; ", "systemctl's"),
    ("-- cursor: ", "journalctl's"),
    ("Usage: ", "clap's"),
    ("dtls-deploy ", "clap's, before a command's name"),
    ("Docker version ", "docker's"),
    ("More details here:", "curl's"),
    ("HTTP request to an HTTPS server", "dockerd's (net/http)"),
    ("said.contains(DENIED)", "dockerd's, of its plugins"),
    ("said.contains(NOTHING_THERE)", "dockerd's"),
    (
        "failed to lookup address information: ",
        "the standard library's",
    ),
    ("Not allowed at this time", "sshd's"),
    ("MaxStartups", "sshd's"),
    ("open failed", "sshd's"),
    (": line ", "ssh's"),
    (" line ", "ssh's"),
    ("ssh-dss ", "a known_hosts file's"),
    ("symbolic link", "stat's"),
    ("is not recognized", "cmd.exe's and PowerShell's"),
    ("tty", "sudo's"),
    ("not found", "a shell's, of sudo"),
    ("said.contains(words)", "sudo's, of the dialogue with it"),
    ("tab", "the YAML parser's"),
    ("nesting", "the YAML parser's"),
    ("recursion", "the YAML parser's"),
    ("cannot start any token", "the YAML parser's"),
    (
        "message.contains(secret.as_str())",
        "no decision: secrets are masked",
    ),
    (
        "reason.ends_with(self.words().0)",
        "no decision: the report counts alike reasons",
    ),
];

const METHODS: [&str; 8] = [
    "contains",
    "starts_with",
    "ends_with",
    "strip_prefix",
    "strip_suffix",
    "split_once",
    "find",
    "trim_start_matches",
];
/// What texts for people are called.
const RECEIVERS: [&str; 8] = [
    "message", "reason", "hint", "seen", "said", "advice", "detail", "because",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file without tests, comments and line breaks.
pub fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = own.lines().map(str::trim);
    lines.filter(|line| !line.starts_with("//")).collect()
}

/// Several words, or one with a space after it.
fn is_wording(text: &str) -> bool {
    let words = text.split(' ').filter(|word| {
        let letters = word.chars().filter(char::is_ascii_alphabetic);
        letters.count() > 1
    });
    text.contains(' ')
        && words.count() > usize::from(!text.ends_with(' ') && !text.starts_with(' '))
}

/// The text of a literal that begins at the start of `rest`, and what comes after it.
fn literal(rest: &str) -> Option<(&str, &str)> {
    let inside = rest.trim_start_matches('&').strip_prefix('"')?;
    let mut is_escaped = false;
    let end = inside.find(|letter| {
        let ends = letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        ends
    })?;
    Some((&inside[..end], &inside[end + 1..]))
}

/// Everything in `code` that compares with words.
fn comparisons(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for method in METHODS {
        let call = format!(".{method}(");
        for (at, _) in code.match_indices(&call) {
            let (before, rest) = (&code[..at], &code[at + call.len()..]);
            let start = before.rfind(|letter: char| !letter.is_alphanumeric() && letter != '_');
            let receiver = &before[start.map_or(0, |start| start + 1)..];
            let is_for_people = RECEIVERS.contains(&receiver);
            match literal(rest) {
                Some((text, _)) if is_for_people || is_wording(text) => {
                    found.insert(text.to_owned());
                }
                None if is_for_people && !rest.starts_with(['&', '\'', '[', '|']) => {
                    let mut depth = 1;
                    let end = rest.find(|letter| {
                        depth += i32::from(letter == '(') - i32::from(letter == ')');
                        depth == 0
                    });
                    let argument = &rest[..end.unwrap_or(0)];
                    found.insert(format!("{receiver}.{method}({argument})"));
                }
                _ => {}
            }
        }
    }
    for operator in ["== ", "!= ", "== Some(", "!= Some("] {
        for (at, _) in code.match_indices(operator) {
            if let Some((text, _)) = literal(&code[at + operator.len()..]) {
                found.extend(is_wording(text).then(|| text.to_owned()));
            }
        }
    }
    found
}

#[test]
fn nothing_is_decided_on_our_own_words() {
    let mut files = Vec::new();
    for folder in ["src", "crates"] {
        sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut files,
        );
    }
    let mut left: BTreeSet<&str> = FOREIGN.iter().map(|(text, _)| *text).collect();
    let mut own = Vec::new();
    for path in files.iter().filter(|path| !path.ends_with("tests.rs")) {
        if path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        for text in comparisons(&code(path)) {
            if FOREIGN.iter().any(|(foreign, _)| *foreign == text) {
                left.remove(text.as_str());
            } else {
                own.push(format!("{}: {text}", path.display()));
            }
        }
    }
    assert!(
        own.is_empty(),
        "decided on words: give what they say a type, or name whose they are in FOREIGN\n{}",
        own.join("\n")
    );
    assert!(left.is_empty(), "nothing compares with these: {left:?}");
}

#[test]
fn a_decision_on_words_is_found() {
    for (code, found) in [
        (r#"if message.starts_with("sudo ") {"#, "sudo "),
        (r#"reason.contains("passphrase")"#, "passphrase"),
        (
            r#"text.starts_with("issued by another CA")"#,
            "issued by another CA",
        ),
        (r#"status == "exit code 126""#, "exit code 126"),
        (
            ".any(|begin| reason.starts_with(begin))",
            "reason.starts_with(begin)",
        ),
        (
            "if reason.starts_with(UNKNOWN_KEY) {",
            "reason.starts_with(UNKNOWN_KEY)",
        ),
    ] {
        assert_eq!(comparisons(code), [found.to_owned()].into(), "{code}");
    }
    for code in [
        r#"path.starts_with("/etc/")"#,
        r#"record.kind == "listener""#,
        "seen.contains(&name)",
        r#"format!("{message} has a space")"#,
    ] {
        assert_eq!(comparisons(code), BTreeSet::new(), "{code}");
    }
}
