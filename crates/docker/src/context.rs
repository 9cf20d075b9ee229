//! Docker contexts: how the CLI remembers a daemon and the identity for it.
//!
//! `docker context create` copies the certificate files into a store below
//! ~/.docker/contexts, so that a rotation has to refresh them there. The store
//! is written directly: the node needs no docker CLI for it, and a set is
//! switched by one rename. Layout: docker/cli, cli/context/store.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;

use super::tls::ClientMode;

/// The mark of dtls-deploy's contexts, so that no other one is overwritten.
const DESCRIPTION: &str = "mutual TLS, kept by dtls-deploy";

/// The creator of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// This inventory, or an old version of this program that did not record it.
    Own,
    /// Another inventory, by its name.
    Inventory(String),
    /// An operator, or another program.
    Other,
}

/// Paths of one context below the CLI's directory, "~/.docker" by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextPaths {
    /// Directory of meta.json.
    pub metadata: String,
    /// Directory of ca.pem, cert.pem and key.pem.
    pub tls: String,
}

/// The name of a context's directories: the SHA-256 of its name, in hex.
#[must_use]
pub fn id(name: &str) -> String {
    base::hex(digest(&SHA256, name.as_bytes()).as_ref())
}

/// The paths of the context `name`.
#[must_use]
pub fn paths(cli_directory: &str, name: &str) -> ContextPaths {
    let id = id(name);
    ContextPaths {
        metadata: format!("{cli_directory}/contexts/meta/{id}"),
        tls: format!("{cli_directory}/contexts/tls/{id}/docker"),
    }
}

/// The text of meta.json. It records whether the client verifies the daemon: the files next to it
/// only show what the client has.
#[must_use]
pub fn metadata(name: &str, url: &str, inventory: &str, mode: ClientMode) -> String {
    json!({
        "Name": name,
        "Metadata": { "Description": format!("{DESCRIPTION} ({inventory})") },
        "Endpoints": { "docker": { "Host": url, "SkipTLSVerify": !mode.checks_daemon() } },
    })
    .to_string()
}

/// An existing meta.json with its endpoint set to `url`; everything else stays as its owner wrote
/// it. `None` if it is not the text of a context.
#[must_use]
pub fn moved(text: &[u8], url: &str, mode: ClientMode) -> Option<String> {
    if endpoint(text)? == (url.to_owned(), mode.checks_daemon()) {
        return String::from_utf8(text.to_vec()).ok();
    }
    let mut value: serde_json::Value = serde_json::from_slice(text).ok()?;
    let endpoint = value.pointer_mut("/Endpoints/docker")?.as_object_mut()?;
    endpoint.insert("Host".to_owned(), json!(url));
    endpoint.insert("SkipTLSVerify".to_owned(), json!(!mode.checks_daemon()));
    Some(value.to_string())
}

/// The endpoint of a context: its address, and whether the daemon there is verified; `None` if the
/// text is not that of a context.
#[must_use]
pub fn endpoint(text: &[u8]) -> Option<(String, bool)> {
    let value: serde_json::Value = serde_json::from_slice(text).ok()?;
    let endpoint = value.pointer("/Endpoints/docker")?;
    let skips = endpoint
        .get("SkipTLSVerify")
        .and_then(serde_json::Value::as_bool);
    let host = endpoint.get("Host")?.as_str()?;
    Some((host.to_owned(), !skips.unwrap_or(false)))
}

/// The creator of an existing meta.json.
#[must_use]
pub fn keeper(text: &[u8], inventory: &str) -> Keeper {
    let value: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let description = value.pointer("/Metadata/Description");
    let description = description.and_then(serde_json::Value::as_str);
    match description.and_then(|text| text.strip_prefix(DESCRIPTION)) {
        None => Keeper::Other,
        Some("") => Keeper::Own,
        Some(rest) => match rest
            .strip_prefix(" (")
            .and_then(|rest| rest.strip_suffix(')'))
        {
            Some(name) if name == inventory => Keeper::Own,
            Some(name) => Keeper::Inventory(name.to_owned()),
            None => Keeper::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_told_from_anybody_elses() {
        let text = metadata("node3", "tcp://node3:2376", "lab", ClientMode::TlsVerify);
        assert_eq!(keeper(text.as_bytes(), "lab"), Keeper::Own);
        let other = Keeper::Inventory("lab".to_owned());
        assert_eq!(keeper(text.as_bytes(), "prod"), other);
        let before = text.replace(" (lab)", "");
        assert_eq!(keeper(before.as_bytes(), "prod"), Keeper::Own);
        for text in [
            &br#"{"Name":"node3","Metadata":{},"Endpoints":{}}"#[..],
            b"not json",
        ] {
            assert_eq!(keeper(text, "lab"), Keeper::Other);
        }
    }

    #[test]
    fn what_an_operator_writes_into_a_context_stays() {
        let text = metadata("node3", "tcp://node3:2376", "lab", ClientMode::TlsVerify);
        let edited = text.replace("mutual TLS, kept by dtls-deploy (lab)", "ours at last");
        let same = moved(edited.as_bytes(), "tcp://node3:2376", ClientMode::TlsVerify);
        assert_eq!(same.as_deref(), Some(edited.as_str()));
        let other = moved(edited.as_bytes(), "tcp://node3:2377", ClientMode::Tls).unwrap();
        assert_eq!(
            endpoint(other.as_bytes()),
            Some(("tcp://node3:2377".to_owned(), false))
        );
        assert!(other.contains("ours at last"), "{other}");
        assert_eq!(moved(b"{}", "tcp://node3:2376", ClientMode::Tls), None);
    }

    #[test]
    fn only_a_mode_that_checks_the_daemon_lets_the_cli_check_it() {
        for (mode, skips) in [
            (ClientMode::TlsVerify, false),
            (ClientMode::TlsVerifyCa, false),
            (ClientMode::TlsCert, true),
            (ClientMode::Tls, true),
        ] {
            let text = metadata("node3", "tcp://node3:2376", "lab", mode);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let found = value.pointer("/Endpoints/docker/SkipTLSVerify").unwrap();
            assert_eq!(found, skips, "{}", mode.word());
        }
    }

    #[test]
    fn the_store_is_keyed_by_the_hash_of_the_name() {
        // printf %s node3 | sha256sum
        let id = "3b5bb1c6e7b76daba8afd89516e24140a67fc6be2ba071cc3b97d1b2e08c238d";
        let paths = paths("/h/.docker", "node3");
        assert_eq!(paths.metadata, format!("/h/.docker/contexts/meta/{id}"));
        assert_eq!(paths.tls, format!("/h/.docker/contexts/tls/{id}/docker"));
    }
}
