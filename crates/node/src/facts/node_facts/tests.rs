use crate::facts::FactRequest;
use crate::facts::Owner;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::facts::Holder;
use crate::shells::{self, SHELLS};

mod hostile;

fn gather(shell: &[&str], request: &FactRequest) -> NodeFacts {
    let output = run(shell, &request.script());
    NodeFacts::parse(&output, request)
        .unwrap_or_else(|error| panic!("{shell:?}: {error}: {}", String::from_utf8_lossy(&output)))
}

fn run(shell: &[&str], script: &crate::script::Script) -> Vec<u8> {
    shells::run(shell, script.text("test").expose()).stdout
}

#[test]
fn every_shell_reports_the_same_files() {
    let root = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let at = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let binary: Vec<u8> = (0..=255u8).collect();
    std::fs::write(at("binary"), &binary).unwrap();
    std::fs::write(at("it's empty"), b"").unwrap();
    std::fs::write(at("key"), b"secret").unwrap();
    std::fs::set_permissions(at("key"), std::fs::Permissions::from_mode(0o400)).unwrap();
    symlink(at("key"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    let request = FactRequest {
        content: [at("binary"), at("it's empty"), at("missing")].into(),
        hashed: [
            at("key"),
            at("link"),
            at("dangling"),
            "~no-such-account/key.pem".to_owned(),
        ]
        .into(),
        directories: [at("sub/dir"), at("key/below/it"), at("link/below")].into(),
        exists: [at("key"), at("dangling"), at("missing")].into(),
        names: ["localhost".to_owned()].into(),
        ports: [port].into(),
        own_addresses: true,
        accounts: ["root".to_owned(), "no-such-account".to_owned()].into(),
        health: true,
        ..FactRequest::default()
    };
    for shell in SHELLS {
        let facts = gather(shell, &request);
        let health = facts.health.as_ref().expect("asked about");
        assert_eq!(health.missing, Vec::<String>::new(), "{shell:?}");
        let content = |name: &str| facts.regular(&at(name)).unwrap().content.clone();
        assert_eq!(content("binary"), Some(binary.clone()), "{shell:?}");
        assert_eq!(content("it's empty"), Some(Vec::new()));
        assert_eq!(facts.file(&at("missing")), Some(&FileFact::Absent));
        assert_eq!(facts.file(&at("dangling")), Some(&FileFact::Other));
        let key = facts.regular(&at("key")).unwrap();
        assert_eq!((key.mode, key.content.as_ref()), (0o400, None));
        assert_eq!(
            key.sha256,
            "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
        );
        assert!(!key.link && facts.regular(&at("link")).unwrap().link);
        assert_eq!(facts.account_for(&at("sub/dir")), Ok("root".to_owned()));
        assert_eq!(facts.directory(&at("sub/dir")), None);
        let blocked = [
            (at("key/below/it"), at("key")),
            (at("link/below"), at("link")),
        ];
        assert_eq!(facts.blocked, blocked.into(), "{shell:?}");
        assert_eq!((facts.uid, facts.account.as_str()), (0, "root"));
        let exists = ["key", "dangling", "missing"].map(|name| facts.exists(&at(name)));
        assert_eq!(exists, [Ok(true), Ok(true), Ok(false)], "{shell:?}");
        assert!(facts.resolved["localhost"].contains(&"127.0.0.1".to_owned()));
        let network = facts.network.clone().unwrap();
        let own: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(
            network.addresses.iter().any(|(address, _)| *address == own),
            "{network:?}"
        );
        // All of this machine's addresses are its own, and loopback is not reported.
        let addresses = facts.own_addresses.as_ref().expect("asked about");
        assert!(
            addresses
                .iter()
                .all(|address| network.has(*address) && !address.is_loopback()),
            "{shell:?}: {addresses:?}"
        );
        let [listener] = network.listeners.as_slice() else {
            panic!("{shell:?}: {:?}", network.listeners);
        };
        assert_eq!((listener.address, listener.port), (own, port));
        let me = std::process::id();
        assert!(
            matches!(&listener.owner, Owner::Other(Holder::Process { pid, .. }) if *pid == me),
            "{listener:?}"
        );
        let found = &facts.accounts;
        assert_eq!(found["root"].as_deref(), Some("/root"), "{shell:?}");
        assert_eq!(found["no-such-account"], None, "{shell:?}");
        assert_eq!(facts.expand("~root/.docker"), "/root/.docker");
        let nobody = "~no-such-account/key.pem";
        assert_eq!(facts.file(nobody), Some(&FileFact::Absent), "{shell:?}");
        let space = &facts.space[&at("sub/dir")];
        assert!(space.free > 0 && space.mount.starts_with('/'), "{space:?}");
    }
}

#[test]
fn a_clock_is_off_only_by_what_reading_it_does_not_explain() {
    let mut facts = NodeFacts::default();
    for (clock, skew) in [(95, -4), (99, 0), (100, 0), (110, 0), (112, 2), (700, 590)] {
        facts.clock = clock;
        facts.compare_clock(100, 110);
        assert_eq!(facts.skew, skew, "{clock}");
    }
}

/// Files are restored and the daemon is started within one second: the order must be known.
#[test]
fn the_start_of_a_daemon_is_known_to_the_nanosecond_where_systemd_marks_it() {
    let mut facts = NodeFacts {
        clock: 1_000,
        uptime: Some(500.5),
        ..NodeFacts::default()
    };
    assert_eq!(facts.started_at(), None);
    let unit = facts.unit.get_or_insert_default();
    let started = "ExecMainStartTimestampMonotonic".to_owned();
    unit.properties.insert(started, "490250000".to_owned());
    assert_eq!(facts.started_at(), Some(989_000_000_000), "rounded down");
    for (mark, at) in [
        (989_750_000_000, 989_750_000_000),
        // For a start before or after the current one.
        (980_000_000_000, 989_000_000_000),
        (995_000_000_000, 989_000_000_000),
    ] {
        facts.unit_started = Some(mark);
        assert_eq!(facts.started_at(), Some(at), "{mark}");
    }
}

fn component(path: &str, uid: u32, owner: &str) -> Component {
    Component {
        path: path.to_owned(),
        uid,
        owner: owner.to_owned(),
        mode: 0o755,
        link: false,
    }
}

#[test]
fn whoever_owns_the_first_directory_that_is_not_roots_is_acted_as() {
    let mut facts = NodeFacts::default();
    let mut chain = vec![
        component("/", 0, "root"),
        component("/home", 0, "root"),
        component("/home/u", 1000, "u"),
    ];
    facts
        .directories
        .insert("/home/u/.docker".to_owned(), chain.clone());
    assert_eq!(facts.account_for("/home/u/.docker"), Ok("u".to_owned()));
    chain.push(component("/home/u/.docker", 0, "root"));
    facts
        .directories
        .insert("/home/u/.docker".to_owned(), chain);
    assert!(matches!(
        facts.account_for("/home/u/.docker"),
        Err(FactError::MixedOwners { .. })
    ));
}

#[test]
fn root_follows_no_link_and_no_directory_of_others() {
    let mut facts = NodeFacts::default();
    let mut link = component("/home/u/.docker", 1000, "u");
    link.link = true;
    let chain = vec![
        component("/", 0, "root"),
        component("/home/u", 1000, "u"),
        link,
        component("/etc", 0, "root"),
    ];
    facts
        .directories
        .insert("/home/u/.docker".to_owned(), chain);
    assert!(matches!(
        facts.account_for("/home/u/.docker"),
        Err(FactError::LinkOfUser { .. })
    ));
    let mut open = component("/opt", 0, "root");
    open.mode = 0o2775;
    facts
        .directories
        .insert("/opt/tls".to_owned(), vec![component("/", 0, "root"), open]);
    assert!(matches!(
        facts.account_for("/opt/tls"),
        Err(FactError::OpenToOthers { .. })
    ));
}

#[test]
fn what_breaks_off_or_failed_is_an_error() {
    let parse = |said: &str| {
        let output = format!("dtls-deploy answers\n{said}");
        NodeFacts::parse(output.as_bytes(), &FactRequest::default())
    };
    assert!(matches!(
        parse("system\tLinux\tx86_64\tn\n"),
        Err(FactError::Malformed(_))
    ));
    assert_eq!(
        parse("failed\tfacts\tno\n"),
        Err(FactError::Failed("facts: no".to_owned()))
    );
    let silent = NodeFacts::parse(b"Welcome\n", &FactRequest::default());
    assert_eq!(silent, Err(FactError::NoAnswer));
}

/// A directory that belongs to another account than the one that reads facts.
fn of_nobody() -> tempfile::TempDir {
    let root = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    let home = root.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(65534), Some(65534)).unwrap();
    root
}

#[test]
fn a_node_says_of_a_key_that_it_is_one_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let block = |label: &str| format!("-----BEGIN {label}-----\nc2VjcmV0\n-----END {label}-----\n");
    let key = block("PRIVATE KEY");
    let deep = format!("{}{key}", "#\n".repeat(20));
    for (name, text) in [
        ("pkcs8", key.clone()),
        ("rsa", block("RSA PRIVATE KEY")),
        ("ec *?[x]", block("EC PRIVATE KEY").replace('\n', "\r\n")),
        ("encrypted", block("ENCRYPTED PRIVATE KEY")),
        (
            "parameters",
            block("EC PARAMETERS") + &block("EC PRIVATE KEY"),
        ),
        ("parameters alone", block("EC PARAMETERS")),
        ("bag", format!("Bag Attributes\n    localKeyID: 01\n{key}")),
        ("openssh", block("OPENSSH PRIVATE KEY")),
        ("certificate", block("CERTIFICATE") + &key),
        ("script", format!("#!/bin/sh\n{deep}")),
        ("indented", format!(" {key}")),
        (
            "forged",
            format!(
                "-----BEGIN x\n{}:1:-----BEGIN PRIVATE KEY-----\n",
                at("empty")
            ),
        ),
        ("empty", String::new()),
        ("binary", format!("\0\u{1}{key}")),
    ] {
        std::fs::write(at(name), text).unwrap();
    }
    symlink(at("pkcs8"), at("link")).unwrap();
    std::fs::create_dir(at("directory")).unwrap();
    let mut request = FactRequest::default();
    for name in std::fs::read_dir(root.path()).unwrap() {
        request
            .keys
            .insert(at(name.unwrap().file_name().to_str().unwrap()));
    }
    request.keys.insert(at("missing"));
    let keys = [
        "pkcs8",
        "rsa",
        "ec *?[x]",
        "encrypted",
        "parameters",
        "bag",
        "link",
    ];
    let expected: BTreeSet<String> = keys.into_iter().map(at).collect();
    for shell in SHELLS {
        assert_eq!(gather(shell, &request).claims.keys, expected, "{shell:?}");
    }
}

#[test]
fn what_sudo_records_is_read_from_its_own_list() {
    let head = "Matching Defaults entries for ubuntu on node3:\n    env_reset, mail_badpass, secure_path=/usr/sbin\\:/usr/bin, ";
    let tail = "use_pty\n\nUser ubuntu may run the following commands on node3:\n    (ALL : ALL) NOPASSWD: ALL\n";
    let command = "use_pty\n\nRunas and Command-specific defaults for ubuntu:\n    Defaults!/bin/sh log_stdin\n\nUser ubuntu may run the following commands on node3:\n    (ALL) ALL\n";
    for (text, word) in [
        (format!("{head}{tail}"), None),
        (format!("{head}log_input, {tail}"), Some("log_input")),
        (format!("{head}!log_input, {tail}"), None),
        (
            format!("{head}log_output, iolog_dir=/var/log/x, {tail}"),
            None,
        ),
        (format!("{head}{command}"), Some("log_stdin")),
        (
            format!("{head}{}", tail.replace("NOPASSWD", "NOPASSWD: LOG_INPUT")),
            Some("LOG_INPUT"),
        ),
        (
            format!(
                "{head}log_input, {}",
                tail.replace("NOPASSWD", "NOPASSWD: NOLOG_INPUT")
            ),
            None,
        ),
    ] {
        for shell in SHELLS {
            let mut script = FactRequest::default().script();
            script.call("sudo_words", &[&text]);
            let facts = NodeFacts::parse(&run(shell, &script), &FactRequest::default()).unwrap();
            assert_eq!(
                facts.claims.sudo_records.as_deref(),
                word,
                "{shell:?} {text}"
            );
        }
    }
}

/// Pieces of CA files: certificates, private keys whole and in part, text.
fn mixes() -> Vec<String> {
    const KEY: &str = "SecretSecretSecretSecretSecretSecretSecretSecretSecretSecret1234";
    let certificate = |number: u8| {
        let subject = pki::Subject::named(&format!("CA {number}"));
        let made = pki::Authority::create(
            &pki::AuthorityProfile::new(subject, pki::KeyType::EcdsaP256, 9),
            time::OffsetDateTime::now_utc(),
        );
        made.unwrap().certificate().to_pem()
    };
    let (one, two) = (certificate(1), certificate(2));
    let pieces = [
        one.clone(),
        two,
        format!("-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----\n"),
        format!(
            "-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: AES\n\n{KEY}\n-----END RSA PRIVATE KEY-----\n"
        ),
        format!("{KEY}\n-----END ENCRYPTED PRIVATE KEY-----\n"),
        format!("-----BEGIN EC PRIVATE KEY-----\n{KEY}\n"),
        "Certificate:\n    Data: Secret comments\n".to_owned(),
        one.replace('\n', "\r\n"),
        one.trim_end().to_owned(),
    ];
    let mut mixes: Vec<String> = pieces.to_vec();
    for first in &pieces {
        for second in &pieces {
            mixes.push(format!("{first}{second}"));
            mixes.push(format!("{first}{}{second}", pieces[0]));
        }
    }
    mixes
}

#[test]
fn a_private_key_in_a_ca_file_stays_on_the_node_and_is_said() {
    use pki::{Bundle, has_private_key};

    let root = tempfile::tempdir().unwrap();
    let at = |name: String| root.path().join(name).to_str().unwrap().to_owned();
    let mixes = mixes();
    let mut request = FactRequest::default();
    for (number, mix) in mixes.iter().enumerate() {
        // A CA's own file, and the same as any other file.
        for (kind, set) in [
            ("ca", &mut request.certificates),
            ("file", &mut request.bundles),
        ] {
            let path = at(format!("{kind}{number}"));
            std::fs::write(&path, mix).unwrap();
            set.insert(path);
        }
    }
    for shell in SHELLS {
        let facts = gather(shell, &request);
        for (number, mix) in mixes.iter().enumerate() {
            for kind in ["ca", "file"] {
                let file = facts.regular(&at(format!("{kind}{number}"))).unwrap();
                let content = file.content.as_deref().unwrap();
                let shown = String::from_utf8_lossy(content);
                let has_key = has_private_key(mix.as_bytes());
                assert_eq!(file.private_key, has_key, "{shell:?} {kind}: {mix}");
                assert_eq!(file.sha256, pki::sha256_hex(mix.as_bytes()));
                if has_key || kind == "ca" {
                    assert!(
                        !shown.contains("Secret"),
                        "{shell:?} {kind}: {mix}\n{shown}"
                    );
                } else {
                    assert_eq!(shown, *mix, "{shell:?}");
                }
                // Nothing that matters is lost on the way.
                let certificates = |bytes: &[u8]| Bundle::read(bytes).map(|found| found.to_pem());
                assert_eq!(
                    certificates(content).ok(),
                    certificates(mix.as_bytes()).ok(),
                    "{shell:?} {kind}: {mix}"
                );
            }
        }
    }
}

/// Forged answers: they are facts about what was requested, or an error.
#[test]
fn answers_are_fuzzed() {
    let root = of_nobody();
    let file = root.path().join("home/ca.pem").to_str().unwrap().to_owned();
    std::fs::write(&file, "text").unwrap();
    let request = FactRequest {
        content: [file.clone(), "/etc/hostname".to_owned()].into(),
        hashed: ["/etc/hosts".to_owned()].into(),
        directories: [root.path().join("home").to_str().unwrap().to_owned()].into(),
        ..FactRequest::default()
    };
    let answer = run(SHELLS[0], &request.script());
    assert!(NodeFacts::parse(&answer, &request).is_ok());
    fuzz::run("facts", &[answer], |input| {
        let Ok(facts) = NodeFacts::parse(input, &request) else {
            return;
        };
        // Whatever another account answers, it never counts as root's answer.
        for run in facts.working.keys().chain(&facts.armed) {
            assert!(crate::answer::is_run_id(run), "{run:?}");
        }
        for file in facts.files.values() {
            if let FileFact::File(file) = file
                && let Some(content) = &file.content
            {
                assert_eq!(pki::sha256_hex(content), file.sha256);
            }
        }
        let asked = |path: &String| request.directories.contains(path);
        assert!(facts.leftovers.iter().all(asked));
        assert!(facts.working.values().flatten().all(asked));
    });
}
