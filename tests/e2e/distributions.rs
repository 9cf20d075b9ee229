//! docker as distributions ship it: releases, and the units of their packages.

use crate::lab::{Lab, Run};

/// The drop-in starts the dockerd of the unit that the node has now.
fn derived(lab: &Lab, node: &str, dockerd: &str) {
    let command = "grep ^ExecStart=/ /etc/systemd/system/docker.service.d/50-dtls-deploy.conf";
    let line = lab.exec(node, command);
    let begin = format!("ExecStart={dockerd} -H fd:// -H tcp://0.0.0.0:2376");
    assert!(line.starts_with(&begin), "{node}: {line}");
    assert!(line.contains("--containerd="), "{node}: {line}");
}

/// Both daemons accept only the client, and no check is missing.
fn proved(run: &Run) {
    for node in ["node3", "node4"] {
        let said = format!("ok  {node}  accepts the client's certificate");
        assert!(run.stdout.contains(&said), "{said:?} in {}", run.stdout);
    }
    assert!(!run.stdout.contains("not checked"), "{}", run.stdout);
}

/// Debian 12 (systemd 252, docker 20.10) and Debian 13 (systemd 257, docker 26.1), each
/// with its own unit and with one of docker-ce's kind.
#[test]
fn two_releases_with_the_units_of_two_packages() {
    let lab = Lab::with_newer_daemon();
    let inventory = lab.inventory("");
    let releases = lab.exec("node3", "cut -d. -f1 /etc/debian_version")
        + &lab.exec("node4", "cut -d. -f1 /etc/debian_version");
    assert_eq!(releases, "1213");
    for (unit, dockerd) in [
        ("debian", "/usr/sbin/dockerd"),
        ("docker-ce", "/usr/bin/dockerd"),
    ] {
        // The package of the other kind takes the first one's place.
        for node in ["node3", "node4"] {
            lab.control(&["unit", node, unit]);
        }
        let run = lab.deploy(&[&inventory]);
        proved(&run);
        for node in ["node3", "node4"] {
            let changed = format!("changed {node}: docker.service");
            assert!(run.stdout.contains(&changed), "{unit}: {}", run.stdout);
            derived(&lab, node, dockerd);
        }
        let run = lab.deploy(&[&inventory]);
        assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
        proved(&run);
        let served = || {
            let hash = "sha256sum </etc/docker/tls/cert.pem";
            ["node3", "node4"].map(|node| lab.exec(node, hash))
        };
        let before = served();
        proved(&lab.deploy(&["rotate", &inventory, "--force"]));
        let after = served();
        assert!(before[0] != after[0] && before[1] != after[1], "{unit}");
    }
}
