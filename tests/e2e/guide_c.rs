//! The three-node lab, row by row, exactly as the shipped inventory makes it:
//! node1 is the client, node2 the CA, node3 the daemon.

use crate::lab::{Lab, PASSPHRASE, openssl};

/// The shipped inventory, and every row of the procedure after it.
#[test]
fn the_lab_comes_out_row_by_row() {
    let lab = Lab::fresh();
    row_8_before_anything_the_daemon_is_not_on_tcp(&lab);
    let run = lab.deploy(&["inventory/lab.yaml"]);
    assert!(run.stdout.contains("ok  node3"), "{}", run.stdout);
    row_1_the_ca_has_an_encrypted_key_and_a_certificate_for_730_days(&lab);
    row_2_the_daemon_pair_is_signed_for_its_two_names(&lab);
    row_3_the_client_pair_is_signed_for_clients(&lab);
    row_4_node2_holds_exactly_seven_files(&lab);
    row_5_files_are_renamed_and_never_open_to_others(&lab);
    row_6_daemon_json_and_the_drop_in(&lab);
    row_7_ps_shows_the_daemon_on_its_address(&lab);
    row_8_without_a_certificate_nothing_is_served(&lab);
    row_9_the_client_is_set_up_across_logins(&lab);
    a_second_run_changes_nothing(&lab);
}

fn file(lab: &Lab, node: &str, name: &str) -> String {
    lab.exec(node, &format!("cat /home/ubuntu/.docker/{name}")) + "\n"
}

fn certificate(lab: &Lab, node: &str, name: &str) -> String {
    openssl(&["x509", "-noout", "-text"], &file(lab, node, name))
}

fn days_of_life(lab: &Lab, name: &str) -> i64 {
    let pem = file(lab, "node2", name);
    let date = |which| {
        let text = openssl(&["x509", "-noout", which, "-dateopt", "iso_8601"], &pem);
        let text = text.split_once('=').unwrap().1.trim().replace('Z', "");
        let output = std::process::Command::new("date")
            .args(["-u", "-d", &format!("{text} UTC"), "+%s"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse::<i64>()
            .unwrap()
    };
    (date("-enddate") - date("-startdate") + 43_200) / 86_400
}

fn row_1_the_ca_has_an_encrypted_key_and_a_certificate_for_730_days(lab: &Lab) {
    let key = file(lab, "node2", "ca-key.pem");
    assert!(key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    let shape = openssl(&["asn1parse"], &key);
    assert!(shape.contains("aes-256-cbc"), "{shape}");
    let opened = openssl(
        &[
            "pkey",
            "-noout",
            "-text",
            "-passin",
            &format!("pass:{PASSPHRASE}"),
        ],
        &key,
    );
    assert!(opened.contains("4096 bit"), "{opened}");
    let text = certificate(lab, "node2", "ca.pem");
    assert!(text.contains("sha256WithRSAEncryption"), "{text}");
    assert!(text.contains("CA:TRUE"), "{text}");
    assert_eq!(days_of_life(lab, "ca.pem"), 730);
}

fn verified(lab: &Lab, name: &str) {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, file(lab, "node2", "ca.pem")).unwrap();
    let leaf = directory.path().join("leaf.pem");
    std::fs::write(&leaf, file(lab, "node2", name)).unwrap();
    openssl(
        &[
            "verify",
            "-x509_strict",
            "-CAfile",
            ca.to_str().unwrap(),
            leaf.to_str().unwrap(),
        ],
        "",
    );
}

fn row_2_the_daemon_pair_is_signed_for_its_two_names(lab: &Lab) {
    let text = certificate(lab, "node2", "daemon-cert.pem");
    assert!(text.contains("Subject: CN = node3\n"), "{text}");
    assert!(text.contains("DNS:node3, IP Address:10.0.0.12\n"), "{text}");
    assert!(text.contains("TLS Web Server Authentication\n"), "{text}");
    assert!(text.contains("sha256WithRSAEncryption"), "{text}");
    let key = openssl(
        &["pkey", "-noout", "-text"],
        &file(lab, "node2", "daemon-key.pem"),
    );
    assert!(key.contains("4096 bit"), "{key}");
    assert_eq!(days_of_life(lab, "daemon-cert.pem"), 730);
    verified(lab, "daemon-cert.pem");
}

fn row_3_the_client_pair_is_signed_for_clients(lab: &Lab) {
    let text = certificate(lab, "node2", "client-cert.pem");
    assert!(text.contains("Subject: CN = node1\n"), "{text}");
    assert!(text.contains("TLS Web Client Authentication\n"), "{text}");
    assert!(!text.contains("TLS Web Server"), "{text}");
    assert_eq!(days_of_life(lab, "client-cert.pem"), 730);
    verified(lab, "client-cert.pem");
}

fn row_4_node2_holds_exactly_seven_files(lab: &Lab) {
    assert_eq!(
        lab.exec("node2", "cd /home/ubuntu/.docker && stat -c '%n %a %U' *"),
        "ca-key.pem 400 ubuntu\nca.pem 444 ubuntu\nca.srl 444 ubuntu\nclient-cert.pem 444 ubuntu\nclient-key.pem 400 ubuntu\ndaemon-cert.pem 444 ubuntu\ndaemon-key.pem 400 ubuntu"
    );
    let hidden = lab.exec(
        "node2",
        "cd /home/ubuntu/.docker && ls -A | grep ^[.] | sort",
    );
    assert_eq!(hidden, ".ledger.jsonl\n.lock");
}

fn row_5_files_are_renamed_and_never_open_to_others(lab: &Lab) {
    for (node, role) in [("node3", "daemon"), ("node1", "client")] {
        let found = lab.exec(
            node,
            "cd /home/ubuntu/.docker && stat -c '%n %a %U %G' . *.pem",
        );
        assert_eq!(
            found,
            ". 700 ubuntu ubuntu\nca.pem 444 ubuntu ubuntu\ncert.pem 444 ubuntu ubuntu\nkey.pem 400 ubuntu ubuntu",
            "{node}"
        );
        for (issued, delivered) in [
            ("ca.pem".to_owned(), "ca.pem"),
            (format!("{role}-cert.pem"), "cert.pem"),
            (format!("{role}-key.pem"), "key.pem"),
        ] {
            assert_eq!(
                file(lab, "node2", &issued),
                file(lab, node, delivered),
                "{node}"
            );
        }
        let left = lab.exec(
            node,
            "find / -xdev -name '.dtls-deploy*' 2>/dev/null || true",
        );
        assert_eq!(left, "", "{node}");
    }
}

fn row_6_daemon_json_and_the_drop_in(lab: &Lab) {
    let settings: serde_json::Value =
        serde_json::from_str(&lab.exec("node3", "cat /etc/docker/daemon.json")).unwrap();
    assert_eq!(
        settings,
        serde_json::json!({
            "tls": true,
            "tlsverify": true,
            "tlscacert": "/home/ubuntu/.docker/ca.pem",
            "tlscert": "/home/ubuntu/.docker/cert.pem",
            "tlskey": "/home/ubuntu/.docker/key.pem",
        })
    );
    // Debian's unit has flags of its own; they are kept.
    assert_eq!(
        lab.exec(
            "node3",
            "cat /etc/systemd/system/docker.service.d/override.conf"
        ),
        "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd -H tcp://node3:2376 --containerd=/run/containerd/containerd.sock $DOCKER_OPTS"
    );
    let verified = lab.try_exec("node3", "systemd-analyze verify docker.service");
    assert!(!verified.1.contains("override.conf"), "{}", verified.1);
}

fn row_7_ps_shows_the_daemon_on_its_address(lab: &Lab) {
    let commands = lab.exec("node3", "ps -C dockerd -o args=");
    assert!(
        commands.contains("dockerd -H tcp://node3:2376"),
        "{commands}"
    );
    assert_eq!(
        lab.exec("node3", "systemctl is-active docker.service"),
        "active"
    );
    let listening = lab.exec("node3", "ss -Hltn 'sport = :2376'");
    assert!(listening.contains("10.0.0.12:2376"), "{listening}");
}

fn row_8_before_anything_the_daemon_is_not_on_tcp(lab: &Lab) {
    let (ok, said) = lab.try_exec("node1", "curl -sS -m 5 http://node3:2376/version");
    assert!(!ok, "{said}");
}

fn row_8_without_a_certificate_nothing_is_served(lab: &Lab) {
    let (ok, said) = lab.try_exec("node1", "DOCKER_HOST=tcp://node3:2376 docker version");
    assert!(!ok && !said.contains("Server:"), "{said}");
    assert!(said.contains("HTTP request to an HTTPS server"), "{said}");
    let (ok, said) = lab.try_exec(
        "node1",
        "curl -sS -m 5 --cacert /home/ubuntu/.docker/ca.pem https://node3:2376/version",
    );
    assert!(!ok && said.contains("certificate"), "{said}");
    let made_up = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -days 1 -keyout /tmp/x.key -out /tmp/x.pem 2>/dev/null; curl -sS -m 5 --cacert /home/ubuntu/.docker/ca.pem --cert /tmp/x.pem --key /tmp/x.key https://node3:2376/version";
    let (ok, said) = lab.try_exec("node1", made_up);
    assert!(!ok && said.contains("certificate"), "{said}");
    let own = "cd /home/ubuntu/.docker && curl -sS -m 5 --cacert ca.pem --cert cert.pem --key key.pem https://node3:2376/version";
    let (ok, said) = lab.try_exec("node3", own);
    assert!(
        !ok && said.contains("certificate"),
        "server certificate as client: {said}"
    );
}

fn row_9_the_client_is_set_up_across_logins(lab: &Lab) {
    let profile = lab.exec(
        "node1",
        "grep -A3 'BEGIN dtls-deploy' /home/ubuntu/.profile",
    );
    assert_eq!(
        profile,
        "# BEGIN dtls-deploy lab\nexport DOCKER_HOST=tcp://node3:2376\nexport DOCKER_TLS_VERIFY=1\n# END dtls-deploy lab"
    );
    let said = lab.exec_as("node1", "ubuntu", "bash -lc 'docker version'");
    assert!(said.contains("Server:"), "{said}");
    let said = lab.exec_as("node1", "ubuntu", "docker --context node3 version");
    assert!(said.contains("Server:"), "{said}");
    let said = lab.exec(
        "node1",
        "cd /home/ubuntu/.docker && curl -sS --cacert ca.pem --cert cert.pem --key key.pem https://node3:2376/version",
    );
    assert!(said.contains("ApiVersion"), "{said}");
}

fn a_second_run_changes_nothing(lab: &Lab) {
    let snapshot = "find /home/ubuntu/.docker /home/ubuntu/.profile /etc/docker /etc/systemd/system /var/lib/dtls-deploy -newermt @$(stat -c %Y /tmp/mark) -not -type d 2>/dev/null; true";
    for node in ["node1", "node2", "node3"] {
        lab.exec(node, "touch /tmp/mark; sleep 0.01");
        // Each session that sshd starts is one exec.
        lab.exec(
            node,
            "echo LogLevel VERBOSE >/etc/ssh/sshd_config.d/verbose.conf; systemctl reload ssh",
        );
    }
    let before = lab.invocation();
    let run = lab.deploy(&["inventory/lab.yaml"]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
    assert_eq!(lab.invocation(), before, "docker was restarted");
    for node in ["node1", "node2", "node3"] {
        assert_eq!(lab.exec(node, snapshot), "", "{node}");
        let execs: u32 = lab
            .exec(
                node,
                "journalctl -u ssh -o cat | grep -c 'Starting session: command' || true",
            )
            .parse()
            .unwrap();
        assert!((1..=3).contains(&execs), "{node}: {execs} execs");
    }
}

/// On the unit that the guide has, the drop-in is exactly the guide's.
#[test]
fn row_6_on_the_guides_own_unit_the_drop_in_has_exactly_three_lines() {
    let lab = Lab::fresh();
    lab.control(&["unit", "node3", "guide"]);
    lab.deploy(&["inventory/lab.yaml", "-e", "dtls_key_type=ecdsa-p256"]);
    assert_eq!(
        lab.exec(
            "node3",
            "cat /etc/systemd/system/docker.service.d/override.conf"
        ),
        "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd -H tcp://node3:2376"
    );
    let commands = lab.exec("node3", "ps -C dockerd -o args=");
    assert_eq!(commands, "/usr/bin/dockerd -H tcp://node3:2376");
}

/// Nodes need nothing but sshd, a POSIX shell and coreutils.
#[test]
fn nodes_need_neither_openssl_nor_curl_nor_python_nor_perl() {
    let lab = Lab::fresh();
    for node in ["node2", "node3"] {
        lab.exec(
            node,
            "for tool in openssl curl perl python3 bash.real; do for f in /usr/bin/$tool /usr/bin/$tool[0-9]*; do [ -e $f ] && mv $f $f.away; done; done; ! command -v openssl && ! command -v curl && ! command -v perl",
        );
    }
    // A user's login shell may be a minimal one too.
    lab.exec("node2", "usermod -s /bin/dash ubuntu");
    let run = lab.deploy(&["inventory/lab.yaml", "-e", "dtls_key_type=ecdsa-p256"]);
    assert!(!run.stdout.contains("not checked"), "{}", run.stdout);
    let said = lab.exec_as("node1", "ubuntu", "docker --context node3 version");
    assert!(said.contains("Server:"), "{said}");
}
