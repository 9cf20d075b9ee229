//! One CA follows another in the CA directory, crashes included.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use base::secret::Secret;
use pki::{
    Agent, AuthorityProfile, Certificate, ErrorKind, IssuedLeaf, KeyType, LeafRequest, Ledger,
    PROTOCOL, Request, Response, Role, Signer, Subject, decrypt, encrypt, readable,
};

use super::{PASSPHRASE, given_directory, has_begun, passphrase, start};

fn agent(directory: &Path) -> Agent {
    let mut agent = Agent::new();
    let hello = Request::Hello {
        protocol: PROTOCOL,
        directory: directory.to_owned(),
        holder: "test".to_owned(),
        wait_seconds: 5,
    };
    assert!(matches!(ok(&mut agent, hello), Response::Hello { .. }));
    agent
}

fn ok(agent: &mut Agent, request: Request) -> Response {
    match agent.handle(request) {
        Response::Error { kind, message, .. } => panic!("{kind:?}: {message}"),
        other => other,
    }
}

fn refused(agent: &mut Agent, request: Request) -> (ErrorKind, String) {
    match agent.handle(request) {
        Response::Error { kind, message, .. } => (kind, message),
        other => panic!("not refused: {other:?}"),
    }
}

fn create(agent: &mut Agent, name: &str) -> Certificate {
    let request = Request::EnsureAuthority {
        profile: AuthorityProfile::new(Subject::named(name), KeyType::Rsa2048, 730),
        passphrase: passphrase(),
    };
    certificate(ok(agent, request))
}

fn begin(name: &str, secret: Secret) -> Request {
    Request::BeginRollover {
        profile: AuthorityProfile::new(Subject::named(name), KeyType::EcdsaP256, 730),
        passphrase: secret,
    }
}

fn certificate(response: Response) -> Certificate {
    match response {
        Response::Authority {
            certificate_pem, ..
        } => Certificate::from_pem(certificate_pem.as_bytes()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn leaf(host: &str, signer: Signer) -> LeafRequest {
    LeafRequest {
        host: host.to_owned(),
        role: Role::Client,
        signer,
        common_name: host.to_owned(),
        sans: BTreeSet::new(),
        key_type: KeyType::EcdsaP256,
        validity_days: 365,
        key_name: format!("{host}/key.pem"),
        certificate_name: format!("{host}/cert.pem"),
    }
}

fn issue(agent: &mut Agent, leaves: Vec<LeafRequest>) -> Vec<IssuedLeaf> {
    let request = Request::Issue {
        leaves,
        passphrase: passphrase(),
    };
    match ok(agent, request) {
        Response::Issued { leaves } => leaves,
        other => panic!("{other:?}"),
    }
}

fn read(directory: &Path, name: &str) -> Option<Vec<u8>> {
    fs::read(directory.join(name)).ok()
}

fn ca() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("ca");
    (root, directory)
}

#[test]
fn each_ca_signs_while_the_rollover_is_under_way_and_the_old_one_retires() {
    let (_root, directory) = ca();
    let mut agent = agent(&directory);
    let old = create(&mut agent, "lab CA");
    let old_key = read(&directory, "ca-key.pem").unwrap();
    let new = certificate(ok(&mut agent, begin("lab CA", passphrase())));
    // What a restarted daemon has to accept is shown by the CA that it trusts.
    for (signer, authority) in [(Signer::Current, &old), (Signer::Next, &new)] {
        let passphrase = passphrase();
        let Response::Probe { leaf } = ok(&mut agent, Request::Probe { signer, passphrase }) else {
            panic!("no probe")
        };
        let probe = Certificate::from_pem(leaf.certificate_pem.as_bytes()).unwrap();
        assert!(probe.is_signed_by(authority));
    }
    assert_eq!(new.subject(), "CN=lab CA 2");
    assert_eq!(new.key_type(), Some(KeyType::EcdsaP256));
    // Asked again, it is the same one.
    let again = certificate(ok(&mut agent, begin("lab CA", passphrase())));
    assert_eq!(again.sha256(), new.sha256());

    // In the order asked for, no matter which CA signs.
    let asked = ["a", "b", "c"]
        .into_iter()
        .zip([Signer::Next, Signer::Current, Signer::Next]);
    let leaves = issue(
        &mut agent,
        asked.map(|(host, signer)| leaf(host, signer)).collect(),
    );
    for (made, (host, signer)) in leaves.iter().zip([("a", &new), ("b", &old), ("c", &new)]) {
        let made_of = Certificate::from_pem(made.certificate_pem.as_bytes()).unwrap();
        assert_eq!(made.host, host);
        assert!(made_of.is_signed_by(signer), "{host}");
    }

    assert_eq!(ok(&mut agent, Request::Promote {}), Response::Done);
    assert_eq!(
        read(&directory, "ca.pem").unwrap(),
        new.to_pem().into_bytes()
    );
    assert_eq!(
        read(&directory, "retired/1/ca.pem").unwrap(),
        old.to_pem().into_bytes()
    );
    assert_eq!(read(&directory, "retired/1/ca-key.pem").unwrap(), old_key);
    assert!(!directory.join("next").exists());
    assert!(directory.join(".rolled-over").exists());
    let (kind, said) = refused(&mut agent, Request::Promote {});
    assert_eq!(kind, ErrorKind::Request);
    assert!(said.contains("no rollover is under way"), "{said}");
    // What it signs from now on is the new one's.
    let made = issue(&mut agent, vec![leaf("d", Signer::Current)]);
    let made = Certificate::from_pem(made[0].certificate_pem.as_bytes()).unwrap();
    assert!(made.is_signed_by(&new));

    let end = Request::EndRollover { destroy_old: false };
    assert_eq!(ok(&mut agent, end), Response::Done);
    assert!(directory.join("retired/1/ca-key.pem").exists());
    let end = Request::EndRollover { destroy_old: true };
    assert_eq!(ok(&mut agent, end), Response::Done);
    assert!(!directory.join("retired/1/ca-key.pem").exists());
    assert!(directory.join("retired/1/ca.pem").exists());
    assert!(!directory.join(".rolled-over").exists());
}

#[test]
fn no_two_generations_share_a_subject() {
    let (_root, directory) = ca();
    let mut agent = agent(&directory);
    // As an adopted CA could be called.
    create(&mut agent, "LAB CA 2");
    let mut seen = BTreeSet::new();
    for expected in ["CN=lab CA 3", "CN=lab CA 4", "CN=lab CA 5"] {
        let new = certificate(ok(&mut agent, begin("lab CA", passphrase())));
        // The second generation is taken, the third is the first rollover's.
        assert_eq!(new.subject(), expected);
        assert!(seen.insert(new.subject_raw().to_vec()));
        ok(&mut agent, Request::Promote {});
    }
    let long = "x".repeat(80);
    let new = certificate(ok(&mut agent, begin(&long, passphrase())));
    assert_eq!(new.subject(), format!("CN={} 6", "x".repeat(62)));
}

#[test]
fn both_keys_are_under_one_passphrase() {
    let (_root, directory) = ca();
    let mut agent = agent(&directory);
    create(&mut agent, "lab CA");
    let wrong = begin("lab CA", Secret::from("another".to_owned()));
    assert_eq!(refused(&mut agent, wrong).0, ErrorKind::WrongPassphrase);
    assert!(!directory.join("next").exists());
    ok(&mut agent, begin("lab CA", passphrase()));
    let key = read(&directory, "next/ca-key.pem").unwrap();
    assert!(decrypt(&key, &passphrase()).is_ok());
}

#[test]
fn a_name_that_would_land_on_the_next_ca_is_refused() {
    let (_root, directory) = ca();
    let mut agent = agent(&directory);
    create(&mut agent, "lab CA");
    for name in ["next/ca.pem", "next/ca-key.pem", "retired/1/ca.pem"] {
        let mut leaf = leaf("a", Signer::Current);
        name.clone_into(&mut leaf.certificate_name);
        let request = Request::Issue {
            leaves: vec![leaf],
            passphrase: passphrase(),
        };
        let (_, said) = refused(&mut agent, request);
        assert!(said.contains("next CA"), "{name}: {said}");
    }
    // A host may be called so.
    issue(&mut agent, vec![leaf("next", Signer::Current)]);
}

/// A leaf without an authority key identifier is found by its issuer's name
/// alone, whatever order the bundle has.
#[test]
fn leaves_without_an_aki_are_valid_under_both_orders_of_the_bundle() {
    let (root, directory) = ca();
    let mut agent = agent(&directory);
    create(&mut agent, "lab CA");
    ok(&mut agent, begin("lab CA", passphrase()));
    let at = |name: &str| directory.join(name).display().to_string();
    let (old, new) = (
        read(&directory, "ca.pem").unwrap(),
        read(&directory, "next/ca.pem").unwrap(),
    );
    let out = |name: &str| root.path().join(name).display().to_string();
    fs::write(out("old-new.pem"), [old.clone(), new.clone()].concat()).unwrap();
    fs::write(out("new-old.pem"), [new, old].concat()).unwrap();
    fs::write(
        out("ext"),
        "basicConstraints=CA:FALSE\nauthorityKeyIdentifier=none\nsubjectKeyIdentifier=none\n",
    )
    .unwrap();
    openssl(&[
        "req",
        "-new",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=leaf",
        "-keyout",
        &out("leaf.key"),
        "-out",
        &out("leaf.csr"),
    ]);
    for prefix in ["", "next/"] {
        openssl(&[
            "x509",
            "-req",
            "-in",
            &out("leaf.csr"),
            "-CA",
            &at(&format!("{prefix}ca.pem")),
            "-CAkey",
            &at(&format!("{prefix}ca-key.pem")),
            "-passin",
            &format!("pass:{PASSPHRASE}"),
            "-CAcreateserial",
            "-CAserial",
            &out("serial"),
            "-days",
            "10",
            "-extfile",
            &out("ext"),
            "-out",
            &out("leaf.pem"),
        ]);
        let text = openssl(&["x509", "-in", &out("leaf.pem"), "-noout", "-text"]);
        assert!(!text.contains("Authority Key Identifier"), "{text}");
        for bundle in ["old-new.pem", "new-old.pem"] {
            openssl(&["verify", "-CAfile", &out(bundle), &out("leaf.pem")]);
        }
    }
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a crash between any two steps of a promotion leaves is finished.
#[test]
fn marks_are_all_or_none_and_survive_a_rebuilt_ledger() {
    let (_root, directory) = ca();
    let mut agent = agent(&directory);
    create(&mut agent, "lab CA");
    let leaves = issue(
        &mut agent,
        vec![leaf("a", Signer::Current), leaf("b", Signer::Current)],
    );
    let revoke = |serials: &[&str], reason: Option<&str>| Request::Revoke {
        serials: serials.iter().map(|serial| (*serial).to_owned()).collect(),
        reason: reason.map(str::to_owned),
    };
    let ledger = || String::from_utf8(read(&directory, ".ledger.jsonl").unwrap()).unwrap();
    let before = ledger();
    let (kind, _) = refused(&mut agent, revoke(&[&leaves[0].serial, "AB"], None));
    assert_eq!((kind, ledger()), (ErrorKind::Request, before.clone()));
    let (kind, _) = refused(
        &mut agent,
        revoke(&[&leaves[0].serial], Some(&"x".repeat(201))),
    );
    assert_eq!((kind, ledger()), (ErrorKind::Request, before.clone()));
    ok(
        &mut agent,
        revoke(&[&leaves[0].serial, &leaves[0].serial], Some("lost")),
    );
    ok(
        &mut agent,
        revoke(&[&leaves[0].serial], Some("found, and lost again")),
    );
    let after = ledger();
    assert_eq!(after.lines().count(), before.lines().count() + 1, "{after}");
    // No host gets the pair any more; the other one waits for its host.
    assert_eq!(read(&directory, "a/key.pem"), None);
    assert_eq!(read(&directory, "a/cert.pem"), None);
    assert!(read(&directory, "b/key.pem").is_some());
    let parsed = Ledger::parse(&after).unwrap();
    let mark = parsed.revocation(&leaves[0].serial).unwrap();
    assert_eq!(mark.reason.as_deref(), Some("lost"));
    assert_eq!(parsed.revocation(&leaves[1].serial), None);
    // The line of the leaf is lost, and its mark is not.
    let damaged = format!("rubbish\n{}", after.split_once('\n').unwrap().1);
    let (text, lost) = readable(damaged.as_bytes());
    assert_eq!(lost, 1);
    let rebuilt = Ledger::parse(&text).unwrap();
    assert!(rebuilt.revocation(&leaves[0].serial).is_some());
}

/// The backup is older than the CA that nodes trust by now: its name is not given again.
#[test]
fn a_restored_ca_is_not_followed_by_two_of_one_name() {
    let (_root, directory) = ca();
    let mut first = agent(&directory);
    create(&mut first, "lab CA");
    let Response::Exported { files } = ok(&mut first, Request::Export {}) else {
        panic!("no backup");
    };
    let followed = certificate(ok(&mut first, begin("lab CA", passphrase())));
    drop(first);
    let (_root, directory) = ca();
    let mut restored = agent(&directory);
    let import = Request::Import {
        files,
        followed_by: vec![followed.to_pem()],
        passphrase: passphrase(),
    };
    ok(&mut restored, import);
    let next = certificate(ok(&mut restored, begin("lab CA", passphrase())));
    assert_eq!(followed.subject(), "CN=lab CA 2");
    assert_eq!(next.subject(), "CN=lab CA 3");
    let kept = read(&directory, "retired/1/ca.pem").unwrap();
    assert_eq!(String::from_utf8(kept).unwrap(), followed.to_pem());
}

/// A directory that was copied back knows nothing of the CAs that nodes trust by now.
#[test]
fn the_name_of_a_ca_that_nodes_know_is_not_given_again() {
    let (_root, directory) = ca();
    let mut agent = agent(&directory);
    create(&mut agent, "lab CA");
    let Request::BeginRollover {
        mut profile,
        passphrase,
    } = begin("lab CA", passphrase())
    else {
        panic!("another request");
    };
    profile.known = ["CN=lab CA", "CN=Lab CA 2"].map(str::to_owned).into();
    let request = Request::BeginRollover {
        profile,
        passphrase,
    };
    let next = certificate(ok(&mut agent, request));
    assert_eq!(next.subject(), "CN=lab CA 3");
}

/// A CA that was put back from its backup comes without those before it.
#[test]
fn a_restored_ca_is_not_followed_by_one_before_it() {
    for (present, expected) in [
        ("lab CA 3", "CN=lab CA 4"),
        ("another 3", "CN=lab CA 4"),
        ("Corp 2026", "CN=lab CA 2"),
    ] {
        let (_root, directory) = ca();
        let mut agent = agent(&directory);
        create(&mut agent, present);
        let next = certificate(ok(&mut agent, begin("lab CA", passphrase())));
        assert_eq!(next.subject(), expected);
    }
}

#[test]
fn a_passphrase_that_was_changed_on_the_way_is_named_for_the_key_it_does_not_open() {
    let (_root, directory) = ca();
    let mut agent = agent(&directory);
    create(&mut agent, "lab CA");
    ok(&mut agent, begin("lab CA", passphrase()));
    // As `openssl pkcs8` would, for the present key alone.
    let key = decrypt(&read(&directory, "ca-key.pem").unwrap(), &passphrase()).unwrap();
    let other = Secret::from("another passphrase".to_owned());
    let path = directory.join("ca-key.pem");
    fs::remove_file(&path).unwrap();
    fs::write(&path, encrypt(&key, &other).unwrap()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    let asked = |signer, secret: &Secret| Request::Issue {
        leaves: vec![leaf("a", signer)],
        passphrase: secret.clone(),
    };
    for (signer, secret, name) in [
        (Signer::Current, passphrase(), "does not open the key"),
        (
            Signer::Next,
            other.clone(),
            "of the next CA: next/ca-key.pem",
        ),
    ] {
        let (kind, message) = refused(&mut agent, asked(signer, &secret));
        assert_eq!(kind, ErrorKind::WrongPassphrase);
        assert!(message.contains(name), "{message}");
    }
    ok(&mut agent, asked(Signer::Next, &passphrase()));
    ok(&mut agent, asked(Signer::Current, &other));
}

#[test]
fn a_promotion_is_finished_wherever_it_was_cut() {
    let (_root, directory) = ca();
    let mut first = agent(&directory);
    create(&mut first, "lab CA");
    ok(&mut first, begin("lab CA", passphrase()));
    drop(first);
    let at = |name: &str| directory.join(name);
    let (next, next_key) = (
        read(&directory, "next/ca.pem").unwrap(),
        read(&directory, "next/ca-key.pem").unwrap(),
    );
    let put = |name: &str, bytes: &[u8]| {
        let _ = fs::remove_file(at(name));
        fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        fs::write(at(name), bytes).unwrap();
    };
    // After the key alone was renamed.
    put("ca-key.pem", &next_key);
    drop(agent(&directory));
    assert_eq!(read(&directory, "ca.pem").unwrap(), next);
    assert!(!at("next").exists());
    // After the certificate, and after the removal of next/ca.pem.
    put("next/ca-key.pem", &next_key);
    put("next/ca.pem", &next);
    drop(agent(&directory));
    assert!(!at("next").exists());
    put("next/ca-key.pem", &next_key);
    let mut last = agent(&directory);
    assert!(!at("next").exists());
    issue(&mut last, vec![leaf("a", Signer::Current)]);
}

/// Not a test of its own: the process that the next one kills.
#[test]
#[ignore = "started by a_kill_at_any_moment_leaves_one_ca_or_two"]
fn roll_over_until_killed() {
    let Some(directory) = given_directory() else {
        return;
    };
    has_begun();
    let mut agent = agent(&directory);
    loop {
        ok(&mut agent, begin("lab CA", passphrase()));
        issue(
            &mut agent,
            vec![leaf("a", Signer::Current), leaf("b", Signer::Next)],
        );
        ok(&mut agent, Request::Promote {});
    }
}

#[test]
fn a_kill_at_any_moment_leaves_one_ca_or_two() {
    let (_root, directory) = ca();
    create(&mut agent(&directory), "lab CA");
    let mut moments = BTreeSet::new();
    for attempt in 0_u64..12 {
        let mut child = start(module_path!(), "roll_over_until_killed", &directory);
        sleep(Duration::from_millis(150 + attempt * 57));
        child.kill().unwrap();
        child.wait().unwrap();

        let mut agent = agent(&directory);
        issue(&mut agent, vec![leaf("a", Signer::Current)]);
        let under_way = directory.join("next/ca.pem").exists();
        moments.insert(under_way);
        let new = certificate(ok(&mut agent, begin("lab CA", passphrase())));
        issue(&mut agent, vec![leaf("b", Signer::Next)]);
        ok(&mut agent, Request::Promote {});
        assert_eq!(
            read(&directory, "ca.pem").unwrap(),
            new.to_pem().into_bytes()
        );
        // Every CA that there was is kept once, with its key, under a name of its own.
        let mut subjects = BTreeSet::from([new.subject().to_owned()]);
        for entry in fs::read_dir(directory.join("retired")).unwrap() {
            let place = entry.unwrap().path();
            let kept = Certificate::from_pem(&fs::read(place.join("ca.pem")).unwrap()).unwrap();
            assert!(subjects.insert(kept.subject().to_owned()), "{place:?}");
            assert!(place.join("ca-key.pem").exists());
        }
        let left = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(!left.into_iter().any(|name| name.ends_with(".unfinished")));
    }
}
