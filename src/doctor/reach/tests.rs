//! The judgement of single probes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use time::macros::datetime;

use super::*;
use base::event::FailureKind;
use inventory::{Environment, Inventory, MemoryFiles, load};
use node::facts::{File, FileFact, Network};
use plan::Authority;
use plan::orchestrator::examine;
use plan::playbook::{SHIPPED, parse};
use run::look::Observation;
use run::verify::probe::ServerFault;

const INVENTORY: &str = "all:
  children:
    ca: {hosts: {authority: }}
    daemons: {hosts: {daemon: {ansible_host: daemon.example.org}}}
    clients: {hosts: {client: }}
";

fn inventory(text: &str) -> Inventory {
    let path = Path::new("/case/test.yaml");
    let files = BTreeMap::from([(path.to_owned(), text.as_bytes().to_vec())]);
    let environment = Environment {
        home: None,
        user: Some("operator".to_owned()),
        directory: PathBuf::from("/case"),
        files: Arc::new(MemoryFiles(files)),
        untrusted: false,
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
        private_key: false,
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
    inventory: String,
    facts: BTreeMap<String, NodeFacts>,
    missing: BTreeMap<String, FailureKind>,
    findings: Findings,
}

impl Scene {
    fn new(resolved: &[&str]) -> Self {
        Self {
            inventory: INVENTORY.to_owned(),
            facts: facts(resolved),
            missing: BTreeMap::new(),
            findings: Findings::default(),
        }
    }

    fn judged(&self, seen: &Seen) -> Judged {
        let inventory = inventory(&self.inventory);
        let playbook = parse("deploy", SHIPPED[0].1).unwrap();
        let now = datetime!(2030-01-01 00:00 UTC);
        let diagnosis = Diagnosis {
            observed: Observation {
                inventory: &inventory,
                nodes: BTreeMap::new(),
                facts: self.facts.clone(),
                missing: self.missing.clone(),
                authority: Authority::read(inventory.ca(), None),
                now,
            },
            playbook: &playbook,
            examined: examine(&inventory, &playbook, &self.facts, now),
        };
        let host = |name| inventory.host(name).unwrap();
        judge(
            &self.findings,
            &diagnosis,
            host("client"),
            host("daemon"),
            seen,
        )
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
    // For example behind a forwarded port or a virtual address.
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
fn a_daemon_that_is_declared_open_may_serve_everybody() {
    let mut scene = Scene::new(&["10.0.0.12"]);
    let served = answered(Answer::Served(200));
    assert!(matches!(scene.judged(&served), Judged::Found(_)));
    scene.inventory +=
        "  vars: {dtls_daemon_mode: tls, dtls_i_understand_anyone_can_connect: true}\n";
    assert_eq!(scene.judged(&served), Judged::Fine);
    let not_tls = answered(Answer::Closed("not TLS".to_owned()));
    assert!(matches!(scene.judged(&not_tls), Judged::Found(_)));
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
    // A firewall is a different problem.
    assert_eq!(scene.found(&dropped()).1, Topic::Reach);
    scene
        .missing
        .insert("daemon".to_owned(), FailureKind::Unreachable);
    assert_eq!(scene.judged(&dropped()), Judged::Follows);
    // Before a deployment nothing needs to listen.
    let mut fresh = Scene::new(&["10.0.0.12"]);
    fresh.facts.get_mut("daemon").unwrap().files.clear();
    assert_eq!(fresh.judged(&refused()), Judged::Fine);
    assert_eq!(fresh.found(&dropped()).1, Topic::Reach);
}
