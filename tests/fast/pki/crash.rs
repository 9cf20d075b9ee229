//! An agent killed at any moment leaves a CA directory that the next one can
//! work with.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use pki::{
    Agent, Certificate, DeliveredLeaf, KeyType, LeafName, LeafRequest, Ledger, Request, Response,
    Role, sha256_hex,
};

use super::{ensure, given_directory, has_begun, hello, passphrase, start};

const HOSTS: usize = 4;

fn begin(directory: &Path) -> Agent {
    let mut agent = Agent::new();
    let response = agent.handle(hello(directory, "test"));
    assert!(matches!(response, Response::Hello { .. }), "{response:?}");
    let response = agent.handle(ensure(KeyType::EcdsaP256));
    assert!(
        matches!(response, Response::Authority { .. }),
        "{response:?}"
    );
    agent
}

/// Issues a leaf for every host and reports them delivered.
fn round(agent: &mut Agent, keep_keys: bool) {
    let leaves = (0..HOSTS).map(|number| LeafRequest {
        host: format!("node{number}"),
        role: Role::Daemon,
        signer: pki::Signer::Current,
        common_name: format!("node{number}"),
        sans: BTreeSet::new(),
        key_type: KeyType::EcdsaP256,
        validity_days: 365,
        key_name: format!("node{number}/key.pem"),
        certificate_name: format!("node{number}/cert.pem"),
    });
    let response = agent.handle(Request::Issue {
        leaves: leaves.collect(),
        passphrase: passphrase(),
    });
    let Response::Issued { leaves } = response else {
        panic!("{response:?}");
    };
    let leaves = leaves.into_iter().map(|leaf| DeliveredLeaf {
        host: leaf.host,
        role: leaf.role,
        serial: leaf.serial,
        replaces: Vec::new(),
    });
    let leaves = leaves.collect();
    let response = agent.handle(Request::Delivered { leaves, keep_keys });
    assert_eq!(response, Response::Done);
}

/// What must be true of the directory once an agent has taken it over.
fn check(directory: &Path, agent: &mut Agent) {
    let text = fs::read_to_string(directory.join(".ledger.jsonl")).unwrap_or_default();
    let ledger = Ledger::parse(&text).unwrap();
    for number in 0..HOSTS {
        let host = format!("node{number}");
        let Ok(files) = fs::read_dir(directory.join(&host)) else {
            continue;
        };
        for file in files {
            let path = file.unwrap().path();
            let content = fs::read(&path).unwrap();
            let entry = match path.file_name().unwrap().to_str().unwrap() {
                "key.pem" => ledger.by_key_sha256(&sha256_hex(&content)),
                "cert.pem" => ledger.by_serial(Certificate::from_pem(&content).unwrap().serial()),
                other => panic!("{other} was left behind"),
            };
            let entry = entry.expect("every issued file is on record");
            assert!(
                !entry.superseded && (!entry.delivered || entry.kept),
                "{entry:?}"
            );
        }
        let leaves = vec![LeafName {
            host,
            role: Role::Daemon,
        }];
        assert!(matches!(
            agent.handle(Request::Fetch { leaves }),
            Response::Fetched { .. }
        ));
    }
    for entry in fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(
            !name.to_str().unwrap().ends_with(".unfinished"),
            "{}",
            name.display()
        );
    }
}

/// Not a test of its own: the process that the next one kills.
#[test]
#[ignore = "started by a_kill_at_any_moment_leaves_a_directory_to_work_with"]
fn issue_until_killed() {
    let Some(directory) = given_directory() else {
        return;
    };
    has_begun();
    let mut agent = begin(&directory);
    let mut keep_keys = false;
    loop {
        round(&mut agent, keep_keys);
        keep_keys = !keep_keys;
    }
}

#[test]
fn a_kill_at_any_moment_leaves_a_directory_to_work_with() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("ca");
    for attempt in 0_u64..16 {
        let mut child = start(module_path!(), "issue_until_killed", &directory);
        // The first ones fall into the making of the authority, which takes
        // about 0.2 s, the others into issuing and delivering.
        sleep(Duration::from_millis(20 + attempt * 31));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut agent = begin(&directory);
        check(&directory, &mut agent);
        round(&mut agent, attempt % 2 == 0);
        check(&directory, &mut agent);
    }
}
