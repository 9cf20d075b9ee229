//! The listeners on the unit's command line, and the file that sets each.

use std::collections::BTreeMap;

use crate::tls;

use super::syntax::{plain, split_words, variable_of, words_of_value};
use super::{
    UnitFile, exec_starts, is_local, parse_environment, take_hosts, unit_environment, with_scheme,
};

/// An address on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// With its scheme: `tcp://0.0.0.0:2375`.
    pub address: String,
    /// The file that sets it.
    pub path: String,
}

/// The `-H` flags of the effective command line, including those in variables, without local
/// sockets; and whether a flag enables TLS. `environment_files` are those of the unit, with their
/// texts.
#[must_use]
pub fn listeners(files: &[UnitFile], environment_files: &[(&str, &str)]) -> (Vec<Listener>, bool) {
    let starts = files.iter().flat_map(|file| {
        exec_starts(&file.text)
            .into_iter()
            .map(move |start| (start, file))
    });
    let mut last = None;
    for (start, file) in starts {
        last = (!start.is_empty()).then_some((start, file));
    }
    let Some((command, file)) = last else {
        return (Vec::new(), false);
    };
    let own = unit_environment(files);
    let others: Vec<(&str, BTreeMap<String, String>)> = environment_files
        .iter()
        .map(|(path, text)| (*path, parse_environment(text)))
        .collect();
    let mut listeners = Vec::new();
    let mut take = |words: &[String], path: &str| {
        let mut hosts = Vec::new();
        take_hosts(words, &mut hosts);
        let hosts = hosts
            .into_iter()
            .filter(|host| !is_local(host) && !host.starts_with('$'));
        listeners.extend(hosts.map(|host| Listener {
            address: with_scheme(&host),
            path: path.to_owned(),
        }));
    };
    let mut words = Vec::new();
    // In the order of the line: of a repeated flag the last one counts.
    let mut line = Vec::new();
    for word in split_words(&command).into_iter().skip(1) {
        let Some(name) = variable_of(&word) else {
            line.push(plain(&word));
            words.push(word);
            continue;
        };
        let from = others
            .iter()
            .rev()
            .find_map(|(path, variables)| Some((*path, variables.get(&name)?)));
        let from = from.or_else(|| Some((file.path.as_str(), own.get(&name)?)));
        let Some((path, value)) = from else { continue };
        line.extend(words_of_value(value));
        match words.last().map(String::as_str) {
            // `-H $LISTEN`
            Some("-H" | "--host") => {
                words.pop();
                take(&["-H".to_owned(), value.clone()], path);
            }
            _ => take(&words_of_value(value), path),
        }
    }
    take(&words, &file.path);
    (listeners, tls::mode_of(&line).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(texts: &[&str], environment: &str) -> (Vec<(String, String)>, bool) {
        let files: Vec<UnitFile> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| UnitFile {
                path: format!("/{index}.conf"),
                text: format!("[Service]\n{text}\n"),
            })
            .collect();
        let (found, tls) = listeners(&files, &[("/etc/default/docker", environment)]);
        let found = found.into_iter().map(|found| (found.address, found.path));
        (found.collect(), tls)
    }

    fn one(address: &str, path: &str) -> (String, String) {
        (address.to_owned(), path.to_owned())
    }

    #[test]
    fn every_place_is_named() {
        let debian = "ExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS";
        assert_eq!(look(&[debian], ""), (vec![], false));
        assert_eq!(
            look(&[debian], "DOCKER_OPTS=\"-H tcp://0.0.0.0:2375\""),
            (
                vec![one("tcp://0.0.0.0:2375", "/etc/default/docker")],
                false
            )
        );
        let later = "ExecStart=\nExecStart=/usr/bin/dockerd -H :2375 -H unix:///x --tls=false";
        assert_eq!(
            look(&[debian, later], "DOCKER_OPTS=-H=tcp://a"),
            (vec![one("tcp://:2375", "/1.conf")], false)
        );
        let variable =
            "Environment=LISTEN=0.0.0.0:2376\nExecStart=/usr/bin/dockerd -H $LISTEN --tlsverify";
        assert_eq!(
            look(&[variable], ""),
            (vec![one("tcp://0.0.0.0:2376", "/0.conf")], true)
        );
        assert_eq!(look(&["ExecStart="], ""), (vec![], false));
    }

    #[test]
    fn tls_is_on_where_dockerd_turns_it_on() {
        let is_on = |flags: &str, environment: &str| {
            look(
                &[&format!("ExecStart=/usr/bin/dockerd {flags}")],
                environment,
            )
            .1
        };
        assert!(is_on("--tls", "") && is_on("--tlsverify=1", ""));
        // Any value of tlsverify enables TLS; other words do not.
        assert!(is_on("--tlsverify=false", ""));
        assert!(!is_on("--tls=0", "") && !is_on("--tlscert=/x --tlskey=/y", ""));
        assert!(!is_on("$OPTS --tls=false", "OPTS=--tls"));
        assert!(is_on("--tls=false $OPTS", "OPTS=--tls"));
    }
}
