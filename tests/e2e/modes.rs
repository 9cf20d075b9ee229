//! Whom a daemon lets in, and where that is written: the guides' modes.

use crate::lab::Lab;

const DROP_IN: &str = "/etc/systemd/system/docker.service.d/50-dtls-deploy.conf";
const UNDERSTOOD: &str = "dtls_daemon_mode: tls\ndtls_i_understand_anyone_can_connect: true\n";

/// A plain run of what was just deployed finds nothing, and the daemon still
/// runs as it was started.
fn nothing_left(lab: &Lab, inventory: &str) {
    let before = lab.invocation();
    let run = lab.deploy(&[inventory]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
    assert_eq!(lab.invocation(), before);
}

/// What a caller without any certificate gets from the daemon.
fn without_certificate(lab: &Lab) -> String {
    let (_, said) = lab.try_exec_as(
        "node1",
        "ubuntu",
        "curl -sk -m 5 -o /dev/null -w '%{http_code} %{exitcode}' https://node3:2376/version",
    );
    said.lines().last().unwrap_or_default().to_owned()
}

/// What `env` prints is enough for the docker CLI, and is taken back.
fn a_shell_is_told(lab: &Lab, inventory: &str) {
    let set = lab
        .deploy(&["env", inventory, "node1", "--shell", "bash"])
        .stdout;
    let unset = lab.deploy(&["env", inventory, "--unset"]).stdout;
    let said = lab.exec_as(
        "node1",
        "ubuntu",
        &format!("cd /; {set}docker version; {unset}env | grep DOCKER || echo nothing left"),
    );
    assert!(said.contains("Server:"), "{said}");
    assert!(said.ends_with("nothing left"), "{said}");
}

#[test]
fn settings_move_between_daemon_json_and_the_command_line() {
    let lab = Lab::fresh();
    lab.exec("node3", "echo '{\"debug\": true}' >/etc/docker/daemon.json");
    let as_flags = lab.inventory("dtls_config_style: flags\ndtls_daemon_dir: /etc/docker/keys\n");
    let run = lab.deploy(&[&as_flags]);
    assert!(!run.stdout.contains("FAILED"), "{}", run.stdout);
    let drop_in = lab.exec("node3", &format!("cat {DROP_IN}"));
    assert!(drop_in.contains(" --tlsverify --tlscacert=/etc/docker/keys/ca.pem --tlscert=/etc/docker/keys/cert.pem --tlskey=/etc/docker/keys/key.pem "), "{drop_in}");
    assert_eq!(
        lab.exec("node3", "cat /etc/docker/daemon.json"),
        "{\"debug\": true}"
    );
    nothing_left(&lab, &as_flags);
    a_shell_is_told(&lab, &as_flags);
    assert!(without_certificate(&lab).starts_with("000"));

    // The other way round, and back: nothing is said twice.
    let in_file = lab.inventory("dtls_daemon_dir: /etc/docker/keys\n");
    lab.deploy(&[&in_file]);
    assert!(
        !lab.exec("node3", &format!("cat {DROP_IN}"))
            .contains("--tls")
    );
    assert!(
        lab.exec("node3", "cat /etc/docker/daemon.json")
            .contains("\"tlsverify\": true")
    );
    nothing_left(&lab, &in_file);
    let as_flags = lab.inventory("dtls_config_style: flags\ndtls_daemon_dir: /etc/docker/keys\n");
    lab.deploy(&[&as_flags]);
    assert!(
        !lab.exec("node3", "cat /etc/docker/daemon.json")
            .contains("tls")
    );
    // Taken away, nothing of it stays.
    lab.deploy(&["remove", &as_flags]);
    assert!(
        !lab.exec("node3", "ps -o args= -C dockerd").contains("tls"),
        "dockerd still has our flags"
    );
}

#[test]
fn a_daemon_is_open_to_everybody_only_where_that_is_understood() {
    let lab = Lab::fresh();
    let refused = lab.run(&[&lab.inventory("dtls_daemon_mode: tls\n")]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("dtls_i_understand_anyone_can_connect: true"),
        "{}",
        refused.stderr
    );

    for style in ["daemon_json", "flags"] {
        let open = lab.inventory(&format!("{UNDERSTOOD}dtls_config_style: {style}\n"));
        let run = lab.deploy(&[&open]);
        assert!(
            run.stdout.contains("danger: node3: EVERYBODY"),
            "{}",
            run.stdout
        );
        assert!(
            run.stdout.contains("open to everybody, as declared"),
            "{}",
            run.stdout
        );
        assert!(!run.stdout.contains("FAILED"), "{}", run.stdout);
        assert_eq!(without_certificate(&lab), "200 0");
        nothing_left(&lab, &open);
    }

    // The way back is proved like any other change; what was there before is
    // what comes back.
    let closed = lab.inventory("");
    lab.deploy(&[&closed]);
    assert!(without_certificate(&lab).starts_with("000"));
    lab.deploy(&["rollback", &closed]);
    assert_eq!(without_certificate(&lab), "200 0");
    let verify = lab.run(&["verify", &closed]);
    assert_eq!(verify.code, 6, "{}", verify.stdout);
    lab.deploy(&[&closed]);
    assert!(without_certificate(&lab).starts_with("000"));
}
