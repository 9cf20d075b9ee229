//! The CA directory as the agent keeps it.

mod crashes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use base::secret::Secret;
use pki::{
    Agent, AuthorityProfile, Certificate, DeliveredLeaf, ErrorKind, IssuedLeaf, KeyType, LeafName,
    LeafRequest, Ledger, PROTOCOL, Request, Response, Role, Subject, sha256_hex,
};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use super::{PASSPHRASE, ensure, hello, passphrase};

fn leaf(host: &str, role: Role, prefix: &str) -> LeafRequest {
    LeafRequest {
        host: host.to_owned(),
        role,
        signer: pki::Signer::Current,
        common_name: host.to_owned(),
        sans: BTreeSet::from([host.parse().unwrap(), "10.0.0.12".parse().unwrap()]),
        key_type: KeyType::EcdsaP256,
        validity_days: 365,
        key_name: format!("{prefix}{role}-key.pem"),
        certificate_name: format!("{prefix}{role}-cert.pem"),
    }
}

fn node3() -> LeafRequest {
    leaf("node3", Role::Daemon, "node3/")
}

/// A CA directory and an agent that holds its lock.
struct Ca {
    root: TempDir,
    agent: Agent,
}

impl Ca {
    fn new() -> Self {
        let mut ca = Self {
            root: tempfile::tempdir().unwrap(),
            agent: Agent::new(),
        };
        ca.begin();
        ca.ok(ensure(KeyType::EcdsaP256));
        ca
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("ca")
    }

    fn begin(&mut self) {
        let request = hello(&self.path(), "test");
        assert!(matches!(self.ok(request), Response::Hello { .. }));
    }

    /// Gives the lock back and takes it with an agent that knows nothing.
    fn begin_anew(&mut self) {
        self.agent = Agent::new();
        self.begin();
    }

    fn ok(&mut self, request: Request) -> Response {
        match self.agent.handle(request) {
            Response::Error { kind, message, .. } => panic!("{kind:?}: {message}"),
            other => other,
        }
    }

    fn refused(&mut self, request: Request) -> (ErrorKind, String) {
        match self.agent.handle(request) {
            Response::Error {
                kind,
                message,
                hint,
            } => (kind, format!("{message} / {}", hint.unwrap_or_default())),
            other => panic!("not refused: {other:?}"),
        }
    }

    fn issue(&mut self, leaves: Vec<LeafRequest>) -> Vec<IssuedLeaf> {
        let request = Request::Issue {
            leaves,
            passphrase: passphrase(),
        };
        match self.ok(request) {
            Response::Issued { leaves } => leaves,
            other => panic!("{other:?}"),
        }
    }

    fn fetch(&mut self, host: &str, role: Role) -> Option<IssuedLeaf> {
        let leaves = vec![LeafName {
            host: host.to_owned(),
            role,
        }];
        match self.ok(Request::Fetch { leaves }) {
            Response::Fetched {
                mut leaves,
                missing,
            } => {
                assert_eq!(leaves.len() + missing.len(), 1);
                leaves.pop()
            }
            other => panic!("{other:?}"),
        }
    }

    fn delivered(&mut self, leaf: &IssuedLeaf, keep_keys: bool) {
        let leaves = vec![DeliveredLeaf {
            host: leaf.host.clone(),
            role: leaf.role,
            serial: leaf.serial.clone(),
            replaces: Vec::new(),
        }];
        assert_eq!(
            self.ok(Request::Delivered { leaves, keep_keys }),
            Response::Done
        );
    }

    fn ledger(&self) -> Ledger {
        Ledger::parse(&fs::read_to_string(self.path().join(".ledger.jsonl")).unwrap()).unwrap()
    }

    /// Every file below the directory with its mode, hidden ones included.
    fn files(&self) -> BTreeMap<String, u32> {
        let mut found = BTreeMap::new();
        let mut pending = vec![self.path()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                let name = path.strip_prefix(self.path()).unwrap().to_str().unwrap();
                found.insert(name.to_owned(), metadata.mode() & 0o7777);
                if metadata.is_dir() {
                    pending.push(path);
                }
            }
        }
        found
    }

    fn visible(&self) -> Vec<String> {
        self.files()
            .into_keys()
            .filter(|name| !name.starts_with('.'))
            .collect()
    }
}

/// PROCEDURE, guide C, row 4.
/// Enough of them to be written and removed on several threads.
#[test]
fn many_pairs_come_and_go_together() {
    let mut ca = Ca::new();
    let names: Vec<String> = (0..50).map(|number| format!("node{number}")).collect();
    let leaves = names
        .iter()
        .map(|host| leaf(host, Role::Daemon, &format!("{host}/")))
        .collect();
    let issued = ca.issue(leaves);
    for (host, issued) in names.iter().zip(&issued) {
        let directory = ca.path().join(host);
        let key = fs::read(directory.join("daemon-key.pem")).unwrap();
        assert_eq!(key, issued.key.expose(), "{host}");
        let certificate = fs::read(directory.join("daemon-cert.pem")).unwrap();
        assert_eq!(certificate, issued.certificate_pem.as_bytes(), "{host}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "{host}");
    }
    let leaves = issued
        .iter()
        .map(|leaf| DeliveredLeaf {
            host: leaf.host.clone(),
            role: leaf.role,
            serial: leaf.serial.clone(),
            replaces: Vec::new(),
        })
        .collect();
    ca.ok(Request::Delivered {
        leaves,
        keep_keys: false,
    });
    assert_eq!(ca.visible(), ["ca-key.pem", "ca.pem", "ca.srl"]);
}

#[test]
fn keys_that_are_generated_ahead_are_each_given_to_one_leaf() {
    let mut ca = Ca::new();
    let types = vec![KeyType::Rsa2048, KeyType::Rsa2048];
    assert_eq!(ca.ok(Request::GenerateKeys { types }), Response::Done);
    // One more than was announced, and one of another type.
    let mut leaves: Vec<LeafRequest> = ["a", "b", "c", "d"]
        .map(|host| leaf(host, Role::Daemon, &format!("{host}/")))
        .into();
    for leaf in leaves.iter_mut().take(3) {
        leaf.key_type = KeyType::Rsa2048;
    }
    let issued = ca.issue(leaves);
    let certificates: Vec<Certificate> = issued
        .iter()
        .map(|leaf| Certificate::from_pem(leaf.certificate_pem.as_bytes()).unwrap())
        .collect();
    let types: Vec<bool> = certificates
        .iter()
        .map(|certificate| certificate.key_type() == Some(KeyType::Rsa2048))
        .collect();
    assert_eq!(types, [true, true, true, false]);
    let keys: BTreeSet<String> = certificates
        .iter()
        .map(Certificate::public_key_sha256)
        .collect();
    assert_eq!(keys.len(), 4);
}

#[test]
fn the_lab_leaves_exactly_seven_visible_files() {
    let mut ca = Ca::new();
    let leaves = ca.issue(vec![
        leaf("node3", Role::Daemon, ""),
        leaf("node1", Role::Client, ""),
    ]);
    for issued in &leaves {
        ca.delivered(issued, true);
    }
    let expected = [
        (".ledger.jsonl", 0o600),
        (".lock", 0o600),
        ("ca-key.pem", 0o400),
        ("ca.pem", 0o444),
        ("ca.srl", 0o444),
        ("client-cert.pem", 0o444),
        ("client-key.pem", 0o400),
        ("daemon-cert.pem", 0o444),
        ("daemon-key.pem", 0o400),
    ];
    assert_eq!(
        ca.files(),
        expected
            .into_iter()
            .map(|(name, mode)| (name.to_owned(), mode))
            .collect()
    );
    assert_eq!(fs::metadata(ca.path()).unwrap().mode() & 0o7777, 0o700);
    let serial = fs::read_to_string(ca.path().join("ca.srl")).unwrap();
    assert_eq!(serial, format!("{}\n", leaves[1].serial));
    assert!(ca.fetch("node3", Role::Daemon).is_some());
}

#[test]
fn the_authority_is_made_once_and_opened_by_its_passphrase_alone() {
    let mut ca = Ca::new();
    let before = fs::read(ca.path().join("ca-key.pem")).unwrap();
    let Response::Authority {
        certificate_pem,
        created,
        warnings,
    } = ca.ok(ensure(KeyType::Rsa2048))
    else {
        panic!("no authority");
    };
    assert!(!created);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(
        certificate_pem,
        fs::read_to_string(ca.path().join("ca.pem")).unwrap()
    );
    assert_eq!(fs::read(ca.path().join("ca-key.pem")).unwrap(), before);
    let wrong = Request::EnsureAuthority {
        profile: AuthorityProfile::new(Subject::named("x"), KeyType::EcdsaP256, 1),
        passphrase: Secret::from("hunter2".to_owned()),
    };
    let (kind, message) = ca.refused(wrong);
    assert_eq!(kind, ErrorKind::WrongPassphrase);
    assert!(!message.contains("hunter2"), "{message}");
    // That the right one was given before opens nothing for a wrong one.
    let (kind, _) = ca.refused(Request::Issue {
        leaves: vec![node3()],
        passphrase: Secret::from("hunter2".to_owned()),
    });
    assert_eq!(kind, ErrorKind::WrongPassphrase);
    assert!(!ca.path().join(".ledger.jsonl").exists());
}

#[test]
fn an_ed25519_authority_comes_with_a_warning() {
    let mut ca = Ca {
        root: tempfile::tempdir().unwrap(),
        agent: Agent::new(),
    };
    ca.begin();
    match ca.ok(ensure(KeyType::Ed25519)) {
        Response::Authority {
            created: true,
            warnings,
            ..
        } => assert_eq!(warnings.len(), 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_ledger_knows_the_key_file_by_its_hash() {
    let mut ca = Ca::new();
    let issued = ca.issue(vec![node3()]).remove(0);
    let file = fs::read(ca.path().join("node3/daemon-key.pem")).unwrap();
    assert_eq!(file, issued.key.expose());
    let ledger = ca.ledger();
    let entry = ledger.by_key_sha256(&sha256_hex(&file)).unwrap();
    let certificate = Certificate::from_pem(issued.certificate_pem.as_bytes()).unwrap();
    assert_eq!(entry.serial, certificate.serial());
    assert_eq!(entry.serial, issued.serial);
    assert_eq!(entry.certificate_sha256, certificate.sha256());
    assert_eq!(entry.public_key_sha256, certificate.public_key_sha256());
    assert_eq!(&entry.sans, certificate.sans());
    assert_eq!((entry.delivered, entry.superseded), (false, false));
    let text = fs::read_to_string(ca.path().join(".ledger.jsonl")).unwrap();
    assert!(!text.contains("PRIVATE"), "{text}");
    assert_eq!(ca.files()["node3"], 0o700);
}

#[test]
fn a_leaf_is_fetched_until_it_is_delivered_and_then_gone() {
    let mut ca = Ca::new();
    let issued = ca.issue(vec![node3()]).remove(0);
    ca.begin_anew();
    assert_eq!(ca.fetch("node3", Role::Daemon).as_ref(), Some(&issued));
    assert_eq!(ca.fetch("node3", Role::Client), None);
    ca.delivered(&issued, false);
    assert_eq!(ca.visible(), ["ca-key.pem", "ca.pem", "ca.srl"]);
    assert_eq!(ca.fetch("node3", Role::Daemon), None);
    assert!(ca.ledger().delivered("node3", Role::Daemon).is_some());
    let lines = || {
        fs::read_to_string(ca.path().join(".ledger.jsonl"))
            .unwrap()
            .lines()
            .count()
    };
    let before = lines();
    ca.delivered(&issued, false);
    assert_eq!(
        fs::read_to_string(ca.path().join(".ledger.jsonl"))
            .unwrap()
            .lines()
            .count(),
        before
    );
}

#[test]
fn the_older_leaf_is_superseded_when_the_newer_arrives() {
    let mut ca = Ca::new();
    let first = ca.issue(vec![node3()]).remove(0);
    ca.delivered(&first, true);
    let second = ca.issue(vec![node3()]).remove(0);
    let ledger = ca.ledger();
    assert_eq!(
        ledger.delivered("node3", Role::Daemon).unwrap().serial,
        first.serial
    );
    assert_eq!(
        ledger.current("node3", Role::Daemon).unwrap().serial,
        second.serial
    );
    // Word of the first one coming late supersedes nothing that is newer.
    ca.delivered(&first, true);
    assert_eq!(
        ca.ledger().current("node3", Role::Daemon).unwrap().serial,
        second.serial
    );
    ca.delivered(&second, true);
    let ledger = ca.ledger();
    assert!(ledger.by_serial(&first.serial).unwrap().superseded);
    assert_eq!(
        ledger.delivered("node3", Role::Daemon).unwrap().serial,
        second.serial
    );
    // And even later, when it is superseded.
    ca.delivered(&first, true);
    assert!(!ca.ledger().by_serial(&second.serial).unwrap().superseded);
    assert_eq!(ca.fetch("node3", Role::Daemon), Some(second));
}

#[test]
fn a_superseded_pair_under_another_name_does_not_stay_behind() {
    let mut ca = Ca::new();
    let first = ca
        .issue(vec![leaf("node3", Role::Daemon, "old/")])
        .remove(0);
    ca.delivered(&first, true);
    let second = ca
        .issue(vec![leaf("node3", Role::Daemon, "new/")])
        .remove(0);
    assert!(ca.path().join("old/daemon-key.pem").exists());
    ca.delivered(&second, true);
    assert!(!ca.path().join("old").exists());
    assert!(ca.path().join("new/daemon-key.pem").exists());
}

#[test]
fn many_leaves_come_back_in_the_order_asked_for() {
    let mut ca = Ca::new();
    let leaves: Vec<_> = (0..40)
        .map(|number| {
            leaf(
                &format!("node{number}"),
                Role::Client,
                &format!("node{number}/"),
            )
        })
        .collect();
    let issued = ca.issue(leaves);
    for (number, leaf) in issued.iter().enumerate() {
        assert_eq!(leaf.host, format!("node{number}"));
        let certificate = Certificate::from_pem(leaf.certificate_pem.as_bytes()).unwrap();
        assert_eq!(certificate.subject(), format!("CN=node{number}"));
    }
    let serials: BTreeSet<_> = issued.iter().map(|leaf| &leaf.serial).collect();
    assert_eq!(serials.len(), 40);
    assert_eq!(ca.ledger().entries().len(), 40);
}

#[test]
fn names_that_lead_elsewhere_or_meet_are_refused_and_nothing_is_issued() {
    let mut ca = Ca::new();
    let same_path = LeafRequest {
        host: "node4".to_owned(),
        ..node3()
    };
    let one_file = LeafRequest {
        certificate_name: node3().key_name,
        ..node3()
    };
    let outside = LeafRequest {
        key_name: "../key.pem".to_owned(),
        ..node3()
    };
    for leaves in [
        vec![node3(), same_path],
        vec![one_file],
        vec![node3(), outside],
        vec![node3(), leaf("node3", Role::Daemon, "other/")],
    ] {
        let (kind, _) = ca.refused(Request::Issue {
            leaves,
            passphrase: passphrase(),
        });
        assert_eq!(kind, ErrorKind::Request);
    }
    assert_eq!(ca.visible(), ["ca-key.pem", "ca.pem"]);
    assert!(!ca.path().join(".ledger.jsonl").exists());
}

#[test]
fn a_probe_expires_after_half_an_hour_and_leaves_nothing() {
    let mut ca = Ca::new();
    let before = ca.files();
    let request = Request::Probe {
        signer: pki::Signer::Current,
        passphrase: passphrase(),
    };
    let Response::Probe { leaf } = ca.ok(request) else {
        panic!("no probe")
    };
    assert_eq!(ca.files(), before);
    let certificate = Certificate::from_pem(leaf.certificate_pem.as_bytes()).unwrap();
    let life = certificate.not_after() - OffsetDateTime::now_utc();
    assert!(life <= Duration::minutes(30) && life > Duration::minutes(29));
    assert_eq!(leaf.role, Role::Client);
    let authority = fs::read(ca.path().join("ca.pem")).unwrap();
    assert!(certificate.is_signed_by(&Certificate::from_pem(&authority).unwrap()));
}

#[test]
fn the_state_is_what_lies_there() {
    let mut ca = Ca::new();
    ca.issue(vec![node3()]);
    let Response::State {
        ledger,
        certificate_pem,
        files,
        ..
    } = ca.ok(Request::State {})
    else {
        panic!("no state");
    };
    assert_eq!(Ledger::parse(&ledger.unwrap()).unwrap(), ca.ledger());
    assert_eq!(
        certificate_pem.unwrap(),
        fs::read_to_string(ca.path().join("ca.pem")).unwrap()
    );
    let listed: BTreeMap<_, _> = files
        .into_iter()
        .map(|file| (file.path, file.mode))
        .collect();
    assert_eq!(listed, ca.files());
}

#[test]
fn one_agent_at_a_time_and_the_other_hears_who() {
    let mut ca = Ca::new();
    let mut other = Agent::new();
    match other.handle(hello(&ca.path(), "other")) {
        Response::Held { holder, since } => {
            assert_eq!(holder, "test");
            assert!(OffsetDateTime::now_utc() - since.unwrap() < Duration::minutes(1));
        }
        response => panic!("{response:?}"),
    }
    assert!(matches!(
        other.handle(Request::State {}),
        Response::Error {
            kind: ErrorKind::Protocol,
            ..
        }
    ));
    ca.ok(Request::Bye);
    assert!(matches!(
        other.handle(hello(&ca.path(), "other")),
        Response::Hello { .. }
    ));
    // Another protocol is refused before anything is touched.
    let mut third = Agent::new();
    let strange = Request::Hello {
        protocol: PROTOCOL + 1,
        directory: ca.root.path().join("elsewhere"),
        holder: String::new(),
        wait_seconds: 0,
    };
    assert!(matches!(
        third.handle(strange),
        Response::Error {
            kind: ErrorKind::Protocol,
            ..
        }
    ));
    assert!(!ca.root.path().join("elsewhere").exists());
}

#[test]
fn an_untrusted_directory_is_refused_with_a_remedy() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("ca");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    match Agent::new().handle(hello(&path, "x")) {
        Response::Error {
            kind: ErrorKind::Directory,
            hint: Some(hint),
            ..
        } => {
            assert!(hint.contains("chmod go-w"), "{hint}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
}

#[test]
fn a_link_in_place_of_a_directory_of_ours_is_not_followed() {
    let mut ca = Ca::new();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), ca.path().join("node3")).unwrap();
    let (kind, _) = ca.refused(Request::Issue {
        leaves: vec![node3()],
        passphrase: passphrase(),
    });
    assert_eq!(kind, ErrorKind::Directory);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn an_expired_authority_says_so() {
    let mut ca = Ca::new();
    ca.agent = Agent::with_clock(|| OffsetDateTime::now_utc() + Duration::days(710));
    ca.begin();
    match ca.ok(ensure(KeyType::EcdsaP256)) {
        Response::Authority { warnings, .. } => {
            assert!(warnings[0].contains("expires on"), "{warnings:?}");
        }
        other => panic!("{other:?}"),
    }
    let clipped = ca.issue(vec![node3()]).remove(0);
    assert!(clipped.clipped_by_ca);
    ca.agent = Agent::with_clock(|| OffsetDateTime::now_utc() + Duration::days(731));
    ca.begin();
    assert_eq!(
        ca.refused(ensure(KeyType::EcdsaP256)).0,
        ErrorKind::Authority
    );
    let (kind, message) = ca.refused(Request::Issue {
        leaves: vec![node3()],
        passphrase: passphrase(),
    });
    assert_eq!(kind, ErrorKind::Authority);
    assert!(
        message.contains("expired") && message.contains("node3"),
        "{message}"
    );
}

#[test]
fn an_authority_is_opened_and_nothing_is_made() {
    let root = tempfile::tempdir().unwrap();
    let mut ca = Ca {
        root,
        agent: Agent::new(),
    };
    ca.begin();
    let open = |text: &str| Request::OpenAuthority {
        passphrase: Secret::from(text.to_owned()),
    };
    assert_eq!(ca.refused(open(PASSPHRASE)).0, ErrorKind::Authority);
    assert!(!ca.path().join("ca.pem").exists());
    ca.ok(ensure(KeyType::EcdsaP256));
    ca.begin_anew();
    assert_eq!(ca.refused(open("wrong")).0, ErrorKind::WrongPassphrase);
    match ca.ok(open(PASSPHRASE)) {
        Response::Authority {
            certificate_pem,
            created,
            ..
        } => {
            assert!(!created);
            let file = fs::read_to_string(ca.path().join("ca.pem")).unwrap();
            assert_eq!(certificate_pem, file);
        }
        other => panic!("{other:?}"),
    }
    // Opened once, it does not open for everyone.
    assert_eq!(ca.refused(open("wrong")).0, ErrorKind::WrongPassphrase);
}

#[test]
fn an_authority_that_has_ended_is_not_opened() {
    fn in_three_years() -> OffsetDateTime {
        OffsetDateTime::now_utc() + Duration::days(3 * 365)
    }
    let mut ca = Ca::new();
    ca.agent = Agent::with_clock(in_three_years);
    ca.begin();
    let request = Request::OpenAuthority {
        passphrase: passphrase(),
    };
    let (kind, said) = ca.refused(request);
    assert_eq!(kind, ErrorKind::Authority, "{said}");
}
