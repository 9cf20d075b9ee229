//! What is found out before anything is swapped: the host is refused, with what
//! to do, and nothing on it is another than before.

use crate::lab::{Lab, Run};

/// Every file of docker's, and the process that reads them.
fn state(lab: &Lab, node: &str) -> String {
    lab.exec(
        node,
        "systemctl show docker.service -p InvocationID -p NeedDaemonReload; \
         find /etc/docker /etc/systemd/system /var/lib/dtls-deploy -type f 2>/dev/null -exec sha256sum {} + | sort; \
         find /etc/docker -exec stat -c '%n %a %U' {} + | sort; \
         find / -xdev -name '.dtls-deploy*'; systemctl list-units --plain --no-legend 'dtls-deploy*'",
    )
}

/// Deploys to a node where something is wrong.
fn refused(lab: &Lab, inventory: &str, said: &[&str]) -> Run {
    let before = state(lab, "node3");
    let run = lab.run(&[inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    for said in said {
        assert!(run.stdout.contains(said), "{said:?} in {}", run.stdout);
    }
    assert_eq!(state(lab, "node3"), before);
    run
}

/// Debian's `127.0.1.1 HOSTNAME`: dockerd would come up where no one reaches it.
#[test]
fn a_listen_name_that_is_loopback_on_the_node_is_refused() {
    let lab = Lab::fresh();
    lab.exec("node3", "echo 127.0.1.1 node3 >/tmp/hosts; grep -v ' node3' /etc/hosts >>/tmp/hosts; cp /tmp/hosts /etc/hosts");
    let inventory = lab.inventory("dtls_listen: ['tcp://node3:2376']");
    refused(
        &lab,
        &inventory,
        &[
            "node3 in dtls_listen is 127.0.1.1 on the node",
            "/etc/hosts",
        ],
    );
}

#[test]
fn an_address_of_another_machine_is_refused() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_listen: ['tcp://10.9.9.9:2376']");
    refused(
        &lab,
        &inventory,
        &["10.9.9.9 in dtls_listen is not an address of node3 (it has 10.0.0.12"],
    );
    // Where the kernel lets it, dockerd can listen there all the same.
    lab.in_network("node3", "echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind");
    let run = lab.run(&[&inventory, "--check"]);
    lab.in_network("node3", "echo 0 >/proc/sys/net/ipv4/ip_nonlocal_bind");
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
}

#[test]
fn a_port_that_another_program_has_is_refused_and_dockerds_own_is_not() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        "systemd-run --quiet --unit=other busybox nc -l -p 2376; \
         for i in 1 2 3 4 5 6 7 8 9; do ss -Hltn 'sport = :2376' | grep -q . && break; sleep 0.1; done",
    );
    let inventory = lab.inventory("");
    let run = refused(
        &lab,
        &inventory,
        &["tcp://0.0.0.0:2376 in dtls_listen is taken: busybox (process "],
    );
    assert!(run.stdout.contains("another port"), "{}", run.stdout);
    // The checks of the run above may have been the last to connect.
    lab.exec(
        "node3",
        "systemctl stop other 2>/dev/null; ! ss -Hltn 'sport = :2376' | grep .",
    );
    lab.deploy(&[&inventory]);
    // Now it is dockerd that listens there, and it is to be restarted.
    lab.exec(
        "node3",
        "rm /etc/systemd/system/docker.service.d/50-dtls-deploy.conf",
    );
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("docker.service"), "{}", run.stdout);
    let run = lab.deploy(&[&inventory, "-e", "dtls_local_socket=false"]);
    assert!(run.stdout.contains("docker.service"), "{}", run.stdout);
}

#[test]
fn a_full_file_system_is_refused() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        "mkdir -m 700 /etc/docker/tls; mount -t tmpfs -o size=64k,mode=700 tmpfs /etc/docker/tls",
    );
    let inventory = lab.inventory("");
    refused(
        &lab,
        &inventory,
        &["/etc/docker/tls is on a file system with 64 KiB left (mounted at /etc/docker/tls)"],
    );
    lab.exec(
        "node3",
        "umount /etc/docker/tls; mount -t tmpfs -o size=8m,nr_inodes=20,mode=700 tmpfs /etc/docker/tls",
    );
    refused(&lab, &inventory, &["inodes left"]);
}

#[test]
fn a_flag_that_daemon_json_repeats_is_refused() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        "echo 'DOCKER_OPTS=\"--debug\"' >/etc/default/docker; echo '{\"debug\": true}' >/etc/docker/daemon.json",
    );
    let inventory = lab.inventory("");
    refused(
        &lab,
        &inventory,
        &["--debug in /etc/default/docker and \"debug\" in /etc/docker/daemon.json"],
    );
}

/// It was written under running daemons, which go on: `--validate` of docker 26 accepts it, and docker
/// 20.10 has no such flag.
#[test]
fn settings_that_only_a_start_rejects_are_found_before_the_restart() {
    let lab = Lab::with_newer_daemon();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let mirror =
        r#"sed -i 's/^{/{\n  "registry-mirrors": ["not a url"],/' /etc/docker/daemon.json"#;
    for node in ["node3", "node4"] {
        lab.exec(node, mirror);
        let before = state(&lab, node);
        let limit = format!("{node}:node1:node2");
        let arguments = [
            "--limit",
            &limit,
            "-e",
            "{dtls_extra_sans: [DNS:more.example]}",
        ];
        for command in ["plan", "doctor"] {
            let run = lab.run(&[&[command, &inventory][..], &arguments[..]].concat());
            let said = "dockerd would not start with the new daemon.json and flags: invalid mirror";
            assert!(run.stdout.contains(said), "{command}: {}", run.stdout);
        }
        let run = lab.run(&[&[&*inventory][..], &arguments[..]].concat());
        assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
        for said in [
            "dockerd would not start with the new daemon.json and flags: invalid mirror",
            "failed, everything is as it was",
        ] {
            assert!(run.stdout.contains(said), "{said:?} in {}", run.stdout);
        }
        assert!(!run.stdout.contains("restarts="), "{}", run.stdout);
        assert_eq!(state(&lab, node), before);
        lab.exec(node, "! mount | grep /validate");
        lab.exec(node, "sed -i /registry-mirrors/d /etc/docker/daemon.json");
    }
    let run = lab.deploy(&[&inventory, "-e", "{dtls_extra_sans: [DNS:more.example]}"]);
    assert!(run.stdout.contains("restarts="), "{}", run.stdout);
}

/// docker 20.10 has no `--validate`, docker 26 has.
#[test]
fn settings_that_dockerd_refuses_are_found_before_the_swap() {
    let lab = Lab::with_newer_daemon();
    lab.exec(
        "node4",
        "mkdir -p /etc/docker; echo '{\"log-opts\": {\"max-size\": 10}}' >/etc/docker/daemon.json",
    );
    let inventory = lab.inventory("");
    let before = state(&lab, "node4");
    // Nothing is written there.
    let check = lab.run(&[&inventory, "--check"]);
    assert_eq!(check.code, 4, "{}{}", check.stdout, check.stderr);
    let said = "dockerd refuses the new settings: json: cannot unmarshal number";
    assert!(check.stdout.contains(said), "{}", check.stdout);
    lab.exec("node4", "[ ! -e /var/lib/dtls-deploy ]");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    for said in [
        "dockerd refuses the new settings: json: cannot unmarshal number",
        "failed, everything is as it was",
    ] {
        assert!(run.stdout.contains(said), "{said:?} in {}", run.stdout);
    }
    assert_eq!(state(&lab, "node4"), before);
    assert_eq!(
        lab.exec("node4", "find /var/lib/dtls-deploy -mindepth 1 | sort"),
        "/var/lib/dtls-deploy/armed\n/var/lib/dtls-deploy/generations"
    );
    // The other daemon, which was not asked, is done.
    assert!(
        run.stdout.contains("changed node3: docker.service"),
        "{}",
        run.stdout
    );

    lab.exec(
        "node4",
        "echo '{\"log-opts\": {\"max-size\": \"10m\"}}' >/etc/docker/daemon.json",
    );
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout
            .contains("ok  node4  accepts the client's certificate"),
        "{}",
        run.stdout
    );
    assert!(!run.stdout.contains("not checked"), "{}", run.stdout);
    let settings = lab.exec("node4", "cat /etc/docker/daemon.json");
    assert!(settings.contains("max-size"), "{settings}");
    let run = lab.deploy(&[&inventory]);
    assert!(!run.stdout.contains("changed node4"), "{}", run.stdout);
}

/// No clock can be set here: `date` says what a node with another clock would.
fn clock(lab: &Lab, node: &str, difference: &str) {
    let shim = format!("#!/bin/sh\nexec /usr/bin/date -d '{difference}' \"$@\"\n");
    let path = lab.file("date", &shim);
    lab.put(node, &path, "/usr/local/bin/date");
    lab.exec(node, "chmod 755 /usr/local/bin/date");
}

/// A certificate of now has expired on one node, and is not valid yet on
/// another: neither gets it, and the daemon goes on with what it has.
#[test]
fn clocks_that_are_two_years_off_are_refused_and_told_on_every_run() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    for (difference, said) in [
        ("2 years", "a daemon certificate of now has expired there"),
        ("-2 years", "the CA's certificate is not valid there"),
    ] {
        clock(&lab, "node3", difference);
        let run = lab.run(&["verify", &inventory]);
        assert!(
            run.stdout.contains("warning: node3: its clock is "),
            "{}",
            run.stdout
        );
        let more = lab.inventory("dtls_extra_sans: ['DNS:more.example']");
        refused(&lab, &more, &[said, "set the clock of node3 right"]);
        let inventory = lab.inventory("");
        let forced = lab.run(&["rotate", &inventory, "--force", "--daemons-only"]);
        assert_eq!(forced.code, 4, "{}", forced.stdout);
    }
    lab.exec("node3", "rm /usr/local/bin/date");
    lab.deploy(&["rotate", &inventory, "--force", "--daemons-only"]);
}
