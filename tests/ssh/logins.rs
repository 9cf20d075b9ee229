//! Logins: key files, agents, certificates and passwords, against real sshd and
//! ssh-agent instances.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ssh_support::{Agent, Setup, Sshd, fails, fingerprint, keygen, public, sh, works};
use base::secret::Secret;
use node::{ConnectFault, KeyFault, Prompt, connect};

fn authorize(sshd: &Sshd, key: &std::path::Path) {
    fs::write(sshd.path("authorized_keys"), public(key) + "\n").expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_files_of_every_format_work() {
    let sshd = Sshd::start();
    let root = sshd.dir.path();
    let mut keys = vec![keygen(root, "k_ecdsa", "ecdsa", "")];
    for (kind, format) in [
        ("rsa", "RFC4716"),
        ("rsa", "PEM"),
        ("rsa", "PKCS8"),
        ("ecdsa", "PEM"),
        ("ecdsa", "PKCS8"),
    ] {
        let path = root.join(format!("k_{kind}_{format}"));
        let file = path.to_str().expect("UTF-8");
        sh(
            "ssh-keygen",
            &["-q", "-N", "", "-t", kind, "-m", format, "-f", file],
        );
        keys.push(path);
    }
    for key in keys {
        authorize(&sshd, &key);
        let mut target = sshd.target();
        target.identity_files = vec![key.clone()];
        connect(&target, &sshd.context())
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", key.display()));
    }
    let pem = root.join("pem_encrypted");
    let file = pem.to_str().expect("UTF-8");
    sh(
        "ssh-keygen",
        &["-q", "-N", "geheim", "-t", "rsa", "-m", "PEM", "-f", file],
    );
    let mut target = sshd.target();
    target.identity_files = vec![pem];
    let error = fails(&target, &sshd.context()).await;
    assert!(error.to_string().contains("Proc-Type"), "{error}");
    assert!(error.hint().expect("a hint").starts_with("convert it"));
    for (name, text, expected) in [
        ("absent", None, KeyFault::Missing),
        ("garbage", Some("garbage"), KeyFault::NotAKey),
    ] {
        let path = sshd.path(name);
        text.inspect(|text| fs::write(&path, text).expect("written"));
        target.identity_files = vec![path];
        let error = fails(&target, &sshd.context()).await;
        assert!(
            matches!(&error.fault, ConnectFault::IdentityFile { fault, .. } if *fault == expected),
            "{error}"
        );
    }
    sh("chmod", &["644", sshd.path("id").to_str().expect("UTF-8")]);
    let error = fails(&sshd.target(), &sshd.context()).await;
    assert!(
        error.hint().expect("a hint").starts_with("chmod 600"),
        "{error}"
    );
}

fn answering(answers: &'static [&'static str]) -> (Prompt, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let prompt: Prompt = Arc::new(move |request| {
        count.fetch_add(1, Ordering::Relaxed);
        let index = usize::try_from(request.attempt).expect("small") - 1;
        answers
            .get(index)
            .map(|answer| Secret::from((*answer).to_owned()))
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
    assert!(
        error.to_string().contains("passphrase was not given"),
        "{error}"
    );

    let error = fails(&target, &sshd.context()).await;
    assert!(
        error.to_string().contains("passphrase was not given"),
        "{error}"
    );

    // A key the server does not want is not asked about.
    authorize(&sshd, &sshd.path("id"));
    let (prompt, asked) = answering(&["geheim"]);
    fails(&target, &sshd.context().with_prompt(prompt)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 0);

    // PKCS#8 shows no public half.
    let pkcs8 = sshd.path("pkcs8");
    let file = pkcs8.to_str().expect("UTF-8");
    sh(
        "ssh-keygen",
        &[
            "-q", "-N", "geheim", "-t", "ecdsa", "-m", "PKCS8", "-f", file,
        ],
    );
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
        assert!(
            error.to_string().contains("the agent does not hold"),
            "{error}"
        );
        // An explicit identity file excludes the agent's other keys.
        target.identity_files = vec![sshd.path("id")];
        fails(&target, &with_agent()).await;
    }
    let mut target = sshd.target();
    target.identity_files.clear();
    let error = fails(
        &target,
        &sshd.context().with_agent(Some(sshd.path("nowhere"))),
    )
    .await;
    assert!(error.to_string().contains("agent "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn user_certificates_work_from_files_and_from_the_agent() {
    let ca_dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let ca = keygen(ca_dir.path(), "ca", "ed25519", "");
    let sshd = Sshd::config(&format!("TrustedUserCAKeys {}.pub", ca.display()));
    fs::write(sshd.path("authorized_keys"), "").expect("emptied");
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let key = keygen(sshd.dir.path(), &format!("certified_{kind}"), kind, "");
        let mut target = sshd.target();
        target.identity_files = vec![key.clone()];
        fails(&target, &sshd.context()).await;
        let file = format!("{}.pub", key.display());
        sh(
            "ssh-keygen",
            &[
                "-q",
                "-s",
                ca.to_str().expect("UTF-8"),
                "-I",
                "me",
                "-n",
                "root",
                &file,
            ],
        );
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
        sshd.port,
        wrong.display(),
        fingerprint(&wrong)
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.hint().is_some());

    let keys: Vec<PathBuf> = (0..9)
        .map(|index| keygen(sshd.dir.path(), &format!("w{index}"), "ed25519", ""))
        .collect();
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
        mounts: vec![
            ("shadow".into(), "/etc/shadow"),
            ("pam".into(), "/etc/pam.d/sshd"),
        ],
        prepare: Some(&|root| {
            let hash = sh("openssl", &["passwd", "-6", "richtig"]);
            let shadow = format!(
                "root:{}:19000:0:99999:7:::\nsshd:!:19000::::::\n",
                hash.trim()
            );
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
        (
            "PasswordAuthentication yes\nPubkeyAuthentication no",
            "password",
        ),
        (
            "KbdInteractiveAuthentication yes\nPubkeyAuthentication no",
            "keyboard-interactive",
        ),
        (
            "PasswordAuthentication yes\nAuthenticationMethods publickey,password",
            "password",
        ),
    ] {
        let sshd = with_password(methods);
        let mut target = sshd.target();
        target.password = Some(Secret::from("richtig".to_owned()));
        works(&target, &sshd.context()).await;
        target.password = Some(Secret::from("falsch".to_owned()));
        let error = fails(&target, &sshd.context()).await;
        assert!(
            error.to_string().contains(&format!("{name}: refused")),
            "{error}"
        );
        assert!(!format!("{error} {error:?} {target:?}").contains("falsch"));
    }
}
