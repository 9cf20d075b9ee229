//! Normalises the words of a command line for clap: a command after the inventory, the inventory as
//! `-i FILE` or in `DTLS_INVENTORY`, and suggestions for mistyped commands.

mod foreign;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Command;

use foreign::{nearest, refuse_foreign, refuse_variables};

/// Why the words are not a valid command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WordsError {
    #[error(
        "there is no command \"{word}\", and no file of that name; did you mean `dtls-deploy {meant}`?"
    )]
    NoCommand { word: String, meant: String },
    #[error(
        "there is no command \"{0}\", and no file of that name; `dtls-deploy --help` lists the commands"
    )]
    Neither(String),
    #[error("`{first}` and `{second}` are two commands: run them one after the other")]
    TwoCommands { first: String, second: String },
    #[error("there is no command \"{word}\"; did you mean `dtls-deploy help {meant}`?")]
    NoHelp { word: String, meant: String },
    #[error(
        "`{0}` is an option of Ansible: dtls-deploy acts as root where it has to; ansible_become in the inventory says otherwise for a host"
    )]
    Become(String),
    #[error(
        "`{option}` is an option of Ansible: set {variable} in the inventory, or pass -e {variable}=VALUE"
    )]
    Variable {
        option: String,
        variable: &'static str,
    },
    #[error("`--ca` is an option of `rotate`: dtls-deploy rotate --ca INVENTORY")]
    CaAlone,
    #[error("`{0}` is an option of Ansible: dtls-deploy does not open Ansible vaults")]
    Vault(String),
    #[error("`dtls-deploy {command}` needs no passphrase, and has no option `{option}`")]
    NoPassphrase { command: String, option: String },
    #[error("`dtls-deploy {command}` has no option `{option}`: it is an option of `{of}`")]
    OptionOf {
        command: String,
        option: String,
        of: String,
    },
    #[error("`-i` needs a file: -i inventory.yaml")]
    NoFile,
    #[error("one inventory at a time: {0}")]
    Inventories(String),
    #[error("`dtls-deploy {0}` takes no inventory")]
    NoInventory(String),
    /// The inventory must come first, but follows another word.
    #[error("the inventory comes first: dtls-deploy {0}")]
    InventoryFirst(String),
    #[error(
        "`dtls-deploy {command}` takes the inventory alone; to select hosts: dtls-deploy {command} {inventory} --limit {word}"
    )]
    OneWord {
        command: String,
        inventory: String,
        word: String,
    },
}

/// The words that are not options, and the options.
struct Sorted {
    /// Indexes of words that are neither options nor their values.
    positional: Vec<usize>,
    /// Indexes and values of `-i`.
    inventories: Vec<(Vec<usize>, OsString)>,
    /// Whether help or the version is requested.
    asks: bool,
    /// Whether `-i` is the last word.
    lacks_file: bool,
}

/// The words in the order that clap expects. `environment` is the inventory in the environment.
///
/// # Errors A word that is neither a command nor a file, and a second inventory.
pub(super) fn understood(
    command: &Command,
    words: &[OsString],
    environment: Option<OsString>,
    is_file: &dyn Fn(&Path) -> bool,
) -> Result<Vec<OsString>, WordsError> {
    let sorted = sorted(words, &|option| takes_value_anywhere(command, option));
    let (path, inner) = match sorted.command(command, words, is_file) {
        Ok(found) => found,
        // The word may be the value of such an option.
        Err(error) => {
            refuse_variables(command, words)?;
            return Err(error);
        }
    };
    refuse_variables(inner, words)?;
    if sorted.lacks_file {
        return Err(WordsError::NoFile);
    }
    let knows_all = refuse_foreign(command, inner, words)?;
    let sorted = self::sorted(words, &|option| takes_value(inner, option));
    if knows_all {
        sorted.one_command((&path, inner), command, words, is_file)?;
    }
    let takes = inner.get_positionals().next();
    let takes = takes.is_some_and(|argument| argument.get_id() == "inventory");
    let inventory = match sorted.inventories.as_slice() {
        [] => {
            let needed = inner
                .get_positionals()
                .filter(|argument| argument.is_required_set());
            let lacks = sorted.positional.len() - path.len() < needed.count();
            // A command must be named: an empty command line deploys nothing.
            environment.filter(|_| takes && lacks && !path.is_empty() && !sorted.asks)
        }
        [_] if !takes => return Err(WordsError::NoInventory(inner.get_name().to_owned())),
        [(_, name)] => Some(name.clone()),
        several => {
            let several = several.iter().map(|(_, name)| name.to_string_lossy());
            return Err(WordsError::Inventories(
                several.collect::<Vec<_>>().join(", "),
            ));
        }
    };
    if takes && knows_all && sorted.inventories.is_empty() && !sorted.asks {
        sorted.in_order(&path, inner, words, is_file)?;
    }
    let moved: Vec<usize> = sorted
        .inventories
        .into_iter()
        .flat_map(|(places, _)| places)
        .collect();
    let word = |place: usize| words.get(place).cloned();
    let before = path
        .iter()
        .filter_map(|place| word(*place))
        .chain(inventory)
        // Options of --check also apply to `plan`.
        .chain((inner.get_name() == "plan").then(|| "--check".into()));
    let after = (1..words.len()).filter(|place| !path.contains(place) && !moved.contains(place));
    Ok(word(0)
        .into_iter()
        .chain(before)
        .chain(after.filter_map(word))
        .collect())
}

impl Sorted {
    /// Whether the inventory is the first of the command's words, and there are not too many words.
    fn in_order(
        &self,
        path: &[usize],
        inner: &Command,
        words: &[OsString],
        is_file: &dyn Fn(&Path) -> bool,
    ) -> Result<(), WordsError> {
        let own = self.positional.iter().filter(|place| !path.contains(place));
        let own = own.filter_map(|place| words.get(*place)?.to_str());
        let own: Vec<&str> = own.collect();
        let [first, second, ..] = own.as_slice() else {
            return Ok(());
        };
        let is_inventory = |word: &str| {
            let path = Path::new(word);
            let is_named = |end: &str| path.extension().is_some_and(|own| own == end);
            is_file(path) || is_named("yaml") || is_named("yml")
        };
        let is_swapped = !is_inventory(first) && is_inventory(second);
        let quoted =
            |word: &str| shlex::try_quote(word).map_or_else(|_| word.to_owned(), Into::into);
        let command = path.iter().filter_map(|place| words.get(*place)?.to_str());
        let command = command.collect::<Vec<_>>().join(" ");
        let takes_limit = inner
            .get_arguments()
            .any(|one| one.get_long() == Some("limit"));
        if inner.get_positionals().count() > 1 {
            if is_swapped {
                let line = [command.as_str(), &quoted(second), &quoted(first)];
                return Err(WordsError::InventoryFirst(line.join(" ").trim().to_owned()));
            }
        } else if takes_limit && is_inventory(first) != is_inventory(second) {
            let (inventory, word) = if is_swapped {
                (second, first)
            } else {
                (first, second)
            };
            return Err(WordsError::OneWord {
                command,
                inventory: quoted(inventory),
                word: quoted(word),
            });
        }
        Ok(())
    }

    /// No word is a command: the first may be the inventory, or a mistake.
    fn without_command<'a>(
        &self,
        program: &'a Command,
        words: &[OsString],
        is_file: &dyn Fn(&Path) -> bool,
    ) -> Result<(Vec<usize>, &'a Command), WordsError> {
        let first = self.positional.iter().take(2);
        let first: Vec<&str> = first
            .filter_map(|place| words.get(*place)?.to_str())
            .collect();
        let unknown = first.iter().filter(|word| !is_file(Path::new(word)));
        for word in unknown {
            if let Some(meant) = nearest(program, word) {
                let word = (*word).to_owned();
                return Err(WordsError::NoCommand { word, meant });
            }
        }
        let is_inventory = |word: &&str| word.contains(['/', '.']) || is_file(Path::new(word));
        match first.as_slice() {
            [word, ..] if self.inventories.is_empty() && !first.iter().any(is_inventory) => {
                Err(WordsError::Neither((*word).to_owned()))
            }
            _ => Ok((Vec::new(), program)),
        }
    }

    /// Refuses a second command, where no host or other name is expected.
    fn one_command(
        &self,
        (path, inner): (&[usize], &Command),
        program: &Command,
        words: &[OsString],
        is_file: &dyn Fn(&Path) -> bool,
    ) -> Result<(), WordsError> {
        let mut takes = inner.get_positionals().map(clap::Arg::get_id);
        let text = |place: &usize| words.get(*place)?.to_str();
        let Some(first) = path.first().and_then(text) else {
            return Ok(());
        };
        if first == "help" || !takes.all(|id| id == "inventory" || id == "playbook") {
            return Ok(());
        }
        let own = self.positional.iter().filter(|place| !path.contains(place));
        let second = own
            .filter_map(text)
            .find(|word| program.find_subcommand(word).is_some() && !is_file(Path::new(word)));
        match second {
            Some(second) => Err(WordsError::TwoCommands {
                first: first.to_owned(),
                second: second.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// The indexes of the command's own words, and the command; the program itself if none is
    /// named.
    fn command<'a>(
        &self,
        program: &'a Command,
        words: &[OsString],
        is_file: &dyn Fn(&Path) -> bool,
    ) -> Result<(Vec<usize>, &'a Command), WordsError> {
        let text = |place: usize| words.get(place)?.to_str();
        let is_command = |place: usize| {
            text(place)
                .is_some_and(|word| word == "help" || program.find_subcommand(word).is_some())
        };
        let is_known = |place: usize| text(place).is_none_or(|word| is_file(Path::new(word)));
        let mut first = self.positional.iter().copied().take(2).enumerate();
        // An existing file of that name takes precedence.
        let begins =
            first.find(|(index, place)| is_command(*place) && (*index == 0 || !is_known(*place)));
        let Some((begins, _)) = begins else {
            return self.without_command(program, words, is_file);
        };
        let (mut path, mut inner) = (Vec::new(), program);
        for place in self.positional.iter().skip(begins) {
            match text(*place).and_then(|word| inner.find_subcommand(word)) {
                Some(found) => inner = found,
                // clap adds this one itself.
                None if path.is_empty() => {
                    let mut rest = self.positional.iter().skip(begins + 1);
                    let asked = rest.next().and_then(|place| text(*place));
                    let asked = asked.filter(|word| program.find_subcommand(word).is_none());
                    if let Some((word, meant)) = asked
                        .and_then(|word| Some((word, nearest(program, word)?)))
                        .filter(|(_, meant)| !meant.starts_with('-'))
                    {
                        return Err(WordsError::NoHelp {
                            word: word.to_owned(),
                            meant,
                        });
                    }
                }
                // `ca INVENTORY backup`
                None if inner.has_subcommands() => continue,
                None => break,
            }
            path.push(*place);
        }
        Ok((path, inner))
    }
}

/// Splits options, their values and other words.
fn sorted(words: &[OsString], takes_value: &dyn Fn(&str) -> bool) -> Sorted {
    let mut sorted = Sorted {
        positional: Vec::new(),
        inventories: Vec::new(),
        asks: false,
        lacks_file: false,
    };
    let mut place = 1;
    while let Some(word) = words.get(place) {
        let text = word.to_str().unwrap_or_default();
        let value = words.get(place + 1);
        if text == "--" {
            sorted.positional.extend(place + 1..words.len());
            break;
        }
        if text == "-" || !text.starts_with('-') {
            sorted.positional.push(place);
        } else if text == "-i" || text == "--inventory" {
            if let Some(value) = value {
                sorted
                    .inventories
                    .push((vec![place, place + 1], value.clone()));
                place += 1;
            } else {
                sorted.lacks_file = true;
            }
        } else if let Some(value) = text
            .strip_prefix("--inventory=")
            .or_else(|| text.strip_prefix("-i"))
        {
            sorted
                .inventories
                .push((vec![place], OsStr::new(value).to_owned()));
        } else if ["-h", "--help", "-V", "--version"].contains(&text) {
            sorted.asks = true;
        } else if takes_value(text) {
            place += 1;
        }
        place += 1;
    }
    sorted
}

/// Whether the word after this option of a command is its value.
fn takes_value(command: &Command, option: &str) -> bool {
    command.get_arguments().any(|argument| {
        let is_it = if let Some(long) = option.strip_prefix("--") {
            let aliases = argument.get_all_aliases().unwrap_or_default();
            argument.get_long() == Some(long) || aliases.contains(&long)
        } else {
            // The last of several options in one word: `-vl PATTERN`.
            argument.get_short() == option.chars().last()
        };
        is_it && argument.get_action().takes_values()
    })
}

/// The same for an unknown command: for any of them.
fn takes_value_anywhere(program: &Command, option: &str) -> bool {
    let mut inner = program.get_subcommands();
    takes_value(program, option) || inner.any(|inner| takes_value_anywhere(inner, option))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory as _;

    fn of(line: &str, named: Option<&str>) -> Result<String, WordsError> {
        let words = std::iter::once("dtls-deploy").chain(line.split_whitespace());
        let is_file = |path: &Path| {
            path.to_string_lossy().ends_with(".yaml") || path == Path::new("./deploy")
        };
        let words = understood(
            &Cli::command(),
            &words.map(OsString::from).collect::<Vec<_>>(),
            named.map(OsString::from),
            &is_file,
        )?;
        let words: Vec<_> = words
            .iter()
            .skip(1)
            .map(|word| word.to_string_lossy())
            .collect();
        Ok(words.join(" "))
    }

    #[test]
    fn every_order_is_the_same_command() {
        for (line, same) in [
            ("i.yaml", "i.yaml"),
            ("i.yaml own.yaml --check", "i.yaml own.yaml --check"),
            ("rotate i.yaml --force", "rotate i.yaml --force"),
            ("i.yaml rotate --force", "rotate i.yaml --force"),
            ("--force i.yaml rotate", "rotate --force i.yaml"),
            ("-v rotate i.yaml", "rotate -v i.yaml"),
            ("rotate -i i.yaml --force", "rotate i.yaml --force"),
            ("-i i.yaml rotate --force", "rotate i.yaml --force"),
            ("--inventory=i.yaml rotate", "rotate i.yaml"),
            ("-ii.yaml", "i.yaml"),
            ("-i i.yaml own.yaml", "i.yaml own.yaml"),
            (
                "-e a=1 --limit x i.yaml verify",
                "verify -e a=1 --limit x i.yaml",
            ),
            ("-vl rotate i.yaml", "-vl rotate i.yaml"),
            ("i.yaml revoke laptop", "revoke i.yaml laptop"),
            ("-i i.yaml revoke laptop", "revoke i.yaml laptop"),
            ("ca backup i.yaml --to x", "ca backup i.yaml --to x"),
            ("ca backup -i i.yaml --to x", "ca backup i.yaml --to x"),
            ("i.yaml ca backup --to x", "ca backup i.yaml --to x"),
            ("ca i.yaml backup --to x", "ca backup i.yaml --to x"),
            ("./deploy", "./deploy"),
            ("history last", "history last"),
            ("--help", "--help"),
            ("help rotate", "help rotate"),
            ("", ""),
        ] {
            assert_eq!(of(line, None).as_deref(), Ok(same), "{line}");
        }
    }

    #[test]
    fn the_right_order_is_in_the_error() {
        for (line, said) in [
            (
                "revoke laptop i.yaml",
                "the inventory comes first: dtls-deploy revoke i.yaml laptop",
            ),
            (
                "env laptop i.yaml",
                "the inventory comes first: dtls-deploy env i.yaml laptop",
            ),
            (
                "own i.yaml --check",
                "the inventory comes first: dtls-deploy i.yaml own",
            ),
            (
                "status node1 i.yaml",
                "`dtls-deploy status` takes the inventory alone; to select hosts: dtls-deploy status i.yaml --limit node1",
            ),
        ] {
            assert_eq!(of(line, None).unwrap_err().to_string(), said, "{line}");
        }
        for line in [
            "revoke i.yaml own.yaml",
            "i.yaml own.yaml",
            "revoke a b",
            // `init --ca` takes a value.
            "rotate i.yaml --ca -e a=b",
            "rotate --ca -e a=b i.yaml",
        ] {
            assert_eq!(of(line, None).as_deref(), Ok(line));
        }
    }

    #[test]
    fn options_of_ansible_and_of_rotate_are_named_as_what_they_are() {
        for line in [
            "i.yaml -b",
            "deploy i.yaml --become",
            "rotate --ca -b i.yaml",
        ] {
            let error = of(line, None).unwrap_err();
            assert!(matches!(error, WordsError::Become(_)), "{line}: {error}");
        }
        for line in ["i.yaml --ca", "i.yaml --ca rotate", "status --ca i.yaml"] {
            assert_eq!(of(line, None), Err(WordsError::CaAlone), "{line}");
        }
        for (line, said) in [
            (
                "status i.yaml --force",
                "`dtls-deploy status` has no option `--force`: it is an option of `rotate`",
            ),
            (
                "rollback i.yaml --ca-passphrase-file pass",
                "`dtls-deploy rollback` needs no passphrase, and has no option `--ca-passphrase-file`",
            ),
            (
                "deploy i.yaml -u root",
                "`-u` is an option of Ansible: set ansible_user in the inventory, or pass -e ansible_user=VALUE",
            ),
            (
                "i.yaml -u root",
                "`-u` is an option of Ansible: set ansible_user in the inventory, or pass -e ansible_user=VALUE",
            ),
            (
                "i.yaml --private-key key",
                "`--private-key` is an option of Ansible: set ansible_ssh_private_key_file in the inventory, or pass -e ansible_ssh_private_key_file=VALUE",
            ),
            (
                "i.yaml --ask-vault-pass",
                "`--ask-vault-pass` is an option of Ansible: dtls-deploy does not open Ansible vaults",
            ),
        ] {
            assert_eq!(of(line, None).unwrap_err().to_string(), said, "{line}");
        }
        let error = of("rollback i.yaml --to 2", None).unwrap_err().to_string();
        assert!(error.contains("has no option `--to`"), "{error}");
        for line in [
            // Clap names the unknown option; the word after it may be its value.
            "deploy i.yaml --frobnicate 2",
            "status i.yaml -o xml",
            "ca backup i.yaml --to x",
            "init --ca vault",
            "schedule install i.yaml --user ops",
            "rotate i.yaml --ca",
            "revoke i.yaml a -- -b",
        ] {
            assert!(of(line, None).is_ok(), "{line}");
        }
    }

    #[test]
    fn the_variable_names_the_inventory_of_a_command_that_has_none() {
        let named = Some("n.yaml");
        for (line, same) in [
            ("rotate", "rotate n.yaml"),
            ("rotate --force", "rotate n.yaml --force"),
            ("rotate i.yaml", "rotate i.yaml"),
            ("-i i.yaml rotate", "rotate i.yaml"),
            ("revoke laptop", "revoke n.yaml laptop"),
            ("history", "history"),
            ("rotate --help", "rotate --help"),
            ("rotate --ca -e a=b", "rotate n.yaml --ca -e a=b"),
            ("", ""),
            ("--check", "--check"),
        ] {
            assert_eq!(of(line, named).as_deref(), Ok(same), "{line}");
        }
    }

    #[test]
    fn a_wrong_word_gets_the_command_that_it_may_have_meant() {
        for (line, meant) in [
            ("depoly i.yaml", "deploy"),
            ("i.yaml rotaet", "rotate"),
            ("apply i.yaml", "deploy"),
            ("rotate-ca i.yaml", "rotate --ca"),
            ("Destroy i.yaml", "remove"),
            ("stauts", "status"),
            ("check_access i.yaml", "check-access"),
            ("version", "--version"),
        ] {
            let error = of(line, None).unwrap_err();
            assert!(
                matches!(&error, WordsError::NoCommand { meant: found, .. } if found == meant),
                "{line}: {error}"
            );
        }
        assert!(matches!(
            of("help depoly", None),
            Err(WordsError::NoHelp { meant, .. }) if meant == "deploy"
        ));
        for line in ["deploy -i", "-i", "rotate --force -i"] {
            assert_eq!(of(line, None), Err(WordsError::NoFile), "{line}");
        }
        // Files, existing or not.
        for line in ["missing.yml", "inventories/prod"] {
            assert_eq!(of(line, None).as_deref(), Ok(line));
        }
        for word in ["ps", "ssh", "xyzzy"] {
            let error = of(word, None).unwrap_err();
            assert_eq!(error, WordsError::Neither(word.to_owned()));
        }
        for (line, second) in [
            ("i.yaml deploy rotate", "rotate"),
            ("deploy i.yaml rotate", "rotate"),
            ("rotate i.yaml verify", "verify"),
        ] {
            let error = of(line, None).unwrap_err();
            assert!(
                matches!(&error, WordsError::TwoCommands { second: found, .. } if found == second),
                "{line}: {error}"
            );
        }
        // A host can have the name of a command.
        assert!(of("revoke i.yaml rotate", None).is_ok());
        assert!(of("env i.yaml rotate", None).is_ok());
        assert!(matches!(
            of("-i a.yaml -i b.yaml", None),
            Err(WordsError::Inventories(_))
        ));
        assert!(matches!(
            of("history -i a.yaml", None),
            Err(WordsError::NoInventory(_))
        ));
    }
}
