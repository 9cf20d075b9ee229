//! Commands and options of other tools, and mistyped ones: what they mean here.

use std::ffi::OsString;

use clap::Command;

use super::WordsError;

/// Names that other tools use for this program's commands.
const CALLED: &[(&str, &str)] = &[
    ("apply", "deploy"),
    ("run", "deploy"),
    ("up", "deploy"),
    ("provision", "deploy"),
    ("converge", "deploy"),
    ("diff", "plan"),
    ("check", "plan"),
    ("dry-run", "plan"),
    ("preview", "plan"),
    ("ping", "check-access"),
    ("test", "verify"),
    ("validate", "verify"),
    ("renew", "rotate"),
    ("rotate-ca", "rotate --ca"),
    ("list", "status"),
    ("ls", "status"),
    ("get", "status"),
    ("show", "status"),
    ("logs", "history"),
    ("undo", "rollback"),
    ("destroy", "remove"),
    ("uninstall", "remove"),
    ("delete", "remove"),
    ("down", "remove"),
    ("backup", "ca backup"),
    ("restore", "ca restore"),
    ("import", "adopt"),
    ("cron", "schedule"),
    ("version", "--version"),
];
/// Minimum similarity of a word and a command, of 1.
const ALIKE: f64 = 0.8;

/// Whether the command has this long option.
fn has(command: &Command, name: &str) -> bool {
    command.get_arguments().any(|one| {
        let aliases = one.get_all_aliases().unwrap_or_default();
        one.get_long() == Some(name) || aliases.contains(&name)
    })
}

/// Options of Ansible for what is a variable here.
pub(super) fn refuse_variables(inner: &Command, words: &[OsString]) -> Result<(), WordsError> {
    let words = words.iter().filter_map(|word| word.to_str());
    for word in words.skip(1).take_while(|word| *word != "--") {
        let option = word.split('=').next().unwrap_or(word);
        let variable = match option {
            "-u" | "--user" if !has(inner, "user") => "ansible_user",
            "--private-key" | "--key-file" => "ansible_ssh_private_key_file",
            _ => continue,
        };
        let option = option.to_owned();
        return Err(WordsError::Variable { option, variable });
    }
    Ok(())
}

/// Options for which clap would print a misleading explanation. Returns whether the command knows
/// all options: the word after an unknown one may be its value.
pub(super) fn refuse_foreign(
    program: &Command,
    inner: &Command,
    words: &[OsString],
) -> Result<bool, WordsError> {
    let words = words.iter().filter_map(|word| word.to_str());
    let options = words.skip(1).take_while(|word| *word != "--");
    let mut knows_all = true;
    for word in options.filter(|word| word.starts_with('-')) {
        let option = word.split('=').next().unwrap_or(word).to_owned();
        match option.as_str() {
            "-b" | "--become" => return Err(WordsError::Become(option)),
            "--ask-vault-pass"
            | "--ask-vault-password"
            | "--vault-id"
            | "--vault-password-file"
            | "--vault-pass-file" => return Err(WordsError::Vault(option)),
            "--ca" if !has(inner, "ca") => return Err(WordsError::CaAlone),
            _ => {}
        }
        let Some(name) = option.strip_prefix("--") else {
            knows_all &= knows_short(inner, &option);
            continue;
        };
        let is_general = ["help", "version", "inventory"].contains(&name);
        if is_general || has(inner, name) || inner.has_subcommands() && inner.get_name() == "ca" {
            continue;
        }
        knows_all = false;
        let command = match inner.get_name() {
            "dtls-deploy" => "deploy".to_owned(),
            name @ ("backup" | "restore") => format!("ca {name}"),
            name => name.to_owned(),
        };
        if name.starts_with("ca-passphrase-") {
            return Err(WordsError::NoPassphrase { command, option });
        }
        let mut of = program.get_subcommands().filter(|one| has(one, name));
        if let (Some(only), None) = (of.next(), of.next()) {
            let of = only.get_name().to_owned();
            return Err(WordsError::OptionOf {
                command,
                option,
                of,
            });
        }
    }
    Ok(knows_all)
}

/// Whether the command knows the first of the options in `-vl`; the rest may be a value.
fn knows_short(command: &Command, word: &str) -> bool {
    let first = word.chars().nth(1);
    let mut known = command.get_arguments().filter_map(clap::Arg::get_short);
    first.is_none_or(|first| "hVi".contains(first) || known.any(|short| short == first))
}

/// The command that a word may have meant.
pub(super) fn nearest(command: &Command, word: &str) -> Option<String> {
    let lower = word.to_lowercase();
    if let Some((_, meant)) = CALLED.iter().find(|(called, _)| *called == lower) {
        return Some((*meant).to_owned());
    }
    if word.contains(['/', '.']) {
        return None;
    }
    let known = command
        .get_subcommands()
        .filter(|known| !known.is_hide_set());
    let alike = known.map(|known| (strsim::jaro_winkler(&lower, known.get_name()), known));
    let best = alike.max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(alike, _)| *alike >= ALIKE)
        .map(|(_, known)| known.get_name().to_owned())
}
