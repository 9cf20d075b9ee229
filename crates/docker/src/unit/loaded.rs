//! The command that systemd has loaded, compared with the unit's files.
//!
//! A drop-in that cannot be read still applies in systemd. systemd reports specifiers expanded, but
//! not variables.

use super::command_line::without_specifiers;
use super::syntax::{plain, split_words, written};
use super::{UnitFile, exec_starts};

/// Stands for systemd's own answer among the files of a unit.
pub const LOADED: &str = "systemctl show -p ExecStart";

/// One command of a unit, as systemd has loaded it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    pub path: String,
    pub arguments: Vec<String>,
    /// Names of `ExecStartEx`: `no-env-expand` and others.
    pub flags: Vec<String>,
}

/// Whether these files give the unit exactly this command. A word with a specifier (`%H`), which
/// only systemd can expand, matches any word.
#[must_use]
pub fn says(files: &[UnitFile], command: &Command) -> bool {
    let Some(words) = words_of(files) else {
        return false;
    };
    let fits = |(at, (word, loaded)): (usize, (&String, &String))| {
        let word = word_at(at, word);
        without_specifiers(&word).is_none_or(|word| word == *loaded)
    };
    words.len() == command.arguments.len()
        && words.iter().zip(&command.arguments).enumerate().all(fits)
}

/// Like [`says`], for `systemctl show -p ExecStart`, whose words are separated by spaces only.
#[must_use]
pub fn says_joined(files: &[UnitFile], shown: &str) -> bool {
    let Some(words) = words_of(files) else {
        return false;
    };
    let Some((_, shown)) = shown.split_once("argv[]=") else {
        return false;
    };
    let mut rest = shown;
    for (at, word) in words.iter().enumerate() {
        let word = word_at(at, word);
        let Some(word) = without_specifiers(&word) else {
            // Up to the next blank, whatever it stands for.
            rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
            continue;
        };
        let after = rest.strip_prefix(word.as_str());
        let Some(after) = after.and_then(|after| after.strip_prefix(' ')) else {
            return false;
        };
        rest = after;
    }
    rest.starts_with("; ")
}

/// A word of the command without quotes, and the program without its prefixes.
fn word_at(at: usize, word: &str) -> String {
    let word = plain(word);
    if at == 0 {
        word.trim_start_matches(['-', ':', '+', '!']).to_owned()
    } else {
        word
    }
}

/// The words of the one command that the files give, quotes left in place.
fn words_of(files: &[UnitFile]) -> Option<Vec<String>> {
    let mut commands: Vec<String> = Vec::new();
    for start in files.iter().flat_map(|file| exec_starts(&file.text)) {
        if start.is_empty() {
            commands.clear();
        } else {
            commands.push(start);
        }
    }
    match commands.as_slice() {
        [command] => Some(split_words(command)),
        _ => None,
    }
}

/// The command as a file of the unit that comes after all others.
#[must_use]
pub fn as_file(command: &Command) -> UnitFile {
    let mut line = String::new();
    for (flag, prefix) in [
        ("ignore-failure", '-'),
        ("no-env-expand", ':'),
        ("privileged", '+'),
    ] {
        if command.flags.iter().any(|known| known == flag) {
            line.push(prefix);
        }
    }
    let mut words = command.arguments.iter();
    match words.next() {
        Some(first) if *first == command.path => line.push_str(&quoted(first)),
        // Its first argument is another word than its path.
        first => {
            line.push('@');
            line.push_str(&quoted(&command.path));
            if let Some(word) = first {
                line.push(' ');
                line.push_str(&quoted(word));
            }
        }
    }
    for word in words {
        line.push(' ');
        line.push_str(&quoted(word));
    }
    UnitFile {
        path: LOADED.to_owned(),
        text: format!("[Service]\nExecStart=\nExecStart={line}\n"),
    }
}

/// A word whose specifiers systemd has expanded, as it is written into a unit file.
fn quoted(word: &str) -> String {
    written(&word.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(starts: &[&str]) -> Vec<UnitFile> {
        let of = |start: &&str| UnitFile {
            path: "/x.conf".to_owned(),
            text: format!("\u{feff}[Service]\n{start}\n"),
        };
        starts.iter().map(of).collect()
    }

    fn command(words: &[&str]) -> Command {
        Command {
            path: words[0].to_owned(),
            arguments: words.iter().map(|word| (*word).to_owned()).collect(),
            flags: Vec::new(),
        }
    }

    #[test]
    fn files_and_systemd_say_the_same_or_not() {
        let unit = files(&[
            "ExecStart=/bin/false",
            "ExecStart=\nExecStart=-/usr/sbin/dockerd -H fd:// \\\n --label \"a b\" --label=%H $OPTS $$x 100%%",
        ]);
        let words = [
            "/usr/sbin/dockerd",
            "-H",
            "fd://",
            "--label",
            "a b",
            "--label=node3",
            "$OPTS",
            "$$x",
            "100%",
        ];
        assert!(says(&unit, &command(&words)));
        let shown = format!(
            "{{ path=/usr/sbin/dockerd ; argv[]={} ; ignore_errors=no ; pid=1 }}",
            words.join(" ")
        );
        assert!(says_joined(&unit, &shown));
        let mut other = words;
        other[4] = "a c";
        assert!(!says(&unit, &command(&other)));
        assert!(!says(&unit, &command(&words[..8])));
        let shorter = shown.replace(" 100%", "");
        for shown in [shorter, shown.replace("a b", "a c"), String::new()] {
            assert!(!says_joined(&unit, &shown), "{shown}");
        }
        assert!(!says(&files(&["Type=notify"]), &command(&words)));
    }

    /// What is written is what systemd has loaded, whatever is in its words.
    #[test]
    fn any_command_can_be_written() {
        let words = [
            "/opt/my docker/dockerd",
            "--label=it's \"a\" \\ b",
            "",
            "%H",
            "$OPTS",
            "tab\tend\nline",
            "ü",
        ];
        for flags in [&[][..], &["ignore-failure", "no-env-expand"]] {
            let mut command = command(&words);
            command.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            let file = as_file(&command);
            assert!(says(std::slice::from_ref(&file), &command), "{}", file.text);
        }
        let mut renamed = command(&["docker", "-H", "fd://"]);
        "/usr/sbin/dockerd".clone_into(&mut renamed.path);
        assert!(
            as_file(&renamed)
                .text
                .ends_with("ExecStart=@/usr/sbin/dockerd docker -H fd://\n")
        );
    }
}
