//! Two inventories that name the same daemon.

use crate::lab::Lab;

/// The lab's inventory with a CA and client files of its own.
fn zone(lab: &Lab, name: &str) -> String {
    let variables = format!(
        "dtls_ca_dir: /etc/dtls-deploy/{name}\ndtls_client_dir: ~/.docker/{name}\ndtls_zone: {name}\n"
    );
    let text = std::fs::read_to_string(lab.inventory(&variables)).unwrap();
    lab.file(&format!("{name}.yaml"), &text)
}

#[test]
fn a_daemon_of_another_inventory_is_left_alone_until_it_is_taken_over() {
    let lab = Lab::fresh();
    let (first, second) = (zone(&lab, "first"), zone(&lab, "second"));
    lab.deploy(&[&first]);
    let state = "systemctl show docker -p InvocationID; cat /var/lib/dtls-deploy/owner; sha256sum /etc/docker/tls/* /etc/docker/daemon.json";
    let before = lab.exec("node3", state);
    assert!(
        before.contains("inventory first.yaml\nca node2:/etc/dtls-deploy/first\n")
            && before.contains("\nauthority "),
        "{before}"
    );

    // The second has no CA yet, and the daemon holds a certificate of one.
    let refused = lab.run(&[&second]);
    assert_eq!(refused.code, 4, "{}\n{}", refused.stdout, refused.stderr);
    assert_eq!(lab.exec("node3", state), before);
    let refused = lab.run(&[&second, "--new-ca"]);
    assert_eq!(refused.code, 4, "{}\n{}", refused.stdout, refused.stderr);
    let said = "its docker belongs to another inventory: it was set up from first.yaml, whose CA is node2:/etc/dtls-deploy/first";
    assert!(refused.stdout.contains(said), "{}", refused.stdout);
    assert_eq!(lab.exec("node3", state), before);
    let doctor = lab.run(&["doctor", &second]);
    assert!(
        doctor.stdout.contains("belongs to another inventory"),
        "{}",
        doctor.stdout
    );

    lab.deploy(&[&second, "-e", "dtls_take_over=true"]);
    assert!(lab.exec("node3", state).contains("inventory second.yaml\n"));
    // From now on it is the other way round, and no one has to say it again.
    lab.deploy(&[&second]);
    assert_eq!(lab.run(&["remove", &first]).code, 4);
    lab.deploy(&["remove", &second]);
    assert_eq!(
        lab.exec(
            "node3",
            "ls -A /var/lib/dtls-deploy 2>/dev/null | grep owner || echo none"
        ),
        "none"
    );
}

/// A daemon that was set up by hand, with its files where the inventory knows nothing of
/// them, keeps its clients: deploy refuses it until the inventory says otherwise.
#[test]
fn a_daemon_set_up_by_hand_elsewhere_is_not_taken_over_without_a_word() {
    let lab = Lab::fresh();
    let files = "mkdir -p /srv/by-hand && cd /srv/by-hand &&
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj '/CN=by hand' -keyout ca.key -out ca.pem 2>/dev/null &&
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=node3 -keyout key.pem -out csr 2>/dev/null &&
        echo subjectAltName=DNS:node3 >ext && openssl x509 -req -in csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 -extfile ext -out cert.pem 2>/dev/null";
    let flags = "mkdir -p /etc/systemd/system/docker.service.d &&
        printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/dockerd --tlsverify --tlscacert=/srv/by-hand/ca.pem --tlscert=/srv/by-hand/cert.pem --tlskey=/srv/by-hand/key.pem -H fd:// -H tcp://0.0.0.0:2376\\n' >/etc/systemd/system/docker.service.d/10-tls.conf";
    let settings = "printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/dockerd -H fd:// -H tcp://0.0.0.0:2376\\n' >/etc/systemd/system/docker.service.d/10-tls.conf &&
        mkdir -p /etc/docker &&
        printf '{\"tlsverify\": true, \"tlscacert\": \"/srv/by-hand/ca.pem\", \"tlscert\": \"/srv/by-hand/cert.pem\", \"tlskey\": \"/srv/by-hand/key.pem\"}' >/etc/docker/daemon.json";
    lab.exec("node3", files);
    let inventory = lab.inventory("");
    for (by_hand, with_ca) in [(flags, false), (settings, true)] {
        let restart = "systemctl daemon-reload && systemctl reset-failed docker.service docker.socket; systemctl restart docker";
        lab.exec("node3", &format!("{by_hand} && {restart}"));
        let invocation = lab.invocation();
        for command in [&["plan", &inventory][..], &["deploy", &inventory]] {
            let run = lab.run(command);
            assert_eq!(run.code, 4, "{with_ca}: {}{}", run.stdout, run.stderr);
            let said = "its docker is configured for clients of another CA (CN=by hand, in /srv/by-hand/ca.pem)";
            assert!(run.stdout.contains(said), "{}", run.stdout);
        }
        let doctor = lab.run(&["doctor", &inventory]);
        assert_eq!(doctor.code, 6, "{}", doctor.stdout);
        assert_eq!(lab.invocation(), invocation);
    }
    lab.deploy(&[&inventory, "-e", "dtls_take_over=true"]);
}

/// A daemon that its operator has moved to another CA since is not taken over, not rotated, not
/// removed, and no CA rollover begins with it.
#[test]
fn a_daemon_that_was_moved_to_another_ca_is_left_alone() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let moved = "mkdir -p /srv/by-hand && cd /srv/by-hand &&
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj '/CN=Foreign CA' -addext subjectAltName=DNS:node3 -keyout key.pem -out ca.pem 2>/dev/null && cp ca.pem cert.pem &&
        sed -i 's|/etc/docker/tls/|/srv/by-hand/|' /etc/docker/daemon.json && systemctl reset-failed docker.service docker.socket; systemctl restart docker";
    lab.exec("node3", moved);
    let invocation = lab.invocation();
    for command in [
        &["deploy", &inventory, "--yes"][..],
        &["rotate", &inventory, "--force", "--yes"],
        &["rotate", "--ca", &inventory, "--yes"],
        &["remove", &inventory, "--yes"],
    ] {
        let run = lab.run(command);
        assert_eq!(run.code, 4, "{command:?}: {}{}", run.stdout, run.stderr);
        let said = "its docker is configured for clients of another CA (CN=Foreign CA, in /srv/by-hand/ca.pem)";
        assert!(run.stdout.contains(said), "{command:?}: {}", run.stdout);
        assert_eq!(lab.invocation(), invocation, "{command:?}: {}", run.stdout);
    }
    lab.exec("node2", "test ! -e /etc/dtls-deploy/ca/next");
    lab.deploy(&[&inventory, "-e", "dtls_take_over=true"]);
}

/// An inventory of one daemon, with a CA of its own and the client's usual directory.
fn of_one_daemon(lab: &Lab, name: &str, daemon: &str) -> String {
    let text = format!(
        "all:
  vars: {{ansible_user: ubuntu, dtls_ca_dir: /etc/dtls-deploy/{name}}}
  children:
    ca: {{hosts: {{node2: }}}}
    daemons: {{hosts: {{{daemon}: }}}}
    clients: {{hosts: {{node1: }}}}
"
    );
    lab.file(&format!("{name}.yaml"), &text)
}

#[test]
fn two_inventories_do_not_share_the_files_of_a_client() {
    let lab = Lab::with_two_daemons();
    let first = of_one_daemon(&lab, "first", "node3");
    let second = of_one_daemon(&lab, "second", "node4");
    lab.deploy(&[&first]);
    let files = "find ~/.docker -type f -exec sha256sum {} + | sort";
    let before = lab.exec_as("node1", "ubuntu", files);
    for options in [&[][..], &["--new-ca"]] {
        let run = lab.run(&[&[second.as_str()], options].concat());
        assert_eq!(run.code, 4, "{options:?}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("dtls_client_dir"), "{}", run.stdout);
        assert_eq!(lab.exec_as("node1", "ubuntu", files), before, "{options:?}");
        lab.exec_as("node1", "ubuntu", "docker --context node3 version");
    }
    // As the hint says.
    let own = "dtls_client_dir=~/.docker/second";
    lab.deploy(&[&second, "-e", own]);
    for context in ["node3", "node4"] {
        let command = format!("docker --context {context} version");
        lab.exec_as("node1", "ubuntu", &command);
    }
    let run = lab.deploy(&[&first]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
}

/// What was deployed for a role is not forgotten because the inventory gives the host another one.
#[test]
fn a_daemon_that_is_only_a_client_now_is_named_and_not_called_removed() {
    let lab = Lab::with_two_daemons();
    let text = |roles: [&str; 2]| {
        let [daemons, clients] = roles;
        let text = format!(
            "all:\n  vars: {{ansible_user: ubuntu}}\n  children:\n    ca: {{hosts: {{node2: {{ansible_host: 10.0.0.11}}}}}}\n    daemons: {{hosts: {{node3: {{ansible_host: 10.0.0.12}}{daemons}}}}}\n    clients: {{hosts: {{node1: {{ansible_host: 10.0.0.10}}{clients}}}}}\n"
        );
        lab.file("roles.yaml", &text)
    };
    let node4 = ", node4: {ansible_host: 10.0.0.13}";
    lab.deploy(&[&text([node4, ""])]);
    let contexts = "docker context ls --format '{{.Name}}' | grep -c node4 || true";
    let now = text(["", node4]);
    let said = "node4: it is not among the daemons any more";
    for words in [&["deploy", "--yes"][..], &["verify"], &["remove", "--yes"]] {
        let command = words[0];
        let run = lab.run(&[words, &[&now]].concat());
        assert!(run.stdout.contains(said), "{}{}", run.stdout, run.stderr);
        // It has not removed everything.
        let code = if command == "remove" { 6 } else { 0 };
        assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
        let left = if command == "remove" { "0" } else { "1" };
        let found = lab.exec_as("node1", "ubuntu", contexts);
        assert_eq!(found.trim(), left, "{}{}", run.stdout, run.stderr);
    }
    lab.deploy(&["remove", &text([node4, ""]), "--limit", "node4"]);
    let run = lab.deploy(&["remove", &now]);
    assert!(!run.stdout.contains(said), "{}{}", run.stdout, run.stderr);
}
