//! The arguments that a unit's `ExecStart` gives dockerd, with variables expanded.
//!
//! systemd.service(5), "COMMAND LINES"; systemd.syntax(7), "QUOTING".

use std::collections::BTreeMap;

use super::syntax::{file_name, plain, split_words, variable_of, words_of_value};
use super::{UnitFile, exec_starts};

/// The command line of the unit; none if only systemd could tell: several commands, another
/// program, specifiers such as `%H`.
#[must_use]
pub fn command_line(
    files: &[UnitFile],
    environment: &BTreeMap<String, String>,
) -> Option<Vec<String>> {
    let mut commands: Vec<String> = Vec::new();
    for start in files.iter().flat_map(|file| exec_starts(&file.text)) {
        if start.is_empty() {
            commands.clear();
        } else {
            commands.push(start);
        }
    }
    let [command] = commands.as_slice() else {
        return None;
    };
    let words = split_words(command);
    let (program, arguments) = words.split_first()?;
    let program = plain(program);
    let path = program.trim_start_matches(['-', ':', '+', '!']);
    let is_verbatim = program.trim_end_matches(path).contains(':');
    let path = without_specifiers(path)?;
    if file_name(&path) != "dockerd" || !path.starts_with('/') {
        return None;
    }
    let mut line = vec![path];
    for argument in arguments {
        let whole = variable_of(argument).filter(|_| !plain(argument).starts_with("${"));
        if is_verbatim {
            line.push(without_specifiers(&plain(argument))?);
        } else if let Some(name) = whole.filter(|name| is_name(name)) {
            let value = environment.get(&name).map_or("", String::as_str);
            line.extend(words_of_value(value));
        } else {
            let word = without_specifiers(&plain(argument))?;
            line.push(with_variables(&word, environment));
        }
    }
    Some(line)
}

fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// `%%` is a percent sign; only systemd knows the values of other specifiers.
pub(super) fn without_specifiers(word: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = word.chars();
    while let Some(character) = characters.next() {
        if character == '%' && characters.next()? != '%' {
            return None;
        }
        text.push(character);
    }
    Some(text)
}

/// `${NAME}` inside of a word, and `$$` for a dollar sign.
fn with_variables(word: &str, environment: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some((name, after)) = after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        {
            text.push_str(environment.get(name).map_or("", String::as_str));
            rest = after;
        } else {
            text.push('$');
            rest = after;
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_of(texts: &[&str]) -> Option<Vec<String>> {
        let files: Vec<UnitFile> = texts
            .iter()
            .map(|text| UnitFile {
                path: "/x.conf".to_owned(),
                text: format!("[Service]\n{text}\n"),
            })
            .collect();
        let environment = [
            ("OPTS", "--dns 1.1.1.1 --label \"a b\""),
            ("NAME", "node 3"),
            ("EMPTY", ""),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        command_line(&files, &environment.into())
    }

    #[test]
    fn words_arrive_as_systemd_passes_them() {
        let line = line_of(&[
            "ExecStart=/bin/false",
            "ExecStart=\nExecStart=-/usr/sbin/dockerd -H fd:// $OPTS --label=\"x y\" ${NAME} --a=${NAME}! $NONE $EMPTY 100%% $$5 'it\\'s'",
        ]);
        assert_eq!(
            line.unwrap(),
            [
                "/usr/sbin/dockerd",
                "-H",
                "fd://",
                "--dns",
                "1.1.1.1",
                "--label",
                "a b",
                "--label=x y",
                "node 3",
                "--a=node 3!",
                "100%",
                "$5",
                "it's"
            ]
        );
        let verbatim = line_of(&["ExecStart=:/usr/sbin/dockerd $OPTS"]);
        assert_eq!(verbatim.unwrap(), ["/usr/sbin/dockerd", "$OPTS"]);
    }

    #[test]
    fn what_only_systemd_could_tell_is_left_to_it() {
        for text in [
            "Type=simple",
            "ExecStart=/usr/sbin/dockerd --label %H",
            "ExecStart=@/usr/sbin/dockerd docker",
            "ExecStart=/usr/bin/env dockerd",
            "ExecStart=/a/dockerd\nExecStart=/b/dockerd",
        ] {
            assert_eq!(line_of(&[text]), None, "{text}");
        }
    }
}
