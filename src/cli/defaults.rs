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
        "{}:{line}: neither empty nor one of: forks = NUMBER, output = \"auto\", \"plain\" or \
         \"json\", timeout = \"5m\", log = \"NAME.jsonl\". Passphrases and commands cannot be in this file",
        path.display()
    )]
    Wrong { path: PathBuf, line: usize },
    #[error("{} is a symbolic link, which is not read", path.display())]
    Link { path: PathBuf },
    #[error(
        "{}: log must be the name of a file in this directory, of letters, digits, `-`, `_` and \
         `.`, with the ending .jsonl",
        path.display()
    )]
    Log { path: PathBuf },
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
            return Err(DefaultsError::Wrong {
                path,
                line: before.unwrap_or_default().matches('\n').count() + 1,
            });
        }
    };
    if defaults.log.as_deref().is_some_and(|log| !is_log(log)) {
        return Err(DefaultsError::Log { path });
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
