//! Tries each name and address in a daemon's certificate.
//!
//! Other checks try the address that clients use, from each of them. Here one client, the first
//! that is connected, tries the others; loopback, and names that client cannot reach, are tried
//! from the daemon's own node. A name that cannot be reached from there either is reported and not
//! counted: an inventory's name for a host need not resolve.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::probe::{Answer, Shown};
use super::{Expectations, asked_for, handshake, judge_shown};
use crate::session::Node;
use base::event::{Check, Proof, Verdict};
use inventory::{Host, Inventory};
use pki::{Certificate, Role, San};
use plan::host::address::daemon_address;

/// A short wait: these names may be unused.
const DEADLINE: Duration = Duration::from_secs(2);

/// Tries every name once, except the one that clients use.
pub(super) fn of_daemon<'a>(
    nodes: &'a BTreeMap<String, Arc<Node>>,
    inventory: &'a Inventory,
    daemon: &'a Host,
    expectations: &'a Expectations,
) -> Vec<BoxFuture<'a, Vec<Proof>>> {
    let served = expectations.served.get(&daemon.name);
    let Some(certificate) = served.and_then(|der| Certificate::from_der(der).ok()) else {
        return Vec::new();
    };
    let used = daemon_address(daemon).host.to_ascii_lowercase();
    let mut clients = inventory.clients();
    let client =
        clients.find_map(|client| Some((client.name.as_str(), &**nodes.get(&client.name)?)));
    let own = nodes.get(&daemon.name).map(|node| &**node);
    let names = certificate.sans().iter().map(Name::of);
    names
        .filter(|name| name.text != used)
        .map(|name| -> BoxFuture<'a, Vec<Proof>> {
            let client = client.filter(|_| !name.is_loopback);
            let tried = from_either(client, own, name, daemon, expectations);
            Box::pin(async move { tried.await.into_iter().collect() })
        })
        .collect()
}

/// From the client; if it cannot reach the name, from the daemon's node.
async fn from_either(
    client: Option<(&str, &Node)>,
    own: Option<&Node>,
    name: Name,
    daemon: &Host,
    expectations: &Expectations,
) -> Option<Proof> {
    // A node that is known to trust no CA shows nothing about a name.
    let trusted_by = |host: &str, role| {
        let trusted = expectations.trusted_by(host, role);
        (!trusted.is_empty()).then_some(trusted)
    };
    let mut seen = None;
    if let Some((from, node)) = client
        && let Some(trusted) = trusted_by(from, Role::Client)
    {
        let proof = one(node, from, &name, daemon, trusted, expectations).await;
        if proof.verdict != Verdict::NotReached {
            return Some(proof);
        }
        seen = Some(proof);
    }
    let Some((node, trusted)) = own.zip(trusted_by(&daemon.name, Role::Daemon)) else {
        return seen;
    };
    let proof = one(node, &daemon.name, &name, daemon, trusted, expectations).await;
    // Its clients' checks show more.
    Some(match seen {
        Some(seen) if proof.verdict == Verdict::NotReached => seen,
        _ => proof,
    })
}

/// A name, as it is dialled and as it is verified.
struct Name {
    text: String,
    is_loopback: bool,
}

impl Name {
    fn of(san: &San) -> Self {
        match san {
            San::Dns(name) => Self {
                text: name.clone(),
                is_loopback: is_local(name),
            },
            San::Ip(address) => Self {
                text: address.to_string(),
                is_loopback: is_loopback(*address),
            },
        }
    }
}

/// RFC 6761, section 6.3.
fn is_local(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

async fn one(
    node: &Node,
    from: &str,
    name: &Name,
    daemon: &Host,
    trusted: &[Certificate],
    expectations: &Expectations,
) -> Proof {
    let at = (name.text.as_str(), daemon_address(daemon).port);
    let (verdict, seen) = match handshake(node, at, trusted, None, DEADLINE).await {
        // Nothing answers at that name, seen from that node.
        Err(error) => (Verdict::NotReached, error.to_string()),
        // Every VirtualBox machine has 10.0.2.15: the client may find itself.
        Ok((_, shown)) if from != daemon.name && is_served(&shown, expectations, from) => (
            Verdict::NotReached,
            format!("seen from {from}, it is {from} itself"),
        ),
        Ok((Answer::ServerCertificate(fault), shown)) => {
            let is_other = !is_served(&shown, expectations, &daemon.name);
            let seen = if is_other {
                format!("another machine answers there ({fault})")
            } else {
                fault.to_string()
            };
            (Verdict::Failed, seen)
        }
        // No complete TLS handshake: nothing is known of the certificate.
        Ok((answer, shown)) if answer == Answer::Timeout || shown.certificate.is_none() => {
            (Verdict::NotReached, answer.to_string())
        }
        Ok((_, shown)) => {
            let own = expectations.trusted_by(&daemon.name, Role::Daemon);
            let asked = asked_for(daemon.settings.daemon_mode, own);
            let served = expectations.served.get(&daemon.name).map(Vec::as_slice);
            match judge_shown(&shown, served, asked) {
                (Verdict::Proved, _) => (Verdict::Proved, String::new()),
                other => other,
            }
        }
    };
    Proof {
        from: from.to_owned(),
        to: daemon.name.clone(),
        check: Check::Name,
        verdict,
        seen: if seen.is_empty() {
            name.text.clone()
        } else {
            format!("{}: {seen}", name.text)
        },
    }
}

/// Whether that is the certificate of the daemon on this host.
fn is_served(shown: &Shown, expectations: &Expectations, host: &str) -> bool {
    let expected = expectations.served.get(host);
    expected.is_some() && shown.certificate.as_ref() == expected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_what_others_reach() {
        for (san, expected) in [
            ("DNS:localhost", true),
            ("DNS:docker.localhost", true),
            ("DNS:localhost.example.com", false),
            ("IP:127.0.0.1", true),
            ("IP:127.1.2.3", true),
            ("IP:::1", true),
            ("IP:10.0.0.12", false),
        ] {
            let name = Name::of(&san.parse().unwrap());
            assert_eq!(name.is_loopback, expected, "{san}");
        }
    }
}
