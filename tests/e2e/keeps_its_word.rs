//! Recovery brings back nothing that was taken out of service, unless it is asked for by name.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::interrupt::{Running, slow_restart};
use crate::lab::{Lab, Run};
use crate::recovery::{CLIENT_FILES, DAEMON_FILES, serial};
use crate::revoke::{inventory, is_let_in, said};

const CA: &str = "/etc/dtls-deploy/ca";
/// As the inventory of [`inventory`] names its first CA.
const FIRST: &str = "CN=test CA 1";

/// Refused before anything is touched.
fn refused(lab: &Lab, arguments: &[&str], texts: &[&str]) -> Run {
    let before = state(lab);
    let run = lab.run(arguments);
    assert_eq!(run.code, 4, "{arguments:?}: {}", said(&run));
    for text in texts {
        assert!(said(&run).contains(text), "{text}: {}", said(&run));
    }
    assert_eq!(state(lab), before, "{arguments:?}: {}", said(&run));
    run
}

/// What the daemon runs with, and what lies in the CA directory.
fn state(lab: &Lab) -> (String, String, String) {
    let files = "sha256sum /etc/docker/tls/* /etc/docker/daemon.json";
    (
        lab.invocation(),
        lab.exec("node3", files),
        lab.exec("node2", &format!("ls -A {CA} 2>/dev/null; true")),
    )
}

struct Backup {
    file: String,
    pass: String,
}

impl Backup {
    fn take(lab: &Lab, inventory: &str) -> Self {
        let backup = Self {
            file: lab.file("x", "").replace("/x", "/ca.backup"),
            pass: lab.secret("backup-pass", "a passphrase of its own\n"),
        };
        let arguments = [
            "ca",
            "backup",
            inventory,
            "--to",
            &backup.file,
            "--backup-passphrase-file",
            &backup.pass,
        ];
        lab.deploy(&arguments);
        backup
    }

    fn restore<'a>(&'a self, inventory: &'a str) -> [&'a str; 7] {
        [
            "ca",
            "restore",
            inventory,
            "--from",
            &self.file,
            "--backup-passphrase-file",
            &self.pass,
        ]
    }
}

/// A laptop is revoked. Neither `rollback` nor a backup from before lets it in again.
#[test]
fn what_was_revoked_comes_back_only_by_name() {
    let lab = Lab::fresh();
    lab.deploy(&[&inventory(&lab, "test.yaml", true)]);
    let one = inventory(&lab, "test.yaml", false);
    let backup = Backup::take(&lab, &one);
    lab.deploy(&["revoke", &one, "node2", "--yes"]);
    assert!(!is_let_in(&lab));

    let texts = [
        "trust CN=test CA 1 again",
        "REVOKED, the client certificate of node2",
        "--readmit-ca 'CN=test CA 1'",
    ];
    let back = ["rollback", &one, "--limit", "node3"];
    refused(&lab, &back, &texts);
    refused(&lab, &[&back[..], &["--check"]].concat(), &texts);
    let another = ["--readmit-ca", "CN=test CA"];
    refused(&lab, &[&back[..], &another].concat(), &texts);
    assert!(!is_let_in(&lab));

    // The CA node is replaced, and the backup is older than the revocation.
    lab.exec("node2", &format!("rm -r {CA}"));
    let newer = [
        "trusts CN=test CA 2",
        "on node",
        "--readmit-ca 'CN=test CA 1'",
    ];
    refused(&lab, &backup.restore(&one), &newer);
    let checked = [&backup.restore(&one)[..], &["--check"]].concat();
    refused(&lab, &checked, &newer);
    let newer = [newer[0], newer[2]];
    let named = ["--readmit-ca", FIRST];
    let run = lab.deploy(&[&backup.restore(&one)[..], &named].concat());
    assert!(
        said(&run).contains("what was issued or revoked after"),
        "{}",
        said(&run)
    );
    // Nor does a deployment from it, and doctor does not say that one would.
    refused(&lab, &[&one], &newer);
    refused(&lab, &[&one, "--check"], &newer);
    let doctor = lab.run(&["doctor", &one]);
    assert!(
        doctor.code == 6 && said(&doctor).contains(newer[0]),
        "{}",
        said(&doctor)
    );
    let promised = said(&doctor)
        .lines()
        .filter(|line| line.contains("node3") && line.contains("the next deploy"))
        .count();
    assert_eq!(promised, 0, "{}", said(&doctor));
    assert!(!is_let_in(&lab));

    // By name it does, as someone may have no newer backup.
    let run = lab.deploy(&[&[one.as_str()][..], &named].concat());
    assert!(
        said(&run).contains("is trusted again in place of the newer CN=test CA 2"),
        "{}",
        said(&run)
    );
    assert!(is_let_in(&lab));
}

/// A CA node replaced by an empty machine: a new CA would cut off clients that are not reached.
#[test]
fn a_lost_ca_is_not_replaced_without_a_word() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    // Nothing is lost yet: a first deployment asks nothing.
    lab.deploy(&[&inventory]);
    let backup = Backup::take(&lab, &inventory);
    lab.control(&["reset", "node2"]);
    let texts = [
        "node1, node3 hold the certificate of CN=test CA 1",
        "dtls-deploy ca restore",
        "--new-ca",
    ];
    refused(&lab, &[&inventory], &texts);
    refused(&lab, &[&inventory, "--check"], &texts);
    refused(&lab, &[&inventory, "--limit", "node1"], &["--new-ca"]);
    for command in [
        &["rotate", "--ca", &inventory, "--yes"][..],
        &["revoke", &inventory, "node1", "--yes"],
    ] {
        let run = lab.run(command);
        assert_eq!(run.code, 4, "{command:?}: {}", said(&run));
        assert!(said(&run).contains("ca restore"), "{}", said(&run));
    }
    // A client that is installed again has no trace of the CA: the daemon outside the limit has.
    lab.exec("node1", "mv /home/ubuntu/.docker /root/away");
    let of_daemon = ["node3 holds the certificate of CN=test CA 1"];
    refused(&lab, &[&inventory, "--limit", "node1"], &of_daemon);
    lab.exec("node1", "mv /root/away /home/ubuntu/.docker");
    // Inventories cannot ask for it.
    refused(&lab, &[&inventory, "-e", "new_ca=true"], &texts);
    lab.deploy(&backup.restore(&inventory));
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);

    // The ledger alone says that there was one, no matter what answers.
    lab.exec("node2", &format!("rm {CA}/ca.pem {CA}/ca-key.pem"));
    let listed = ["its ledger lists 2 certificates"];
    refused(&lab, &[&inventory, "--check"], &listed);
    let run = lab.deploy(&[&inventory, "--new-ca"]);
    assert!(run.stdout.contains("the CA is new"), "{}", run.stdout);
}

/// Whatever the last run changed, `rollback` takes it back as the node knows it: the inventory
/// says something else by now.
#[test]
fn rollback_takes_back_what_the_inventory_does_not_say_any_more() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let all = |lab: &Lab| {
        (
            lab.exec("node3", DAEMON_FILES),
            lab.exec_as("node1", "ubuntu", CLIENT_FILES),
        )
    };
    let (files, before) = (all(&lab), serial(&lab));
    for variables in [
        "{dtls_listen: ['tcp://node3:2377']}",
        "{dtls_daemon_dir: /etc/docker/other}",
        "{dtls_daemon_files: {ca: one.pem, cert: two.pem, key: three.pem}}",
        "{dtls_config_style: flags, dtls_daemon_dir: /etc/docker/other}",
        // Two transactions of one run: live-restore is confirmed first.
        "{dtls_live_restore: true, dtls_extra_sans: [DNS:more.example]}",
        "{dtls_live_restore: true, dtls_listen: ['tcp://node3:2378'], dtls_daemon_dir: /etc/docker/third}",
    ] {
        lab.deploy(&[&inventory, "-e", variables]);
        assert_ne!(all(&lab), files, "{variables}");
        lab.deploy(&["rollback", &inventory, "-e", variables]);
        assert_eq!(all(&lab), files, "{variables}");
        assert_eq!(serial(&lab), before, "{variables}");
        let run = lab.deploy(&[&inventory]);
        assert!(
            run.stdout.contains("Nothing to change."),
            "{variables}: {}",
            run.stdout
        );
    }
}

const KEYS: &str = "find /etc/dtls-deploy/ca -name '*.pem' ! -name 'ca*' | sort";

/// The controller dies after a client has its files: the key leaves the CA node all the same.
#[test]
fn a_key_that_has_arrived_leaves_the_ca_node() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let mut child = lab
        .tool(&[&inventory, "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_placed = lines.any(|line| {
        let line = line.unwrap();
        line.contains(r#""event":"changed""#) && line.contains(".docker/key.pem")
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_placed);
    assert!(lab.exec("node2", KEYS).contains("node1"));
    let doctor = said(&lab.run(&["doctor", &inventory]));
    let left = "the key of the client certificate of node1 is still on the CA node";
    assert!(doctor.contains(left), "{doctor}");
    let status = lab.run(&["status", &inventory]);
    assert!(said(&status).contains(left), "{}", said(&status));
    lab.deploy(&[&inventory]);
    assert_eq!(lab.exec("node2", KEYS), "");

    // And when it dies with everything done but this: a run with nothing to change does it.
    let kept = lab.inventory("dtls_keep_issued_keys: true");
    lab.deploy(&[&kept, "-e", "{dtls_extra_sans: [DNS:more.example]}"]);
    lab.exec("node1", "rm /home/ubuntu/.docker/key.pem");
    lab.deploy(&[&kept, "-e", "{dtls_extra_sans: [DNS:more.example]}"]);
    let keys = lab.exec("node2", KEYS);
    assert!(keys.contains("node1") && keys.contains("node3"), "{keys}");
    let forget = format!("sed -i '/\"event\":\"delivered\"/d' {CA}/.ledger.jsonl");
    lab.exec("node2", &forget);
    let before = lab.invocation();
    let inventory = lab.inventory("dtls_extra_sans: [DNS:more.example]");
    let run = lab.deploy(&[&inventory, "--check"]);
    assert!(said(&run).contains(left), "{}", said(&run));
    assert_eq!(lab.exec("node2", KEYS), keys);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
    assert_eq!(lab.exec("node2", KEYS), "");
    assert_eq!(lab.invocation(), before);
    let run = lab.deploy(&[&inventory]);
    assert!(
        !said(&run).contains("still on the CA node"),
        "{}",
        said(&run)
    );
}

/// Someone restarts the daemon and touches daemon.json: one reload, and no more.
#[test]
fn live_restore_converges_whoever_restarted_the_daemon() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_live_restore: true");
    lab.deploy(&[&inventory]);
    lab.exec(
        "node3",
        "systemctl restart docker; sleep 2; touch /etc/docker/daemon.json",
    );
    let before = lab.invocation();
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("live-restore is not known to be on"),
        "{}",
        run.stdout
    );
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
    assert_eq!(lab.invocation(), before);
}

/// The history says how a rollover ended, not what one of its steps could not show yet.
#[test]
fn a_rollover_that_ends_well_is_fine_in_the_history() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    lab.deploy(&["rotate", "--ca", &inventory]);
    let newest = &lab.journals()[0];
    let record = run::journal::record::Record::read(newest);
    let ending = record.unwrap().unwrap().ending();
    assert_eq!(ending, run::journal::record::Ending::Fine);
}

/// The node is rebooted, in good order, while docker restarts with its new files: it comes up with
/// the old ones, and no one says that they could not be put back.
#[test]
fn an_orderly_reboot_in_the_middle_is_undone_and_said_so() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let (before, files) = (serial(&lab), lab.exec("node3", DAEMON_FILES));
    slow_restart(&lab, "node3");
    let more = ["-e", "{dtls_extra_sans: [DNS:more.example]}"];
    let mut run = Running::start(&lab, &[&[inventory.as_str(), "-v"][..], &more].concat());
    run.until("node3: restarting docker");
    lab.exec(
        "node3",
        "timeout 20 sh -c 'until [ -s /var/lib/dtls-deploy/pending ]; do sleep 0.05; done'",
    );
    lab.control(&["stop", "node3"]);
    let run = run.end();
    assert!([4, 5].contains(&run.code), "{}", said(&run));
    println!("{}", run.stdout);
    assert!(!said(&run).contains("NOT UNDONE"), "{}", said(&run));
    // Its last words may be lost with the connection.
    let is_known = !said(&run).contains("OUTCOME UNKNOWN");
    assert_eq!(
        run.stdout.contains("away=STILL"),
        is_known,
        "{}",
        run.stdout
    );
    lab.control(&["start", "node3"]);
    let booted = "until systemctl is-active docker.service >/dev/null; do sleep 0.2; done";
    lab.exec("node3", &format!("timeout 60 sh -c '{booted}'"));
    assert_eq!(lab.exec("node3", DAEMON_FILES), files);
    assert_eq!(serial(&lab), before);
    lab.deploy(&[&[inventory.as_str()][..], &more].concat());
    assert_ne!(serial(&lab), before);
}

/// Other names leave nothing behind, whether a deployment or `remove` meets them first.
#[test]
fn other_names_leave_nothing_behind() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let untouched = lab.exec("node3", DAEMON_FILES);
    lab.deploy(&[&inventory]);
    let listed = "ls /etc/systemd/system/docker.service.d; find /etc/docker -name '*.pem' | sort";
    for (name, directory) in [
        ("40-other.conf", "/etc/docker/other"),
        ("70-third.conf", "/etc/docker/third"),
        ("30-fourth.conf", "/etc/docker/third"),
    ] {
        let variables = format!("{{dtls_dropin: {name}, dtls_daemon_dir: {directory}}}");
        lab.deploy(&[&inventory, "-e", &variables]);
        assert_eq!(
            lab.exec("node3", listed),
            format!("{name}\n{directory}/ca.pem\n{directory}/cert.pem\n{directory}/key.pem")
        );
        let run = lab.deploy(&[&inventory, "-e", &variables]);
        assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
    }
    // The inventory says something else again, and no one has deployed it.
    lab.deploy(&["remove", &inventory]);
    assert_eq!(lab.exec("node3", DAEMON_FILES), untouched);
    assert_eq!(lab.exec("node3", "ss -Hltn 'sport = :2376'"), "");
}
