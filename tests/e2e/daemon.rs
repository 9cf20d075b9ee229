//! The daemon's configuration as operators have it: other units, settings of
//! their own, plain TCP, and things that cannot work.

use crate::lab::Lab;

#[test]
fn docker_ce_and_its_flags_are_kept() {
    let lab = Lab::fresh();
    lab.control(&["unit", "node3", "docker-ce"]);
    lab.exec("node3", "echo '{\"log-driver\": \"journald\", \"hosts\": [\"tcp://0.0.0.0:2375\"]}' >/etc/docker/daemon.json");
    let inventory = lab.inventory("");
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("leaves daemon.json"), "{}", run.stdout);
    assert_eq!(
        lab.exec(
            "node3",
            "sed -n 3p /etc/systemd/system/docker.service.d/50-dtls-deploy.conf"
        ),
        "ExecStart=/usr/bin/dockerd -H fd:// -H tcp://0.0.0.0:2376 --containerd=/run/containerd/containerd.sock"
    );
    let settings = lab.exec("node3", "cat /etc/docker/daemon.json");
    assert!(
        settings.contains("\"log-driver\": \"journald\""),
        "{settings}"
    );
    assert!(!settings.contains("hosts"), "{settings}");
}

/// What we derive is what systemd runs, and it is ours under whatever path systemd names it.
#[test]
fn escapes_and_a_linked_directory_of_drop_ins_are_read_as_systemd_reads_them() {
    const DROP_IN: &str = r#"mkdir -p /srv/drop-ins
cat >/srv/drop-ins/10-flags.conf <<'END'
[Service]
Environment=ONE=1
ExecStart=
ExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock --label=tab=a\x20b --label "h=%H $$ 100%%" \
  --label 'x=\t\\\101\u00fc\U0001f40b\"' --label q=\q --label=e=${ONE}
END
rm -rf /etc/systemd/system/docker.service.d
ln -s /srv/drop-ins /etc/systemd/system/docker.service.d
systemctl daemon-reload
systemctl restart docker"#;
    let words = |lab: &Lab| {
        lab.exec(
            "node3",
            "tr '\\0' '\\n' </proc/$(systemctl show -p MainPID --value docker)/cmdline",
        )
    };
    let lab = Lab::fresh();
    lab.exec("node3", DROP_IN);
    let before = words(&lab);
    assert!(before.contains("--label=tab=a b\n"), "{before}");
    assert!(before.contains("x=\t\\A\u{fc}\u{1f40b}\""), "{before}");
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    assert_eq!(words(&lab).replace("-H\ntcp://0.0.0.0:2376\n", ""), before);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("nothing changed"), "{}", run.stdout);
    lab.deploy(&["remove", &inventory]);
    assert_eq!(words(&lab), before);
    assert_eq!(lab.exec("node3", "ls /srv/drop-ins"), "10-flags.conf");
}

#[test]
fn plain_tcp_in_docker_opts_is_closed() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        "echo 'DOCKER_OPTS=\"--dns 10.0.0.1 -H tcp://0.0.0.0:2375\"' >/etc/default/docker; systemctl restart docker",
    );
    let (open, _) = lab.try_exec("node1", "curl -sS -m 5 http://node3:2375/version");
    assert!(open, "the test begins with an open port");
    let inventory = lab.inventory("");
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("tcp://0.0.0.0:2375 is closed"),
        "{}",
        run.stdout
    );
    let (open, _) = lab.try_exec("node1", "curl -sS -m 5 http://node3:2375/version");
    assert!(!open);
    assert!(
        lab.exec("node3", "ps -C dockerd -o args=")
            .contains("--dns 10.0.0.1")
    );
}

#[test]
fn an_operators_drop_in_is_kept() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        "mkdir -p /etc/systemd/system/docker.service.d; printf '[Service]\\nEnvironment=MINE=1\\n' >/etc/systemd/system/docker.service.d/override.conf; systemctl daemon-reload",
    );
    lab.deploy(&["inventory/lab.yaml", "-e", "dtls_key_type=ecdsa-p256"]);
    let text = lab.exec(
        "node3",
        "cat /etc/systemd/system/docker.service.d/override.conf",
    );
    assert!(text.contains("Environment=MINE=1"), "{text}");
    let environment = lab.exec("node3", "systemctl show docker -p Environment --value");
    assert!(environment.contains("MINE=1"), "{environment}");
}

#[test]
fn broken_json_is_refused_with_its_line_before_anything_is_touched() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        "printf '{\\n  \"debug\": true,\\n}\\n' >/etc/docker/daemon.json",
    );
    let before = lab.invocation();
    let inventory = lab.inventory("");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains("/etc/docker/daemon.json is not valid: line 3"),
        "{}",
        run.stdout
    );
    assert_eq!(lab.invocation(), before);
    let touched = "ls -d /etc/docker/tls /etc/systemd/system/docker.service.d /var/lib/dtls-deploy 2>/dev/null; true";
    assert_eq!(lab.exec("node3", touched), "");
}

/// dockerd does not start with the new files, and everything is put back by the
/// node.
#[test]
fn a_daemon_that_does_not_come_up_is_as_it_was() {
    let lab = Lab::fresh();
    lab.exec(
        "node3",
        "echo '{\"debug\": true}' >/etc/docker/daemon.json; systemctl restart docker",
    );
    lab.guard("node3", "2376");
    let state = "find /etc/docker /etc/systemd/system /var/lib/dtls-deploy -type f 2>/dev/null -exec sha256sum {} + | sort; stat -c '%n %a %U' /etc/docker/*";
    let before = lab.exec("node3", state);
    let inventory = lab.inventory("");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("failed, everything is as it was"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("2376 is not for docker"),
        "the journal is shown: {}",
        run.stdout
    );
    assert_eq!(
        lab.exec("node3", "systemctl is-active docker.service"),
        "active"
    );
    assert!(lab.exec("node3", "docker version").contains("Server:"));
    let after: Vec<String> = lab
        .exec("node3", state)
        .lines()
        .filter(|line| !line.contains("/var/lib/dtls-deploy/pending"))
        .map(str::to_owned)
        .collect();
    assert_eq!(after.join("\n"), before);

    // The pair that was issued for it waits on the CA node and is used now.
    lab.unguard("node3");
    lab.deploy(&[&inventory]);
}

/// The daemon comes up and serves what was issued, and still no client
/// reaches it: everything is put back.
#[test]
fn a_daemon_that_no_client_reaches_is_undone() {
    let lab = Lab::fresh();
    let inventory = lab.inventory(lab.unreached());
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("node1 does not reach the daemon"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("failed, everything is as it was"),
        "{}",
        run.stdout
    );
    assert!(lab.exec("node3", "docker version").contains("Server:"));
    let left = "ls -A /etc/docker/tls /etc/systemd/system/docker.service.d 2>/dev/null; find / -xdev -name '.dtls-deploy*' 2>/dev/null; true";
    assert_eq!(lab.exec("node3", left), "");
    let listening = lab.exec("node3", "ss -Hltn 'sport = :2376'");
    assert_eq!(listening, "");
}

/// The controller is gone between the restart and its confirmation: the node
/// puts everything back by itself, and the next run completes the change.
#[test]
fn a_node_that_nobody_confirms_undoes_the_change_by_itself() {
    let lab = Lab::fresh();
    // No client reaches the daemon, so that the controller asks for some seconds
    // before it has the change undone: time enough to end it.
    let inventory = lab.inventory(&format!("dtls_confirm_within: 10\n{}", lab.unreached()));
    let armed = lab.abandon_before_confirmation(&inventory);
    assert!(armed.contains("pending"), "{armed}");
    // What waits for the next boot is a unit like any other.
    lab.exec(
        "node3",
        "! journalctl -b --no-pager -o cat | grep world-inaccessible",
    );
    assert_eq!(
        lab.exec("node3", "systemctl is-active docker.service"),
        "active"
    );
    let undone = "while [ -e /etc/systemd/system/docker.service.d/50-dtls-deploy.conf ] || [ -n \"$(ls /var/lib/dtls-deploy/armed)\" ]; do sleep 0.2; done";
    lab.exec("node3", &format!("timeout 60 sh -c '{undone}'"));
    assert!(lab.exec("node3", "docker version").contains("Server:"));
    assert_eq!(lab.exec("node3", "ss -Hltn 'sport = :2376'"), "");
    let left = "ls -A /etc/docker/tls 2>/dev/null; find / -xdev -name '.dtls-deploy*' 2>/dev/null; systemctl daemon-reload; systemctl list-units --all --no-legend 'dtls-deploy*'; true";
    assert_eq!(lab.exec("node3", left), "");
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
}

/// A docker that starts more slowly than the change may stay unconfirmed.
#[test]
fn a_restart_that_takes_too_long_is_undone_and_names_the_variable() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("dtls_confirm_within: 10");
    lab.deploy(&[&inventory]);
    let before = lab.exec("node3", "sha256sum /etc/docker/tls/*");
    lab.exec(
        "node3",
        "printf '[Service]\nExecStartPre=/bin/sleep 14\n' >/etc/systemd/system/docker.service.d/90-slow.conf; systemctl daemon-reload",
    );
    let run = lab.run(&[&inventory, "-e", "{dtls_extra_sans: [DNS:more.example]}"]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    for said in [
        "not confirmed within 10 s (dtls_confirm_within)",
        "set dtls_confirm_within to more seconds",
    ] {
        assert!(run.stdout.contains(said), "{said}: {}", run.stdout);
    }
    let undone = "while [ -n \"$(ls /var/lib/dtls-deploy/armed)\" ]; do sleep 0.2; done";
    lab.exec("node3", &format!("timeout 60 sh -c '{undone}'"));
    assert_eq!(lab.exec("node3", "sha256sum /etc/docker/tls/*"), before);
}

/// An old key that a dead run left beside the new one does not stay.
#[test]
fn what_an_interrupted_run_left_is_removed() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let before = lab.invocation();
    lab.exec(
        "node3",
        "mkdir -p /etc/docker/tls/.dtls-deploy.dead/old && cp /etc/docker/tls/key.pem /etc/docker/tls/.dtls-deploy.dead/old/ && touch -d '1 hour ago' /etc/docker/tls/.dtls-deploy.dead",
    );
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("left by a run that was interrupted"),
        "{}",
        run.stdout
    );
    assert_eq!(
        lab.exec("node3", "ls -A /etc/docker/tls"),
        "ca.pem\ncert.pem\nkey.pem"
    );
    assert_eq!(lab.invocation(), before);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
}

/// A run that died after the files were renamed and before the restart is made
/// good by the next one.
#[test]
fn a_restart_that_was_lost_is_made_up_for() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let before = lab.invocation();
    // What a dead run leaves: the new drop-in, never read.
    lab.exec(
        "node3",
        "cd /etc/systemd/system/docker.service.d && cp 50-dtls-deploy.conf x && sed -i 's/-H tcp/-H  tcp/' x && mv x 50-dtls-deploy.conf",
    );
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("differs from what dockerd last read")
            || run.stdout.contains("50-dtls-deploy.conf changes"),
        "{}",
        run.stdout
    );
    assert_ne!(lab.invocation(), before);
}

/// Certificates of a daemon are issued before its own change: verification takes none of them for
/// what it serves after that was undone.
#[test]
fn a_daemon_whose_change_was_undone_is_proved_by_what_it_serves_then() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let before = crate::recovery::serial(&lab);
    // docker starts with this certificate, and in no other place, alone.
    lab.exec("node3", "sha256sum /etc/docker/tls/cert.pem >/root/sums; mkdir -p /etc/systemd/system/docker.service.d; printf '[Service]\\nExecStartPre=sha256sum -c /root/sums\\n' >/etc/systemd/system/docker.service.d/10-guard.conf; systemctl daemon-reload");
    for (arguments, undone) in [
        (
            vec!["rotate", &inventory, "--force"],
            "everything is as it was",
        ),
        // The files' own place is another one, too.
        (
            vec![
                &inventory as &str,
                "-e",
                "dtls_daemon_dir=/etc/docker/other",
                "-e",
                "{dtls_extra_sans: ['DNS:more.example.com']}",
            ],
            "everything is as it was",
        ),
    ] {
        lab.exec(
            "node3",
            "systemctl reset-failed docker.service docker.socket",
        );
        let run = lab.run(&arguments);
        let said = &run.stdout;
        assert_eq!(run.code, 4, "{said}{}", run.stderr);
        assert!(said.contains(undone), "{said}");
        assert_eq!(crate::recovery::serial(&lab), before);
        let line = said
            .lines()
            .find(|line| line.contains("serves the issued certificate"));
        let line = line.unwrap_or_else(|| panic!("{said}"));
        assert!(line.starts_with("ok "), "{said}");
        assert!(!said.contains("FAILED  node3"), "{said}");
        assert!(said.contains("accepts the client's certificate"), "{said}");
    }
}

/// The change that it was issued for was undone, and the inventory has changed its mind.
#[test]
fn a_pair_that_no_host_wants_any_more_leaves_the_ca_node() {
    let lab = Lab::fresh();
    lab.deploy(&[&lab.inventory("")]);
    let before = crate::recovery::serial(&lab);
    lab.guard("node3", "9376");
    let wanted = lab.inventory(
        "dtls_listen: ['tcp://0.0.0.0:9376']\ndtls_extra_sans: ['DNS:more.example.com']",
    );
    let run = lab.run(&[&wanted]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    let keys = "cd /etc/dtls-deploy/ca && find . -name '*key*' ! -name ca-key.pem ! -path './.*/*'";
    assert!(!lab.exec("node2", keys).is_empty());

    let inventory = lab.inventory("");
    let doctor = lab.run(&["doctor", &inventory]);
    assert!(
        doctor.stdout.contains("no host wants it any more"),
        "{}",
        doctor.stdout
    );
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("no host wants it any more"),
        "{}",
        run.stdout
    );
    assert_eq!(lab.exec("node2", keys), "");
    assert_eq!(crate::recovery::serial(&lab), before);
    let doctor = lab.run(&["doctor", &inventory]);
    assert!(
        !doctor.stdout.contains("still on the CA node"),
        "{}",
        doctor.stdout
    );
    // The undo put files back and started dockerd within one second.
    let again = lab.deploy(&[&inventory]);
    assert!(
        again.stdout.contains("Nothing to change."),
        "{}",
        again.stdout
    );
}
