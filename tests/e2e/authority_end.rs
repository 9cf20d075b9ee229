//! The end of a CA: it has expired, or what it issues cannot be renewed for long
//! any more. Its past is made by an agent with another clock, on this machine.

use std::path::Path;

use base::secret::Secret;
use inventory::{Environment, load};
use pki::{
    Agent, AuthorityProfile, DeliveredLeaf, KeyType, LeafRequest, PROTOCOL, Request, Response,
    Role, Signer, Subject,
};
use plan::wanted_sans;
use time::{Duration, OffsetDateTime};

use crate::lab::{Lab, PASSPHRASE, Run};
use crate::schedule::Controller;

fn said(run: &Run) -> String {
    format!("{}{}", run.stdout, run.stderr)
}

/// Puts a CA and leaves of the past in place of those of the lab's deployment.
fn age(lab: &Lab, inventory: &str, clock: fn() -> OffsetDateTime, ca_days: u32) {
    let model = load(Path::new(inventory), &[], &Environment::of_process()).unwrap();
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("ca");
    let mut agent = Agent::with_clock(clock);
    let mut ask = |request| match agent.handle(request) {
        Response::Error { message, .. } => panic!("{message}"),
        response => response,
    };
    let passphrase = || Secret::from(PASSPHRASE.to_owned());
    ask(Request::Hello {
        protocol: PROTOCOL,
        directory: directory.clone(),
        holder: "test".to_owned(),
        wait_seconds: 5,
    });
    ask(Request::EnsureAuthority {
        profile: AuthorityProfile::new(
            Subject::named("a CA of the past"),
            KeyType::EcdsaP256,
            ca_days,
        ),
        passphrase: passphrase(),
    });
    let leaf = |host: &str, role| {
        let host = model.host(host).unwrap();
        LeafRequest {
            host: host.name.clone(),
            role,
            signer: Signer::Current,
            common_name: host.name.clone(),
            sans: wanted_sans(host, role, None),
            key_type: KeyType::EcdsaP256,
            validity_days: 365,
            key_name: format!("{}/{role}-key.pem", host.name),
            certificate_name: format!("{}/{role}-cert.pem", host.name),
        }
    };
    let leaves = vec![leaf("node3", Role::Daemon), leaf("node1", Role::Client)];
    let Response::Issued { leaves } = ask(Request::Issue {
        leaves,
        passphrase: passphrase(),
    }) else {
        panic!("nothing was issued");
    };
    let put = |node: &str, bytes: &[u8], to: &str| {
        let from = root.path().join("file");
        std::fs::write(&from, bytes).unwrap();
        lab.put(node, from.to_str().unwrap(), "/root/new");
        // Modes and owners stay.
        lab.exec(node, &format!("cat /root/new >{to}; rm /root/new"));
    };
    let ca = std::fs::read(directory.join("ca.pem")).unwrap();
    for (node, place, role) in [
        ("node3", "/etc/docker/tls", Role::Daemon),
        ("node1", "/home/ubuntu/.docker", Role::Client),
    ] {
        let leaf = leaves.iter().find(|leaf| leaf.role == role).unwrap();
        put(node, &ca, &format!("{place}/ca.pem"));
        put(
            node,
            leaf.certificate_pem.as_bytes(),
            &format!("{place}/cert.pem"),
        );
        put(node, leaf.key.expose(), &format!("{place}/key.pem"));
    }
    lab.exec(
        "node1",
        "cd /home/ubuntu/.docker; for name in ca cert key; do cat $name.pem >contexts/tls/*/docker/$name.pem; done",
    );
    // A daemon counts as started up to two seconds before it was: uptime and
    // clock are known to the second.
    lab.exec("node3", "sleep 3; systemctl restart docker");
    let delivered = |leaf: &pki::IssuedLeaf| DeliveredLeaf {
        host: leaf.host.clone(),
        role: leaf.role,
        serial: leaf.serial.clone(),
        replaces: Vec::new(),
    };
    ask(Request::Delivered {
        leaves: leaves.iter().map(delivered).collect(),
        keep_keys: false,
    });
    for name in ["ca.pem", "ca-key.pem", ".ledger.jsonl"] {
        let bytes = std::fs::read(directory.join(name)).unwrap();
        put("node2", &bytes, &format!("/etc/dtls-deploy/ca/{name}"));
    }
}

const AUTO: [&str; 2] = ["-e", "dtls_auto_ca_rollover=true"];

#[test]
fn an_expired_ca_is_replaced_and_a_changed_passphrase_is_named() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    age(
        &lab,
        &inventory,
        || OffsetDateTime::now_utc() - Duration::days(40),
        30,
    );
    // A restart that is due waits for the next CA's certificate.
    lab.exec("node3", "touch /etc/docker/daemon.json");
    let started = lab.invocation();
    let (_, dead) = lab.try_exec_as("node1", "ubuntu", "docker --context node3 version 2>&1");
    assert!(dead.contains("expired"), "{dead}");

    let run = lab.run(&["rotate", &inventory]);
    assert_eq!(run.code, 4, "{}", said(&run));
    for text in [
        "THE CA HAS EXPIRED",
        "it signs nothing",
        "dtls-deploy rotate --ca",
    ] {
        assert!(run.stdout.contains(text), "{text}: {}", said(&run));
    }
    // Someone gave its key another passphrase meanwhile.
    let wrong = lab.secret("wrong", "another one\n");
    let run = lab.run(&["rotate", "--ca", &inventory, "--ca-passphrase-file", &wrong]);
    assert_eq!(run.code, 4, "{}", said(&run));
    assert!(
        said(&run).contains("the passphrase does not open"),
        "{}",
        said(&run)
    );
    lab.exec("node2", "test ! -e /etc/dtls-deploy/ca/next/ca.pem");
    assert_eq!(lab.invocation(), started);

    // What rotate does by itself where it is configured to.
    let run = lab.deploy(&[&["rotate", &inventory][..], &AUTO].concat());
    println!("{}", run.stdout);
    for text in [
        "the CA has expired on",
        "dtls_auto_ca_rollover asks for",
        "daemons and clients reject each other until",
        "CA in /etc/dtls-deploy/ca",
    ] {
        assert!(run.stdout.contains(text), "{text}: {}", said(&run));
    }
    lab.exec_as("node1", "ubuntu", "docker --context node3 version");
    let run = lab.deploy(&[&["rotate", &inventory][..], &AUTO].concat());
    assert!(run.stdout.contains("Nothing to change"), "{}", said(&run));
    assert!(!run.stdout.contains("warning"), "{}", said(&run));
    lab.deploy(&["status", &inventory]);
}

/// Leaves that end with their CA in forty days: a schedule replaces the CA, and
/// restarts the daemon in its window alone.
#[test]
fn a_schedule_replaces_a_ca_that_is_due() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    age(
        &lab,
        &inventory,
        || OffsetDateTime::now_utc() - Duration::days(160),
        200,
    );
    let started = lab.invocation();
    let run = lab.deploy(&["rotate", &inventory]);
    for text in [
        "A NEW CA IS DUE",
        "dtls-deploy rotate --ca",
        "dtls_auto_ca_rollover: true",
    ] {
        assert!(run.stdout.contains(text), "{text}: {}", said(&run));
    }
    assert!(run.stdout.contains("Nothing to change"), "{}", said(&run));

    // As far as it gets without a restart; what waits is no failure.
    let closed = {
        let day = OffsetDateTime::now_utc() + Duration::days(3);
        format!("{} 00:00-01:00 UTC", &day.weekday().to_string()[..3])
    };
    let variables =
        |window: &str| format!("dtls_auto_ca_rollover: true\ndtls_maintenance_window: {window}");
    let run = lab.deploy(&["rotate", &lab.inventory(&variables(&closed))]);
    for text in [
        "2 certificates are due, and the CA ends on",
        "its daemon waits for the maintenance window",
    ] {
        assert!(run.stdout.contains(text), "{text}: {}", said(&run));
    }
    assert_eq!(lab.invocation(), started);
    let bundle = "grep -c BEGIN /home/ubuntu/.docker/ca.pem";
    assert_eq!(lab.exec("node1", bundle), "2");

    // The timer's run goes on with it when the window is open.
    let controller = Controller::on(&lab, "node1");
    controller.inventory("/srv/lab.yaml", &variables("00:00-24:00"));
    controller.tool("schedule install /srv/lab.yaml");
    let said = controller.tool("schedule run-now lab");
    assert!(said.contains("a rollover of the CA is under way"), "{said}");
    assert!(said.contains("restarts=2 away="), "{said}");
    assert_eq!(lab.exec("node1", bundle), "1");
    lab.deploy(&["status", &inventory]);
    controller.tool("schedule remove lab");
}
