//! Accounts that change, forge or block what root reads.

use std::process::{Command, Stdio};

use super::*;

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

/// Whatever bytes files, names and link targets contain: the parsed facts are what was there, and
/// nothing that was not requested.
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
            // Some names are equal or empty.
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
            prop_assert_eq!(&file.sha256, &pki::sha256_hex(text));
        }
        let asked: BTreeSet<&String> = request.content.iter().collect();
        prop_assert!(facts.files.keys().all(|path| asked.contains(path)));
        prop_assert_eq!(&facts.home, "/root");
        prop_assert!(facts.armed.is_empty() && facts.unit.is_none());
        // Root has no active script there, whatever the directory contains.
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

/// Each decisive record, from an account that was asked about one file.
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
            "dtls-deploy answers\nhome\t/home/u\npath\t/home/u/.docker\t/\t/home\t/home/u\ndirectories\t/\t/home\t/home/u\n0\troot\t755\tdirectory\n0\troot\t755\tdirectory\n1000\tu\t755\tdirectory\nasked\tu\t/home/u/.docker\nasked\tu\t{own}\nas\tu\n{said}\nend\t0\ndone\n"
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
        "path\t/etc\t/\ndirectories\t/\n0\troot\t755\tdirectory",
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
            // Only that this account cannot be relied on remains.
            facts.faults.clone_from(&nothing.faults);
            facts.files.clone_from(&nothing.files);
            facts.working.clear();
            assert_eq!(facts, nothing, "{word}");
        }
    }
}

/// A call that an account blocks is ended, with all other facts of its host intact.
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
        let output = shells::run(shell, text.as_bytes());
        let facts = NodeFacts::parse(&output.stdout, &request)
            .unwrap_or_else(|error| panic!("{shell:?}: {error}: {output:?}"));
        assert_eq!(facts.faults["nobody"], AccountFault::TimedOut, "{shell:?}");
        assert!(facts.text("/etc/hostname").is_some(), "{shell:?}");
    }
}

/// An account can copy its descriptors into a process that outlives its deadline: none of
/// them is the connection's.
#[test]
fn an_account_holds_no_descriptor_of_the_connection() {
    for shell in SHELLS {
        let mut script = crate::script::Script::default();
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
