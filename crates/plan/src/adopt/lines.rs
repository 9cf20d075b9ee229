//! The inventory lines that would keep a node as it is.
//!
//! They are only printed: the operator decides.

use super::paths;
use crate::host::daemon_json::{PATH, tls_paths};
use crate::host::in_use::{arguments, values};
use crate::host::unit::{directory, unit_files};
use docker::daemon_json::hosts;
use docker::tls::TlsPaths;
use inventory::Host;
use node::facts::NodeFacts;
use pki::Role;

/// Lines for the host's own variables, or a sentence where no line would do.
#[must_use]
pub fn lines(host: &Host, facts: &NodeFacts) -> Vec<String> {
    if !host.is_daemon {
        return Vec::new();
    }
    let mut lines = files(
        &paths(host, Role::Daemon, facts),
        &tls_paths(host, |path| facts.expand(path)),
    );
    lines.extend(owner(host, facts));
    lines.extend(listeners(host, facts));
    lines.extend(drop_in(host, facts));
    lines
}

/// The owner of the directory, if it is not root: deploy refuses it otherwise.
fn owner(host: &Host, facts: &NodeFacts) -> Option<String> {
    let owner = &facts.regular(&paths(host, Role::Daemon, facts).ca)?.owner;
    let is_said = host.settings.daemon_dir_trusted_owner.as_ref() == Some(owner);
    (owner != "root" && !is_said)
        .then(|| format!("dtls_daemon_dir_trusted_owner: {}", quoted(owner)))
}

fn files(found: &TlsPaths, wanted: &TlsPaths) -> Vec<String> {
    if found == wanted {
        return Vec::new();
    }
    let split = |path: &'_ str| -> (String, String) {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        (directory.to_owned(), name.to_owned())
    };
    let of = |paths: &TlsPaths| [&paths.ca, &paths.certificate, &paths.key].map(|path| split(path));
    let ([ca, certificate, key], [wanted_ca, wanted_certificate, wanted_key]) =
        (of(found), of(wanted));
    if ca.0 != certificate.0 || ca.0 != key.0 {
        return vec![format!(
            "# its files lie in several directories ({}, {}, {}); dtls_daemon_dir is one",
            found.ca, found.certificate, found.key
        )];
    }
    let mut lines = Vec::new();
    if ca.0 != wanted_ca.0 {
        lines.push(format!("dtls_daemon_dir: {}", quoted(&ca.0)));
    }
    if (&ca.1, &certificate.1, &key.1) != (&wanted_ca.1, &wanted_certificate.1, &wanted_key.1) {
        lines.push(format!(
            "dtls_daemon_files: {{ca: {}, cert: {}, key: {}}}",
            quoted(&ca.1),
            quoted(&certificate.1),
            quoted(&key.1)
        ));
    }
    lines
}

/// Where dockerd listens with TLS, and whether it also listens on the local socket.
fn listeners(host: &Host, facts: &NodeFacts) -> Vec<String> {
    let arguments = arguments(facts);
    let mut found = values(&arguments, "-H");
    found.extend(values(&arguments, "--host"));
    if !facts.systemd {
        found.extend(hosts(facts.text(PATH).unwrap_or_default()));
    }
    let tcp: Vec<&String> = found
        .iter()
        .filter(|address| address.starts_with("tcp://"))
        .collect();
    // A daemon without a port yet will get one.
    if tcp.is_empty() {
        return Vec::new();
    }
    let wanted: Vec<&String> = host
        .settings
        .listen
        .iter()
        .map(|listen| &listen.text)
        .collect();
    let mut lines = Vec::new();
    if tcp != wanted {
        let texts: Vec<String> = tcp.iter().map(|address| quoted(address)).collect();
        lines.push(format!("dtls_listen: [{}]", texts.join(", ")));
    }
    let local = found.len() > tcp.len();
    if local != host.settings.local_socket {
        lines.push(format!("dtls_local_socket: {local}"));
    }
    lines
}

/// The administrator's drop-in that sets the command line.
fn drop_in(host: &Host, facts: &NodeFacts) -> Option<String> {
    let directory = directory(&host.settings.unit);
    let files = unit_files(facts);
    let name = files.iter().rev().find_map(|file| {
        let name = file.path.strip_prefix(&directory)?.strip_prefix('/')?;
        let sets = |line: &str| line.trim_start().starts_with("ExecStart=");
        file.text.lines().any(sets).then(|| name.to_owned())
    })?;
    (name != host.settings.dropin).then(|| format!("dtls_dropin: {}", quoted(&name)))
}

fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if text.bytes().all(is_plain) && text.starts_with(|first: char| first != '-') {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ca: &str, certificate: &str, key: &str) -> TlsPaths {
        TlsPaths {
            ca: ca.to_owned(),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        }
    }

    #[test]
    fn only_what_differs_is_said() {
        let wanted = at(
            "/etc/docker/tls/ca.pem",
            "/etc/docker/tls/cert.pem",
            "/etc/docker/tls/key.pem",
        );
        assert!(files(&wanted, &wanted).is_empty());
        assert_eq!(
            files(
                &at("/k/ca.pem", "/k/server-cert.pem", "/k/server-key.pem"),
                &wanted
            ),
            [
                "dtls_daemon_dir: /k",
                "dtls_daemon_files: {ca: ca.pem, cert: server-cert.pem, key: server-key.pem}"
            ]
        );
        assert_eq!(
            files(&at("/k/ca.pem", "/k/cert.pem", "/k/key.pem"), &wanted),
            ["dtls_daemon_dir: /k"]
        );
        let spread = files(&at("/a/ca.pem", "/b/cert.pem", "/a/key.pem"), &wanted);
        assert!(spread[0].starts_with("# its files"), "{spread:?}");
    }

    #[test]
    fn values_are_quoted_where_yaml_would_read_something_else() {
        assert_eq!(quoted("/etc/docker/keys"), "/etc/docker/keys");
        assert_eq!(quoted("tcp://node3:2376"), "\"tcp://node3:2376\"");
        assert_eq!(quoted("a b"), "\"a b\"");
    }
}
