use super::*;
use crate::Subject;

const SECRET: &str = "hunter2-hunter2";

fn passphrase() -> Secret {
    Secret::from(SECRET.to_owned())
}

fn leaf() -> IssuedLeaf {
    IssuedLeaf {
        host: "node3".to_owned(),
        role: Role::Daemon,
        certificate_pem: "certificate".to_owned(),
        key: passphrase(),
        serial: "01".to_owned(),
        not_after: OffsetDateTime::UNIX_EPOCH,
        clipped_by_ca: false,
    }
}

fn requests() -> Vec<Request> {
    vec![
        Request::Hello {
            protocol: PROTOCOL,
            directory: PathBuf::from("/ca"),
            holder: "run 1".to_owned(),
            wait_seconds: 0,
        },
        Request::EnsureAuthority {
            profile: AuthorityProfile::new(Subject::named("lab"), KeyType::Rsa4096, 730),
            passphrase: passphrase(),
        },
        Request::OpenAuthority {
            passphrase: passphrase(),
        },
        Request::GenerateKeys {
            types: vec![KeyType::Rsa4096, KeyType::Rsa4096],
        },
        Request::Issue {
            leaves: vec![LeafRequest {
                host: "node3".to_owned(),
                role: Role::Daemon,
                signer: Signer::Current,
                common_name: "node3".to_owned(),
                sans: BTreeSet::from(["10.0.0.12".parse().unwrap()]),
                key_type: KeyType::EcdsaP256,
                validity_days: 365,
                key_name: "node3/daemon-key.pem".to_owned(),
                certificate_name: "node3/daemon-cert.pem".to_owned(),
            }],
            passphrase: passphrase(),
        },
        Request::BeginRollover {
            profile: AuthorityProfile::new(Subject::named("lab"), KeyType::EcdsaP256, 730),
            passphrase: passphrase(),
        },
        Request::Promote {},
        Request::EndRollover { destroy_old: true },
        Request::Probe {
            signer: Signer::Next,
            passphrase: passphrase(),
        },
        Request::State {},
        Request::Ping,
        Request::Bye,
    ]
}

#[test]
fn messages_come_back_as_they_were_sent() {
    for request in requests() {
        let line = serde_json::to_string(&request).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), request);
    }
    for response in [
        Response::Issued {
            leaves: vec![leaf()],
        },
        Response::Probe { leaf: leaf() },
        Response::Held {
            holder: "run 1".to_owned(),
            since: Some(OffsetDateTime::UNIX_EPOCH),
        },
        Response::Done,
    ] {
        let line = serde_json::to_string(&response).unwrap();
        assert_eq!(serde_json::from_str::<Response>(&line).unwrap(), response);
    }
}

#[test]
fn debug_shows_no_secret() {
    let response = Response::Issued {
        leaves: vec![leaf()],
    };
    let shown: Vec<String> = requests()
        .iter()
        .map(|request| format!("{request:?} {request:#?}"))
        .chain([format!("{response:?}")])
        .collect();
    let shown = shown.concat();
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(!shown.contains("aHVudGVy"), "{shown}");
}

#[test]
fn an_unreadable_secret_is_not_repeated_in_the_error() {
    let line = r#"{"probe":{"sans":[],"passphrase":"hunter2 hunter2"}}"#;
    let error = serde_json::from_str::<Request>(line)
        .unwrap_err()
        .to_string();
    assert!(!error.contains("hunter2"), "{error}");
}
