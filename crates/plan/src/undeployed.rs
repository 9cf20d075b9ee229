//! What the inventory requests for a client and no deployment has done yet.

use crate::host::client::PROFILES;
use crate::host::leaf::location as leaf_location;
use docker::environment;
use inventory::{Host, Inventory};
use node::facts::NodeFacts;
use pki::Role;

/// The login shell uses the files of another directory.
pub(super) fn directory(host: &Host, facts: &NodeFacts, inventory: &Inventory) -> Option<String> {
    if host.identity.is_some() {
        return None;
    }
    let mut profiles = PROFILES.iter();
    let (path, found) = profiles.find_map(|name| {
        let path = format!("~/{name}");
        let found = environment::found(facts.text(&path)?, &inventory.name)?;
        Some((facts.expand(&path), found))
    })?;
    let default = || facts.expand("~/.docker");
    let used = found.certificate_path.unwrap_or_else(default);
    let declared = facts.expand(&host.settings.client_dir);
    (used != declared)
        .then(|| format!("{path} leads to {used}, and dtls_client_dir is {declared}: deploy first"))
}

/// It has a pair that does not show its mode, so nothing replaces it.
pub(super) fn pair(host: &Host, facts: &NodeFacts) -> Option<String> {
    let (directory, files) = leaf_location(host, Role::Client);
    let key = format!("{directory}/{}", files.key);
    facts.regular(&key)?;
    Some(format!(
        "{} is there, and dtls_client_mode: {} replaces no certificate: deploy first, or remove it",
        facts.expand(&key),
        host.settings.client_mode.word()
    ))
}
