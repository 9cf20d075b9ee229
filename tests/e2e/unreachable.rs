//! One node down is one node down: the others finish, it is named with step and
//! cause, the exit code says so, and the next run completes it.

use std::time::Duration;

use crate::interrupt::{Running, slow_restart};
use crate::lab::Lab;

/// A wrong account is wrong everywhere: the hint names no other hosts.
#[test]
fn an_account_that_no_node_knows_is_said_of_each_and_nothing_is_changed() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let run = lab.run(&[&inventory, "-e", "ansible_user=nobodyhere"]);
    assert_eq!(run.code, 5, "{}{}", run.stdout, run.stderr);
    let said = &run.stdout;
    let of_a_host = |line: &&str| line.starts_with("node") && line.contains("as nobodyhere failed");
    assert_eq!(said.lines().filter(of_a_host).count(), 3, "{said}");
    // The last lines name the cause once.
    let last = said.rsplit("\nFailed:").next().unwrap();
    assert_eq!(last.matches("as nobodyhere failed").count(), 1, "{last}");
    assert!(
        said.contains("nothing was changed: every host was refused or could not be reached"),
        "{said}"
    );
    assert!(!said.contains("other hosts"), "{said}");
}

#[test]
fn a_node_that_is_down_is_one_node_down() {
    let lab = Lab::fresh();
    lab.control(&["stop", "node1", "--cut"]);
    let inventory = lab.inventory("ansible_timeout: 2");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 5, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("node1: unreachable"), "{}", run.stdout);
    assert_eq!(
        lab.exec("node3", "stat -c %a /etc/docker/tls/key.pem"),
        "400"
    );
    lab.control(&["start", "node1"]);
    let run = lab.deploy(&[&inventory]);
    assert!(
        run.stdout.contains("accepts the client's certificate"),
        "{}",
        run.stdout
    );
}

/// The kernel takes the connection, and sshd says nothing.
#[test]
fn sshd_that_says_nothing_is_given_up() {
    let lab = Lab::fresh();
    lab.exec("node1", "kill -STOP $(cat /run/sshd.pid)");
    let inventory = lab.inventory("ansible_timeout: 2");
    let run = lab.run(&[&inventory]);
    assert_eq!(run.code, 5, "{}{}", run.stdout, run.stderr);
    assert!(
        run.stdout.contains("node1: unreachable (connect)"),
        "{}",
        run.stdout
    );
    assert!(lab.exec("node3", "ss -ltn").contains(":2376"));
    lab.exec("node1", "kill -CONT $(cat /run/sshd.pid)");
    lab.deploy(&[&inventory]);
}

fn shim(lab: &Lab, node: &str, tool: &str) {
    lab.exec(
        node,
        &format!("printf '#!/bin/sh\\necho $$ >>/tmp/shim.pid\\nexec sleep 120\\n' >/usr/local/bin/{tool}; chmod 755 /usr/local/bin/{tool}"),
    );
}

/// The node is done with it: confirmed, or undone by itself.
fn settled(lab: &Lab, node: &str) {
    lab.exec(
        node,
        "timeout 60 sh -c 'while [ -n \"$(ls /var/lib/dtls-deploy/armed 2>/dev/null)\" ]; do sleep 0.2; done'",
    );
}

fn unshim(lab: &Lab, node: &str, tool: &str) {
    lab.exec(
        node,
        &format!("rm /usr/local/bin/{tool}; kill $(cat /tmp/shim.pid)"),
    );
}

#[test]
fn a_node_that_hangs_while_its_facts_are_read_is_left_out() {
    let lab = Lab::fresh();
    shim(&lab, "node1", "stat");
    let inventory = lab.inventory("");
    let run = lab.run(&[&inventory, "--timeout", "20"]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    let said = &run.stdout;
    assert!(
        said.contains("node1: does not answer (read facts)"),
        "{said}"
    );
    assert!(said.contains("--timeout"), "a hint: {said}");
    assert!(lab.exec("node3", "ss -ltn").contains(":2376"));
    unshim(&lab, "node1", "stat");
    lab.deploy(&[&inventory]);
}

#[test]
fn a_node_that_hangs_in_a_change_has_an_unknown_outcome() {
    let lab = Lab::fresh();
    shim(&lab, "node3", "sync");
    let inventory = lab.inventory("dtls_confirm_within: 20");
    let run = lab.run(&[&inventory, "--timeout", "15"]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    let said = &run.stdout;
    assert!(said.contains("node3: OUTCOME UNKNOWN"), "{said}");
    assert!(!said.contains("not-done="), "it is not known: {said}");
    assert!(said.contains("did not end within 15s"), "{said}");
    assert!(said.contains("run again"), "{said}");
    assert!(said.contains("changed node1"), "the others go on: {said}");
    // The node goes on by itself once it can.
    unshim(&lab, "node3", "sync");
    settled(&lab, "node3");
    assert!(lab.exec("node3", "docker version").contains("Server:"));
    lab.deploy(&[&inventory]);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
}

/// sshd on the node loses the connection; the script it started does not end
/// with it.
#[test]
fn a_connection_lost_in_a_change_has_an_unknown_outcome_and_the_node_finishes_alone() {
    let lab = Lab::fresh();
    slow_restart(&lab, "node3");
    let inventory = lab.inventory("dtls_confirm_within: 20");
    let mut run = Running::start(&lab, &[&inventory, "-v"]);
    run.until("node3: restarting docker");
    std::thread::sleep(Duration::from_millis(1500));
    lab.exec("node3", "kill $(pgrep -f '^sshd: ubuntu')");
    let run = run.end();
    assert_eq!(run.code, 5, "{}{}", run.stdout, run.stderr);
    let said = &run.stdout;
    assert!(said.contains("node3: OUTCOME UNKNOWN"), "{said}");
    assert!(!said.contains("not-done="), "it is not known: {said}");
    assert!(said.contains("lost in the middle of a change"), "{said}");
    assert!(
        said.contains("Caused by: the connection to ubuntu@node3"),
        "{said}"
    );
    assert!(said.contains("run again"), "{said}");
    assert!(said.contains("changed node1"), "the others go on: {said}");
    // No one directs it any more: a look alone says so, and the next run
    // settles it before it plans.
    let armed = "ls /var/lib/dtls-deploy/armed/*/pending 2>/dev/null || true";
    if !lab.exec("node3", armed).is_empty() {
        let look = lab.run(&[&inventory, "--check"]);
        assert_eq!(look.code, 4, "{}", look.stderr);
        assert!(look.stdout.contains("is not settled"), "{}", look.stdout);
        let run = lab.deploy(&[&inventory]);
        assert!(
            run.stdout.contains("is settled now") || run.stdout.contains("undone what the run"),
            "{}",
            run.stdout
        );
    }
    settled(&lab, "node3");
    assert!(lab.exec("node3", "docker version").contains("Server:"));
    lab.deploy(&[&inventory]);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
}

#[test]
fn a_power_cut_in_the_middle_of_a_change_is_one_node_down() {
    let lab = Lab::with_two_daemons();
    slow_restart(&lab, "node3");
    // Both at one time.
    let inventory = lab.inventory("dtls_serial: 100%");
    let mut run = Running::start(&lab, &[&inventory, "-v", "--timeout", "20"]);
    run.until("node3: restarting docker");
    std::thread::sleep(Duration::from_millis(1500));
    lab.control(&["stop", "node3", "--cut"]);
    let run = run.end();
    let said = &run.stdout;
    assert!(
        [4, 5].contains(&run.code),
        "{} {said}{}",
        run.code,
        run.stderr
    );
    assert!(said.contains("node3: OUTCOME UNKNOWN"), "{said}");
    assert!(!said.contains("not-done="), "it is not known: {said}");
    assert!(said.contains("Caused by:"), "{said}");
    assert!(said.contains("run again"), "{said}");
    assert!(said.contains("changed node4: docker.service"), "{said}");
    assert!(lab.exec("node4", "ss -ltn").contains(":2376"));
    lab.control(&["start", "node3"]);
    lab.deploy(&[&inventory]);
    let run = lab.deploy(&[&inventory]);
    assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
    assert!(lab.exec("node3", "docker version").contains("Server:"));
}

/// Whether the output has a line that begins so.
fn has_line(said: &str, begin: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    said.lines().any(|line| words(line).starts_with(begin))
}

/// `verify` changes nothing, and does not say that there was nothing to change. A check has
/// failed only if it was tried and the answer was wrong.
#[test]
fn a_check_that_could_not_be_tried_has_not_failed() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let run = lab.run(&["verify", &inventory]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(!run.stdout.contains("to change"), "{}", run.stdout);

    // A firewall drops what comes from the client.
    let drop = "INPUT -p tcp --dport 2376 -j DROP";
    lab.exec("node3", &format!("iptables -I {drop}"));
    let run = lab.run(&["verify", &inventory]);
    let status = lab.run(&["status", &inventory]);
    lab.exec("node3", &format!("iptables -D {drop}"));
    let said = &run.stdout;
    assert_eq!(run.code, 6, "{said}");
    let own = "unreachable node3 accepts the client's certificate from node1 10.0.0.12:2376 did not answer";
    assert!(has_line(said, own), "{said}");
    for check in [
        "serves the issued certificate",
        "rejects clients without a certificate",
        "rejects clients of an unknown CA",
        "rejects plain HTTP",
    ] {
        assert!(
            has_line(said, &format!("unreachable node3 {check}")),
            "{said}"
        );
    }
    assert!(!said.contains("FAILED"), "{said}");
    assert!(said.contains("failed=0 unreachable=0"), "{said}");
    assert_eq!(status.code, 6, "{}", status.stdout);
    assert!(
        has_line(&status.stdout, "unknown node3 daemon served"),
        "{}",
        status.stdout
    );

    // A name that nothing resolves.
    let listen = "dtls_listen: ['tcp://nowhere.invalid:2376']";
    let run = lab.run(&["verify", &lab.inventory(listen)]);
    let said = &run.stdout;
    assert_eq!(run.code, 6, "{said}");
    let own = "unreachable node3 accepts the client's certificate from node1";
    assert!(has_line(said, own), "{said}");
    assert!(
        said.contains("cannot resolve the name nowhere.invalid"),
        "{said}"
    );
    assert!(!said.contains("FAILED"), "{said}");

    // A closed port is an answer.
    lab.exec("node3", "systemctl stop docker.socket docker.service");
    let run = lab.run(&["verify", &lab.inventory("")]);
    let said = &run.stdout;
    assert_eq!(run.code, 6, "{said}");
    assert!(
        has_line(said, "FAILED node3 accepts the client's certificate"),
        "{said}"
    );
    assert!(
        has_line(
            said,
            "unreachable node3 rejects clients without a certificate"
        ),
        "{said}"
    );
}
