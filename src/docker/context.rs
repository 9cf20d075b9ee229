//! Docker contexts: how the CLI remembers a daemon and the identity for it.
//!
//! `docker context create` copies the certificate files into a store below
//! ~/.docker/contexts, so that a rotation has to refresh them there. The store
//! is written directly: the node needs no docker CLI for it, and a set is
//! switched by one rename. Layout: docker/cli, cli/context/store.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::json;

/// What marks a context as ours, so that nobody else's is overwritten.
pub const DESCRIPTION: &str = "mutual TLS, kept by dtls-deploy";

/// Paths of one context below the CLI's directory, "~/.docker" by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextPaths {
    /// Directory of meta.json.
    pub metadata: String,
    /// Directory of ca.pem, cert.pem and key.pem.
    pub tls: String,
}

/// Where the CLI keeps the context `name`: under the SHA-256 of its name.
#[must_use]
pub fn paths(cli_directory: &str, name: &str) -> ContextPaths {
    let id = crate::hex(digest(&SHA256, name.as_bytes()).as_ref());
    ContextPaths {
        metadata: format!("{cli_directory}/contexts/meta/{id}"),
        tls: format!("{cli_directory}/contexts/tls/{id}/docker"),
    }
}

/// The text of meta.json.
#[must_use]
pub fn metadata(name: &str, url: &str) -> String {
    json!({
        "Name": name,
        "Metadata": { "Description": DESCRIPTION },
        "Endpoints": { "docker": { "Host": url, "SkipTLSVerify": false } },
    })
    .to_string()
}

/// Whether an existing meta.json was written by this tool.
#[must_use]
pub fn is_ours(text: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(text)
        .ok()
        .and_then(|value| Some(value.pointer("/Metadata/Description")?.as_str()? == DESCRIPTION))
        .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_told_from_anybody_elses() {
        assert!(is_ours(metadata("node3", "tcp://node3:2376").as_bytes()));
        assert!(!is_ours(
            br#"{"Name":"node3","Metadata":{},"Endpoints":{}}"#
        ));
        assert!(!is_ours(b"not json"));
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
