//! Batches: one daemon first, then more; who fails holds back those after it,
//! and takes nothing from those before it.

use crate::lab::{Lab, Run};

fn start_of(lab: &Lab, node: &str) -> String {
    lab.exec(
        node,
        "systemctl show docker.service -p InvocationID --value",
    )
}

fn position(run: &Run, event: &str, host: &str, what: &str) -> usize {
    let found = run.stdout.lines().position(|line| {
        let event_is = line.contains(&format!("\"event\":\"{event}\""));
        event_is && line.contains(&format!("\"host\":\"{host}\"")) && line.contains(what)
    });
    found.unwrap_or_else(|| panic!("no {event} of {host} with {what}: {}", run.stdout))
}

#[test]
fn the_second_daemon_begins_when_the_first_is_confirmed() {
    let lab = Lab::with_two_daemons();
    let inventory = lab.inventory("dtls_serial: [1]");
    let run = lab.run(&[&inventory, "--check"]);
    assert!(
        run.stdout.contains("restarts in 2 batches: node3; node4"),
        "{}",
        run.stdout
    );
    let run = lab.deploy(&[&inventory, "--output", "json"]);
    assert!(
        run.stdout.contains("\"hosts\":[[\"node3\"],[\"node4\"]]"),
        "{}",
        run.stdout
    );
    let confirmed = position(&run, "changed", "node3", "docker.service");
    let begun = position(&run, "started", "node4", "restarting docker");
    assert!(confirmed < begun, "{}", run.stdout);

    // All at one time, where the inventory says so.
    let all = lab.inventory("dtls_serial: 100%\ndtls_extra_sans: ['DNS:more.example.com']");
    let run = lab.deploy(&[&all, "--output", "json"]);
    assert!(run.stdout.contains("\"batches\":[]"), "{}", run.stdout);
    let confirmed = position(&run, "changed", "node3", "docker.service");
    let begun = position(&run, "started", "node4", "restarting docker");
    assert!(begun < confirmed, "{}", run.stdout);

    // The report says what was not checked.
    let run = lab.run(&["verify", &all, "-e", "dtls_verify=own"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let said = &run.stdout;
    assert!(
        said.contains("1 of 2 pairs of a client and a daemon were tried"),
        "{said}"
    );
    assert!(
        said.contains(
            "other clients are rejected was not checked on node3, node4: dtls_verify is own"
        ),
        "{said}"
    );
    assert!(
        !said.contains("rejects clients without a certificate"),
        "{said}"
    );
}

#[test]
fn a_daemon_that_fails_holds_back_those_after_it() {
    let lab = Lab::with_two_daemons();
    lab.guard("node3", "2376");
    let before = start_of(&lab, "node4");
    let inventory = lab.inventory("");

    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains("skipped: node4 (Daemons), because node3 failed before"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("not-done=6"), "{}", run.stdout);
    // Neither speaks TLS yet, so that there is nothing to try; said once for each.
    for name in ["node3", "node4"] {
        let said = format!("warning: {name}: not verified: docker does not speak TLS there");
        assert_eq!(run.stdout.matches(&said).count(), 1, "{}", run.stdout);
    }
    assert_eq!(start_of(&lab, "node4"), before);
    let touched = "ls -d /etc/docker/tls 2>/dev/null; true";
    assert_eq!(lab.exec("node4", touched), "");

    // In one batch, one after the other: the first failure stops the second.
    let together = lab.inventory("dtls_serial: 100%\ndtls_max_fail_percentage: 100");
    let run = lab.run(&[&together, "--fail-fast", "--forks", "1"]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("because node3 failed before"),
        "{}",
        run.stdout
    );
    assert_eq!(start_of(&lab, "node4"), before);

    // So many may fail: the next batch is begun, and stays.
    let tolerant = lab.inventory("dtls_max_fail_percentage: 100");
    let run = lab.run(&[&tolerant]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains("node3: failed, everything is as it was")
            && run.stdout.contains("changed node4: docker.service"),
        "{}",
        run.stdout
    );
    assert!(lab.exec("node4", "ss -Hltn").contains(":2376"));

    lab.unguard("node3");
    let before = start_of(&lab, "node4");
    lab.deploy(&[&inventory]);
    assert_eq!(start_of(&lab, "node4"), before, "done already");
}

/// A daemon must not speak TLS before those who use it can.
#[test]
fn a_client_that_fails_holds_the_daemons_back() {
    let lab = Lab::fresh();
    lab.exec(
        "node1",
        "install -d -o ubuntu -g ubuntu -m 700 /home/ubuntu/.docker && mount --bind /home/ubuntu/.docker /home/ubuntu/.docker && mount -o remount,ro,bind /home/ubuntu/.docker",
    );
    let before = lab.invocation();
    let inventory = lab.inventory("");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout
            .contains("skipped: node3 (Daemons), because node1 failed before"),
        "{}",
        run.stdout
    );
    assert_eq!(lab.invocation(), before);
    lab.exec("node1", "umount /home/ubuntu/.docker");
    lab.deploy(&[&inventory]);
}

#[test]
fn managers_of_a_swarm_are_restarted_one_at_a_time() {
    let lab = Lab::with_two_daemons();
    lab.exec(
        "node3",
        "docker swarm init --advertise-addr 10.0.0.12 >/dev/null",
    );
    let inventory = lab.inventory("dtls_serial: 100%");
    for (role, batched) in [("worker", false), ("manager", true)] {
        let token = lab.exec("node3", &format!("docker swarm join-token -q {role}"));
        lab.exec(
            "node4",
            &format!("docker swarm leave --force >/dev/null 2>&1; docker swarm join --advertise-addr 10.0.0.13 --token {token} 10.0.0.12:2377"),
        );
        let run = lab.run(&[&inventory, "--check"]);
        assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
        let said = run.stdout.contains("restarts in 2 batches: node3; node4");
        assert_eq!(said, batched, "{role}: {}", run.stdout);
    }
}
