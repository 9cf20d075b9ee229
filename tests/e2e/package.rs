//! The Debian package on a machine that has nothing else: node1 becomes the
//! controller.

use std::path::Path;
use std::process::Command;

use crate::lab::{Lab, PASSPHRASE};

/// Builds the package from the program under test, twice, and compares.
fn build(directory: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let build = |name: &str| {
        let output = Command::new(root.join("packaging/deb"))
            .arg(env!("CARGO_BIN_EXE_dtls-deploy"))
            .arg(directory.join(name))
            // A package for release is made smaller, and takes longer.
            .env("DEB_OPTIONS", "-Zgzip -z1")
            .output()
            .unwrap();
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{problem}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (one, other) = (build("one"), build("other"));
    assert!(
        std::fs::read(&one).unwrap() == std::fs::read(&other).unwrap(),
        "two builds of one package differ"
    );
    one
}

fn copy(lab: &Lab, files: &[&str], to: &str) {
    let mut words = vec!["scp", "-q"];
    words.extend(files);
    words.push(to);
    let output = lab.command(&words).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_package_is_all_that_a_controller_needs() {
    let lab = Lab::fresh();
    let directory = tempfile::tempdir().unwrap();
    let package = build(directory.path());
    let contents = Command::new("dpkg-deb")
        .args(["--contents", &package])
        .output()
        .unwrap();
    let contents = String::from_utf8(contents.stdout).unwrap();
    for file in [
        "./usr/share/man/man1/dtls-deploy.1.gz",
        "./usr/share/man/man1/dtls-deploy-schedule-install.1.gz",
        "./usr/share/doc/dtls-deploy/changelog.gz",
        "./usr/share/doc/dtls-deploy/copyright",
        "./usr/share/zsh/vendor-completions/_dtls-deploy",
        "./usr/lib/dtls-deploy/dtls-deploy-guard",
        "./usr/share/fish/vendor_completions.d/dtls-deploy.fish",
        "./usr/share/dtls-deploy/playbooks/rotate-ca.yaml",
        "./usr/share/dtls-deploy/prometheus/alerts.yaml",
        "./usr/share/dtls-deploy/grafana/dashboard.json",
        "./usr/share/dtls-deploy/ansible/galaxy.yml",
        "./usr/share/dtls-deploy/github/action.yml",
        "./usr/share/dtls-deploy/gitlab/dtls-deploy.yml",
    ] {
        assert!(contents.contains(file), "{file} is not in\n{contents}");
    }
    assert!(!contents.contains(" ./etc/"), "{contents}");

    // node1 gets the package, and the key with which nodes are reached.
    let inventory = lab.inventory("");
    copy(&lab, &[&package, &inventory], "ubuntu@node1:");
    let (key, known) = ("/root/.ssh/id_ed25519", "/root/.ssh/known_hosts");
    copy(&lab, &[key, known], "ubuntu@node1:.ssh/");
    lab.exec(
        "node1",
        &format!(
            "dpkg -i /home/ubuntu/*.deb
             cp -r /home/ubuntu/.ssh /root/; chown -R root: /root/.ssh
             mkdir -m 0755 -p /etc/dtls-deploy/inventories; cd /etc/dtls-deploy/inventories
             cp /home/ubuntu/test.yaml lab.yaml
             (umask 077; echo '{PASSPHRASE}' >lab.passphrase)"
        ),
    );
    let version = lab.exec("node1", "dtls-deploy --version");
    assert!(
        version.contains(env!("CARGO_PKG_VERSION"))
            && version.contains("\ncommit ")
            && version.ends_with("\nlicence MIT OR Apache-2.0"),
        "{version}"
    );
    assert_eq!(
        lab.exec(
            "node1",
            ". /usr/share/bash-completion/completions/dtls-deploy
             COMP_WORDS=(dtls-deploy /etc/dtls-deploy/inventories/lab.yaml --limit node); COMP_CWORD=3
             _dtls_deploy dtls-deploy node --limit; echo ${COMPREPLY[*]}"
        ),
        "node1 node2 node3"
    );
    lab.exec(
        "node1",
        "dtls-deploy schema | cmp - /usr/share/dtls-deploy/inventory.schema.json",
    );

    // A deployment with it, from the playbook that it installs.
    let deployed = lab.exec(
        "node1",
        "cd /etc/dtls-deploy/inventories; dtls-deploy lab.yaml /usr/share/dtls-deploy/playbooks/deploy.yaml --ca-passphrase-file lab.passphrase",
    );
    assert!(
        deployed.contains("ok  node3  accepts the client's certificate"),
        "{deployed}"
    );

    // The CA node was sent the small program, and not the whole one.
    let agent = lab.exec("node1", "sha256sum /usr/lib/dtls-deploy/dtls-deploy-agent");
    let sent = lab.exec("node2", "ls /var/lib/dtls-deploy/bin");
    assert_eq!(agent.split_whitespace().next(), Some(sent.as_str()));

    // The template units: the timer's run finds everything as it should be.
    lab.exec(
        "node1",
        "systemd-analyze verify dtls-deploy@lab.service dtls-deploy@lab.timer
         systemctl start dtls-deploy@lab.service
         systemctl enable -q --now dtls-deploy@lab.timer
         systemctl is-active -q dtls-deploy@lab.timer",
    );
    let log = lab.exec("node1", "journalctl -o cat -u dtls-deploy@lab.service");
    assert!(log.contains("node3  changed=0"), "{log}");
    assert!(!log.contains(PASSPHRASE), "{log}");
    // Without its inventory, and without a passphrase, it says so.
    let (started, _) = lab.try_exec("node1", "systemctl start dtls-deploy@other.service");
    assert!(!started);

    // Removed, all but what is the operator's.
    lab.exec(
        "node1",
        "dpkg --purge dtls-deploy
         ! systemctl is-active -q dtls-deploy@lab.timer
         test ! -e /usr/bin/dtls-deploy -a ! -e /usr/lib/dtls-deploy -a ! -e /usr/share/dtls-deploy -a ! -e '/lib/systemd/system/dtls-deploy@.service'
         test -e /etc/dtls-deploy/inventories/lab.yaml",
    );
}
