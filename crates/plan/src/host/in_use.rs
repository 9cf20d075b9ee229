//! Where a daemon's and a client's files really are.
//!
//! A daemon reads the files that its command line names, then those that daemon.json names;
//! otherwise the inventory decides.

use serde_json::Value;

use crate::host::daemon_json::{PATH, tls_paths};
use crate::host::leaf::location;
use crate::host::unit::{environment, unit_files};
use docker::tls::TlsPaths;
use docker::unit::command_line;
use inventory::Host;
use node::facts::{FactRequest, NodeFacts};
use pki::Role;

#[must_use]
pub fn paths(host: &Host, role: Role, facts: &NodeFacts) -> TlsPaths {
    if role == Role::Client {
        let (directory, files) = location(host, role);
        let directory = facts.expand(&directory);
        return TlsPaths {
            ca: format!("{directory}/{}", files.ca),
            certificate: format!("{directory}/{}", files.cert),
            key: format!("{directory}/{}", files.key),
        };
    }
    let arguments = arguments(facts);
    let settings: Value = facts
        .text(PATH)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let named = |name: &str| {
        let flag = values(&arguments, &format!("--{name}")).pop();
        flag.or_else(|| settings.get(name)?.as_str().map(str::to_owned))
            .filter(|path| path.starts_with('/'))
    };
    let wanted = tls_paths(host, |path| facts.expand(path));
    TlsPaths {
        ca: named("tlscacert").unwrap_or(wanted.ca),
        certificate: named("tlscert").unwrap_or(wanted.certificate),
        key: named("tlskey").unwrap_or(wanted.key),
    }
}

/// What is still missing from the facts of a daemon.
#[must_use]
pub fn more_facts(host: &Host, facts: &NodeFacts) -> Option<FactRequest> {
    if !host.is_daemon {
        return None;
    }
    let paths = paths(host, Role::Daemon, facts);
    let mut request = FactRequest::default();
    let is_known = |path: &String| facts.file(path).is_some();
    let contents = [&paths.ca, &paths.certificate];
    request.bundles = contents
        .into_iter()
        .filter(|path| !is_known(path))
        .cloned()
        .collect();
    request.hashed = [&paths.key]
        .into_iter()
        .filter(|path| !is_known(path))
        .cloned()
        .collect();
    (!request.bundles.is_empty() || !request.hashed.is_empty()).then_some(request)
}

/// The same, but only if the daemon's files are not where the inventory says: the files in service
/// count, wherever they are.
#[must_use]
pub fn facts_elsewhere(host: &Host, facts: &NodeFacts) -> Option<FactRequest> {
    let wanted = tls_paths(host, |path| facts.expand(path));
    let used = paths(host, Role::Daemon, facts);
    let is_elsewhere = used.ca != wanted.ca || used.certificate != wanted.certificate;
    is_elsewhere.then(|| more_facts(host, facts)).flatten()
}

/// dockerd's arguments, as far as the unit's files show them.
#[must_use]
pub fn arguments(facts: &NodeFacts) -> Vec<String> {
    let Some(unit) = &facts.unit else {
        return Vec::new();
    };
    let files = unit_files(facts);
    let variables = environment(unit, facts, &files);
    let mut words = command_line(&files, &variables).unwrap_or_default();
    if !words.is_empty() {
        words.remove(0);
    }
    words
}

/// The values of a flag: `--flag=VALUE` and `--flag VALUE`.
#[must_use]
pub fn values(arguments: &[String], flag: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == flag {
            found.extend(words.next().cloned());
        } else if let Some(value) = word
            .strip_prefix(flag)
            .and_then(|rest| rest.strip_prefix('='))
        {
            found.push(value.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::values;

    #[test]
    fn both_forms_of_a_flag_are_read() {
        let words: Vec<String> = "-H fd:// --tlscert=/a/b.pem --tlskey /a/c.pem --tls"
            .split(' ')
            .map(str::to_owned)
            .collect();
        assert_eq!(values(&words, "--tlscert"), ["/a/b.pem"]);
        assert_eq!(values(&words, "--tlskey"), ["/a/c.pem"]);
        assert_eq!(values(&words, "-H"), ["fd://"]);
        assert!(values(&words, "--tls").is_empty());
    }
}
