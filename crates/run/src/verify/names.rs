//! The names and addresses of a daemon's certificate, each tried.
//!
//! The address that clients use is proved from each of them elsewhere. One client, the first that
//! is connected, tries the others; loopback, and what leads nowhere from that client, is tried from
//! the daemon's own node. A name that leads nowhere from there either is reported and not counted: an
//! inventory's name for a host need not be one that anything resolves.

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

/// No one waits long for a name that no one has to use.
const DEADLINE: Duration = Duration::from_secs(2);

/// One attempt for every name but the one that clients use.
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

/// From the client; where the name leads nowhere from there, from the daemon's node.
async fn from_either(
    client: Option<(&str, &Node)>,
    own: Option<&Node>,
    name: Name,
    daemon: &Host,
    expectations: &Expectations,
) -> Option<Proof> {
    // A node that is known to trust no CA tells nothing of a name.
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
    // What its clients see of it says more.
    Some(match seen {
        Some(seen) if proof.verdict == Verdict::NotReached => seen,
        _ => proof,
    })
}

/// A name as it is dialled and asked for.
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
        // Nothing is there under that name, as seen from that node.
        Err(error) => (Verdict::NotReached, error.to_string()),
        // 10.0.2.15 is every machine of VirtualBox's: the client may find itself.
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
        // No TLS was spoken, or not to its end: nothing is known of the certificate.
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
