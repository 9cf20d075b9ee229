//! Mutated input for every parser that reads what others have sent or edited.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::secret::Secret;
use docker::tls::DaemonMode;
use docker::{daemon_json, flags, tls, unit};
use fuzz::{files, run, texts};
use inventory::{Environment, MemoryFiles};
use plan::playbook;

#[test]
fn inventory() {
    let mut seeds = files("inventory");
    seeds.extend(files("tests/inventory/good"));
    run("inventory", &seeds, |input| {
        let environment = Environment {
            home: Some("/home/operator".into()),
            user: Some("operator".to_owned()),
            directory: "/memory".into(),
            files: Arc::new(MemoryFiles(
                [("/memory/i.yaml".into(), input.to_vec())].into(),
            )),
            untrusted: false,
        };
        match inventory::load(Path::new("i.yaml"), &[], &environment) {
            Ok(inventory) => {
                assert!(inventory.daemons().count() > 0 && inventory.clients().count() > 0);
                assert!(
                    inventory
                        .hosts
                        .iter()
                        .all(|host| !host.name.contains(['/', '\0']))
                );
            }
            Err(errors) => {
                assert!(errors.errors().count() > 0, "refused without a reason");
                let shown = inventory::render(&errors.problems, 100);
                assert!(!shown.contains('\u{1b}'), "{shown:?}");
            }
        }
    });
}

#[test]
fn playbook() {
    run("playbook", &files("playbooks"), |input| {
        let text = String::from_utf8_lossy(input);
        if let Err(problems) = playbook::parse("fuzzed", &text) {
            assert!(!problems.is_empty(), "refused without a reason");
        }
    });
}

#[test]
fn daemon_json() {
    let seeds = texts(&[
        "{}",
        r#"{"hosts": ["unix:///var/run/docker.sock", "tcp://0.0.0.0:2375"], "log-driver": "local"}"#,
        r#"{"tls": true, "tlsverify": false, "tlscacert": "/a", "live-restore": true, "a": {"b": [1, 2.5, null]}}"#,
    ]);
    let paths = paths();
    run("daemon_json", &seeds, |input| {
        let _ = daemon_json::without(input, &paths, &[], &[]);
        let _ = docker::live_restore::with_live_restore(Some(input));
        let _ = docker::live_restore::has_live_restore(Some(input));
        for mode in [DaemonMode::TlsVerify, DaemonMode::Tls] {
            let Ok(merged) = daemon_json::merge(Some(input), mode, &paths) else {
                return;
            };
            assert_eq!(daemon_json::mode_of(&merged.text), Some(mode));
            let again = daemon_json::merge(Some(merged.text.as_bytes()), mode, &paths).unwrap();
            assert_eq!(again.text, merged.text, "merging twice is merging once");
        }
        let merged = daemon_json::without_tls(Some(input)).unwrap();
        assert_eq!(daemon_json::mode_of(&merged.text), None);
        let settings: serde_json::Map<_, _> =
            serde_json::from_str(&merged.text).unwrap_or_default();
        assert!(!settings.contains_key("hosts"));
        let _ = flags::collisions(&["--tls".to_owned(), merged.text.clone()], &settings);
    });
}

fn paths() -> tls::TlsPaths {
    tls::TlsPaths {
        ca: "/etc/docker/tls/ca.pem".to_owned(),
        certificate: "/etc/docker/tls/cert.pem".to_owned(),
        key: "/etc/docker/tls/key.pem".to_owned(),
    }
}

#[test]
fn exec_start() {
    let mut seeds = files("tests/lab/units");
    seeds.extend(texts(&[
        "[Service]\nEnvironmentFile=-/etc/default/docker\nExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS\n",
        "[Service]\nExecStart=\nExecStart=-/usr/bin/dockerd \"-H\" 'tcp://0.0.0.0:2375' \\\n  --log-level=info ${A}\nEnvironment=\"A=b c\" B=d\n",
    ]));
    run("exec_start", &seeds, |input| {
        let text = String::from_utf8_lossy(input).into_owned();
        let environment = unit::parse_environment(&text);
        let files = [unit::UnitFile {
            path: "/lib/systemd/system/docker.service".to_owned(),
            text: text.clone(),
        }];
        let _ = unit::unit_environment(&files);
        let _ = unit::command_line(&files, &environment);
        let _ = unit::without_exec_start(&text);
        let wanted = unit::Listening {
            listen: vec!["tcp://0.0.0.0:2376".to_owned()],
            local_socket: true,
            tls: tls::flags(DaemonMode::TlsVerify, &paths()),
            from_settings: Vec::new(),
            own: unit::OwnDropIn::Unknown,
        };
        let dropin = "/etc/systemd/system/docker.service.d/50-dtls-deploy.conf";
        if let Ok(derived) = unit::derive(&files, dropin, &environment, &wanted) {
            assert!(derived.text.contains("tcp://0.0.0.0:2376"), "{derived:?}");
        }
    });
}

/// Keys and certificates, in PEM, under a passphrase and without.
#[test]
fn pem_and_pkcs8() {
    let passphrase = Secret::from("correct horse".to_owned());
    let mut seeds = Vec::new();
    for kind in [pki::KeyType::EcdsaP256, pki::KeyType::Ed25519] {
        let key = pki::generate(kind).unwrap();
        seeds.push(key.to_pem().expose().to_vec());
        seeds.push(pki::encrypt(&key, &passphrase).unwrap().into_bytes());
    }
    seeds.extend(texts(&[
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\nAAAA\n-----END EC PRIVATE KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n",
    ]));
    run("pem_and_pkcs8", &seeds, |input| {
        let _ = pki::unencrypted(input);
        let _ = pki::is_encrypted(input);
        let _ = pki::decrypt(input, &passphrase);
        let _ = pki::Certificate::bundle_from_pem(input);
        // The same bytes as DER, which no base64 stands before.
        let _ = pki::Certificate::from_der(input);
        let _ = pki::Ledger::parse_bytes(input);
    });
}

/// What a controller may send to the CA's agent, and an agent to the controller.
#[test]
fn agent_protocol() {
    use pki::Request;
    let passphrase = || Secret::from("x".to_owned());
    let requests = [
        Request::Ping,
        Request::OpenAuthority {
            passphrase: passphrase(),
        },
        Request::EnsureAuthority {
            profile: pki::AuthorityProfile::new(
                pki::Subject::default(),
                pki::KeyType::EcdsaP256,
                1,
            ),
            passphrase: passphrase(),
        },
        Request::Issue {
            leaves: Vec::new(),
            passphrase: passphrase(),
        },
        Request::Probe {
            signer: pki::Signer::Next,
            passphrase: passphrase(),
        },
        Request::Fetch { leaves: Vec::new() },
        Request::EndRollover { destroy_old: true },
        Request::Promote {},
        Request::SalvageLedger {},
        Request::Bye,
    ];
    let lines: Vec<String> = requests
        .iter()
        .map(|request| serde_json::to_string(request).unwrap() + "\n")
        .collect();
    let mut seeds: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    seeds.push(lines.concat().into_bytes());
    run("agent_protocol", &seeds, |input| {
        // Hello would open a directory of this machine.
        let opens = input
            .split(|byte| *byte == b'\n')
            .any(|line| matches!(serde_json::from_slice(line), Ok(pki::Request::Hello { .. })));
        let _ = serde_json::from_slice::<pki::Response>(input);
        if opens {
            return;
        }
        let mut answers = Vec::new();
        let served = pki::serve_with(
            pki::Agent::new(),
            std::io::Cursor::new(input.to_vec()),
            &mut answers,
            Duration::from_secs(5),
        );
        served.unwrap();
        for line in answers
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            serde_json::from_slice::<pki::Response>(line).unwrap();
        }
    });
}
