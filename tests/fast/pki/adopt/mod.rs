//! CAs that the real `openssl` made, adopted by the agent.

mod backup;
mod ca_file;
mod limits;
mod reencrypt;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use base::secret::Secret;
use pki::{
    AdoptedLeaf, Agent, AuthorityFiles, CaFile, Certificate, ErrorKind, KeyType, LeafRequest,
    Ledger, Request, Response, Role, is_encrypted, sha256_hex,
};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use super::{PASSPHRASE, given_directory, has_begun, passphrase, start};

fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    directory
}

/// Runs a shell script in a directory; `$P` is the passphrase.
fn shell(directory: &Path, script: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", script])
        .current_dir(directory)
        .env("P", PASSPHRASE)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn agent_at(directory: &Path, clock: fn() -> OffsetDateTime) -> Agent {
    let mut agent = Agent::with_clock(clock);
    hello(&mut agent, directory).unwrap();
    agent
}

fn agent(directory: &Path) -> Agent {
    agent_at(directory, OffsetDateTime::now_utc)
}

fn hello(agent: &mut Agent, directory: &Path) -> Result<(), String> {
    refused(agent.handle(super::hello(directory, "test"))).map(|_| ())
}

/// The message and hint of an error.
fn refused(response: Response) -> Result<Response, String> {
    match response {
        Response::Error { message, hint, .. } => {
            Err(format!("{message} | {}", hint.unwrap_or_default()))
        }
        other => Ok(other),
    }
}

fn adopt_with(agent: &mut Agent, passphrase: &str) -> Result<Response, String> {
    refused(agent.handle(Request::AdoptAuthority {
        files: None,
        passphrase: Secret::from(passphrase.to_owned()),
    }))
}

fn adopt(agent: &mut Agent) -> Result<Response, String> {
    adopt_with(agent, PASSPHRASE)
}

const KEY: &str = "openssl genrsa -aes256 -passout env:P -out ca-key.pem 2048 2>/dev/null\n";
const CERTIFICATE: &str = "openssl req -new -x509 -days 730 -key ca-key.pem -passin env:P -sha256 -subj /CN=node2 -out ca.pem\n";
/// A pair for a daemon: `leaf NAME` in the CA's directory.
const LEAF: &str = "leaf() {
    openssl genrsa -out $1-key.pem 2048 2>/dev/null
    openssl req -subj /CN=$1 -new -key $1-key.pem -out $1.csr
    printf 'subjectAltName = DNS:%s\nextendedKeyUsage = serverAuth\n' $1 >ext
    openssl x509 -req -days 365 -in $1.csr -CA ca.pem -CAkey ca-key.pem -passin env:P -CAcreateserial -out $1-cert.pem -extfile ext 2>/dev/null
    rm $1.csr ext
}
";

fn found(directory: &Path, name: &str) -> AdoptedLeaf {
    let read = |kind: &str| fs::read(directory.join(format!("{name}-{kind}.pem"))).unwrap();
    AdoptedLeaf {
        host: name.to_owned(),
        role: Role::Daemon,
        certificate_pem: String::from_utf8(read("cert")).unwrap(),
        key_sha256: Some(sha256_hex(&read("key"))),
        key_name: format!("{name}-key.pem"),
        certificate_name: format!("{name}-cert.pem"),
    }
}

fn ledger(directory: &Path) -> Ledger {
    Ledger::parse(&fs::read_to_string(directory.join(".ledger.jsonl")).unwrap()).unwrap()
}

fn issue(agent: &mut Agent, host: &str) -> Response {
    agent.handle(Request::Issue {
        leaves: vec![LeafRequest {
            signer: pki::Signer::Current,
            host: host.to_owned(),
            role: Role::Daemon,
            common_name: host.to_owned(),
            sans: [format!("DNS:{host}").parse().unwrap()].into(),
            key_type: KeyType::EcdsaP256,
            validity_days: 30,
            key_name: format!("{host}/key.pem"),
            certificate_name: format!("{host}/cert.pem"),
        }],
        passphrase: passphrase(),
    })
}

#[test]
fn every_key_that_openssl_makes_is_adopted_and_issues() {
    let plain = [
        "openssl genrsa -traditional -out ca-key.pem 2048",
        "openssl genrsa -out ca-key.pem 2048",
        "openssl ecparam -name secp384r1 -genkey -out ca-key.pem",
        "openssl genpkey -algorithm ed25519 -out ca-key.pem",
    ];
    let encrypted = [
        "openssl genrsa -aes256 -passout env:P -out ca-key.pem 4096",
        "openssl genrsa -des3 -passout env:P -out ca-key.pem 2048",
        "openssl genrsa -traditional -aes256 -passout env:P -out ca-key.pem 2048",
        "openssl genrsa -traditional -des3 -passout env:P -out ca-key.pem 2048",
        "openssl ecparam -name prime256v1 -genkey | openssl ec -aes256 -passout env:P -out ca-key.pem",
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass env:P -out ca-key.pem",
    ];
    for (command, was_plain) in plain
        .iter()
        .map(|command| (*command, true))
        .chain(encrypted.iter().map(|command| (*command, false)))
    {
        let directory = directory();
        let path = directory.path();
        shell(path, &format!("{command} 2>/dev/null\n{CERTIFICATE}"));
        let before = fs::read(path.join("ca-key.pem")).unwrap();
        let public = "openssl pkey -in ca-key.pem -passin env:P -pubout";
        let public_before = shell(path, public);
        let mut agent = agent(path);
        let Response::Adopted { encrypted, .. } =
            adopt(&mut agent).unwrap_or_else(|error| panic!("{command}: {error}"))
        else {
            panic!("{command}: another answer");
        };
        assert_eq!(encrypted, was_plain, "{command}");
        let after = fs::read(path.join("ca-key.pem")).unwrap();
        assert!(is_encrypted(&after).unwrap(), "{command}");
        // None of them is as costly to guess as what this program writes.
        assert_ne!(after, before, "{command}");
        let mode = fs::metadata(path.join("ca-key.pem")).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o400, "{command}");
        adopt(&mut agent).unwrap();
        assert_eq!(
            fs::read(path.join("ca-key.pem")).unwrap(),
            after,
            "{command}"
        );
        assert_eq!(shell(path, public), public_before, "{command}");
        assert!(matches!(
            issue(&mut agent, "node3"),
            Response::Issued { .. }
        ));
        shell(path, "openssl verify -CAfile ca.pem node3/cert.pem");
    }
}

#[test]
fn a_wrong_passphrase_changes_nothing() {
    let directory = directory();
    let path = directory.path();
    shell(path, &format!("{KEY}{CERTIFICATE}"));
    let before = fs::read(path.join("ca-key.pem")).unwrap();
    let mut agent = agent(path);
    let error = adopt_with(&mut agent, "wrong").unwrap_err();
    assert!(error.contains("does not open"), "{error}");
    assert!(adopt_with(&mut agent, "").is_err());
    assert_eq!(fs::read(path.join("ca-key.pem")).unwrap(), before);
    assert!(adopt(&mut agent).is_ok());
    // Someone changes it in the middle of a run.
    shell(
        path,
        "openssl pkcs8 -topk8 -v2 aes256 -in ca-key.pem -passin env:P -passout pass:other -out new && mv -f new ca-key.pem",
    );
    let Response::Error { kind, .. } = issue(&mut agent, "node3") else {
        panic!("it was issued with the old passphrase");
    };
    assert_eq!(kind, ErrorKind::WrongPassphrase);
}

#[test]
fn what_cannot_be_adopted_is_refused_by_name_and_left_as_it_is() {
    for (script, expected) in [
        (
            "openssl req -new -x509 -days 9 -key ca-key.pem -passin env:P -out ca.pem -subj /OU=one/OU=two/CN=x",
            "does not reproduce",
        ),
        (
            "openssl req -new -x509 -days 9 -key ca-key.pem -passin env:P -out ca.pem -subj /CN=x -addext basicConstraints=critical,CA:FALSE",
            "is not that of an authority",
        ),
        (
            "openssl genrsa -out other.pem 2048; openssl req -new -x509 -days 9 -key other.pem -out ca.pem -subj /CN=x",
            "does not belong to the CA certificate",
        ),
        ("echo rubbish >ca.pem", "CA certificate"),
        (": >ca.pem", "CA certificate"),
        (
            "openssl req -new -x509 -days 9 -key ca-key.pem -passin env:P -out ca.pem -subj /CN=x; rm ca-key.pem",
            "ca-key.pem is missing",
        ),
        (
            "openssl genrsa -aes256 -passout env:P -out ca-key.pem 1024; openssl req -new -x509 -days 9 -key ca-key.pem -passin env:P -out ca.pem -subj /CN=x",
            "RSA of 1024 bits",
        ),
        (
            "openssl ecparam -name secp256k1 -genkey -noout -out ca-key.pem; openssl req -new -x509 -days 9 -key ca-key.pem -out ca.pem -subj /CN=x",
            "not supported",
        ),
    ] {
        let directory = directory();
        let path = directory.path();
        // The agent's own files do not count.
        let listing = "cat ca* | sha256sum";
        shell(path, &format!("{KEY}{{ {script}; }} 2>/dev/null"));
        let before = shell(path, listing);
        let error = adopt(&mut agent(path)).unwrap_err();
        assert!(error.contains(expected), "{script}: {error}");
        assert_eq!(shell(path, listing), before, "{script}");
    }
}

/// A root, and a CA below it: `ca-key.pem` and `own.pem`, with `root.pem`.
const INTERMEDIATE: &str = "
    openssl req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -days 900 -subj /CN=root 2>/dev/null
    openssl req -new -key ca-key.pem -passin env:P -subj /CN=middle -out own.csr
    printf 'basicConstraints = critical,CA:TRUE\nkeyUsage = keyCertSign,cRLSign\n' >ext
    openssl x509 -req -days 800 -in own.csr -CA root.pem -CAkey root.key -CAcreateserial -extfile ext -out own.pem 2>/dev/null
";

#[test]
fn an_intermediate_needs_its_chain_in_order() {
    for (script, expected) in [
        ("cp own.pem ca.pem", Some("is an intermediate")),
        ("cat root.pem own.pem >ca.pem", Some("is not the first")),
        ("cat own.pem root.pem >ca.pem", None),
    ] {
        let directory = directory();
        let path = directory.path();
        shell(path, &format!("{KEY}{INTERMEDIATE}{script}"));
        let mut agent = agent(path);
        match (adopt(&mut agent), expected) {
            (Ok(_), None) => {
                assert!(matches!(
                    issue(&mut agent, "node3"),
                    Response::Issued { .. }
                ));
                shell(path, "openssl verify -CAfile ca.pem node3/cert.pem");
            }
            (Err(error), Some(expected)) => assert!(error.contains(expected), "{error}"),
            (other, _) => panic!("{script}: {other:?}"),
        }
    }
}

/// Certificates of version 1, as `openssl x509 -req -signkey` makes them.
#[test]
fn a_root_without_extensions_is_adopted() {
    let directory = directory();
    let path = directory.path();
    shell(
        path,
        &format!(
            "{KEY}openssl req -new -key ca-key.pem -passin env:P -subj /CN=old -out csr
            openssl x509 -req -days 365 -in csr -signkey ca-key.pem -passin env:P -out ca.pem"
        ),
    );
    let text = shell(path, "openssl x509 -in ca.pem -noout -text");
    assert!(text.contains("Version: 1"), "{text}");
    let mut agent = agent(path);
    adopt(&mut agent).unwrap();
    assert!(matches!(
        issue(&mut agent, "node3"),
        Response::Issued { .. }
    ));
    shell(path, "openssl verify -CAfile ca.pem node3/cert.pem");
}

#[test]
fn an_expired_ca_is_refused_by_name() {
    let directory = directory();
    let path = directory.path();
    shell(path, &format!("{KEY}{CERTIFICATE}"));
    let later = || OffsetDateTime::now_utc() + Duration::days(731);
    let error = adopt(&mut agent_at(path, later)).unwrap_err();
    assert!(error.contains("has expired on"), "{error}");
    let earlier = || OffsetDateTime::now_utc() - Duration::days(1);
    let error = adopt(&mut agent_at(path, earlier)).unwrap_err();
    assert!(error.contains("valid only from"), "{error}");
}

#[test]
fn leaves_are_entered_once_and_only_those_of_this_ca() {
    let directory = directory();
    let path = directory.path();
    shell(
        path,
        &format!("{KEY}{CERTIFICATE}{LEAF}leaf node3\nleaf node4"),
    );
    let mut agent = agent(path);
    let leaves = vec![found(path, "node3")];
    let early = refused(agent.handle(Request::AdoptLeaves {
        leaves: leaves.clone(),
    }));
    assert!(early.unwrap_err().contains("opened before"));
    adopt(&mut agent).unwrap();
    assert_eq!(
        agent.handle(Request::AdoptLeaves {
            leaves: leaves.clone()
        }),
        Response::Done
    );
    // node4's pair lies in the CA directory alone.
    let mut kept = found(path, "node4");
    kept.key_sha256 = None;
    assert_eq!(
        agent.handle(Request::AdoptLeaves { leaves: vec![kept] }),
        Response::Done
    );
    let entries = ledger(path);
    let entry = entries.delivered("node3", Role::Daemon).unwrap();
    assert!(entry.adopted && !entry.superseded);
    assert_eq!(entry.key_type, KeyType::Rsa2048);
    let key = fs::read(path.join("node4-key.pem")).unwrap();
    assert_eq!(
        entries.by_key_sha256(&sha256_hex(&key)).unwrap().host,
        "node4"
    );
    assert!(
        refused(agent.handle(Request::AdoptLeaves { leaves })).is_err(),
        "a second time"
    );
    drop(agent);

    // Another CA of the same name did not issue it.
    let other = self::directory();
    shell(other.path(), &format!("{KEY}{CERTIFICATE}"));
    let mut agent = self::agent(other.path());
    adopt(&mut agent).unwrap();
    let error = refused(agent.handle(Request::AdoptLeaves {
        leaves: vec![found(path, "node3")],
    }))
    .unwrap_err();
    assert!(error.contains("not issued by this CA"), "{error}");
    assert!(!other.path().join(".ledger.jsonl").exists());
}

/// The operator's own copies of a pair stay when it is superseded.
#[test]
fn what_was_adopted_is_never_removed_from_the_ca_directory() {
    let directory = directory();
    let path = directory.path();
    shell(path, &format!("{KEY}{CERTIFICATE}{LEAF}leaf node3"));
    let mut first = agent(path);
    adopt(&mut first).unwrap();
    first.handle(Request::AdoptLeaves {
        leaves: vec![found(path, "node3")],
    });
    let Response::Issued { leaves } = issue(&mut first, "node3") else {
        panic!("not issued");
    };
    let delivered = first.handle(Request::Delivered {
        leaves: vec![pki::DeliveredLeaf {
            host: "node3".to_owned(),
            role: Role::Daemon,
            serial: leaves[0].serial.clone(),
            replaces: Vec::new(),
        }],
        keep_keys: false,
    });
    assert_eq!(delivered, Response::Done);
    drop(first);
    drop(agent(path));
    assert!(path.join("node3-key.pem").exists());
    assert!(!path.join("node3/key.pem").exists());
    let old = found(path, "node3");
    let entries = ledger(path);
    assert!(
        entries
            .by_key_sha256(&old.key_sha256.unwrap())
            .unwrap()
            .superseded
    );
}

#[test]
fn a_damaged_ledger_is_set_aside_when_asked_for() {
    let directory = directory();
    let path = directory.path();
    shell(
        path,
        &format!("{KEY}{CERTIFICATE}{LEAF}leaf node3\nleaf node4"),
    );
    let mut first = agent(path);
    adopt(&mut first).unwrap();
    first.handle(Request::AdoptLeaves {
        leaves: vec![found(path, "node3"), found(path, "node4")],
    });
    drop(first);
    let file = path.join(".ledger.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    let damaged = text.replacen("\"host\"", "\"hos", 1);
    fs::write(&file, &damaged).unwrap();
    let error = hello(&mut Agent::new(), path).unwrap_err();
    assert!(error.contains("--rebuild-ledger"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), damaged);

    let mut agent = Agent::new();
    assert_eq!(agent.handle(Request::SalvageLedger {}), Response::Done);
    hello(&mut agent, path).unwrap();
    assert_eq!(ledger(path).entries().len(), 1);
    let aside: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".ledger.jsonl.damaged-"))
        .collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read_to_string(path.join(&aside[0])).unwrap(), damaged);
    adopt(&mut agent).unwrap();
    assert_eq!(
        agent.handle(Request::AdoptLeaves {
            leaves: vec![found(path, "node3")]
        }),
        Response::Done
    );
    assert_eq!(ledger(path).entries().len(), 2);
}

#[test]
fn files_of_the_controller_become_the_ca_of_an_empty_directory() {
    let (there, here) = (directory(), directory());
    let path = here.path();
    shell(
        path,
        &format!("openssl genrsa -traditional -out ca-key.pem 2048 2>/dev/null\n{CERTIFICATE}"),
    );
    let files = || AuthorityFiles {
        certificate_pem: fs::read_to_string(path.join("ca.pem")).unwrap(),
        key: Secret::new(fs::read(path.join("ca-key.pem")).unwrap()),
    };
    let mut agent = agent(there.path());
    let request = || Request::AdoptAuthority {
        files: Some(files()),
        passphrase: passphrase(),
    };
    assert!(matches!(
        agent.handle(request()),
        Response::Adopted {
            encrypted: true,
            ..
        }
    ));
    let key = fs::read(there.path().join("ca-key.pem")).unwrap();
    assert!(is_encrypted(&key).unwrap());
    assert_eq!(
        fs::read(there.path().join("ca.pem")).unwrap(),
        fs::read(path.join("ca.pem")).unwrap()
    );
    assert!(refused(agent.handle(request())).is_err(), "over another CA");
    assert!(matches!(
        issue(&mut agent, "node3"),
        Response::Issued { .. }
    ));
}
