//! The way from every client to every daemon: names, ports, what answers, and
//! whether the client's own certificate is let in.
//!
//! Comes in: the nodes, and what was found so far. Goes out: findings. Looking
//! and judging are apart: [`judge`] is pure. Called by [`super`].

use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt as _;

use super::World;
use super::findings::{Findings, finding};
use crate::event::{Finding, Proof, Severity, Topic, Verdict};
use crate::inventory::Host;
use crate::node::DialError;
use crate::node::facts::NodeFacts;
use crate::pki::{Certificate, Role};
use crate::plan::{daemon_address, leaf_location};
use crate::verify::probe::{self, Answer, Shown};
use crate::verify::{Expectations, own_certificate};

/// Longer than any connection inside a site takes; a firewall that drops is
/// found in this time.
const DEADLINE: Duration = Duration::from_secs(5);
/// Connections under way at one time.
const AT_ONCE: usize = 64;
/// What keeps a daemon from listening, and is said of it already.
const CAUSES: [Topic; 4] = [Topic::Docker, Topic::Unit, Topic::DaemonJson, Topic::Listen];
/// What makes it answer otherwise than it should.
const FAULTS: [Topic; 3] = [Topic::DaemonJson, Topic::PlainTcp, Topic::Certificate];

/// What a client saw of a daemon.
#[derive(Debug)]
pub(super) enum Seen {
    /// TLS, or something else, answered.
    Answered(Answer, Shown),
    Not(DialError),
    /// There is no CA to judge it by yet, and something listens.
    Open,
}

/// Looks from all clients at all daemons.
pub(super) async fn check(findings: &mut Findings, world: &World<'_>) {
    let listed = world.playbook.limited(world.inventory);
    let pairs: Vec<(&Host, &Host)> = listed
        .clients()
        .flat_map(|client| listed.daemons().map(move |daemon| (client, daemon)))
        .filter(|(client, _)| world.nodes.contains_key(&client.name))
        .collect();
    let looks = pairs
        .into_iter()
        .map(|(client, daemon)| async move { (client, daemon, look(world, client, daemon).await) });
    let mut seen: Vec<_> = futures::stream::iter(looks)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    seen.sort_by_key(|(client, daemon, _)| (client.name.clone(), daemon.name.clone()));
    let mut good = Vec::new();
    for (client, daemon, seen) in seen {
        match judge(findings, world, client, daemon, &seen) {
            Judged::Found(found) => findings.add(found),
            Judged::Follows => {}
            Judged::Fine => {
                let way = if world.is_deployed(daemon) {
                    "is reached at"
                } else {
                    "is not deployed yet, and the way is free to"
                };
                let what = format!("{} {way} {}", daemon.name, daemon_address(daemon).url());
                findings.fine(&client.name, Topic::Reach, what);
                good.push((client, daemon));
            }
        }
    }
    identities(findings, world, good).await;
}

async fn look(world: &World<'_>, client: &Host, daemon: &Host) -> Seen {
    let address = daemon_address(daemon);
    let Some(node) = world.nodes.get(&client.name) else {
        return Seen::Open;
    };
    let stream = match node
        .connection
        .dial(&address.host, address.port, DEADLINE)
        .await
    {
        Ok(stream) => stream,
        Err(error) => return Seen::Not(error),
    };
    let authorities: Vec<Vec<u8>> = [&world.authority.certificate, &world.authority.next]
        .into_iter()
        .flatten()
        .map(|authority| authority.der().to_vec())
        .collect();
    if authorities.is_empty() {
        return Seen::Open;
    }
    match probe::https(stream, &address.host, &authorities, None, DEADLINE).await {
        Ok((answer, shown)) => Seen::Answered(answer, shown),
        Err(_) => Seen::Open,
    }
}

/// What comes of one look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Fine,
    Found(Finding),
    /// From something that is said already.
    Follows,
}

/// Judges one look.
pub(super) fn judge(
    findings: &Findings,
    world: &World<'_>,
    client: &Host,
    daemon: &Host,
    seen: &Seen,
) -> Judged {
    let address = daemon_address(daemon);
    let (url, from) = (address.url(), client.name.as_str());
    let is_good = match seen {
        Seen::Open => true,
        Seen::Answered(answer, _) => !matches!(
            answer,
            Answer::ServerCertificate(_) | Answer::Closed(_) | Answer::Timeout | Answer::Served(_)
        ),
        Seen::Not(_) => false,
    };
    if is_good {
        return Judged::Fine;
    }
    if let Some(found) = misled(world, client, daemon) {
        return Judged::Found(found);
    }
    if let Seen::Not(DialError::Forbidden { .. }) = seen {
        return Judged::Found(finding(
            Severity::Warning,
            Topic::Ssh,
            from,
            "its sshd forwards no connections: nothing can be proved from there",
            "allow it for this account: AllowTcpForwarding local, PermitOpen, in sshd_config",
        ));
    }
    let topics: &[Topic] = match seen {
        // Packets that are dropped are dropped whatever the daemon does.
        Seen::Not(DialError::Timeout { .. }) => &[],
        Seen::Not(_) => &CAUSES,
        Seen::Answered(..) | Seen::Open => &FAULTS,
    };
    let is_down = world.missing.contains_key(&daemon.name);
    if is_down || findings.has_error(&daemon.name, topics) {
        return Judged::Follows;
    }
    let found = |host: &str, seen: String, advice: String| {
        Judged::Found(finding(Severity::Error, Topic::Reach, host, seen, advice))
    };
    match seen {
        Seen::Not(DialError::Refused { .. }) if !world.is_deployed(daemon) => Judged::Fine,
        Seen::Not(DialError::Refused { .. }) => found(
            from,
            format!(
                "{url} of {} refuses connections: nothing listens there, or a firewall rejects them",
                daemon.name
            ),
            format!("look at {}: ss -ltn; nft list ruleset", daemon.name),
        ),
        Seen::Not(DialError::Timeout { .. }) => found(
            from,
            format!(
                "{url} of {} does not answer within {} s",
                daemon.name,
                DEADLINE.as_secs()
            ),
            format!(
                "a firewall between the two drops it: let TCP port {} through",
                address.port
            ),
        ),
        Seen::Not(error) => found(
            from,
            error.to_string(),
            format!("look at the network between {from} and {}", daemon.name),
        ),
        Seen::Answered(Answer::Served(_), _) => found(
            &daemon.name,
            format!("{url} lets in callers without a certificate"),
            format!(
                "restart docker there: systemctl restart {}",
                daemon.settings.unit
            ),
        ),
        Seen::Answered(answer, shown) => answered(world, client, daemon, answer, shown),
        Seen::Open => Judged::Fine,
    }
}

/// Something answers that is not what it should be.
fn answered(
    world: &World<'_>,
    client: &Host,
    daemon: &Host,
    answer: &Answer,
    shown: &Shown,
) -> Judged {
    let url = daemon_address(daemon).url();
    let served = shown.certificate.as_deref();
    let on_disk = world
        .facts
        .get(&daemon.name)
        .and_then(|facts| on_disk(facts, daemon));
    let is_other = served.is_some() && on_disk.as_ref().map(Certificate::der) != served;
    let (host, seen, advice) = if is_other {
        (
            &client.name,
            format!(
                "what answers at {url} shows another certificate than lies on {} ({answer})",
                daemon.name
            ),
            format!(
                "another machine answers at that address, or docker on {} has not been restarted since",
                daemon.name
            ),
        )
    } else {
        (
            &daemon.name,
            format!("{url}, as {} sees it: {answer}", client.name),
            format!("systemctl status {}", daemon.settings.unit),
        )
    };
    Judged::Found(finding(Severity::Error, Topic::Reach, host, seen, advice))
}

fn on_disk(facts: &NodeFacts, daemon: &Host) -> Option<Certificate> {
    let (directory, files) = leaf_location(daemon, Role::Daemon);
    let file = facts.regular(&format!("{directory}/{}", files.cert))?;
    Certificate::from_pem(file.content.as_deref()?).ok()
}

/// A name that leads the client elsewhere.
fn misled(world: &World<'_>, client: &Host, daemon: &Host) -> Option<Finding> {
    let name = daemon_address(daemon).host;
    if name.parse::<IpAddr>().is_ok() {
        return None;
    }
    let advice = format!("mend {name} in /etc/hosts of {}, or in DNS", client.name);
    let found = |seen: String| {
        Some(finding(
            Severity::Error,
            Topic::Name,
            &client.name,
            seen,
            advice.clone(),
        ))
    };
    let addresses = world.facts.get(&client.name)?.resolved.get(&name)?;
    if addresses.is_empty() {
        return found(format!(
            "the name {name} of {} has no address there",
            daemon.name
        ));
    }
    let network = world.facts.get(&daemon.name)?.network.as_ref()?;
    let is_own = |address: &IpAddr| !address.is_loopback() && network.has(*address);
    let mut parsed = addresses.iter().filter_map(|text| text.parse().ok());
    if client.name == daemon.name || parsed.any(|address| is_own(&address)) {
        return None;
    }
    found(format!(
        "the name {name} is {} there, which is not an address of {} (it has {})",
        addresses.join(" "),
        daemon.name,
        network.shown().join(", ")
    ))
}

/// Shows each client's own certificate, where nothing is known that speaks
/// against it.
async fn identities(findings: &mut Findings, world: &World<'_>, good: Vec<(&Host, &Host)>) {
    let expectations = &Expectations {
        privileged: world
            .inventory
            .hosts
            .iter()
            .map(|host| (host.name.clone(), world.playbook.is_privileged(host)))
            .collect(),
        ..Expectations::default()
    };
    let tried = good.into_iter().filter(|(client, daemon)| {
        world.is_deployed(client)
            && world.is_deployed(daemon)
            && !findings.has_error(&client.name, &[Topic::Certificate])
            && !findings.has_error(&daemon.name, &FAULTS)
    });
    let proofs = tried.map(|(client, daemon)| async move {
        let node = world.nodes.get(&client.name)?;
        Some(own_certificate(node, client, daemon, expectations).await)
    });
    let proofs: Vec<Option<Proof>> = futures::stream::iter(proofs.collect::<Vec<_>>())
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for Proof {
        from,
        to,
        verdict,
        seen,
        ..
    } in proofs.into_iter().flatten()
    {
        match verdict {
            Verdict::Proved => findings.fine(
                &from,
                Topic::Certificate,
                format!("{to} lets it in ({seen})"),
            ),
            // Said of its tools.
            Verdict::NotProved => {}
            Verdict::Failed => {
                let advice = format!(
                    "compare the CAs that {to} trusts with the client's certificate: dtls-deploy status INVENTORY"
                );
                let seen = format!("{to} does not let it in: {seen}");
                findings.add(finding(
                    Severity::Error,
                    Topic::Certificate,
                    &from,
                    seen,
                    advice,
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use time::macros::datetime;

    use super::*;
    use crate::event::FailureKind;
    use crate::inventory::{Environment, Inventory, MemoryFiles, load};
    use crate::node::facts::{File, FileFact, Network};
    use crate::plan::{Authority, examine};
    use crate::playbook::{SHIPPED, parse};
    use crate::verify::probe::ServerFault;

    const INVENTORY: &str = "all:
  children:
    ca: {hosts: {authority: }}
    daemons: {hosts: {daemon: {ansible_host: daemon.example.org}}}
    clients: {hosts: {client: }}
";

    fn inventory() -> Inventory {
        let path = Path::new("/case/test.yaml");
        let files = BTreeMap::from([(path.to_owned(), INVENTORY.as_bytes().to_vec())]);
        let environment = Environment {
            home: None,
            user: Some("operator".to_owned()),
            directory: PathBuf::from("/case"),
            files: Arc::new(MemoryFiles(files)),
        };
        load(path, &[], &environment).unwrap()
    }

    /// A daemon at 10.0.0.12, with a certificate, and a client that resolves it.
    fn facts(resolved: &[&str]) -> BTreeMap<String, NodeFacts> {
        let mut daemon = NodeFacts {
            network: Some(Network {
                addresses: vec![
                    ("10.0.0.12".parse().unwrap(), 32),
                    ("127.0.0.0".parse().unwrap(), 8),
                ],
                ..Network::default()
            }),
            ..NodeFacts::default()
        };
        let certificate = FileFact::File(File {
            mode: 0o444,
            owner: "root".to_owned(),
            uid: 0,
            size: 0,
            changed: 0,
            sha256: String::new(),
            content: Some(Vec::new()),
            link: false,
        });
        daemon
            .files
            .insert("/etc/docker/tls/cert.pem".to_owned(), certificate);
        let resolved = resolved.iter().map(|text| (*text).to_owned()).collect();
        let client = NodeFacts {
            resolved: BTreeMap::from([("daemon.example.org".to_owned(), resolved)]),
            ..NodeFacts::default()
        };
        BTreeMap::from([("daemon".to_owned(), daemon), ("client".to_owned(), client)])
    }

    struct Scene {
        facts: BTreeMap<String, NodeFacts>,
        missing: BTreeMap<String, FailureKind>,
        findings: Findings,
    }

    impl Scene {
        fn new(resolved: &[&str]) -> Self {
            Self {
                facts: facts(resolved),
                missing: BTreeMap::new(),
                findings: Findings::default(),
            }
        }

        fn judged(&self, seen: &Seen) -> Judged {
            let inventory = inventory();
            let playbook = parse("deploy", SHIPPED[0].1).unwrap();
            let now = datetime!(2030-01-01 00:00 UTC);
            let world = World {
                inventory: &inventory,
                playbook: &playbook,
                nodes: BTreeMap::new(),
                examined: examine(&inventory, &playbook, &self.facts, now),
                authority: Authority::read(inventory.ca(), None),
                facts: self.facts.clone(),
                missing: self.missing.clone(),
                now,
            };
            let host = |name| inventory.host(name).unwrap();
            judge(&self.findings, &world, host("client"), host("daemon"), seen)
        }

        fn found(&self, seen: &Seen) -> (String, Topic, String) {
            match self.judged(seen) {
                Judged::Found(found) => (found.host, found.topic, found.seen),
                other => panic!("{other:?}"),
            }
        }
    }

    fn place() -> (String, String, u16) {
        ("client".to_owned(), "daemon.example.org".to_owned(), 2376)
    }

    fn refused() -> Seen {
        let (node, host, port) = place();
        Seen::Not(DialError::Refused { node, host, port })
    }

    fn dropped() -> Seen {
        let (node, host, port) = place();
        Seen::Not(DialError::Timeout { node, host, port })
    }

    fn answered(answer: Answer) -> Seen {
        Seen::Answered(answer, Shown::default())
    }

    #[test]
    fn what_answers_as_it_should_is_fine_wherever_the_name_leads() {
        let alert = answered(Answer::Alert("certificate_required".to_owned()));
        // Behind a forwarded port or a virtual address, for instance.
        for resolved in [&["10.0.0.12"][..], &["192.0.2.1"]] {
            assert_eq!(Scene::new(resolved).judged(&alert), Judged::Fine);
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_explains_what_fails() {
        for seen in [
            refused(),
            dropped(),
            answered(Answer::ServerCertificate(ServerFault::WrongName)),
        ] {
            for wrong in [&["10.0.0.99"][..], &["127.0.1.1"], &[]] {
                let (host, topic, said) = Scene::new(wrong).found(&seen);
                assert_eq!((host.as_str(), topic), ("client", Topic::Name), "{said}");
            }
            let (_, topic, _) = Scene::new(&["10.0.0.12"]).found(&seen);
            assert_eq!(topic, Topic::Reach);
        }
    }

    #[test]
    fn refused_dropped_and_strange_are_told_apart() {
        let scene = Scene::new(&["10.0.0.12"]);
        assert!(scene.found(&refused()).2.contains("refuses connections"));
        assert!(
            scene
                .found(&dropped())
                .2
                .contains("does not answer within 5 s")
        );
        let plain = answered(Answer::Closed("not TLS".to_owned()));
        assert_eq!(scene.found(&plain).0, "daemon");
        let open = scene.found(&answered(Answer::Served(200)));
        assert!(open.2.contains("without a certificate"), "{open:?}");
        let other = Seen::Answered(
            Answer::ServerCertificate(ServerFault::UnknownAuthority),
            Shown {
                certificate: Some(vec![1]),
                accepted_authorities: None,
            },
        );
        assert_eq!(scene.found(&other).0, "client");
        let forbidden = Seen::Not(DialError::Forbidden {
            node: "client".to_owned(),
            host: "daemon.example.org".to_owned(),
            port: 2376,
            reason: "no".to_owned(),
        });
        assert_eq!(scene.found(&forbidden).1, Topic::Ssh);
    }

    #[test]
    fn what_follows_from_something_else_is_not_said_again() {
        let mut scene = Scene::new(&["10.0.0.12"]);
        scene.findings.add(finding(
            Severity::Error,
            Topic::Unit,
            "daemon",
            "failed",
            "-",
        ));
        assert_eq!(scene.judged(&refused()), Judged::Follows);
        // A firewall is another matter.
        assert_eq!(scene.found(&dropped()).1, Topic::Reach);
        scene
            .missing
            .insert("daemon".to_owned(), FailureKind::Unreachable);
        assert_eq!(scene.judged(&dropped()), Judged::Follows);
        // Before anything is deployed nothing has to listen.
        let mut fresh = Scene::new(&["10.0.0.12"]);
        fresh.facts.get_mut("daemon").unwrap().files.clear();
        assert_eq!(fresh.judged(&refused()), Judged::Fine);
        assert_eq!(fresh.found(&dropped()).1, Topic::Reach);
    }
}
