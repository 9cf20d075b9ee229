//! Escapes names and values for systemd.
//!
//! See systemd.unit(5), "String escaping for inclusion in unit names", systemd.syntax(7),
//! "QUOTING", and systemd.service(5), "COMMAND LINES".

use std::fmt::Write as _;

/// A text as part of a unit's name, like `systemd-escape`.
pub(super) fn unit_name(text: &str) -> String {
    let mut name = String::new();
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if index == 0 => name.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => {
                name.push(char::from(byte));
            }
            byte => {
                let _ = write!(name, "\\x{byte:02x}");
            }
        }
    }
    name
}

/// A text as the name of a directory: without special characters for systemd or a shell, and unique
/// for each text.
pub(super) fn directory_name(text: &str) -> String {
    let mut name = String::new();
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'.' if index > 0 => name.push('.'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => name.push(char::from(byte)),
            byte => {
                let _ = write!(name, "_{byte:02x}");
            }
        }
    }
    name
}

/// A text within a line: without specifiers and line breaks.
pub(super) fn text(text: &str) -> String {
    let line = text.replace(|character: char| character.is_control(), " ");
    line.replace('%', "%%")
}

/// One quoted word: without specifiers and escapes.
pub(super) fn word(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '%' => quoted.push_str("%%"),
            character if character.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// A command line: no `$` in its arguments is a variable. systemd expands none in the program's
/// path.
pub(super) fn command(words: &[String]) -> String {
    let words = words.iter().enumerate().map(|(index, plain)| {
        let quoted = word(plain);
        if index == 0 {
            quoted
        } else {
            quoted.replace('$', "$$")
        }
    });
    words.collect::<Vec<String>>().join(" ")
}

/// One word of a crontab's command: quoted for the shell, with `%` escaped (crontab(5)). `None` if
/// it contains a line break, which cron does not support.
pub(super) fn cron(text: &str) -> Option<String> {
    if text.contains(['\n', '\r', '\0']) {
        return None;
    }
    let word = shlex::try_quote(text).ok()?;
    Some(word.replace('%', "\\%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_names_are_those_of_systemd_escape() {
        // The output of systemd-escape.
        for (name, escaped) in [
            ("lab", "lab"),
            ("my-lab", "my\\x2dlab"),
            ("a b%c", "a\\x20b\\x25c"),
            (".hidden.v2", "\\x2ehidden.v2"),
            ("größe", "gr\\xc3\\xb6\\xc3\\x9fe"),
            ("a@b\\c", "a\\x40b\\x5cc"),
        ] {
            assert_eq!(unit_name(name), escaped);
        }
    }

    #[test]
    fn no_two_names_share_a_directory() {
        assert_eq!(directory_name("my-lab.v2"), "my-lab.v2");
        assert_eq!(directory_name("my_lab"), "my_5flab");
        assert_eq!(directory_name("."), "_2e");
        assert_eq!(directory_name("a b"), "a_20b");
    }

    #[test]
    fn nothing_in_a_command_is_obeyed() {
        let words = ["/opt/a b/x", "100%", "$HOME", "say \"\\n\"", "a\nb", "'"];
        let words: Vec<String> = words.map(str::to_owned).into();
        assert_eq!(
            command(&words),
            r#""/opt/a b/x" "100%%" "$$HOME" "say \"\\n\"" "a\x0ab" "'""#
        );
        assert_eq!(text("50%\nUser=root"), "50%% User=root");
    }

    #[test]
    fn cron_ends_no_line_at_a_percent_sign() {
        assert_eq!(cron("/a b/50%").unwrap(), "'/a b/50\\%'");
        assert_eq!(cron("/plain").unwrap(), "/plain");
        assert_eq!(cron("a\nb"), None);
    }
}
