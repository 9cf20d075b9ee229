//! `revoke`: a lost laptop is rejected, and the output does not claim that a mark does it.

use serde_json::Value;

use crate::lab::{Lab, Run};

/// node2 is the CA's node and, as long as it is a client, the laptop.
pub fn inventory(lab: &Lab, name: &str, laptop: bool) -> String {
    let text = std::fs::read_to_string(lab.inventory("")).unwrap();
    let clients = if laptop { "        node2: {}\n" } else { "" };
    lab.file(name, &(text + clients))
}

pub fn said(run: &Run) -> String {
    format!("{}{}", run.stdout, run.stderr)
}

/// Whether the laptop gets in, with the files that it has always had.
pub fn is_let_in(lab: &Lab) -> bool {
    // It has not heard of the new CA, and does not care.
    let command =
        "cd ~/.docker; curl -sSk --cert cert.pem --key key.pem https://10.0.0.12:2376/_ping 2>&1";
    let (_, answer) = lab.try_exec_as("node2", "ubuntu", command);
    let is_in = answer.trim() == "OK";
    // With TLS 1.3 the refusal can come after the request was begun: then it is
    // a connection that was cut off. A daemon that is down would be a (7).
    let refused = ["alert", "curl: (55)", "curl: (56)"];
    let is_refused = refused.iter().any(|text| answer.contains(text));
    assert!(is_in || is_refused, "{answer}");
    is_in
}

/// The rows of `status` about what is revoked, and its exit code.
fn revoked(lab: &Lab, inventory: &str) -> (i32, Vec<Value>) {
    let metrics = lab.file("revoked.prom", "");
    let run = lab.run(&[
        "status",
        inventory,
        "--output",
        "json",
        "--prometheus",
        &metrics,
    ]);
    let rows: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|row: &Value| row["event"] == "certificate" && row["state"] == "revoked")
        .collect();
    let metrics = std::fs::read_to_string(metrics).unwrap();
    let marked = metrics.lines().filter(|line| {
        line.starts_with("dtls_deploy_certificate_revoked{") && line.ends_with(" 1")
    });
    assert_eq!(marked.count(), rows.len(), "{metrics}");
    (run.code, rows)
}

/// No one to ask, a name that no one knows, a wrong passphrase, a look: nothing is
/// changed. Gives the daemon's start.
fn shown_and_not_done(lab: &Lab, one: &str) -> String {
    let ledger = "sha256sum /etc/dtls-deploy/ca/.ledger.jsonl";
    let (before, started) = (lab.exec("node2", ledger), lab.invocation());

    let run = lab.run(&["revoke", one, "node2"]);
    assert!(
        run.code == 2 && run.stderr.contains("--yes agrees to it"),
        "{}",
        said(&run)
    );
    let run = lab.run(&["revoke", one, "node22", "--yes"]);
    assert!(
        run.code == 2 && run.stderr.contains("did you mean node2?"),
        "{}",
        said(&run)
    );
    let wrong = lab.secret("wrong", "another one\n");
    let file = ["--ca-passphrase-file", &wrong];
    let run = lab.run(&[&["revoke", one, "node2", "--yes"][..], &file].concat());
    assert_eq!(run.code, 4, "{}", said(&run));
    assert!(
        run.stderr.contains("does not open the key") && run.stderr.contains("nothing was changed"),
        "{}",
        said(&run)
    );
    let run = lab.run(&["revoke", one, "node2", "--check", "--exit-code"]);
    assert_eq!(run.code, 3, "{}", said(&run));
    for text in [
        "dockerd has no list of revoked certificates",
        "certificates of node2 marked as revoked",
        "a new certificate; restarted twice",
        "replaced; nothing is restarted",
    ] {
        assert!(run.stdout.contains(text), "{text}: {}", said(&run));
    }
    println!("{}", run.stdout);
    assert_eq!(
        (lab.exec("node2", ledger), lab.invocation()),
        (before, started.clone())
    );
    started
}

#[test]
fn a_lost_laptop_is_kept_out_once_the_ca_is_replaced() {
    let lab = Lab::fresh();
    lab.deploy(&[&inventory(&lab, "two.yaml", true)]);
    let one = inventory(&lab, "one.yaml", false);
    let started = shown_and_not_done(&lab, &one);

    // A mark alone rejects no one, and says so.
    let run = lab.deploy(&[
        "revoke",
        &one,
        "node2",
        "--mark-only",
        "--yes",
        "--reason",
        "left in a train",
    ]);
    assert!(
        run.stdout
            .contains("daemons accept it until each of them has dropped"),
        "{}",
        said(&run)
    );
    assert!(is_let_in(&lab));
    let (code, rows) = revoked(&lab, &one);
    assert_eq!((code, rows.len()), (6, 1), "{rows:?}");
    let drift = rows[0]["drift"].to_string();
    assert!(
        drift.contains("left in a train") && drift.contains("STILL ACCEPTED by node3, which"),
        "{drift}"
    );
    let run = lab.deploy(&["rotate", &one]);
    assert!(
        run.stdout.contains("REVOKED, AND STILL ACCEPTED"),
        "{}",
        said(&run)
    );
    assert_eq!(lab.invocation(), started);

    // The rollover does, and does not wait for it.
    lab.exec("node3", "tar -cf /root/tls.tar -C /etc/docker tls");
    let run = lab.deploy(&["revoke", &one, "node2", "--yes"]);
    println!("{}", run.stdout);
    assert!(
        run.stdout
            .contains("revoked certificates are rejected: the client certificate of node2"),
        "{}",
        said(&run)
    );
    let line = run.stdout.lines().rfind(|line| line.starts_with("node3"));
    assert!(
        line.is_some_and(|line| line.contains("restarts=2 away=")),
        "{}",
        said(&run)
    );
    assert!(!is_let_in(&lab));
    assert_eq!(revoked(&lab, &one), (0, Vec::new()));

    // A daemon that went back to its old disk lets it in again: found, and fixed.
    lab.exec(
        "node3",
        "tar -xf /root/tls.tar -C /etc/docker && systemctl restart docker",
    );
    assert!(is_let_in(&lab));
    let (code, rows) = revoked(&lab, &one);
    assert_eq!(code, 6);
    assert!(
        rows[0]["drift"]
            .to_string()
            .contains("ACCEPTED by node3, which"),
        "{rows:?}"
    );
    let run = lab.deploy(&[&one]);
    assert!(
        run.stdout.contains("issued by another CA"),
        "{}",
        said(&run)
    );
    assert!(!is_let_in(&lab));
    assert_eq!(revoked(&lab, &one), (0, Vec::new()));
    let run = lab.deploy(&["revoke", &one, "node2", "--yes"]);
    assert!(
        run.stdout.contains("has been replaced already"),
        "{}",
        said(&run)
    );
}

/// The CA is not replaced while a daemon is not deployed: what would help no one is not begun.
#[test]
fn a_daemon_that_is_not_deployed_is_named_before_anything_is_marked() {
    let lab = Lab::with_two_daemons();
    let both = inventory(&lab, "test.yaml", true);
    lab.deploy(&[&both, "--limit", "node3:node1:node2"]);
    let gone = inventory(&lab, "gone.yaml", false);
    let run = lab.run(&["revoke", &gone, "node2", "--yes"]);
    assert_eq!(run.code, 4, "{}", said(&run));
    let named = "because node4 is not deployed yet; nothing was changed";
    assert!(said(&run).contains(named), "{}", said(&run));
    assert_eq!(revoked(&lab, &gone).1.len(), 0);
    assert!(is_let_in(&lab));

    let text = std::fs::read_to_string(&gone).unwrap();
    let without = text.replace("        node4:\n          ansible_host: 10.0.0.13\n", "");
    assert_ne!(text, without);
    lab.deploy(&["revoke", &lab.file("gone.yaml", &without), "node2", "--yes"]);
    assert!(!is_let_in(&lab));
}
