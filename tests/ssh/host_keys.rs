//! Host keys: `known_hosts` in all its forms, against real sshd instances.

use std::fs;

use crate::ssh_support::{Setup, Sshd, fails, fingerprint, keygen, mode, public, sh, works};
use base::secret::Secret;
use node::{ConnectFault, HostKeyChecking, connect};

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_is_refused_with_its_fingerprint_and_the_command() {
    let sshd = Sshd::start();
    let target = sshd.bare_target(sshd.path("no_such_file"));
    let error = fails(&target, &sshd.context()).await;
    assert!(
        matches!(error.fault, ConnectFault::HostKeyUnknown { .. }),
        "{error}"
    );
    let print = fingerprint(&sshd.path("ssh_host_ed25519"));
    let text = error.to_string();
    assert_eq!(
        text,
        format!(
            "Cannot connect to root@127.0.0.1:{} (node1): its host key ssh-ed25519 {print} is in no known_hosts file",
            sshd.port
        )
    );
    let hint = error.hint().expect("a hint");
    assert!(
        hint.contains(&format!("ssh-keyscan -p {} 127.0.0.1", sshd.port)),
        "{hint}"
    );
    assert!(hint.contains("no_such_file"), "{hint}");
    assert!(!sshd.log().contains("Accepted"), "no login is tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn known_hosts_lines_of_every_kind_are_understood() {
    let sshd = Sshd::start();
    let (name, key) = (sshd.known_as(), sshd.host_key("ed25519"));
    let port = sshd.port;
    for text in [
        format!("{name} {key}\n"),
        format!("# comment\n\n{name}\t{key} a comment # more"),
        format!("other,[127.0.0.*]:{port} {key}\n"),
        format!("127.0.0.1 {key}\n"),
        format!("nonsense\n@unknown {name} {key}\n* {key}\n"),
    ] {
        works(
            &sshd.bare_target(sshd.write_known_hosts(&text)),
            &sshd.context(),
        )
        .await;
    }
    for text in [
        format!("!{name},* {key}\n"),
        format!("[127.0.0.1]:1 {key}\n"),
        format!("@cert-authority other {key}\n"),
    ] {
        let error = fails(
            &sshd.bare_target(sshd.write_known_hosts(&text)),
            &sshd.context(),
        )
        .await;
        assert!(
            matches!(error.fault, ConnectFault::HostKeyUnknown { .. }),
            "{text}{error}"
        );
    }
    let hashed = sshd.write_known_hosts(&format!("{name} {key}\n"));
    sh("ssh-keygen", &["-H", "-f", hashed.to_str().expect("UTF-8")]);
    assert!(
        fs::read_to_string(&hashed)
            .expect("read")
            .starts_with("|1|")
    );
    works(&sshd.bare_target(hashed.clone()), &sshd.context()).await;
    // Several files; the first does not exist.
    let mut target = sshd.bare_target(sshd.path("missing"));
    target.known_hosts_files.push(hashed);
    works(&target, &sshd.context()).await;
    // A directory stands for whatever exists and cannot be read.
    let error = fails(
        &sshd.bare_target(sshd.dir.path().to_owned()),
        &sshd.context(),
    )
    .await;
    assert!(
        matches!(error.fault, ConnectFault::KnownHostsFile { .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_different_key_is_refused_and_no_policy_records_it() {
    let sshd = Sshd::start();
    for kind in ["ed25519", "rsa"] {
        let other = public(&keygen(sshd.dir.path(), &format!("other_{kind}"), kind, ""));
        let line = format!("\n{} {other}\n", sshd.known_as());
        let file = sshd.write_known_hosts(&line);
        for checking in [HostKeyChecking::Strict, HostKeyChecking::AcceptNew] {
            let mut target = sshd.bare_target(file.clone());
            target.host_key_checking = Some(checking);
            let error = fails(&target, &sshd.context()).await;
            let ConnectFault::HostKeyMismatch { expected, got, .. } = &error.fault else {
                panic!("{error}");
            };
            assert_eq!((expected[0].line, &expected[0].file), (2, &file));
            assert_eq!(*got, fingerprint(&sshd.path("ssh_host_ed25519")));
            assert!(
                error
                    .hint()
                    .expect("a hint")
                    .contains(&format!("ssh-keygen -R '{}'", sshd.known_as()))
            );
            assert_eq!(fs::read_to_string(&file).expect("read"), line);
        }
        let mut target = sshd.bare_target(file);
        target.host_key_checking = Some(HostKeyChecking::Off);
        works(&target, &sshd.context()).await;
        target.password = Some(Secret::from("secret".to_owned()));
        target.identity_files = vec![sshd.path(&format!("other_{kind}"))];
        let error = fails(&target, &sshd.context()).await;
        assert!(error.to_string().contains("password: not sent"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_algorithm_on_record_is_asked_for() {
    let kinds = ["ed25519", "ecdsa", "rsa"];
    let sshd = Sshd::with(&Setup {
        host_keys: &kinds,
        ..Setup::default()
    });
    for kind in kinds {
        let line = format!("{} {}\n", sshd.known_as(), sshd.host_key(kind));
        works(
            &sshd.bare_target(sshd.write_known_hosts(&line)),
            &sshd.context(),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_whatever_the_policy() {
    let sshd = Sshd::start();
    let (name, key) = (sshd.known_as(), sshd.host_key("ed25519"));
    let file = sshd.write_known_hosts(&format!("{name} {key}\n@revoked * {key}\n"));
    for checking in [
        HostKeyChecking::Strict,
        HostKeyChecking::AcceptNew,
        HostKeyChecking::Off,
    ] {
        let mut target = sshd.bare_target(file.clone());
        target.host_key_checking = Some(checking);
        let error = fails(&target, &sshd.context()).await;
        assert!(
            matches!(error.fault, ConnectFault::HostKeyRevoked { .. }),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_certificates_are_checked() {
    let ca_dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let ca = keygen(ca_dir.path(), "ca", "ed25519", "");
    let at = ca.to_str().expect("UTF-8").to_owned();
    let with = |options: &'static [&'static str], kind: &'static str| {
        let at = at.clone();
        let host_keys: &[&str] = if kind == "rsa" {
            &["rsa"]
        } else {
            &["ed25519"]
        };
        Sshd::with(&Setup {
            host_keys,
            config: format!("HostCertificate DIR/ssh_host_{kind}-cert.pub"),
            prepare: Some(&move |root| {
                let key = root.join(format!("ssh_host_{kind}.pub"));
                let mut args = vec!["-q", "-s", &at, "-I", "key-id"];
                args.extend(options);
                args.push(key.to_str().expect("UTF-8"));
                sh("ssh-keygen", &args);
            }),
            ..Setup::default()
        })
    };
    let authority = format!("@cert-authority 127.0.0.1,[127.0.0.1]:* {}\n", public(&ca));
    for (options, kind) in [
        (&["-h", "-n", "127.0.0.1"][..], "ed25519"),
        (&["-h", "-n", "127.0.0.1"][..], "rsa"),
        (&["-h", "-n", "other,127.*"][..], "ed25519"),
        (&["-h"][..], "ed25519"),
    ] {
        let sshd = with(options, kind);
        works(
            &sshd.bare_target(sshd.write_known_hosts(&authority)),
            &sshd.context(),
        )
        .await;
        let revoked = format!("{authority}@revoked * {}\n", public(&ca));
        let error = fails(
            &sshd.bare_target(sshd.write_known_hosts(&revoked)),
            &sshd.context(),
        )
        .await;
        assert!(
            matches!(error.fault, ConnectFault::HostKeyRevoked { .. }),
            "{error}"
        );
        // Without the authority on record, the bare key is what counts.
        let line = format!("{} {}\n", sshd.known_as(), sshd.host_key(kind));
        works(
            &sshd.bare_target(sshd.write_known_hosts(&line)),
            &sshd.context(),
        )
        .await;
    }
    for (options, words) in [
        (&["-h", "-n", "other"][..], "it is for other"),
        (
            &["-h", "-n", "127.0.0.1", "-V", "20200101:20210101"][..],
            "expired",
        ),
        (
            &["-h", "-n", "127.0.0.1", "-V", "20990101:20991231"][..],
            "not valid yet",
        ),
    ] {
        let sshd = with(options, "ed25519");
        let error = fails(
            &sshd.bare_target(sshd.write_known_hosts(&authority)),
            &sshd.context(),
        )
        .await;
        assert!(
            matches!(error.fault, ConnectFault::HostCertificate { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(words), "{error}");
    }
    // An authority on record, a server that shows a bare key: not "new".
    let sshd = Sshd::start();
    let mut target = sshd.bare_target(sshd.write_known_hosts(&authority));
    target.host_key_checking = Some(HostKeyChecking::AcceptNew);
    let error = fails(&target, &sshd.context()).await;
    assert!(
        matches!(error.fault, ConnectFault::HostKeyMismatch { .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_new_records_once_and_is_strict_from_then_on() {
    let sshd = Sshd::config("MaxStartups 100");
    for hashed in [false, true] {
        let file = sshd.dir.path().join(format!("new/{hashed}/known_hosts"));
        let config = format!(
            "GlobalKnownHostsFile none\nHashKnownHosts {}\n",
            if hashed { "yes" } else { "no" }
        );
        fs::write(sshd.path("ssh_config"), config).expect("written");
        let context = sshd.context();
        let mut target = sshd.bare_target(file.clone());
        target.host_key_checking = Some(HostKeyChecking::AcceptNew);
        let all = futures::future::join_all((0..12).map(|_| connect(&target, &context))).await;
        for connection in all {
            connection.unwrap_or_else(|error| panic!("{error}"));
        }
        let text = fs::read_to_string(&file).expect("written");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert_eq!(text.starts_with("|1|"), hashed, "{text}");
        assert_eq!(mode(&file), 0o600);
        target.host_key_checking = Some(HostKeyChecking::Strict);
        works(&target, &context).await;
    }
    // A file whose last line does not end keeps that line.
    let file = sshd.write_known_hosts(
        "other ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHBPW7iOD23TUiYLio",
    );
    let mut target = sshd.bare_target(file.clone());
    target.host_key_checking = Some(HostKeyChecking::AcceptNew);
    works(&target, &sshd.context()).await;
    assert_eq!(fs::read_to_string(&file).expect("read").lines().count(), 2);
}

/// Whatever lets a host through without a record of it: no password is sent
/// there.
#[tokio::test(flavor = "multi_thread")]
async fn no_password_goes_to_a_host_that_nobody_vouches_for() {
    let sshd = Sshd::config("PasswordAuthentication yes");
    let other = keygen(sshd.dir.path(), "not_accepted", "ed25519", "");
    let line = format!("{} {}\n", sshd.known_as(), sshd.host_key("ed25519"));
    let known = sshd.path("known");
    fs::write(&known, &line).expect("written");
    let none = sshd.path("none");
    for (checking, file, is_verified) in [
        (HostKeyChecking::Strict, &known, true),
        (HostKeyChecking::AcceptNew, &known, true),
        (HostKeyChecking::Off, &known, true),
        (HostKeyChecking::Off, &none, false),
        (HostKeyChecking::AcceptNew, &none, false),
    ] {
        let mut target = sshd.bare_target(file.clone());
        target.host_key_checking = Some(checking);
        let context = sshd.context().without_recording();
        let connection = works(&target, &context).await;
        assert_eq!(
            connection.is_verified(),
            is_verified,
            "{checking:?} {file:?}"
        );
        target.identity_files = vec![other.clone()];
        target.password = Some(Secret::from("secret".to_owned()));
        let error = fails(&target, &context).await.to_string();
        assert_eq!(error.contains("password: refused"), is_verified, "{error}");
        assert_eq!(
            error.contains("password: not sent"),
            !is_verified,
            "{error}"
        );
    }
    assert!(!none.exists(), "nothing was to be recorded");
}
