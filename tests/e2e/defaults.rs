//! What the tool does when the inventory names nothing but hosts.

use crate::lab::{Lab, openssl};

#[test]
fn the_defaults_are_safe_and_keep_the_local_socket() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("answers on its local socket"),
        "{}",
        run.stdout
    );
    assert!(!run.stdout.contains("FAILED"), "{}", run.stdout);

    // The CA is root's, its key encrypted, and no leaf key stays behind.
    assert_eq!(
        lab.modes("node2", "/etc/dtls-deploy/ca"),
        ". 700 root\nca-key.pem 400 root\nca.pem 444 root\nca.srl 444 root"
    );
    assert_eq!(
        lab.modes("node3", "/etc/docker/tls"),
        ". 700 root\nca.pem 444 root\ncert.pem 444 root\nkey.pem 400 root"
    );
    let text = openssl(
        &["x509", "-noout", "-text"],
        &(lab.exec("node3", "cat /etc/docker/tls/cert.pem") + "\n"),
    );
    for san in [
        "DNS:node3",
        "DNS:localhost",
        "IP Address:10.0.0.12",
        "IP Address:127.0.0.1",
    ] {
        assert!(text.contains(san), "{san}: {text}");
    }
    assert!(text.contains("prime256v1"), "{text}");
    let drop_in = lab.exec(
        "node3",
        "cat /etc/systemd/system/docker.service.d/50-dtls-deploy.conf",
    );
    // The last word is the file's own hash, by which an edit is found.
    let (text, hash) = drop_in.rsplit_once(' ').expect("a hash at the end");
    assert_eq!(
        text,
        "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// -H tcp://0.0.0.0:2376 --containerd=/run/containerd/containerd.sock $DOCKER_OPTS\n# Made by dtls-deploy from the unit's other files. Change those: this file follows them."
    );
    assert_eq!(hash.len(), 64, "{drop_in}");
    assert!(lab.exec("node3", "docker version").contains("Server:"));

    // A context, and nothing in the profile.
    assert_eq!(
        lab.exec("node1", "grep -c dtls-deploy /home/ubuntu/.profile || true"),
        "0"
    );
    let said = lab.exec_as("node1", "ubuntu", "docker --context node3 version");
    assert!(said.contains("Server:"), "{said}");

    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
}

#[test]
fn check_changes_nothing_and_needs_no_passphrase() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let output = lab
        .tool(&[&inventory, "--check", "--exit-code"])
        .env_remove("DTLS_CA_PASSPHRASE")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("would be made"), "{said}");
    for node in ["node1", "node2", "node3"] {
        let touched = "ls -d /etc/dtls-deploy /var/lib/dtls-deploy /etc/docker/tls /home/ubuntu/.local/share/dtls-deploy /etc/systemd/system/docker.service.d 2>/dev/null; true";
        assert_eq!(lab.exec(node, touched), "", "{node}");
    }
}

#[test]
fn drift_is_found_named_and_mended() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let before = lab.invocation();

    lab.exec(
        "node3",
        "chmod 644 /etc/docker/tls/key.pem; chmod 755 /etc/docker/tls",
    );
    lab.exec(
        "node1",
        "rm /home/ubuntu/.docker/contexts/tls/*/docker/cert.pem",
    );
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("mode 0644, want 0400"),
        "{}",
        run.stdout
    );
    assert_eq!(
        lab.exec(
            "node3",
            "stat -c %a /etc/docker/tls /etc/docker/tls/key.pem"
        ),
        "755\n400",
        "the mode of a directory is its owner's"
    );
    assert_eq!(
        lab.invocation(),
        before,
        "a mode is no reason for a restart"
    );
    let said = lab.exec_as("node1", "ubuntu", "docker --context node3 version");
    assert!(said.contains("Server:"), "{said}");

    // Files that were changed by hand are fixed, and dockerd is
    // restarted although nothing was written in this run.
    lab.exec(
        "node3",
        "sed -i 's/\"tls\": true/\"tls\":  true/' /etc/docker/daemon.json",
    );
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout
            .contains("daemon.json differs from what dockerd last read"),
        "{}",
        run.stdout
    );
    assert_ne!(lab.invocation(), before);

    // A key that does not belong to the certificate is replaced with a new pair.
    lab.exec("node3", "rm /etc/docker/tls/key.pem");
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("its key is missing"), "{}", run.stdout);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
}

#[test]
fn a_wrong_passphrase_changes_nothing() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    lab.exec("node3", "rm /etc/docker/tls/key.pem");
    let before = lab.exec("node2", "sha256sum /etc/dtls-deploy/ca/.ledger.jsonl");
    let wrong = lab.secret("wrong", "another passphrase\n");
    let output = lab
        .tool(&[&inventory, "--ca-passphrase-file", &wrong])
        .env_remove("DTLS_CA_PASSPHRASE")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.to_lowercase().contains("passphrase"), "{said}");
    assert_eq!(
        lab.exec("node2", "sha256sum /etc/dtls-deploy/ca/.ledger.jsonl"),
        before
    );
    assert_eq!(
        lab.exec("node3", "systemctl is-active docker.service"),
        "active"
    );
}
