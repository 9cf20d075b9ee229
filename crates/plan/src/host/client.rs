//! A client's contexts, and its block in the shell profile.

use std::collections::BTreeSet;

use super::address::DaemonAddress;
use docker::context::{ContextPaths, Keeper, keeper, paths};
use docker::environment::{Environment, found, inventories};
use inventory::{ClientEnv, Host, Inventory};
use node::facts::NodeFacts;

/// The profiles of a login shell: bash reads the first one that exists.
pub const PROFILES: [&str; 3] = [".bash_profile", ".bash_login", ".profile"];

/// The name of a client's context for a daemon: zone and daemon.
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

/// The names that contexts of this inventory's clients can have.
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

#[must_use]
pub fn context_paths(client: &Host, daemon: &Host) -> ContextPaths {
    paths(&client.cli_directory(), &context_name(client, daemon))
}

/// Whether the inventory requests contexts for this holder.
#[must_use]
pub fn has_contexts(holder: &Host) -> bool {
    !holder.is_absent() && holder.settings.client_env.contains(&ClientEnv::Context)
}

/// The account that keeps a holder's context for a daemon; `None` if there is none.
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

/// Whether a holder's context for a daemon is requested, or bears dtls-deploy's mark although the
/// inventory no longer requests it.
#[must_use]
pub(crate) fn keeps_context(
    client: &Host,
    daemon: &Host,
    inventory: &Inventory,
    facts: &NodeFacts,
) -> bool {
    has_contexts(client)
        || keeper_of(client, daemon, inventory, facts).is_some_and(|keeper| keeper != Keeper::Other)
}

/// Whether a block of a profile names the files of this client.
#[must_use]
pub(crate) fn names_files_of(block: &Environment, client: &Host, facts: &NodeFacts) -> bool {
    let directory = block.certificate_path.as_deref().unwrap_or("~/.docker");
    facts.expand(directory) == facts.expand(&client.settings.client_dir)
}

/// Whether a block of a profile leads to a host of this inventory's daemons.
#[must_use]
pub(crate) fn leads_to_daemon_of(block: &Environment, inventory: &Inventory) -> bool {
    let Some(address) = DaemonAddress::listened(&block.host, "") else {
        return false;
    };
    inventory.daemons().any(|daemon| {
        let listens = daemon.settings.listen.iter();
        let listens = listens.map(|listen| listen.host.trim_matches(['[', ']']));
        let mut own = listens.chain([&*daemon.name, &*daemon.connection.address]);
        own.any(|name| name == address.host)
    })
}

/// The blocks of this inventory, in the order of the profile: its own, and those that it wrote
/// under another file name.
#[must_use]
pub(crate) fn own_blocks<'a>(
    profile: &'a str,
    inventory: &Inventory,
    client: &Host,
    facts: &NodeFacts,
) -> Vec<&'a str> {
    let is_own = |name: &&str| {
        let is_copy = |block: &Environment| {
            names_files_of(block, client, facts) && leads_to_daemon_of(block, inventory)
        };
        *name == inventory.name || found(profile, name).as_ref().is_some_and(is_copy)
    };
    inventories(profile).into_iter().filter(is_own).collect()
}

/// The block of this inventory that takes effect.
#[must_use]
pub(crate) fn own_block(
    profile: &str,
    inventory: &Inventory,
    client: &Host,
    facts: &NodeFacts,
) -> Option<Environment> {
    let blocks = own_blocks(profile, inventory, client, facts);
    found(profile, blocks.last()?)
}
