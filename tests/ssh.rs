//! Connecting: host keys, logins, jump hosts and the configuration, against
//! real sshd and ssh-agent instances.

mod ssh_support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dtls_deploy::node::{
    ConnectError, Connection, HostKeyChecking, Phase, Prompt, SshContext, Target, connect,
};
use dtls_deploy::secret::Secret;
use ssh_support::{
    Agent, LIMITS, Setup, Sshd, context, fingerprint, free_port, keygen, mode, public, sh,
};

async fn fails(target: &Target, context: &SshContext) -> ConnectError {
    match connect(target, context).await {
        Ok(connection) => panic!("connected to {}", connection.description()),
        Err(error) => error,
    }
}

async fn works(target: &Target, context: &SshContext) -> Arc<dyn Connection> {
    let connection = connect(target, context).await.unwrap_or_else(|error| panic!("{error}"));
    let output = connection.run("echo $0", b"", LIMITS).await.expect("it runs");
    assert!(output.status.success());
    connection
}

// ---- host keys -------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_is_refused_with_its_fingerprint_and_the_command() {
    let sshd = Sshd::start();
    let target = sshd.bare_target(sshd.path("no_such_file"));
    let error = fails(&target, &sshd.context()).await;
    assert!(matches!(error, ConnectError::HostKeyUnknown { .. }), "{error}");
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
    assert!(hint.contains(&format!("ssh-keyscan -p {} 127.0.0.1", sshd.port)), "{hint}");
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
        works(&sshd.bare_target(sshd.write_known_hosts(&text)), &sshd.context()).await;
    }
    for text in [
        format!("!{name},* {key}\n"),
        format!("[127.0.0.1]:1 {key}\n"),
        format!("@cert-authority other {key}\n"),
    ] {
        let error = fails(&sshd.bare_target(sshd.write_known_hosts(&text)), &sshd.context()).await;
        assert!(matches!(error, ConnectError::HostKeyUnknown { .. }), "{text}{error}");
    }
    let hashed = sshd.write_known_hosts(&format!("{name} {key}\n"));
    sh("ssh-keygen", &["-H", "-f", hashed.to_str().expect("UTF-8")]);
    assert!(fs::read_to_string(&hashed).expect("read").starts_with("|1|"));
    works(&sshd.bare_target(hashed.clone()), &sshd.context()).await;
    // Several files; the first does not exist.
    let mut target = sshd.bare_target(sshd.path("missing"));
    target.known_hosts_files.push(hashed);
    works(&target, &sshd.context()).await;
    // A directory stands for whatever exists and cannot be read.
    let error = fails(&sshd.bare_target(sshd.dir.path().to_owned()), &sshd.context()).await;
    assert!(matches!(error, ConnectError::KnownHostsFile { .. }), "{error}");
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
            let ConnectError::HostKeyMismatch { expected, got, .. } = &error else {
                panic!("{error}");
            };
            assert_eq!((expected[0].line, &expected[0].file), (2, &file));
            assert_eq!(*got, fingerprint(&sshd.path("ssh_host_ed25519")));
            assert!(error.hint().expect("a hint").contains(&format!("ssh-keygen -R '{}'", sshd.known_as())));
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
    let sshd = Sshd::with(&Setup { host_keys: &kinds, ..Setup::default() });
    for kind in kinds {
        let line = format!("{} {}\n", sshd.known_as(), sshd.host_key(kind));
        works(&sshd.bare_target(sshd.write_known_hosts(&line)), &sshd.context()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_whatever_the_policy() {
    let sshd = Sshd::start();
    let (name, key) = (sshd.known_as(), sshd.host_key("ed25519"));
    let file = sshd.write_known_hosts(&format!("{name} {key}\n@revoked * {key}\n"));
    for checking in [HostKeyChecking::Strict, HostKeyChecking::AcceptNew, HostKeyChecking::Off] {
        let mut target = sshd.bare_target(file.clone());
        target.host_key_checking = Some(checking);
        let error = fails(&target, &sshd.context()).await;
        assert!(matches!(error, ConnectError::HostKeyRevoked { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_certificates_are_checked() {
    let ca_dir = tempfile::tempdir().expect("a directory");
    let ca = keygen(ca_dir.path(), "ca", "ed25519", "");
    let at = ca.to_str().expect("UTF-8").to_owned();
    let with = |options: &'static [&'static str], kind: &'static str| {
        let at = at.clone();
        let host_keys: &[&str] = if kind == "rsa" { &["rsa"] } else { &["ed25519"] };
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
        works(&sshd.bare_target(sshd.write_known_hosts(&authority)), &sshd.context()).await;
        let revoked = format!("{authority}@revoked * {}\n", public(&ca));
        let error = fails(&sshd.bare_target(sshd.write_known_hosts(&revoked)), &sshd.context()).await;
        assert!(matches!(error, ConnectError::HostKeyRevoked { .. }), "{error}");
        // Without the authority on record, the bare key is what counts.
        let line = format!("{} {}\n", sshd.known_as(), sshd.host_key(kind));
        works(&sshd.bare_target(sshd.write_known_hosts(&line)), &sshd.context()).await;
    }
    for (options, words) in [
        (&["-h", "-n", "other"][..], "it is for other"),
        (&["-h", "-n", "127.0.0.1", "-V", "20200101:20210101"][..], "expired"),
        (&["-h", "-n", "127.0.0.1", "-V", "20990101:20991231"][..], "not valid yet"),
    ] {
        let sshd = with(options, "ed25519");
        let error = fails(&sshd.bare_target(sshd.write_known_hosts(&authority)), &sshd.context()).await;
        assert!(matches!(error, ConnectError::HostCertificate { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    // An authority on record, a server that shows a bare key: not "new".
    let sshd = Sshd::start();
    let mut target = sshd.bare_target(sshd.write_known_hosts(&authority));
    target.host_key_checking = Some(HostKeyChecking::AcceptNew);
    let error = fails(&target, &sshd.context()).await;
    assert!(matches!(error, ConnectError::HostKeyMismatch { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_new_records_once_and_is_strict_from_then_on() {
    let sshd = Sshd::config("MaxStartups 100");
    for hashed in [false, true] {
        let file = sshd.dir.path().join(format!("new/{hashed}/known_hosts"));
        let config = format!("GlobalKnownHostsFile none\nHashKnownHosts {}\n", if hashed { "yes" } else { "no" });
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
    let file = sshd.write_known_hosts("other ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9dG4kjRhQTtWTVzd2t27+t0DEHBPW7iOD23TUiYLio");
    let mut target = sshd.bare_target(file.clone());
    target.host_key_checking = Some(HostKeyChecking::AcceptNew);
    works(&target, &sshd.context()).await;
    assert_eq!(fs::read_to_string(&file).expect("read").lines().count(), 2);
}

// ---- logins ----------------------------------------------------------------

fn authorize(sshd: &Sshd, key: &std::path::Path) {
    fs::write(sshd.path("authorized_keys"), public(key) + "\n").expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_files_of_every_format_work() {
    let sshd = Sshd::start();
    let root = sshd.dir.path();
    let mut keys = Vec::new();
    for (kind, format) in [
        ("rsa", "RFC4716"), ("rsa", "PEM"), ("rsa", "PKCS8"),
        ("ecdsa", "RFC4716"), ("ecdsa", "PEM"), ("ecdsa", "PKCS8"),
    ] {
        let path = root.join(format!("k_{kind}_{format}"));
        let file = path.to_str().expect("UTF-8");
        sh("ssh-keygen", &["-q", "-N", "", "-t", kind, "-m", format, "-f", file]);
        keys.push(path);
    }
    for key in keys {
        authorize(&sshd, &key);
        let mut target = sshd.target();
        target.identity_files = vec![key.clone()];
        connect(&target, &sshd.context()).await.unwrap_or_else(|error| panic!("{}: {error}", key.display()));
    }
    let pem = root.join("pem_encrypted");
    let file = pem.to_str().expect("UTF-8");
    sh("ssh-keygen", &["-q", "-N", "geheim", "-t", "rsa", "-m", "PEM", "-f", file]);
    let mut target = sshd.target();
    target.identity_files = vec![pem];
    let error = fails(&target, &sshd.context()).await;
    assert!(error.to_string().contains("Proc-Type"), "{error}");
    assert!(error.hint().expect("a hint").starts_with("convert it"));
    for (name, text, words) in [
        ("absent", None, "no such file"),
        ("garbage", Some("garbage"), "not a key file"),
    ] {
        let path = sshd.path(name);
        text.inspect(|text| fs::write(&path, text).expect("written"));
        target.identity_files = vec![path];
        let error = fails(&target, &sshd.context()).await;
        assert!(matches!(&error, ConnectError::IdentityFile { reason, .. } if reason.contains(words)), "{error}");
    }
    sh("chmod", &["644", sshd.path("id").to_str().expect("UTF-8")]);
    let error = fails(&sshd.target(), &sshd.context()).await;
    assert!(error.hint().expect("a hint").starts_with("chmod 600"), "{error}");
}

fn answering(answers: &'static [&'static str]) -> (Prompt, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let prompt: Prompt = Arc::new(move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        let index = usize::try_from(request.attempt).expect("small") - 1;
        answers.get(index).map(|answer| Secret::from((*answer).to_owned()))
    });
    (prompt, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_passphrase_of_a_key_is_asked_for_once() {
    let sshd = Sshd::config("MaxStartups 100");
    let key = keygen(sshd.dir.path(), "locked", "ed25519", "geheim");
    authorize(&sshd, &key);
    let mut target = sshd.target();
    target.identity_files = vec![key];

    let (prompt, asked) = answering(&["wrong", "geheim"]);
    let shared = sshd.context().with_prompt(prompt);
    for result in futures::future::join_all((0..6).map(|_| connect(&target, &shared))).await {
        result.unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);

    let (prompt, asked) = answering(&["a", "b", "c", "d"]);
    let error = fails(&target, &sshd.context().with_prompt(prompt)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    assert!(error.to_string().contains("passphrase was not given"), "{error}");

    let error = fails(&target, &sshd.context()).await;
    assert!(error.to_string().contains("passphrase was not given"), "{error}");

    // A key the server does not want is not asked about.
    authorize(&sshd, &sshd.path("id"));
    let (prompt, asked) = answering(&["geheim"]);
    fails(&target, &sshd.context().with_prompt(prompt)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 0);

    // PKCS#8 shows no public half.
    let pkcs8 = sshd.path("pkcs8");
    let file = pkcs8.to_str().expect("UTF-8");
    sh("ssh-keygen", &["-q", "-N", "geheim", "-t", "ecdsa", "-m", "PKCS8", "-f", file]);
    authorize(&sshd, &pkcs8);
    fs::remove_file(sshd.path("pkcs8.pub")).expect("removed");
    target.identity_files = vec![pkcs8];
    let (prompt, asked) = answering(&["geheim"]);
    works(&target, &sshd.context().with_prompt(prompt)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_signs() {
    let sshd = Sshd::start();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let key = keygen(sshd.dir.path(), &format!("in_agent_{kind}"), kind, "");
        let agent = Agent::start(&[&key]);
        authorize(&sshd, &key);
        fs::remove_file(&key).expect("removed");
        let mut target = sshd.target();
        let with_agent = || sshd.context().with_agent(Some(agent.socket()));
        target.identity_files.clear();
        works(&target, &with_agent()).await;
        // A public key as the identity file picks that key of the agent.
        target.identity_files = vec![sshd.path(&format!("in_agent_{kind}.pub"))];
        works(&target, &with_agent()).await;
        let error = fails(&target, &sshd.context()).await;
        assert!(error.to_string().contains("the agent does not hold"), "{error}");
        // An explicit identity file excludes the agent's other keys.
        target.identity_files = vec![sshd.path("id")];
        fails(&target, &with_agent()).await;
    }
    let mut target = sshd.target();
    target.identity_files.clear();
    let error = fails(&target, &sshd.context().with_agent(Some(sshd.path("nowhere")))).await;
    assert!(error.to_string().contains("agent "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn user_certificates_work_from_files_and_from_the_agent() {
    let ca_dir = tempfile::tempdir().expect("a directory");
    let ca = keygen(ca_dir.path(), "ca", "ed25519", "");
    let sshd = Sshd::config(&format!("TrustedUserCAKeys {}.pub", ca.display()));
    fs::write(sshd.path("authorized_keys"), "").expect("emptied");
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let key = keygen(sshd.dir.path(), &format!("certified_{kind}"), kind, "");
        let mut target = sshd.target();
        target.identity_files = vec![key.clone()];
        fails(&target, &sshd.context()).await;
        let file = format!("{}.pub", key.display());
        sh("ssh-keygen", &["-q", "-s", ca.to_str().expect("UTF-8"), "-I", "me", "-n", "root", &file]);
        works(&target, &sshd.context()).await;
        let agent = Agent::start(&[&key]);
        target.identity_files.clear();
        works(&target, &sshd.context().with_agent(Some(agent.socket()))).await;
        // CertificateFile, with the private half in the agent.
        let certificate = sshd.path(&format!("elsewhere_{kind}"));
        fs::rename(format!("{}-cert.pub", key.display()), &certificate).expect("moved");
        let config = format!(
            "GlobalKnownHostsFile none\nCertificateFile {}\nIdentityFile {}\n",
            certificate.display(),
            key.display()
        );
        fs::write(sshd.path("ssh_config"), config).expect("written");
        works(&target, &sshd.context()).await;
        fs::remove_file(sshd.path("ssh_config")).expect("removed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_login_lists_what_was_tried_and_stops_early() {
    let sshd = Sshd::start();
    let wrong = keygen(sshd.dir.path(), "wrong", "ed25519", "");
    let mut target = sshd.target();
    target.identity_files = vec![wrong.clone()];
    let error = fails(&target, &sshd.context()).await;
    let expected = format!(
        "Cannot connect to root@127.0.0.1:{} (node1): authentication as root failed; tried publickey {} ({}): refused; the server accepts publickey",
        sshd.port, wrong.display(), fingerprint(&wrong)
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.hint().is_some());

    let keys: Vec<PathBuf> = (0..9).map(|index| keygen(sshd.dir.path(), &format!("w{index}"), "ed25519", "")).collect();
    target.identity_files = keys;
    let error = fails(&target, &sshd.context()).await;
    assert!(error.to_string().contains("4 more: not tried"), "{error}");
    assert!(!sshd.log().contains("Too many authentication failures"));
    // With room for the right key at the fifth place.
    target.identity_files.insert(4, sshd.path("id"));
    works(&target, &sshd.context()).await;
}

fn with_password(methods: &str) -> Sshd {
    Sshd::with(&Setup {
        config: format!("UsePAM yes\n{methods}"),
        mounts: vec![("shadow".into(), "/etc/shadow"), ("pam".into(), "/etc/pam.d/sshd")],
        prepare: Some(&|root| {
            let hash = sh("openssl", &["passwd", "-6", "richtig"]);
            let shadow = format!("root:{}:19000:0:99999:7:::\nsshd:!:19000::::::\n", hash.trim());
            fs::write(root.join("shadow"), shadow).expect("written");
            let pam = "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n";
            fs::write(root.join("pam"), pam).expect("written");
        }),
        ..Setup::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_work_and_wrong_ones_are_told() {
    for (methods, name) in [
        ("PasswordAuthentication yes\nPubkeyAuthentication no", "password"),
        ("KbdInteractiveAuthentication yes\nPubkeyAuthentication no", "keyboard-interactive"),
        ("PasswordAuthentication yes\nAuthenticationMethods publickey,password", "password"),
    ] {
        let sshd = with_password(methods);
        let mut target = sshd.target();
        target.password = Some(Secret::from("richtig".to_owned()));
        works(&target, &sshd.context()).await;
        target.password = Some(Secret::from("falsch".to_owned()));
        let error = fails(&target, &sshd.context()).await;
        assert!(error.to_string().contains(&format!("{name}: refused")), "{error}");
        assert!(!format!("{error} {error:?} {target:?}").contains("falsch"));
    }
}

// ---- ways there ------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn failures_before_ssh_are_told_apart() {
    let directory = tempfile::tempdir().expect("a directory");
    let context = context(directory.path());
    let mut target = Target::new("node1", "127.0.0.1");
    target.user = Some("root".to_owned());
    target.port = Some(free_port());
    target.connect_timeout = Duration::from_secs(1);
    let error = fails(&target, &context).await;
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");

    // Accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    target.port = Some(silent.local_addr().expect("an address").port());
    let start = Instant::now();
    let error = fails(&target, &context).await;
    assert!(matches!(error, ConnectError::Timeout { phase: Phase::Handshake, .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3));

    // Says something else, with an escape sequence, and hangs up.
    let rude = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    target.port = Some(rude.local_addr().expect("an address").port());
    std::thread::spawn(move || {
        for stream in rude.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut { stream }, b"Exceeded MaxStartups\x1b[2J\r\n");
        }
    });
    let error = fails(&target, &context).await;
    let text = error.to_string();
    assert!(text.contains("the server said \"Exceeded MaxStartups\\u{1b}[2J\""), "{text}");
    assert!(error.hint().expect("a hint").contains("--forks"));

    target.address = "no-such-host.invalid".to_owned();
    let error = fails(&target, &context).await;
    assert!(matches!(error, ConnectError::NameNotResolved { .. }), "{error}");
    for hostile in ["-oProxyCommand=id", "a;id", "$(id)", "a b"] {
        target.address = hostile.to_owned();
        let error = fails(&target, &context).await;
        assert!(matches!(error, ConnectError::Configuration { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_up_late_is_connected_to() {
    let sshd = Sshd::start();
    let late = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = late.local_addr().expect("an address").port();
    let real = sshd.port;
    // Cuts the first connection off, passes the second on.
    std::thread::spawn(move || {
        let mut incoming = late.incoming();
        drop(incoming.next());
        let near = incoming.next().expect("a second try").expect("a stream");
        let far = std::net::TcpStream::connect(("127.0.0.1", real)).expect("sshd");
        let (mut a, mut b) = (near.try_clone().expect("clone"), far.try_clone().expect("clone"));
        std::thread::spawn(move || std::io::copy(&mut a, &mut { far }));
        let _ = std::io::copy(&mut b, &mut { near });
    });
    let mut target = sshd.target();
    target.port = Some(port);
    target.host_key_checking = Some(HostKeyChecking::Off);
    works(&target, &sshd.context()).await;
}

/// A configuration in which `jump1` and `jump2` stand for two sshds.
fn jump_config(at: &Sshd, jumps: &[&Sshd]) -> SshContext {
    let mut config = "GlobalKnownHostsFile none\n".to_owned();
    for (index, jump) in jumps.iter().enumerate() {
        let line = format!("{} {}\n", jump.known_as(), jump.host_key("ed25519"));
        let known = jump.write_known_hosts(&line);
        config.push_str(&format!(
            "Host jump{}\n HostName {}\n Port {}\n User root\n IdentityFile {}\n UserKnownHostsFile {}\n",
            index + 1, jump.address, jump.port, jump.path("id").display(), known.display()
        ));
    }
    fs::write(at.path("ssh_config"), config).expect("written");
    at.context()
}

fn logins(sshd: &Sshd) -> usize {
    sshd.log().matches("Accepted publickey").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_and_two_jumps_share_their_connections() {
    let (node, first, second) = (Sshd::start(), Sshd::start(), Sshd::start());
    let context = jump_config(&node, &[&first, &second]);
    let mut target = node.target();
    for jumps in ["jump1", "jump1,jump2", "jump1,jump2"] {
        target.proxy_jump = Some(jumps.to_owned());
        let connection = works(&target, &context).await;
        let output = connection.run("cat; echo $SSH_CONNECTION", &[b'x'; 1 << 20], LIMITS).await.expect("it runs");
        assert!(output.stdout.len() > 1 << 20);
    }
    assert_eq!((logins(&node), logins(&second)), (3, 1));

    target.proxy_jump = Some(format!("root@127.0.0.1:{}", free_port()));
    let error = fails(&target, &context).await;
    assert!(matches!(error, ConnectError::JumpHost { .. }), "{error}");
    let source = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(source.contains("nothing listens"), "{source}");

    target.proxy_jump = Some("jump1".to_owned());
    target.port = Some(free_port());
    let error = fails(&target, &context).await;
    assert!(matches!(error, ConnectError::JumpRefused { .. }), "{error}");

    let closed = Sshd::config("AllowTcpForwarding no");
    let context = jump_config(&node, &[&closed]);
    let error = fails(&target, &context).await;
    assert!(error.to_string().contains("its sshd forbids it"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_nodes_behind_one_bastion_stay_within_max_startups() {
    let bastion = Sshd::config("MaxStartups 9:100:9\nMaxSessions 1");
    let node = Sshd::config("MaxStartups 9:100:9");
    let context = jump_config(&node, &[&bastion]);
    let mut target = node.target();
    target.proxy_jump = Some("jump1".to_owned());
    let all = futures::future::join_all((0..30).map(|_| connect(&target, &context))).await;
    for connection in &all {
        let connection = connection.as_ref().unwrap_or_else(|error| panic!("{error}"));
        connection.run("true", b"", LIMITS).await.expect("it runs");
    }
    assert_eq!((logins(&node), logins(&bastion)), (30, 1));
    assert!(!node.log().contains("MaxStartups") && !bastion.log().contains("MaxStartups"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_configuration_counts_and_the_target_wins() {
    let sshd = Sshd::start();
    let known = sshd.write_known_hosts(&format!("alias {}\n", sshd.host_key("ed25519")));
    let config = format!(
        "Host web\n HostName 127.0.0.1\n Port {}\n User root\n HostKeyAlias alias\n IdentityFile {}\n \
         UserKnownHostsFile {}\n GlobalKnownHostsFile none\nHost wrong\n HostName 127.0.0.1\n Port 1\n User nobody\n \
         IdentityFile {2}\n HostKeyAlias alias\n UserKnownHostsFile {2}\n\
         Host command\n ProxyCommand touch {}\n",
        sshd.port, sshd.path("id").display(), known.display(), sshd.path("touched").display()
    );
    fs::write(sshd.path("ssh_config"), config).expect("written");
    let connection = works(&Target::new("node1", "web"), &sshd.context()).await;
    assert_eq!(connection.description(), format!("root@node1 (127.0.0.1:{})", sshd.port));

    let mut target = sshd.bare_target(known);
    target.address = "wrong".to_owned();
    works(&target, &sshd.context()).await;

    let error = fails(&Target::new("node1", "command"), &sshd.context()).await;
    assert!(error.to_string().contains("ProxyCommand"), "{error}");
    assert!(!sshd.path("touched").exists());

    // Without an ssh client, what the target says is enough.
    let without = sshd.context().with_ssh_program("/no/such/program".into());
    works(&sshd.target(), &without).await;
}

/// Figures, not a test: `cargo test --test ssh -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn figures() {
    let sshd = Sshd::config("MaxStartups 100");
    let context = sshd.context();
    let mut times = Vec::new();
    for _ in 0..30 {
        let start = Instant::now();
        let connection = connect(&sshd.target(), &context).await.expect("connected");
        let connected = start.elapsed();
        connection.run("true", b"", LIMITS).await.expect("it runs");
        let first = start.elapsed() - connected;
        let start = Instant::now();
        connection.run("true", b"", LIMITS).await.expect("it runs");
        times.push((connected, first, start.elapsed()));
    }
    times.sort();
    println!("connect, first true, second true: median {:?}, best {:?}", times[15], times[0]);
    let connection = sshd.connect().await;
    let input = vec![7; 64 << 20];
    let limits = dtls_deploy::node::Limits { max_output: 1 << 30, ..LIMITS };
    let start = Instant::now();
    connection.run("cat >/dev/null", &input, limits).await.expect("it runs");
    println!("64 MiB in: {:?}", start.elapsed());
    let start = Instant::now();
    connection.run("head -c 67108864 /dev/zero", b"", limits).await.expect("it runs");
    println!("64 MiB out: {:?}", start.elapsed());
}
