//! A daemon without systemd: an init script starts it, daemon.json says where it
//! listens, and a process of the node's own undoes what no one confirms.

use crate::lab::Lab;

/// The daemon's process: its number, which may come again after a boot, and its start.
fn process(lab: &Lab) -> String {
    lab.exec(
        "node3",
        "timeout 20 sh -c 'until [ -s /run/docker.pid ]; do sleep 0.1; done'; pid=$(cat /run/docker.pid); echo $pid $(cut -d ' ' -f 22 /proc/$pid/stat)",
    )
}

/// Everything that a deployment may touch there.
const FILES: &str = "find /etc/docker /etc/default/docker /etc/init.d /etc/systemd -type f 2>/dev/null -exec sha256sum {} + | sort";

/// Nothing waits for a word, and nothing is left of what was kept to undo a change.
fn is_settled(lab: &Lab) {
    let left = "ls -A /var/lib/dtls-deploy/armed 2>/dev/null; find / -xdev -name '.dtls-deploy*' 2>/dev/null; ps -eo args | grep '^/bin/sh .*[w]ait.sh'; true";
    assert_eq!(lab.exec("node3", left), "");
}

/// The controller is gone between the restart and its confirmation: the node goes
/// back by itself, unless the power was cut; then it is for the next run.
fn nobody_confirms(lab: &Lab, untouched: &str) {
    // No client reaches the daemon, so that it goes on asking for some seconds.
    let abandoned = |variables: &str| {
        let inventory = lab.inventory(variables);
        let armed = lab.abandon_before_confirmation(&inventory);
        assert!(
            armed.contains("pending") && armed.contains("waiter"),
            "{armed}"
        );
    };
    let unreached = lab.unreached();
    abandoned(&format!("dtls_confirm_within: 10\n{unreached}"));
    let undone = "while [ -n \"$(ls /var/lib/dtls-deploy/armed)\" ]; do sleep 0.2; done";
    lab.exec("node3", &format!("timeout 60 sh -c '{undone}'"));
    assert_eq!(lab.exec("node3", FILES), untouched);
    assert!(lab.exec("node3", "docker version").contains("Server:"));
    assert_eq!(lab.exec("node3", "ss -Hltn 'sport = :2376'"), "");
    is_settled(lab);

    // A power cut ends the process that waits: the next run settles it.
    abandoned(unreached);
    lab.control(&["stop", "node3", "--cut"]);
    lab.control(&["start", "node3"]);
    assert_ne!(lab.exec("node3", "ls /var/lib/dtls-deploy/armed"), "");
}

#[test]
fn an_init_script_is_as_good_as_a_unit() {
    let lab = Lab::without_systemd();
    let untouched = lab.exec("node3", FILES);
    let first = process(&lab);

    // Flags that daemon.json must have are refused, with their line.
    let opts = lab.exec("node3", "cat /etc/default/docker");
    lab.exec(
        "node3",
        "echo 'DOCKER_OPTS=\"--dns 10.0.0.1 -H tcp://0.0.0.0:2375\"' >>/etc/default/docker",
    );
    let inventory = lab.inventory("");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains("/etc/default/docker gives dockerd flags in line"),
        "{}",
        run.stdout
    );
    assert_eq!(process(&lab), first);

    // With the new settings dockerd does not start: the node puts the old ones back,
    // and the daemon's own words are shown.
    lab.put("node3", &lab.file("opts", &(opts + "\nif grep -qs 2376 /etc/docker/daemon.json; then DOCKER_OPTS=--no-such-flag; fi\n")), "/etc/default/docker");
    let guarded = lab.exec("node3", FILES);
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("failed, everything is as it was")
            && run.stdout.contains("unknown flag: --no-such-flag"),
        "{}",
        run.stdout
    );
    assert_eq!(lab.exec("node3", FILES), guarded);
    assert!(lab.exec("node3", "docker version").contains("Server:"));
    is_settled(&lab);
    lab.exec(
        "node3",
        "sed -i '/no-such-flag/d; ${/^$/d}' /etc/default/docker",
    );
    assert_eq!(lab.exec("node3", FILES), untouched);

    nobody_confirms(&lab, &untouched);
    let booted = process(&lab);
    let inventory = lab.inventory("");
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("answers on its local socket") && run.stdout.contains("away="),
        "{}",
        run.stdout
    );
    assert_ne!(process(&lab), booted);
    let hosts = lab.exec("node3", "grep -A 3 hosts /etc/docker/daemon.json");
    assert!(
        hosts.contains("unix:///var/run/docker.sock") && hosts.contains("tcp://0.0.0.0:2376"),
        "{hosts}"
    );
    is_settled(&lab);
    let deployed = process(&lab);
    assert_ne!(deployed, first);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change."), "{}", run.stdout);
    assert_eq!(process(&lab), deployed);
    lab.deploy(&["doctor", &inventory]);
    lab.deploy(&["status", &inventory]);

    // dockerd is begun as at boot: SIGPIPE is not ignored, and no descriptor of a
    // lock or of the connection stays open.
    let inherited = lab.exec(
        "node3",
        "pid=$(cat /run/docker.pid); while read -r name value; do [ $name != SigIgn: ] || echo $((0x$value >> 12 & 1)); done </proc/$pid/status; readlink /proc/$pid/fd/0; ls -l /proc/$pid/fd | grep -c dtls-deploy; true",
    );
    assert_eq!(inherited, "0\n/dev/null\n0");

    // A rotation restarts it, and one that someone has stopped is started.
    lab.exec("node3", "service docker stop");
    let run = lab.deploy(&["rotate", "--force", &inventory]);
    assert!(
        run.stdout.contains("changed node3: /etc/init.d/docker"),
        "{}",
        run.stdout
    );
    let rotated = process(&lab);
    assert_ne!(rotated, deployed);

    // live-restore comes on by a reload.
    let live = lab.inventory("dtls_live_restore: true");
    lab.deploy(&[&live]);
    assert_eq!(process(&lab), rotated);
    assert_eq!(
        lab.exec("node3", "docker info --format '{{.LiveRestoreEnabled}}'"),
        "true"
    );
    lab.deploy(&["rollback", &inventory]);

    // Nothing of it stays.
    lab.deploy(&["remove", &inventory]);
    assert_eq!(lab.exec("node3", FILES), untouched);
    assert!(lab.exec("node3", "docker version").contains("Server:"));
    assert_eq!(lab.exec("node3", "ss -Hltn 'sport = :2376'"), "");
    let left = "ls -d /var/lib/dtls-deploy /etc/docker/tls 2>/dev/null; true";
    assert_eq!(lab.exec("node3", left), "");
}
