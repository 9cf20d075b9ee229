//! Where a client's contexts and the lines of its profile are.

use std::collections::BTreeSet;

use docker::context::{ContextPaths, Keeper, keeper, paths};
use inventory::{ClientEnv, Host, Inventory};
use node::facts::NodeFacts;

/// What a login shell reads: bash takes the first of these that exists.
pub const PROFILES: [&str; 3] = [".bash_profile", ".bash_login", ".profile"];

/// The name of a client's context for a daemon: after its zone and the daemon.
#[must_use]
pub fn context_name(client: &Host, daemon: &Host) -> String {
    in_zone(client.settings.zone.as_deref(), &daemon.name)
}

fn in_zone(zone: Option<&str>, daemon: &str) -> String {
    match zone {
        Some(zone) => format!("{zone}-{daemon}"),
        None => daemon.to_owned(),
    }
}

/// The names of the contexts that clients of this inventory can have.
#[must_use]
pub fn context_names(inventory: &Inventory) -> Vec<String> {
    let holders = inventory
        .hosts
        .iter()
        .flat_map(|host| std::iter::once(host).chain(&host.identities));
    let zones: BTreeSet<Option<&str>> = holders.map(|of| of.settings.zone.as_deref()).collect();
    let names = zones.into_iter().flat_map(|zone| {
        let daemons = inventory.daemons();
        daemons.map(move |daemon| in_zone(zone, &daemon.name))
    });
    names.collect()
}

/// Where that context is kept.
#[must_use]
pub fn context_paths(client: &Host, daemon: &Host) -> ContextPaths {
    paths(&client.cli_directory(), &context_name(client, daemon))
}

/// Whether the inventory asks for contexts for this holder.
#[must_use]
pub fn has_contexts(holder: &Host) -> bool {
    !holder.is_absent() && holder.settings.client_env.contains(&ClientEnv::Context)
}

/// Who keeps a holder's context for a daemon; `None` where there is none.
#[must_use]
pub(crate) fn keeper_of(
    client: &Host,
    daemon: &Host,
    inventory: &Inventory,
    facts: &NodeFacts,
) -> Option<Keeper> {
    let meta = format!("{}/meta.json", context_paths(client, daemon).metadata);
    let text = facts.regular(&meta)?.content.as_deref().unwrap_or_default();
    Some(keeper(text, &inventory.name))
}

/// Whether a holder's context for a daemon is asked for, or bears dtls-deploy's mark although the
/// inventory asks for it no more.
#[must_use]
pub(crate) fn keeps_context(
    client: &Host,
    daemon: &Host,
    inventory: &Inventory,
    facts: &NodeFacts,
) -> bool {
    has_contexts(client)
        || keeper_of(client, daemon, inventory, facts)
            .is_some_and(|keeper| keeper != Keeper::Somebody)
}
