//! What Vagrant's machines are given, on the lab's: the provisioning script,
//! the inventory, and an SSH configuration as `vagrant ssh-config` prints it.

use std::path::Path;

use crate::lab::Lab;

/// As Vagrant prints it for each machine, but for user, port and key.
fn ssh_config() -> String {
    let host = |address: &str, node: &str| {
        format!(
            "Host {node}\n  HostName {address}\n  User vagrant\n  Port 22\n  UserKnownHostsFile /dev/null\n  StrictHostKeyChecking no\n  PasswordAuthentication no\n  IdentityFile /root/.ssh/id_ed25519\n  IdentitiesOnly yes\n  LogLevel FATAL\n  PubkeyAcceptedKeyTypes +ssh-rsa\n  HostKeyAlgorithms +ssh-rsa\n\n"
        )
    };
    [
        host("10.0.0.10", "node1"),
        host("10.0.0.11", "node2"),
        host("10.0.0.12", "node3"),
    ]
    .concat()
}

#[test]
fn the_inventory_for_vagrant_is_deployed_through_its_ssh_config() {
    let lab = Lab::fresh();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = std::fs::read_to_string(root.join("tests/lab/provision")).unwrap();
    for (node, role) in [("node1", "client"), ("node2", "ca"), ("node3", "daemon")] {
        // As Vagrant names a machine, and twice: provisioning can be repeated.
        lab.exec(
            node,
            &format!(
                "useradd --create-home --shell /bin/bash vagrant
                 echo 'vagrant ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/vagrant
                 cp -r ~ubuntu/.ssh ~vagrant/; chown -R vagrant: ~vagrant/.ssh
                 printf '127.0.0.1 localhost\\n127.0.2.1 {node} {node}\\n' >/etc/hosts
                 cat >/tmp/provision <<'END_OF_SCRIPT'\n{script}\nEND_OF_SCRIPT
                 for time in first second; do
                     sh /tmp/provision machine docker.io {role} node1=10.0.0.10 node2=10.0.0.11 node3=10.0.0.12
                 done"
            ),
        );
        assert_eq!(
            lab.exec(node, "grep -c . /etc/hosts; getent hosts node3"),
            "4\n10.0.0.12       node3"
        );
    }

    let config = lab.file("ssh-config", &ssh_config());
    let inventory = "vagrant/inventory.yaml";
    // The inventory itself does not know whose account it is.
    let without = lab.run(&[inventory, "--check"]);
    assert_eq!(without.code, 5, "{}\n{}", without.stdout, without.stderr);
    // Keys of 4096 bits take long, and are no part of this.
    let keys = "dtls_key_type=ecdsa-p256";
    let deployed = lab.deploy(&[inventory, "--ssh-config", &config, "-e", keys]);
    assert!(
        deployed
            .stdout
            .contains("ok  node3  accepts the client's certificate"),
        "{}",
        deployed.stdout
    );
    assert_eq!(
        lab.exec_as(
            "node1",
            "vagrant",
            "bash -lc 'docker version -f {{.Server.Os}}'"
        ),
        "linux"
    );
    lab.deploy(&["status", inventory, "--ssh-config", &config, "-e", keys]);

    // A file that is not there is reported once, before anything is connected to.
    let missing = lab.run(&["verify", inventory, "--ssh-config", "/nowhere"]);
    assert_eq!(missing.code, 2, "{}", missing.stderr);
    assert!(
        missing.stderr.contains("cannot be read"),
        "{}",
        missing.stderr
    );
}
