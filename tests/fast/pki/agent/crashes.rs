//! What a run that was ended in the middle leaves in the CA directory, and what the
//! next one makes of it.

use super::*;

#[test]
fn what_was_half_written_is_cleared_away() {
    let mut ca = Ca::new();
    ca.issue(vec![node3()]);
    for name in [
        ".ca.pem.0123.unfinished",
        "node3/.daemon-key.pem.4567.unfinished",
    ] {
        fs::write(ca.path().join(name), "-----BEGIN").unwrap();
    }
    fs::write(ca.path().join(".keep"), "").unwrap();
    ca.begin_anew();
    let files = ca.files();
    assert!(
        !files.keys().any(|name| name.ends_with(".unfinished")),
        "{files:?}"
    );
    assert!(files.contains_key(".keep"));
    assert!(ca.fetch("node3", Role::Daemon).is_some());
}

#[test]
fn recorded_and_not_written_is_missing_and_issued_anew() {
    let mut ca = Ca::new();
    let first = ca.issue(vec![node3()]).remove(0);
    ca.delivered(&first, true);
    let kept = |name: &str| fs::read(ca.path().join(name)).unwrap();
    let old = (kept("node3/daemon-key.pem"), kept("node3/daemon-cert.pem"));
    let new = ca.issue(vec![node3()]).remove(0);
    let replace = |name: &str, content: &[u8]| {
        let path = ca.root.path().join("ca").join(name);
        fs::remove_file(&path).unwrap();
        fs::write(path, content).unwrap();
    };
    // The crash came between key and certificate, and then before both.
    replace("node3/daemon-cert.pem", &old.1);
    let mut agent = std::mem::take(&mut ca.agent);
    let fetch = || Request::Fetch {
        leaves: vec![LeafName {
            host: "node3".to_owned(),
            role: Role::Daemon,
        }],
    };
    let is_missing = |response: Response| matches!(response, Response::Fetched { leaves, missing } if leaves.is_empty() && missing.len() == 1);
    assert!(is_missing(agent.handle(fetch())));
    replace("node3/daemon-key.pem", &old.0);
    assert!(is_missing(agent.handle(fetch())));
    drop(agent);
    // What the host really has is still told by its hash.
    assert!(
        ca.ledger()
            .by_key_sha256(&sha256_hex(&old.0))
            .unwrap()
            .delivered
    );
    ca.begin();
    let third = ca.issue(vec![node3()]).remove(0);
    ca.delivered(&third, false);
    let ledger = ca.ledger();
    assert!(ledger.by_serial(&new.serial).unwrap().superseded);
    assert_eq!(
        ledger.current("node3", Role::Daemon).unwrap().serial,
        third.serial
    );
}

#[test]
fn delivered_and_not_removed_is_removed_by_the_next_run() {
    let mut ca = Ca::new();
    let issued = ca.issue(vec![node3()]).remove(0);
    ca.delivered(&issued, false);
    fs::create_dir(ca.path().join("node3")).unwrap();
    let write = |name: &str, content: &[u8]| fs::write(ca.path().join(name), content).unwrap();
    write("node3/daemon-key.pem", issued.key.expose());
    write("node3/daemon-cert.pem", issued.certificate_pem.as_bytes());
    ca.begin_anew();
    assert_eq!(ca.visible(), ["ca-key.pem", "ca.pem", "ca.srl"]);
}

#[test]
fn a_torn_line_is_replaced_by_the_next() {
    let mut ca = Ca::new();
    let issued = ca.issue(vec![node3()]).remove(0);
    let path = ca.path().join(".ledger.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{whole}{{\"event\":\"deliv")).unwrap();
    ca.begin_anew();
    ca.delivered(&issued, true);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(
        ca.ledger()
            .current("node3", Role::Daemon)
            .unwrap()
            .delivered
    );
    // A line that lost its end alone is kept.
    fs::write(&path, text.trim_end()).unwrap();
    ca.begin_anew();
    ca.issue(vec![leaf("node4", Role::Daemon, "node4/")]);
    assert_eq!(ca.ledger().entries().len(), 2);
    assert!(
        ca.ledger()
            .current("node3", Role::Daemon)
            .unwrap()
            .delivered
    );
}

#[test]
fn a_damaged_ledger_stops_the_run_and_keeps_the_file() {
    let mut ca = Ca::new();
    ca.issue(vec![node3()]);
    let path = ca.path().join(".ledger.jsonl");
    let text = format!("nonsense\n{}", fs::read_to_string(&path).unwrap());
    fs::write(&path, &text).unwrap();
    ca.agent = Agent::new();
    let request = hello(&ca.path(), "x");
    let (kind, message) = ca.refused(request);
    assert_eq!(kind, ErrorKind::Ledger);
    assert!(message.contains("line 1"), "{message}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    // The lock is not left held by the refusal.
    assert!(matches!(
        Agent::new().handle(hello(&ca.path(), "y")),
        Response::Error {
            kind: ErrorKind::Ledger,
            ..
        }
    ));
}

#[test]
fn a_key_without_its_certificate_is_given_one() {
    let mut ca = Ca::new();
    let key = fs::read(ca.path().join("ca-key.pem")).unwrap();
    fs::remove_file(ca.path().join("ca.pem")).unwrap();
    match ca.ok(ensure(KeyType::EcdsaP256)) {
        Response::Authority {
            created: true,
            warnings,
            ..
        } => assert_eq!(warnings.len(), 1),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(ca.path().join("ca-key.pem")).unwrap(), key);
    ca.issue(vec![node3()]);
}

#[test]
fn a_certificate_without_its_key_is_left_alone() {
    let mut ca = Ca::new();
    let certificate = fs::read(ca.path().join("ca.pem")).unwrap();
    fs::remove_file(ca.path().join("ca-key.pem")).unwrap();
    let (kind, message) = ca.refused(ensure(KeyType::EcdsaP256));
    assert_eq!(kind, ErrorKind::Authority);
    assert!(message.contains("backup"), "{message}");
    assert_eq!(fs::read(ca.path().join("ca.pem")).unwrap(), certificate);
    assert!(!ca.path().join("ca-key.pem").exists());
}
