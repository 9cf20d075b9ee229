//! Where a client's contexts and the lines of its profile are.

use docker::context::{ContextPaths, paths};
use inventory::Host;

/// What a login shell reads: bash takes the first of these that exists.
pub const PROFILES: [&str; 3] = [".bash_profile", ".bash_login", ".profile"];

/// The name of a client's context for a daemon: after its zone and the daemon.
#[must_use]
pub fn context_name(client: &Host, daemon: &Host) -> String {
    match &client.settings.zone {
        Some(zone) => format!("{zone}-{}", daemon.name),
        None => daemon.name.clone(),
    }
}

/// Where that context is kept.
#[must_use]
pub fn context_paths(client: &Host, daemon: &Host) -> ContextPaths {
    paths(&client.cli_directory(), &context_name(client, daemon))
}
