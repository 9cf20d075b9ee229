//! What a leaf must be: its place on the node, and its names.

use crate::host::leaf::location;
use std::collections::BTreeSet;
use std::net::IpAddr;

use inventory::Host;
use node::facts::{FactRequest, NodeFacts};
use pki::{Role, San};

/// Requests the facts about the three files of a role.
pub fn request(host: &Host, role: Role, request: &mut FactRequest) {
    let (directory, files) = location(host, role);
    for name in [&files.ca, &files.cert] {
        request.bundles.insert(format!("{directory}/{name}"));
    }
    request.key(format!("{directory}/{}", files.key));
    request.own_addresses |= role == Role::Daemon && host.settings.own_addresses;
    request.accounts.extend(host.owner().map(str::to_owned));
}

/// The names and addresses of a leaf, including the node's own addresses if they are requested and
/// the facts list them.
#[must_use]
pub fn wanted_sans(host: &Host, role: Role, facts: Option<&NodeFacts>) -> BTreeSet<San> {
    if role == Role::Client {
        return BTreeSet::new();
    }
    // Certificates carry DNS names in lower case: see `LeafProfile`.
    let lower = |san: &San| match san {
        San::Dns(name) => San::Dns(name.to_ascii_lowercase()),
        San::Ip(address) => San::Ip(*address),
    };
    if let Some(exact) = &host.settings.sans {
        return exact.iter().map(lower).collect();
    }
    let mut sans: BTreeSet<San> = host.settings.extra_sans.iter().map(lower).collect();
    let listened = host
        .settings
        .listen
        .iter()
        .map(|listen| listen.host.as_str());
    for name in [
        host.name.as_str(),
        host.connection.address.as_str(),
        "localhost",
    ]
    .into_iter()
    .chain(listened)
    {
        match name.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => {}
            Ok(address) => {
                sans.insert(San::Ip(address));
            }
            Err(_) => {
                if let Ok(name) = format!("DNS:{name}").parse() {
                    sans.insert(name);
                }
            }
        }
    }
    if host.settings.own_addresses {
        let own = facts.and_then(|facts| facts.own_addresses.as_ref());
        sans.extend(own.into_iter().flatten().copied().map(San::Ip));
    }
    sans.insert(San::Ip(std::net::Ipv4Addr::LOCALHOST.into()));
    sans.insert(San::Ip(std::net::Ipv6Addr::LOCALHOST.into()));
    sans
}
