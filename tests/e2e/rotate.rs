//! `rotate`: only hosts that are due get a new certificate with a new key
//! notices.

use crate::lab::{Lab, openssl};

/// Leaves of thirty days, of which the last sixty are the time to renew them.
const SHORT: &str = "dtls_validity_days: 30";
const DUE: &str = "dtls_validity_days: 365\ndtls_renew_before: 60";

const NODES: [&str; 3] = ["node1", "node3", "node4"];

fn files(node: &str) -> (&'static str, &'static str) {
    match node {
        "node1" => (
            "/home/ubuntu/.docker/cert.pem",
            "/home/ubuntu/.docker/key.pem",
        ),
        _ => ("/etc/docker/tls/cert.pem", "/etc/docker/tls/key.pem"),
    }
}

/// What a node has and runs: certificate, key, daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    certificate: String,
    key: String,
    public_key: String,
    daemon: String,
}

fn seen(lab: &Lab, node: &str) -> Seen {
    let (certificate, key) = files(node);
    let text = lab.exec(node, &format!("cat {certificate}"));
    let show = "systemctl show docker.service -p InvocationID --value";
    Seen {
        public_key: openssl(&["x509", "-noout", "-pubkey"], &text),
        key: lab.exec(node, &format!("sha256sum <{key}")),
        certificate: text,
        daemon: lab.exec(node, show),
    }
}

fn all(lab: &Lab) -> Vec<Seen> {
    NODES.iter().map(|node| seen(lab, node)).collect()
}

/// Another certificate with another key.
fn is_renewed(before: &Seen, after: &Seen) -> bool {
    let new = [
        before.certificate != after.certificate,
        before.key != after.key,
        before.public_key != after.public_key,
    ];
    assert!(new == [true; 3] || new == [false; 3], "{new:?}");
    new[0]
}

/// Who was renewed, and whose daemon was restarted.
fn differences(before: &[Seen], after: &[Seen]) -> (Vec<&'static str>, Vec<&'static str>) {
    let pairs = || NODES.iter().zip(before.iter().zip(after));
    let renewed = pairs().filter(|(_, (before, after))| is_renewed(before, after));
    let restarted = pairs().filter(|(_, (before, after))| before.daemon != after.daemon);
    (
        renewed.map(|(node, _)| *node).collect(),
        restarted.map(|(node, _)| *node).collect(),
    )
}

/// The contexts have the client's own files.
fn contexts_follow(lab: &Lab) {
    for name in ["cert.pem", "key.pem"] {
        let command = format!(
            "cd ~/.docker && for copy in contexts/tls/*/docker/{name}; do cmp \"$copy\" {name} || exit 1; done"
        );
        lab.exec_as("node1", "ubuntu", &command);
    }
    for daemon in ["node3", "node4"] {
        let command = format!("docker --context {daemon} version");
        lab.exec_as("node1", "ubuntu", &command);
    }
}

#[test]
fn what_is_due_is_renewed_and_nothing_else() {
    let lab = Lab::with_two_daemons();
    lab.deploy(&[&lab.inventory(SHORT)]);
    let mut before = all(&lab);
    let mut step = |arguments: &[&str], renewed: &[&str], restarted: &[&str]| {
        let run = lab.deploy(arguments);
        let after = all(&lab);
        let (found, again) = differences(&before, &after);
        assert_eq!(
            (found.as_slice(), again.as_slice()),
            (renewed, restarted),
            "{arguments:?}"
        );
        contexts_follow(&lab);
        before = after;
        run
    };

    // Nothing is due: nothing changes.
    let inventory = lab.inventory(SHORT);
    let run = step(&["rotate", &inventory], &[], &[]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
    assert!(!run.stdout.contains("warning"), "{}", run.stdout);

    // --check tells, and does nothing.
    let inventory = lab.inventory(DUE);
    let run = lab.run(&["rotate", &inventory, "--check", "--exit-code"]);
    assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);

    // A client's renewal restarts nothing.
    step(&["rotate", &inventory, "--clients-only"], &["node1"], &[]);
    // A daemon's restarts that daemon alone.
    step(
        &["rotate", &inventory, "--limit", "node4,node1"],
        &["node4"],
        &["node4"],
    );
    step(
        &["rotate", &inventory, "--daemons-only"],
        &["node3"],
        &["node3"],
    );
    // All are fresh now.
    step(&["rotate", &inventory], &[], &[]);
    // --force renews what is not due, each with a new key.
    step(
        &["rotate", &inventory, "--force", "--limit", "node3,node1"],
        &["node1", "node3"],
        &["node3"],
    );

    // A new name is deploy's.
    let more = lab.inventory(&format!("{DUE}\ndtls_extra_sans: ['DNS:more.example.com']"));
    let run = step(&["rotate", &more], &[], &[]);
    assert!(run.stdout.contains("which deploy makes"), "{}", run.stdout);
}

#[test]
fn daemons_wait_for_their_window_and_clients_do_not() {
    let lab = Lab::fresh();
    lab.deploy(&[&lab.inventory(SHORT)]);
    let before = [seen(&lab, "node1"), seen(&lab, "node3")];
    // It opens in some days and is closed now, whatever the time of the test.
    let day = lab.exec("node3", "LC_ALL=C date -u -d '3 days' +%a");
    let closed = format!("{DUE}\ndtls_maintenance_window: {day} 11:00-11:01 UTC");
    let inventory = lab.inventory(&closed);
    let run = lab.deploy(&["rotate", &inventory]);
    assert!(
        run.stdout.contains("waits for the maintenance window"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("which opens on 2"), "{}", run.stdout);
    let after = [seen(&lab, "node1"), seen(&lab, "node3")];
    assert!(is_renewed(&before[0], &after[0]));
    assert_eq!(before[1], after[1]);

    let today = lab.exec("node3", "LC_ALL=C date -u +%a");
    let tomorrow = lab.exec("node3", "LC_ALL=C date -u -d tomorrow +%a");
    let open = lab.inventory(&format!(
        "{DUE}\ndtls_maintenance_window: \"{today},{tomorrow} 00:00-24:00 UTC\""
    ));
    let run = lab.deploy(&["rotate", &open]);
    assert!(!run.stdout.contains("window"), "{}", run.stdout);
    let renewed = seen(&lab, "node3");
    assert!(is_renewed(&after[1], &renewed));

    let inventory = lab.inventory(&closed);
    let run = lab.deploy(&["rotate", &inventory, "--force", "--daemons-only"]);
    assert!(
        run.stdout.contains("outside of its maintenance window"),
        "{}",
        run.stdout
    );
    assert!(is_renewed(&renewed, &seen(&lab, "node3")));
}

#[test]
fn kept_keys_are_not_handed_out_again() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_keep_issued_keys: true");
    lab.deploy(&[&inventory]);
    let before = [seen(&lab, "node1"), seen(&lab, "node3")];
    lab.deploy(&["rotate", &inventory, "--force"]);
    assert!(is_renewed(&before[0], &seen(&lab, "node1")));
    assert!(is_renewed(&before[1], &seen(&lab, "node3")));
}

/// A leaked key is to be replaced: the user who asked for it once need not ask again.
#[test]
fn a_forced_rotation_that_dies_is_completed_by_the_next() {
    use std::io::{BufRead as _, BufReader};
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let key = "sha256sum /etc/docker/tls/key.pem";
    let before = lab.exec("node3", key);
    let mut child = lab
        .tool(&["rotate", &inventory, "--force", "--output", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_restarted = lines.any(|line| line.unwrap().contains(r#""phase":"restart""#));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_restarted);

    let run = lab.deploy(&["rotate", &inventory]);
    let said = "its replacement was issued and has not arrived";
    assert!(run.stdout.contains(said), "{}", run.stdout);
    assert_ne!(lab.exec("node3", key), before);
    let run = lab.deploy(&["rotate", &inventory]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
}

/// As much where it dies before it issues anything.
#[test]
fn a_forced_rotation_that_issues_nothing_is_completed_by_the_next() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let before = [seen(&lab, "node1"), seen(&lab, "node3")];
    // The CA's key does not open.
    let wrong = lab.secret("wrong", "not this one at all\n");
    let forced = ["rotate", &inventory, "--force", "--yes"];
    let run = lab.run(&[&forced[..], &["--ca-passphrase-file", &wrong]].concat());
    assert_ne!(run.code, 0, "{}", run.stdout);
    let said = "the next deploy or rotate renews it";
    assert!(run.stderr.contains(said), "{}{}", run.stdout, run.stderr);
    assert_eq!(before, [seen(&lab, "node1"), seen(&lab, "node3")]);

    let run = lab.deploy(&["rotate", &inventory]);
    assert!(
        run.stdout.contains("asked for with --force on"),
        "{}",
        run.stdout
    );
    assert!(is_renewed(&before[0], &seen(&lab, "node1")));
    assert!(is_renewed(&before[1], &seen(&lab, "node3")));
    let run = lab.deploy(&["rotate", &inventory]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
    lab.deploy(&[&forced[..]].concat());
    let run = lab.deploy(&["rotate", &inventory]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
}

#[test]
fn a_forced_renewal_that_was_undone_is_made_by_the_next_run() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let before = seen(&lab, "node3");
    // Docker starts with this certificate alone.
    lab.exec(
        "node3",
        "cp /etc/docker/tls/cert.pem /root/only.pem &&
        printf '[Service]\\nExecStartPre=/usr/bin/cmp /etc/docker/tls/cert.pem /root/only.pem\\n' >/etc/systemd/system/docker.service.d/10-guard.conf &&
        systemctl daemon-reload",
    );
    let run = lab.run(&["rotate", &inventory, "--force", "--daemons-only"]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert_eq!(seen(&lab, "node3").certificate, before.certificate);
    lab.unguard("node3");
    lab.deploy(&["rotate", &inventory]);
    assert!(is_renewed(&before, &seen(&lab, "node3")));
    let again = lab.deploy(&["rotate", &inventory]);
    assert!(
        again.stdout.contains("Nothing to change"),
        "{}",
        again.stdout
    );
}

/// What Ansible's inventories have: privilege for all hosts or for the CA alone, ssh arguments of
/// its own, hosts of other groups, and a vaulted value that nothing here needs.
#[test]
fn what_is_due_is_renewed_with_an_inventory_as_ansible_has_it() {
    let lab = Lab::fresh();
    for (all, ca) in [
        ("true", ""),
        ("yes", "ansible_become: true"),
        ("false", "ansible_become: yes"),
    ] {
        let inventory = |days: &str| {
            let text = format!(
                "all:
  vars:
    ansible_user: ubuntu
    ansible_become: {all}
    ansible_ssh_common_args: '-C -o ControlMaster=auto -o ControlPersist=60s'
    db_password: !vault |
      $ANSIBLE_VAULT;1.1;AES256
      61626364
    {days}
  children:
    web: {{hosts: {{www.example.com: }}}}
    ca: {{hosts: {{node2: {{{ca}}}}}}}
    daemons: {{hosts: {{node3: {{ansible_become: true}}}}}}
    clients: {{hosts: {{node1: {{ansible_become: {all}}}}}}}
"
            );
            lab.file("ansible.yaml", &text)
        };
        let certificates = || {
            [
                lab.exec("node1", "sha256sum </home/ubuntu/.docker/cert.pem"),
                lab.exec("node3", "sha256sum </etc/docker/tls/cert.pem"),
            ]
        };
        lab.deploy(&[&inventory("dtls_validity_days: 30")]);
        let before = certificates();
        let due = inventory("dtls_renew_before: 60");
        let check = lab.run(&["rotate", &due, "--check", "--exit-code"]);
        assert_eq!(
            check.code, 3,
            "{all} {ca}: {}{}",
            check.stdout, check.stderr
        );
        assert_eq!(certificates(), before);
        for command in [&["rotate", &due][..], &["rotate", &due, "--force"]] {
            let before = certificates();
            lab.deploy(command);
            let after = certificates();
            assert!(before[0] != after[0] && before[1] != after[1], "{all} {ca}");
        }
        lab.deploy(&["remove", &due]);
    }
}

/// Whatever is in place and proved counts as delivered, whichever run finds it.
#[test]
fn keys_that_a_dead_run_left_on_the_ca_node_go_with_the_next_run() {
    use std::io::BufRead as _;

    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let keys = "find /etc/dtls-deploy/ca -name '*key.pem'";
    let own = "/etc/dtls-deploy/ca/ca-key.pem";
    for later in [&["rotate", &inventory][..], &[&inventory]] {
        let mut child = lab
            .tool(&[
                "rotate",
                &inventory,
                "--force",
                "--clients-only",
                "--output",
                "json",
            ])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let is_in_place = lines.any(|line| {
            let line = line.unwrap();
            line.contains(r#""event":"changed","host":"node1""#) && line.contains("key.pem")
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_in_place);
        assert_ne!(lab.exec("node2", keys), own);
        lab.deploy(later);
        assert_eq!(lab.exec("node2", keys), own, "{later:?}");
        lab.exec_as("node1", "ubuntu", "docker --context node3 version");
    }
}
