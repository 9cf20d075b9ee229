//! Clients follow their daemons: what a client reaches before a run that goes wrong, it
//! reaches afterwards.

use crate::lab::{Lab, Run};

/// Two daemons, with variables of each.
fn inventory(lab: &Lab, node3: &str, node4: &str) -> String {
    let text = format!(
        "all:
  vars: {{ansible_user: ubuntu, ansible_timeout: 2, dtls_default_daemon: node3, dtls_client_env: [profile, context], dtls_serial: [1]}}
  children:
    ca: {{hosts: {{node2: {{ansible_host: 10.0.0.11}}}}}}
    daemons:
      hosts:
        node3: {{ansible_host: 10.0.0.12{node3}}}
        node4: {{ansible_host: 10.0.0.13{node4}}}
    clients: {{hosts: {{node1: {{ansible_host: 10.0.0.10}}}}}}
"
    );
    lab.file("test.yaml", &text)
}

const PORT: &str = ", dtls_listen: ['tcp://0.0.0.0:2377']";

/// Every file by which the client reaches daemons.
fn files(lab: &Lab) -> String {
    lab.exec_as(
        "node1",
        "ubuntu",
        "sha256sum ~/.profile; find ~/.docker -type f -exec sha256sum {} + | sort",
    )
}

/// The version that a daemon answers with, by its context and, for the first, by the login
/// shell's environment.
fn reaches(lab: &Lab, context: &str) {
    let by =
        |word: &str| format!("timeout 20 docker {word} version --format '{{{{.Server.Version}}}}'");
    lab.exec_as("node1", "ubuntu", &by(&format!("--context {context}")));
    if context == "node3" {
        lab.exec_as("node1", "ubuntu", &format!("bash -lc \"{}\"", by("")));
    }
}

fn endpoint(lab: &Lab, context: &str) -> String {
    let command =
        format!("docker context inspect {context} --format '{{{{.Endpoints.docker.Host}}}}'");
    lab.exec_as("node1", "ubuntu", &command)
}

fn fails(lab: &Lab, arguments: &[&str], code: i32, said: &[&str]) -> Run {
    let run = lab.run(arguments);
    assert_eq!(run.code, code, "{}\n{}", run.stdout, run.stderr);
    for said in said {
        assert!(run.stdout.contains(said), "{said}: {}", run.stdout);
    }
    run
}

#[test]
fn the_address_of_a_daemon_that_is_refused_is_not_written() {
    let lab = Lab::with_two_daemons();
    lab.deploy(&[&inventory(&lab, "", "")]);
    let before = files(&lab);
    let wrong = inventory(&lab, ", dtls_listen: ['tcp://10.9.9.9:2376']", "");
    let said =
        "node1: kept as it is: /home/ubuntu/.profile, context node3, because node3 was refused";
    fails(&lab, &[&wrong], 4, &[said]);
    assert_eq!(files(&lab), before);
    reaches(&lab, "node3");

    // Nor that of one that no one reaches.
    let typo = inventory(&lab, "", "").replace("10.0.0.12", "10.0.0.99");
    let text = std::fs::read_to_string(&typo).unwrap();
    let typo = lab.file("typo.yaml", &text.replace("10.0.0.12", "10.0.0.99"));
    fails(&lab, &[&typo], 5, &["because node3 did not answer"]);
    assert_eq!(files(&lab), before);
    fails(
        &lab,
        &["remove", &typo],
        5,
        &["because node3 did not answer"],
    );
    reaches(&lab, "node3");
}

#[test]
fn each_context_moves_with_its_daemon_and_stays_with_one_that_is_undone() {
    let lab = Lab::with_two_daemons();
    lab.deploy(&[&inventory(&lab, "", "")]);
    lab.guard("node4", "2377");
    let moved = inventory(&lab, PORT, PORT);
    let said = "node1: kept as it is: context node4, because the change of node4 failed";
    fails(&lab, &[&moved], 4, &[said]);
    assert_eq!(endpoint(&lab, "node3"), "tcp://10.0.0.12:2377");
    assert_eq!(endpoint(&lab, "node4"), "tcp://10.0.0.13:2376");
    reaches(&lab, "node3");
    reaches(&lab, "node4");

    lab.unguard("node4");
    lab.deploy(&[&moved]);
    assert_eq!(endpoint(&lab, "node4"), "tcp://10.0.0.13:2377");
    reaches(&lab, "node4");
    let again = lab.deploy(&[&moved]);
    assert!(
        again.stdout.contains("Nothing to change"),
        "{}",
        again.stdout
    );

    // One that is skipped because another failed keeps its client, too.
    lab.guard("node3", "2376");
    let back = inventory(&lab, "", "");
    let said = "node1: kept as it is: context node4, because the change of node4 was skipped";
    let run = fails(&lab, &[&back], 4, &[said, "skipped="]);
    let of_node4 = |word: &str| {
        let mut lines = run.stdout.lines();
        lines.any(|line| line.starts_with(word) && line.split_whitespace().nth(1) == Some("node4"))
    };
    assert!(!of_node4("FAILED"), "{}", run.stdout);
    let recap = run.stdout.lines().find(|line| line.starts_with("node4 "));
    let recap = recap.unwrap_or_default();
    assert!(recap.contains(" failed=0 "), "{}", run.stdout);
    assert!(recap.contains(" skipped="), "{}", run.stdout);
    reaches(&lab, "node3");
    reaches(&lab, "node4");
}

/// The lab with another CA, below the same name of an inventory.
fn with_another_ca(lab: &Lab, inventory: &str) -> String {
    let text = std::fs::read_to_string(inventory).unwrap();
    let text = text.replace(
        "ansible_user: ubuntu,",
        "ansible_user: ubuntu, dtls_ca_dir: /etc/dtls-deploy/another,",
    );
    let directory = lab.directory("staging");
    let path = format!("{directory}/test.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn what_another_ca_serves_is_not_replaced() {
    let lab = Lab::with_two_daemons();
    let first = inventory(&lab, "", "");
    lab.deploy(&[&first]);
    let before = files(&lab);
    // Of the same name, in the same directories: it is another inventory all the same.
    let second = with_another_ca(&lab, &first);
    let run = fails(&lab, &[&second], 4, &[]);
    assert!(!run.stdout.contains("changed node"), "{}", run.stdout);
    assert_eq!(files(&lab), before);
    reaches(&lab, "node3");
    reaches(&lab, "node4");

    // A description is its operator's.
    let describe = "docker context update node3 --description 'the big one'";
    lab.exec_as("node1", "ubuntu", describe);
    lab.deploy(&["rotate", &first, "--force", "--clients-only"]);
    let seen = lab.exec_as("node1", "ubuntu", "docker context ls");
    assert!(seen.contains("the big one"), "{seen}");
    let again = lab.deploy(&[&first]);
    assert!(
        again.stdout.contains("Nothing to change"),
        "{}",
        again.stdout
    );
    reaches(&lab, "node3");
}

/// A daemon that asks for certificates of the right CA by its name, and means another one: only
/// a client's own certificate shows it, and that is shown before the change is kept.
#[test]
fn a_daemon_that_rejects_the_clients_of_the_inventory_is_undone() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_client_env: [profile, context]");
    lab.deploy(&[&inventory]);
    // The other CA is in its place for every daemon that has another certificate than now.
    lab.exec(
        "node3",
        r#"cd /root && cp /etc/docker/tls/cert.pem served.pem
subject=$(openssl x509 -in /etc/docker/tls/ca.pem -noout -subject -nameopt compat)
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -out other.pem -days 9 \
    -subj "${subject#subject=}" -utf8 2>/dev/null
mv /usr/sbin/dockerd /usr/sbin/dockerd.real
cat >/usr/sbin/dockerd <<'END'
#!/bin/bash
if [ "${1-}" = --validate ] || cmp -s /root/served.pem /etc/docker/tls/cert.pem; then
    exec -a /usr/sbin/dockerd /usr/sbin/dockerd.real "$@"
fi
exec unshare --mount bash -c 'mount --bind /root/other.pem /etc/docker/tls/ca.pem && exec -a /usr/sbin/dockerd /usr/sbin/dockerd.real "$@"' - "$@"
END
chmod 755 /usr/sbin/dockerd"#,
    );
    fails(
        &lab,
        &["rotate", &inventory, "--force"],
        4,
        &["does not accept the certificate of client node1"],
    );
    reaches(&lab, "node3");
    // No client gets a certificate: one is issued for nothing else.
    fails(
        &lab,
        &[
            &inventory,
            "-e",
            "{dtls_extra_sans: ['DNS:more.example.com']}",
        ],
        4,
        &["does not accept the certificate of a client of this CA"],
    );
    reaches(&lab, "node3");
    let served = "cmp /root/served.pem /etc/docker/tls/cert.pem";
    lab.exec("node3", served);
}

#[test]
fn a_daemon_does_not_move_away_from_clients_that_stay() {
    let lab = Lab::with_two_daemons();
    lab.deploy(&[&inventory(&lab, "", "")]);
    let before = files(&lab);
    let cut_off = "the change would cut off node1";

    let moved = inventory(&lab, PORT, "");
    let listens = format!(
        "{cut_off} (not part of this run): docker would not listen on tcp://10.0.0.12:2376 any more"
    );
    fails(&lab, &[&moved, "--limit", "node3"], 4, &[&listens]);
    reaches(&lab, "node3");

    let named = ", dtls_listen: ['tcp://node3:2376'], dtls_sans: [node3]";
    let named = inventory(&lab, named, "");
    let said = format!(
        "{cut_off} (not part of this run): the certificate would not be valid for tcp://10.0.0.12:2376 any more"
    );
    fails(&lab, &[&named, "--limit", "node3"], 4, &[&said]);
    // A rotation keeps the names that clients use.
    lab.deploy(&["rotate", &named, "--daemons-only", "--force"]);
    reaches(&lab, "node3");

    let moved = inventory(&lab, PORT, "");
    lab.exec_as("node1", "ubuntu", "chmod 0777 ~/.docker");
    let refused = format!("{cut_off} (refused)");
    fails(&lab, &[&moved], 4, &[&refused]);
    lab.exec_as("node1", "ubuntu", "chmod 0700 ~/.docker");
    assert_eq!(files(&lab), before);
    reaches(&lab, "node3");

    // With its client, it moves.
    lab.deploy(&[&moved]);
    assert_eq!(endpoint(&lab, "node3"), "tcp://10.0.0.12:2377");
    reaches(&lab, "node3");
}

/// What the inventory no longer asks for does not stay behind with a valid key.
#[test]
fn contexts_that_are_dropped_are_removed() {
    let lab = Lab::with_two_daemons();
    let with = inventory(&lab, "", "");
    let text = std::fs::read_to_string(&with).unwrap();
    lab.deploy(&[&with]);
    let without = lab.file(
        "test.yaml",
        &text.replace("[profile, context]", "[profile]"),
    );
    lab.deploy(&[&without]);
    let left = "find ~/.docker -name meta.json -o -path '*/contexts/*' -type f";
    assert_eq!(lab.exec_as("node1", "ubuntu", left), "");
    lab.exec_as("node1", "ubuntu", "timeout 20 bash -lc 'docker version'");

    // A rollover that finds them does not leave them with a CA that has retired.
    let with = lab.file("test.yaml", &text);
    lab.deploy(&[&with]);
    let without = lab.file(
        "test.yaml",
        &text.replace("[profile, context]", "[profile]"),
    );
    let run = lab.run(&["rotate", "--ca", &without, "--yes"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert_eq!(lab.exec_as("node1", "ubuntu", left), "");
    lab.exec_as("node1", "ubuntu", "timeout 20 bash -lc 'docker version'");
}

/// Another CA's daemon, set up by hand, and its client: a takeover that is undone leaves the
/// client what it had.
#[test]
fn a_takeover_that_is_undone_leaves_the_client_its_files() {
    let lab = Lab::fresh();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    let issue = |name: &str, extension: &str| {
        format!(
            "openssl req {key} -subj /CN={name} -keyout {name}-key.pem -out csr 2>/dev/null &&
            printf '{extension}\\n' >ext && openssl x509 -req -in csr -CA ca.pem -CAkey ca.key \
                -CAcreateserial -days 9 -extfile ext -out {name}.pem 2>/dev/null"
        )
    };
    lab.exec(
        "node3",
        &format!(
            "mkdir -p /srv/by-hand && cd /srv/by-hand &&
            openssl req -x509 {key} -days 9 -subj '/CN=by hand' -keyout ca.key -out ca.pem 2>/dev/null &&
            {} && {} && mkdir -p /etc/systemd/system/docker.service.d &&
            printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/dockerd --tlsverify --tlscacert=/srv/by-hand/ca.pem --tlscert=/srv/by-hand/node3.pem --tlskey=/srv/by-hand/node3-key.pem -H fd:// -H tcp://0.0.0.0:2376\\n' >/etc/systemd/system/docker.service.d/10-tls.conf &&
            systemctl daemon-reload && systemctl restart docker",
            issue("node3", "subjectAltName=DNS:node3,IP:10.0.0.12"),
            issue("client", "extendedKeyUsage=clientAuth"),
        ),
    );
    lab.exec_as("node1", "ubuntu", "mkdir -m 700 ~/.docker");
    for (from, to) in [
        ("ca.pem", "ca.pem"),
        ("client.pem", "cert.pem"),
        ("client-key.pem", "key.pem"),
    ] {
        let text = lab.exec("node3", &format!("cat /srv/by-hand/{from}"));
        let write = format!("cat >~/.docker/{to} <<'END'\n{text}\nEND");
        lab.exec_as("node1", "ubuntu", &write);
    }
    let by_hand = "timeout 20 docker --tlsverify -H tcp://10.0.0.12:2376 version";
    lab.exec_as("node1", "ubuntu", by_hand);
    let state = "sha256sum ~/.docker/*.pem ~/.profile";
    let before = lab.exec_as("node1", "ubuntu", state);

    let inventory = lab.inventory("");
    lab.guard("node3", "2376");
    let takeover = [&inventory, "--new-ca", "-e", "dtls_take_over=true"];
    fails(&lab, &takeover, 4, &["node1: kept as it is"]);
    assert_eq!(lab.exec_as("node1", "ubuntu", state), before);
    lab.exec_as("node1", "ubuntu", by_hand);
    lab.unguard("node3");
    lab.deploy(&takeover);
    lab.exec_as(
        "node1",
        "ubuntu",
        "timeout 20 docker --context node3 version",
    );
}
