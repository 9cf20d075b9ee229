use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

use super::*;

fn gather(shell: &[&str], request: &FactRequest) -> NodeFacts {
    let output = run(shell, &request.script());
    NodeFacts::parse(&output, request)
        .unwrap_or_else(|error| panic!("{shell:?}: {error}: {}", String::from_utf8_lossy(&output)))
}

fn run(shell: &[&str], script: &crate::node::script::Script) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = Command::new(shell[0])
        .args(&shell[1..])
        .env_remove("SUDO_USER")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("apt-get install dash bash busybox");
    let text = script.text("test");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.expose())
        .unwrap();
    child.wait_with_output().unwrap().stdout
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
        certificates: BTreeSet::new(),
        bundles: BTreeSet::new(),
        content: [at("binary"), at("it's empty"), at("missing")].into(),
        hashed: [
            at("key"),
            at("link"),
            at("dangling"),
            "~no-such-account/key.pem".to_owned(),
        ]
        .into(),
        keys: BTreeSet::new(),
        former: BTreeSet::new(),
        sudo: false,
        present: BTreeSet::new(),
        directories: [at("sub/dir")].into(),
        unit: None,
        engine: false,
        exists: [at("key"), at("dangling"), at("missing")].into(),
        services: BTreeSet::new(),
        names: ["localhost".to_owned()].into(),
        generations: false,
        ports: [port].into(),
        own_addresses: true,
        drop_in: None,
        accounts: ["root".to_owned(), "no-such-account".to_owned()].into(),
        socket: None,
        health: true,
        lookups: BTreeSet::new(),
    };
    for shell in [&["dash"][..], &["bash", "--posix"], &["busybox", "ash"]] {
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
        // Whatever this machine has, all of it is its own, and loopback is not told.
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
        let me = format!("(process {})", std::process::id());
        assert!(
            matches!(&listener.owner, Owner::Other(name) if name.ends_with(&me)),
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

const SHELLS: [&[&str]; 3] = [&["dash"], &["bash", "--posix"], &["busybox", "ash"]];

fn any_bytes() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let record = prop::sample::select(vec![
        &b"done\n"[..],
        b"end\n",
        b"end\t0\n",
        b"contents\t1\n",
        b"file\t/etc/shadow\n",
        b"working\tr1\t/etc\n",
        b"home\t/root\n",
        b"dtls-deploy answers\n",
        b"\n",
        b"\t",
        b"\0",
        b"%00",
    ]);
    let part = prop_oneof![
        record.prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..40)
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

fn any_name() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    any_bytes().prop_map(|bytes| {
        let usable = bytes.into_iter().filter(|byte| !matches!(byte, 0 | b'/'));
        usable.take(60).collect()
    })
}

/// Whatever bytes are in files, names and link targets: what is parsed is what was there,
/// and nothing that was not asked about.
#[test]
fn what_is_parsed_is_what_was_there() {
    use std::os::unix::ffi::OsStrExt as _;

    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::new(ProptestConfig {
        cases: 15,
        ..ProptestConfig::default()
    });
    let strategy = (
        prop::collection::vec(any_bytes(), 1..4),
        prop::collection::vec(any_name(), 0..4),
        any_name(),
        0..SHELLS.len(),
    );
    let outcome = runner.run(&strategy, |(texts, names, target, shell)| {
        let root = of_nobody();
        let home = root.path().join("home");
        let at = |name: &str| home.join(name).to_str().unwrap().to_owned();
        for (index, text) in texts.iter().enumerate() {
            std::fs::write(at(&index.to_string()), text).unwrap();
        }
        for name in &names {
            let name = [&b".dtls-deploy."[..], name.as_slice()].concat();
            // Some names are two times the same, or none.
            let stage = home.join(std::ffi::OsStr::from_bytes(&name));
            let _ = std::fs::create_dir(&stage);
            let _ = std::fs::write(stage.join("owner"), format!("{} 0\n", std::process::id()));
        }
        if !target.is_empty() {
            symlink(std::ffi::OsStr::from_bytes(&target), at("link")).unwrap();
        }
        let files: BTreeSet<String> = (0..texts.len())
            .map(|index| at(&index.to_string()))
            .collect();
        let asked_link = (!target.is_empty()).then(|| at("link"));
        let request = FactRequest {
            content: files.iter().cloned().chain(asked_link).collect(),
            hashed: [at("0")].into(),
            directories: [home.to_str().unwrap().to_owned()].into(),
            ..FactRequest::default()
        };
        let facts = gather(SHELLS[shell], &request);
        prop_assert!(facts.faults.is_empty(), "{:?}", facts.faults);
        for (index, text) in texts.iter().enumerate() {
            let file = facts.regular(&at(&index.to_string())).unwrap();
            prop_assert_eq!(file.content.as_ref(), Some(text));
            prop_assert_eq!(&file.sha256, &crate::pki::sha256_hex(text));
        }
        let asked: BTreeSet<&String> = request.content.iter().collect();
        prop_assert!(facts.files.keys().all(|path| asked.contains(path)));
        prop_assert_eq!(&facts.home, "/root");
        prop_assert!(facts.armed.is_empty() && facts.unit.is_none());
        // Root has no script at work there, whatever lies in the directory.
        prop_assert!(facts.working.is_empty(), "{:?}", facts.working);
        prop_assert!(facts.leftovers.is_subset(&request.directories));
        prop_assert_eq!(
            facts.account_for(home.to_str().unwrap()),
            Ok("nobody".to_owned())
        );
        Ok(())
    });
    outcome.unwrap();
}

/// A file that is written all the time is read as it was at some moment, or not at all.
#[test]
fn a_file_that_changes_while_it_is_read_is_never_taken_for_another() {
    use std::sync::atomic::{AtomicBool, Ordering};

    let root = of_nobody();
    let at = |name: &str| root.path().join("home").join(name);
    let version = |number: usize| format!("{number}\n{}", "x\n".repeat(number % 97));
    std::fs::write(at("a"), version(0)).unwrap();
    std::fs::write(at("b"), "the other\n").unwrap();
    let request = FactRequest {
        content: ["a", "b"]
            .map(|name| at(name).to_str().unwrap().to_owned())
            .into(),
        ..FactRequest::default()
    };
    let ended = AtomicBool::new(false);
    let (mut whole, mut changed) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                number += 1;
                std::fs::write(at("a"), version(number)).unwrap();
            }
        });
        for turn in 0..45 {
            let facts = gather(SHELLS[turn % 3], &request);
            if !facts.faults.is_empty() {
                assert!(
                    matches!(facts.faults["nobody"], AccountFault::Changed(_)),
                    "{:?}",
                    facts.faults
                );
                changed += 1;
                continue;
            }
            whole += 1;
            assert_eq!(facts.text(at("b").to_str().unwrap()), Some("the other\n"));
            let text = facts.text(at("a").to_str().unwrap()).unwrap();
            let number = text.split('\n').next().unwrap_or_default();
            // Emptied, and not written yet.
            if let Ok(number) = number.parse() {
                assert!(version(number).starts_with(text), "{text:?}");
            } else {
                assert_eq!(text, "");
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert_eq!(whole + changed, 45);
}

/// Each word that decides something, from an account that was asked about one file.
#[test]
fn an_account_answers_for_its_own_paths_and_for_nothing_else() {
    let own = "/home/u/.docker/ca.pem";
    let request = FactRequest {
        content: [own.to_owned()].into(),
        directories: ["/home/u/.docker".to_owned()].into(),
        ..FactRequest::default()
    };
    let parse = |said: &str| {
        use base64::Engine as _;
        let said = base64::engine::general_purpose::STANDARD.encode(said);
        let output = format!(
            "dtls-deploy answers\nhome\t/home/u\npath\t/home/u/.docker\t/\t/home\t/home/u\n0\troot\t755\tdirectory\n0\troot\t755\tdirectory\n1000\tu\t755\tdirectory\nasked\tu\t/home/u/.docker\nasked\tu\t{own}\nas\tu\n{said}\nend\t0\ndone\n"
        );
        NodeFacts::parse(output.as_bytes(), &request).unwrap()
    };
    let honest = "path\t/home/u/.docker\nabsent\t/home/u/.docker/ca.pem\n";
    let facts = parse(&format!("{honest}done\n"));
    assert!(facts.faults.is_empty(), "{:?}", facts.faults);
    assert_eq!(facts.file(own), Some(&FileFact::Absent));
    let of_others = [
        "home\t/root",
        "account\t0\troot",
        "system\tLinux\tx86_64\tother",
        "clock\t1",
        "armed\tr1",
        "undo-failed\tr1",
        "generation\t/var/lib/dtls-deploy/generations/1-r",
        "named-account\troot\t/home/u",
        "unit\tFragmentPath=/home/u/x",
        "drop-in\t/home/u/x",
        "engine\tcontainers\t0",
        "listener\t0100007F\t0947\tdaemon",
        "own-address\tasked",
        "asked\troot\t/etc/shadow",
        "as\troot\nend\t0",
        "absent\t/etc/docker/daemon.json",
        "path\t/etc\t/\n0\troot\t755\tdirectory",
        "leftover\t/etc",
        "working\tr1\t/etc",
        "file\t/etc/docker/daemon.json\n644\t0\troot\t0\t0\nhashes\ncontents\t0\nend",
        "exists\tyes\t/etc/shadow",
    ];
    let nothing = parse("done\n");
    for word in of_others {
        for said in [
            format!("{honest}{word}\ndone\n"),
            format!("{word}\n{honest}done\n"),
        ] {
            let mut facts = parse(&said);
            let harmless =
                facts.leftovers.is_empty() && facts.working.values().all(BTreeSet::is_empty);
            assert!(!facts.faults.is_empty() || harmless, "{word}");
            // All that is left of it is that this account cannot be relied on.
            facts.faults.clone_from(&nothing.faults);
            facts.files.clone_from(&nothing.files);
            facts.working.clear();
            assert_eq!(facts, nothing, "{word}");
        }
    }
}

/// What an account keeps from ending is ended for it, with its host's facts whole.
#[test]
fn an_account_that_stops_its_processes_is_not_waited_for() {
    let root = of_nobody();
    let file = root.path().join("home/ca.pem");
    std::fs::write(&file, "text").unwrap();
    let request = FactRequest {
        content: [
            file.to_str().unwrap().to_owned(),
            "/etc/hostname".to_owned(),
        ]
        .into(),
        ..FactRequest::default()
    };
    // The account's own shell stops itself, as the account could stop it.
    let text = String::from_utf8(request.script().text("test").expose().to_vec()).unwrap();
    let text = text.replace(
        "ACCOUNT_SECONDS=10\n",
        "ACCOUNT_SECONDS=1\nDTLS_PRELUDE=\"$DTLS_PRELUDE${NEWLINE}kill -STOP \\$\\$\"\n",
    );
    assert!(
        text.contains("kill -STOP"),
        "the deadline has another name now"
    );
    for shell in SHELLS {
        use std::io::Write as _;
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .env_remove("SUDO_USER")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let facts = NodeFacts::parse(&output.stdout, &request)
            .unwrap_or_else(|error| panic!("{shell:?}: {error}: {output:?}"));
        assert_eq!(facts.faults["nobody"], AccountFault::TimedOut, "{shell:?}");
        assert!(facts.text("/etc/hostname").is_some(), "{shell:?}");
    }
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
    for shell in [&["dash"][..], &["bash", "--posix"], &["busybox", "ash"]] {
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
        for shell in [&["dash"][..], &["bash", "--posix"], &["busybox", "ash"]] {
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
        let subject = crate::pki::Subject::named(&format!("CA {number}"));
        let made = crate::pki::Authority::create(
            &crate::pki::AuthorityProfile::new(subject, crate::pki::KeyType::EcdsaP256, 9),
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
    use crate::pki::{Bundle, has_private_key};

    let root = tempfile::tempdir().unwrap();
    let at = |name: String| root.path().join(name).to_str().unwrap().to_owned();
    let mixes = mixes();
    let mut request = FactRequest::default();
    for (number, mix) in mixes.iter().enumerate() {
        // A CA's own file, and the same as any other that is read.
        for (kind, set) in [
            ("ca", &mut request.certificates),
            ("file", &mut request.bundles),
        ] {
            let path = at(format!("{kind}{number}"));
            std::fs::write(&path, mix).unwrap();
            set.insert(path);
        }
    }
    for shell in [&["dash"][..], &["bash", "--posix"], &["busybox", "ash"]] {
        let facts = gather(shell, &request);
        for (number, mix) in mixes.iter().enumerate() {
            for kind in ["ca", "file"] {
                let file = facts.regular(&at(format!("{kind}{number}"))).unwrap();
                let content = file.content.as_deref().unwrap();
                let shown = String::from_utf8_lossy(content);
                let has_key = has_private_key(mix.as_bytes());
                assert_eq!(file.private_key, has_key, "{shell:?} {kind}: {mix}");
                assert_eq!(file.sha256, crate::pki::sha256_hex(mix.as_bytes()));
                if has_key || kind == "ca" {
                    assert!(
                        !shown.contains("Secret"),
                        "{shell:?} {kind}: {mix}\n{shown}"
                    );
                } else {
                    assert_eq!(shown, *mix, "{shell:?}");
                }
                // Nothing of what counts is lost on the way.
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

/// Answers that nobody gave: they are facts about what was asked, or an error.
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
    let mut child = Command::new("dash")
        .env_remove("SUDO_USER")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = request.script().text("test");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.expose()).unwrap();
    let answer = child.wait_with_output().unwrap().stdout;
    assert!(NodeFacts::parse(&answer, &request).is_ok());
    crate::fuzz::run("facts", &[answer], |input| {
        let Ok(facts) = NodeFacts::parse(input, &request) else {
            return;
        };
        // Whatever it says: what an account answers never becomes root's word.
        for run in facts.working.keys().chain(&facts.armed) {
            assert!(crate::node::answer::is_run_id(run), "{run:?}");
        }
        for file in facts.files.values() {
            if let FileFact::File(file) = file
                && let Some(content) = &file.content
            {
                assert_eq!(crate::pki::sha256_hex(content), file.sha256);
            }
        }
        let asked = |path: &String| request.directories.contains(path);
        assert!(facts.leftovers.iter().all(asked));
        assert!(facts.working.values().flatten().all(asked));
    });
}

/// An account can copy its descriptors into a process that outlives its deadline: none of
/// them is the connection's.
#[test]
fn an_account_holds_no_descriptor_of_the_connection() {
    for shell in [&["dash"][..], &["bash", "--posix"], &["busybox", "ash"]] {
        let mut script = crate::node::script::Script::default();
        script.call("account_way", &["nobody"]);
        let look = "for one in /proc/self/fd/*; do readlink \"$one\"; done; :";
        script.call("as_account", &["nobody", look]);
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .env_remove("SUDO_USER")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let of_connection: Vec<_> = (0..3)
            .map(|number| std::fs::read_link(format!("/proc/{}/fd/{number}", child.id())).unwrap())
            .collect();
        let text = script.text("test");
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.expose()).unwrap();
        let answer = child.wait_with_output().unwrap().stdout;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("/dev/null"), "{shell:?}: {answer}");
        for descriptor in of_connection {
            let descriptor = descriptor.to_string_lossy();
            assert!(
                !answer.contains(&*descriptor),
                "{shell:?}: {descriptor} in {answer}"
            );
        }
    }
}
