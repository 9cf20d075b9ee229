//! Completion candidates for values: hosts and groups of the inventory on the command line, tags of
//! the playbook.
//!
//! Unreadable files give no candidates, because a shell cannot show errors.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap_complete::engine::CompletionCandidate;

use base::file;
use inventory::{self, Environment, Inventory};
use plan::playbook::{self, Playbook};

/// Maximum bytes of a playbook.
const LARGEST: u64 = 8 << 20;

/// For `--limit`: hosts and groups, also after `a,b:!`.
pub(super) fn hosts(current: &OsStr) -> Vec<CompletionCandidate> {
    let environment = Environment::of_process();
    let loaded = words()
        .iter()
        .find_map(|word| inventory_at(word, &environment));
    let names = loaded.map(|inventory| playbook::names_of(&inventory));
    candidates(current, &names.unwrap_or_default(), &[',', ':', '!'])
}

/// For `--tags` and `--skip-tags`, also after `a,`.
pub(super) fn tags(current: &OsStr) -> Vec<CompletionCandidate> {
    let words = words();
    let tags = own_playbook(&words)
        .or_else(|| shipped_playbook(&words))
        .map(|playbook| playbook.tags());
    candidates(current, &tags.unwrap_or_default(), &[','])
}

/// The words of the command line, without the program's name.
fn words() -> Vec<OsString> {
    std::env::args_os()
        .skip_while(|word| word != "--")
        .skip(2)
        .collect()
}

fn is_readable(word: &OsStr) -> bool {
    !word.as_encoded_bytes().starts_with(b"-") && Path::new(word).is_file()
}

fn inventory_at(word: &OsStr, environment: &Environment) -> Option<Inventory> {
    if !is_readable(word) {
        return None;
    }
    inventory::load(Path::new(word), &[], environment).ok()
}

fn own_playbook(words: &[OsString]) -> Option<Playbook> {
    let readable = words.iter().filter(|word| is_readable(word));
    let mut texts = readable.filter_map(|word| file::read_text(Path::new(word), LARGEST).ok());
    texts.find_map(|text| playbook::parse("completion", &text).ok())
}

/// The playbook of the subcommand, or of a deployment.
fn shipped_playbook(words: &[OsString]) -> Option<Playbook> {
    let named = |wanted: &OsStr| {
        let mut shipped = playbook::SHIPPED.iter();
        shipped.find(|(name, _)| wanted == *name)
    };
    let (name, text) = words
        .iter()
        .find_map(|word| named(word))
        .or_else(|| named(OsStr::new("deploy")))?;
    playbook::parse(name, text).ok()
}

/// The names that complete the text after the last separator, each with the text before it.
fn candidates(
    current: &OsStr,
    names: &BTreeSet<String>,
    separators: &[char],
) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else {
        return Vec::new();
    };
    let split = current
        .rfind(separators)
        .map_or(0, |separator| separator + 1);
    let (before, begun) = current.split_at(split);
    let fitting = names.iter().filter(|name| name.starts_with(begun));
    fitting
        .map(|name| CompletionCandidate::new(format!("{before}{name}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(current: &str) -> Vec<String> {
        let names = ["all", "clients", "node1", "node2"].map(str::to_owned);
        candidates(OsStr::new(current), &names.into(), &[',', ':', '!'])
            .iter()
            .map(|one| one.get_value().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn what_stands_before_the_last_separator_stays() {
        assert_eq!(offered("no"), ["node1", "node2"]);
        assert_eq!(offered("node1,cl"), ["node1,clients"]);
        assert_eq!(offered("all:!node"), ["all:!node1", "all:!node2"]);
        assert_eq!(offered("x"), [""; 0]);
        assert_eq!(offered("").len(), 4);
    }

    #[test]
    fn the_playbook_is_that_of_the_subcommand() {
        let tags = |word: &str| {
            let words = [OsString::from(word)];
            shipped_playbook(&words).unwrap().name
        };
        assert_eq!(tags("rotate"), "rotate");
        assert_eq!(tags("inventory.yaml"), "deploy");
    }
}
