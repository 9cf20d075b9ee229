//! `dtls_identities`: two people on one client, each with a certificate that
//! works for that account and is readable for no one else.

use serde_json::Value;

use crate::lab::{Lab, openssl};

const TWO: &str = "dtls_identities:
  alice: {owner: alice, context: true}
  ci: {dir: /srv/ci/docker, owner: ci, validity_days: 30}";

const DIRECTORIES: [(&str, &str); 3] = [
    ("ubuntu", "/home/ubuntu/.docker"),
    ("alice", "/home/alice/.docker"),
    ("ci", "/srv/ci/docker"),
];

/// Asks the daemon for its version with the real CLI.
fn version(lab: &Lab, user: &str, directory: &str) -> (bool, String) {
    let command = format!(
        "DOCKER_CERT_PATH={directory} DOCKER_TLS_VERIFY=1 DOCKER_HOST=tcp://node3:2376 docker version --format '{{{{.Server.Version}}}}'"
    );
    lab.try_exec_as("node1", user, &command)
}

fn keys(lab: &Lab) -> Vec<String> {
    let all = DIRECTORIES.map(|(_, directory)| format!("{directory}/key.pem"));
    let sums = lab.exec("node1", &format!("sha256sum {}", all.join(" ")));
    let sums = sums
        .lines()
        .map(|line| line.split(' ').next().unwrap().to_owned());
    sums.collect()
}

fn rows(lab: &Lab, inventory: &str) -> Vec<Value> {
    let run = lab.run(&["status", inventory, "--output", "json"]);
    let events = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter(|event| event["event"] == "certificate" && event["role"] == "client")
        .collect()
}

fn row<'a>(rows: &'a [Value], identity: &str, source: &str) -> &'a Value {
    let found = rows
        .iter()
        .find(|row| row["identity"] == identity && row["source"] == source);
    found.unwrap_or_else(|| panic!("{identity} {source}: {rows:?}"))
}

#[test]
fn people_on_one_client_have_certificates_of_their_own() {
    let lab = Lab::fresh();
    let inventory = lab.inventory(TWO);
    // No one is made, and nothing is written where it would be someone else's.
    lab.exec("node1", "useradd -m alice; useradd -m eve");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("there is no account ci on node1"),
        "{}",
        run.stdout
    );
    lab.exec("node1", "useradd -m ci; install -d -m 0750 -o ci /srv/ci");

    let run = lab.deploy(&[&inventory]);
    for (user, directory) in DIRECTORIES {
        let (works, said) = version(&lab, user, directory);
        assert!(works && said.starts_with("20."), "{user}: {said}");
        let found = lab.exec(
            "node1",
            &format!("cd {directory}; stat -c '%n %U %a' . ca.pem cert.pem key.pem"),
        );
        assert_eq!(
            found,
            format!(". {user} 700\nca.pem {user} 444\ncert.pem {user} 444\nkey.pem {user} 400"),
            "{directory}"
        );
    }
    let readers = lab.exec(
        "node1",
        "for user in eve alice ci; do for key in /home/ubuntu/.docker /home/alice/.docker /srv/ci/docker; do setpriv --reuid $user --regid $user --init-groups cat $key/key.pem >/dev/null 2>&1 && echo $user $key; done; done; true",
    );
    assert_eq!(readers, "alice /home/alice/.docker\nci /srv/ci/docker");
    let (works, said) = lab.try_exec_as("node1", "alice", "docker --context node3 version");
    assert!(works, "{said}");
    assert!(run.stdout.contains("from 3 clients"), "{}", run.stdout);
    let certificate = lab.exec("node1", "cat /srv/ci/docker/cert.pem");
    assert_eq!(
        openssl(&["x509", "-noout", "-subject"], &certificate).trim(),
        "subject=CN = ci@node1"
    );
    // No key stays on the CA node once it is delivered and proved.
    assert_eq!(
        lab.exec("node2", "find /etc/dtls-deploy/ca -name '*client*'"),
        ""
    );

    // What is as it should be is left unchanged, and listed.
    let again = lab.deploy(&[&inventory, "--check", "--exit-code"]);
    assert!(
        again.stdout.contains("Nothing to change."),
        "{}",
        again.stdout
    );
    let found = rows(&lab, &inventory);
    for (identity, days, holder) in [("alice", 364, "alice on node1"), ("ci", 29, "ci on node1")] {
        let row = row(&found, identity, "disk");
        assert_eq!(row["state"], "fine", "{row}");
        assert_eq!(row["host"], "node1", "{row}");
        assert_eq!(row["holder"], holder, "{row}");
        assert_eq!(row["certificate"]["days_left"], days, "{row}");
    }

    // New keys for all, and no restart.
    let (before, daemon) = (keys(&lab), lab.exec("node3", INVOCATION));
    lab.deploy(&["rotate", &inventory, "--force", "--clients-only"]);
    let after = keys(&lab);
    assert!(
        before.iter().zip(&after).all(|(old, new)| old != new),
        "{before:?} {after:?}"
    );
    assert_eq!(
        lab.exec("node3", INVOCATION),
        daemon,
        "docker was restarted"
    );
    let (works, said) = lab.try_exec_as("node1", "alice", "docker --context node3 version");
    assert!(works, "{said}");

    // One is removed, the other is not declared any more.
    let inventory =
        lab.inventory("dtls_identities:\n  alice: {owner: alice, context: true, absent: true}");
    let run = lab.deploy(&[&inventory]);
    let said = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("ci@node1 is not in dtls_identities any more"),
        "{said}"
    );
    assert_eq!(
        lab.exec("node1", "ls -A /home/alice | grep docker; true"),
        ""
    );
    assert!(version(&lab, "ci", "/srv/ci/docker").0);
    let found = rows(&lab, &inventory);
    for identity in ["alice", "ci"] {
        assert_eq!(row(&found, identity, "ledger")["state"], "unlisted");
    }
}

const INVOCATION: &str = "systemctl show docker.service -p InvocationID --value";
