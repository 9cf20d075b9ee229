//! `dtls-deploy.toml` next to the inventory: default options for every command line there.
//!
//! The file can come with an inventory that is not reviewed, so it cannot run a program, name a
//! secret or lead out of its directory, and messages never quote it. `--untrusted` and
//! `--no-defaults` do not read it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::duration;
use base::file::{self, FileFault};

const NAME: &str = "dtls-deploy.toml";
/// Maximum bytes of the file.
const LARGEST: u64 = 64 * 1024;

/// Why the defaults cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DefaultsError {
    #[error("{} cannot be read: {fault}", path.display())]
    Unreadable { path: PathBuf, fault: FileFault },
    #[error(
        "{}:{line}: not valid TOML; each line is KEY = VALUE, with a text in quotes: \
         forks = 10, output = \"plain\"",
        path.display()
    )]
    Syntax { path: PathBuf, line: usize },
    #[error(
        "{}:{line}: the key is not one of forks, output, timeout and log. Passphrases and commands \
         cannot be in this file",
        path.display()
    )]
    Key { path: PathBuf, line: usize },
    #[error("{}:{line}: {key} must be {right}", path.display())]
    Value {
        path: PathBuf,
        line: usize,
        key: &'static str,
        right: &'static str,
    },
    #[error("{} is a symbolic link, which is not read", path.display())]
    Link { path: PathBuf },
}

/// The keys, and their values.
const KEYS: [(&str, &str); 4] = [
    ("forks", "a number from 1 to 65535"),
    ("output", "\"auto\", \"plain\" or \"json\""),
    ("timeout", "a duration such as \"5m\""),
    (
        "log",
        "the name of a file in this directory, of letters, digits, `-`, `_` and `.`, with the ending .jsonl",
    ),
];

impl DefaultsError {
    /// What is wrong in a line.
    fn of_line(path: PathBuf, text: &str, line: usize) -> Self {
        if toml::from_str::<toml::Table>(text).is_err() {
            return Self::Syntax { path, line };
        }
        // A value begins in the line of its key.
        let own = text.lines().nth(line - 1).and_then(key_in);
        match KEYS.iter().find(|(key, _)| Some(*key) == own) {
            Some((key, right)) => Self::Value {
                path,
                line,
                key,
                right,
            },
            None => Self::Key { path, line },
        }
    }
}

/// The key that a line sets.
fn key_in(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    Some(key.trim().trim_matches(['"', '\'']))
}

/// The line, from 1, that sets the key.
fn line_of(text: &str, key: &str) -> usize {
    let mut keys = text.lines().map(key_in);
    keys.position(|own| own == Some(key)).unwrap_or_default() + 1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    forks: Option<u16>,
    /// auto, plain or json.
    output: Option<Format>,
    /// In the format of `--timeout`.
    #[serde(default, deserialize_with = "timeout")]
    timeout: Option<String>,
    /// A file name in the directory that ends in .jsonl: a link could lead a path out of it.
    log: Option<String>,
}

#[derive(Debug, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Format {
    Auto,
    Plain,
    Json,
}

impl Format {
    fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Plain => "plain",
            Self::Json => "json",
        }
    }
}

fn timeout<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(from)?;
    match duration::positive(&text) {
        Ok(_) => Ok(Some(text)),
        Err(error) => Err(D::Error::custom(error)),
    }
}

fn is_log(name: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let has_ending = Path::new(name)
        .extension()
        .is_some_and(|ending| ending == "jsonl");
    has_ending && !name.starts_with(['.', '-']) && name.chars().all(is_plain)
}

/// The words completed with the defaults of the inventory's directory. Invalid words stay
/// unchanged: clap reports them.
pub(super) fn added(
    program: &Command,
    mut words: Vec<OsString>,
) -> Result<Vec<OsString>, DefaultsError> {
    let Ok(matches) = program.clone().try_get_matches_from(&words) else {
        return Ok(words);
    };
    let (mut depth, mut inner) = (1, &matches);
    while let Some((_, next)) = inner.subcommand() {
        (depth, inner) = (depth + 1, next);
    }
    let inventory = inner.try_get_one::<PathBuf>("inventory").ok().flatten();
    let is_off = |flag: &str| matches!(inner.try_get_one::<bool>(flag), Ok(Some(false)));
    let is_read = is_off("untrusted") && is_off("no_defaults");
    if let Some(inventory) = inventory.filter(|_| is_read) {
        let directory = inventory.parent().unwrap_or(Path::new(""));
        let flags = flags(directory, inner)?;
        words.splice(depth..depth, flags);
    }
    Ok(words)
}

/// The options that the file sets and the command line does not.
fn flags(directory: &Path, matches: &ArgMatches) -> Result<Vec<OsString>, DefaultsError> {
    let path = directory.join(NAME);
    if path.is_symlink() {
        return Err(DefaultsError::Link { path });
    }
    let text = match file::read_in_place(&path, LARGEST) {
        Ok(text) => text,
        Err(FileFault::Missing) => return Ok(Vec::new()),
        Err(fault) => return Err(DefaultsError::Unreadable { path, fault }),
    };
    let defaults: Defaults = match toml::from_str(&text) {
        Ok(defaults) => defaults,
        Err(error) => {
            let before = text.get(..error.span().map_or(0, |span| span.start));
            let line = before.unwrap_or_default().matches('\n').count() + 1;
            return Err(DefaultsError::of_line(path, &text, line));
        }
    };
    let wrong_log = defaults.log.as_deref().is_some_and(|log| !is_log(log));
    let wrong_forks = defaults.forks == Some(0);
    for (key, is_wrong) in [("log", wrong_log), ("forks", wrong_forks)] {
        if is_wrong {
            let line = line_of(&text, key);
            return Err(DefaultsError::of_line(path, &text, line));
        }
    }
    let said = [
        (
            "forks",
            defaults.forks.map(|forks| forks.to_string().into()),
        ),
        ("output", defaults.output.map(|format| format.word().into())),
        ("timeout", defaults.timeout.map(OsString::from)),
        ("log", defaults.log.map(|log| directory.join(log).into())),
    ];
    let mut flags = Vec::new();
    for (option, value) in said {
        let Some(value) = value else { continue };
        let is_taken = matches.try_contains_id(option).is_ok();
        if is_taken && matches.value_source(option) != Some(ValueSource::CommandLine) {
            let mut flag = OsString::from(format!("--{option}="));
            flag.push(value);
            flags.push(flag);
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory as _;

    fn with(file: &str, line: &str) -> Result<String, String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(NAME), file).unwrap();
        let root = directory.path().to_str().unwrap();
        let line = line.replace("i.yaml", &format!("{root}/i.yaml"));
        let words = line.split(' ').map(OsString::from).collect();
        let words = added(&Cli::command(), words).map_err(|error| error.to_string())?;
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        Ok(words.join(" ").replace(&format!("{root}/"), ""))
    }

    #[test]
    fn what_the_command_line_says_counts() {
        let file = "forks = 5\noutput = \"plain\"\nlog = \"all.jsonl\"\n";
        for (line, expected) in [
            (
                "x i.yaml",
                "x --forks=5 --output=plain --log=all.jsonl i.yaml",
            ),
            (
                "x rotate i.yaml -f 2",
                "x rotate --output=plain --log=all.jsonl i.yaml -f 2",
            ),
            (
                "x i.yaml --untrusted --check",
                "x i.yaml --untrusted --check",
            ),
            ("x i.yaml --no-defaults", "x i.yaml --no-defaults"),
            ("x history", "x history"),
            ("x i.yaml --no-such-option", "x i.yaml --no-such-option"),
        ] {
            assert_eq!(with(file, line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_what_is_right() {
        for (file, said) in [
            ("forks 5", ":1: not valid TOML; "),
            ("\nforks = 5\nfrks = 5", ":3: the key is not one of forks, "),
            ("[run]\nforks = 5", ":1: the key is not one of forks, "),
            ("# all\nforks = \"5\"", ":2: forks must be a number from 1 "),
            ("forks = 0", ":1: forks must be a number from 1 "),
            ("output = \"xml\"", ":1: output must be \"auto\", "),
            ("timeout = \"0s\"", ":1: timeout must be a duration "),
            ("forks = 5\nlog = \"../x\"", ":2: log must be the name "),
        ] {
            let error = with(file, "x i.yaml").unwrap_err();
            assert!(error.contains(&format!("{NAME}{said}")), "{file}: {error}");
        }
    }

    #[test]
    fn what_runs_programs_or_leads_out_is_refused() {
        for file in [
            "ca_passphrase_command = \"cat /etc/shadow\"",
            "ca_passphrase_file = \"x\"",
            "ssh_config = \"x\"",
            "forks = \"many\"",
            "forks",
            "log = \"/etc/cron.d/x.jsonl\"",
            "log = \"../x.jsonl\"",
            "log = \"link/x.jsonl\"",
            "log = \".bashrc\"",
            "log = \"..jsonl\"",
            "log = \"-x.jsonl\"",
            "log = \"hunter2\\n.jsonl\"",
            "log = \"hunter2\\u001b[2J.jsonl\"",
            "output = \"hunter2\"",
            "timeout = \"hunter2\"",
            "timeout = \"0s\"",
            "forks = \"hunter2\"",
            "forks = 99999",
            "\"hunter2\\u001b[2J\" = 1",
        ] {
            let said = with(file, "x i.yaml").unwrap_err();
            assert!(said.contains(NAME), "{said}");
            assert!(
                !said.contains("hunter2") && !said.contains('\u{1b}'),
                "{said}"
            );
        }
    }

    /// Through a link, an error could show the operator's passphrase.
    #[test]
    fn no_text_of_the_file_is_in_a_message() {
        let said = with("forks = 5\nhunter2 and more", "x i.yaml").unwrap_err();
        assert!(said.contains(":2: ") && !said.contains("hunter2"), "{said}");
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("passphrase"), "forks = 5\n").unwrap();
        std::os::unix::fs::symlink("passphrase", directory.path().join(NAME)).unwrap();
        let inventory = directory.path().join("i.yaml");
        let words = vec!["x".into(), inventory.into_os_string()];
        let error = added(&Cli::command(), words).unwrap_err();
        assert!(matches!(error, DefaultsError::Link { .. }), "{error}");
    }
}
