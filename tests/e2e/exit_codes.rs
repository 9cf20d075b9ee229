//! Every exit code of docs/exit-codes.md that needs nodes. 2 and 5 without
//! nodes are in tests/fast/report, 4 is in `daemon`, 130 in `interrupt`.

use crate::interrupt::{Running, slow_restart};
use crate::lab::Lab;

#[test]
fn changes_needed_is_3_and_a_failed_proof_is_6() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let run = lab.run(&[&inventory, "--check", "--exit-code"]);
    assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
    assert_eq!(lab.run(&[&inventory, "--check"]).code, 0);
    // A program of another release is not talked to.
    let other = lab.file(
        "other-agent",
        "#!/bin/sh\nread -r hello; echo '{\"hello\":{\"version\":\"0.0.1\",\"pid\":1}}'; cat >/dev/null\n",
    );
    let run = lab.run(&[&inventory, "--agent-program", &other]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    let said = &run.stderr;
    assert!(said.contains("the agent is of version 0.0.1"), "{said}");
    assert!(said.contains("of one release"), "{said}");
    lab.deploy(&[&inventory]);
    let run = lab.run(&[&inventory, "--check", "--exit-code"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert_eq!(lab.run(&["verify", &inventory]).code, 0);
    lab.exec("node3", "systemctl stop docker.socket docker.service");
    let run = lab.run(&["verify", &inventory]);
    assert_eq!(run.code, 6, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("FAILED"), "{}", run.stdout);
}

/// The second step of docs/getting-started.md, on hosts that nothing was deployed to.
#[test]
fn check_access_passes_before_the_first_deployment() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let run = lab.run(&["check-access", &inventory]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("there is no CA yet"), "{}", run.stdout);
    let run = lab.run(&["check-access", &inventory, "--needs-ca"]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    // A passphrase that no key may have is refused, and leaves nothing.
    let weak = lab.secret("weak", "password1\n");
    for command in [&["check-access", &inventory][..], &[&inventory]] {
        let run = lab.run(&[command, &["--ca-passphrase-file", &weak]].concat());
        assert_eq!(run.code, 2, "{}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains("too easy to guess"), "{}", run.stderr);
        assert!(!lab.try_exec("node2", "ls /etc/dtls-deploy").0);
    }
    // Nor is a CA made that would have issued no certificate.
    lab.exec("node3", "echo '[]' >/etc/docker/daemon.json");
    let run = lab.run(&[&inventory, "--limit", "node2:node3"]);
    assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("the CA is not made"), "{}", run.stdout);
    assert!(!lab.try_exec("node2", "ls /etc/dtls-deploy").0);
    lab.exec("node3", "rm /etc/docker/daemon.json");
    lab.deploy(&[&inventory]);
    let run = lab.run(&["check-access", &inventory, "--needs-ca"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
}

#[test]
fn another_run_is_7_or_waited_for() {
    let lab = Lab::fresh();
    slow_restart(&lab, "node3");
    let inventory = lab.inventory("");
    let mut first = Running::start(&lab, &[&inventory, "-v"]);
    first.until("restarting docker");
    let second = lab.run(&[&inventory]);
    assert_eq!(second.code, 7, "{}{}", second.stdout, second.stderr);
    let said = &second.stderr;
    assert!(said.contains("another run holds the lock"), "{said}");
    assert!(said.contains('@') && said.contains("since 20"), "{said}");
    let host = rustix::system::uname();
    let host = host.nodename().to_str().unwrap();
    assert!(said.contains(&format!(" on {host}, process ")), "{said}");
    assert!(said.contains(" UTC, for "), "{said}");
    assert!(said.contains("the lock is on node2"), "{said}");
    assert!(said.contains("--wait"), "{said}");
    let log = lab.secret("log", "");
    let second = lab.run(&[&inventory, "--output", "json", "--log", &log]);
    assert_eq!(second.code, 7, "{}{}", second.stdout, second.stderr);
    let last = second.stdout.lines().last().unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["event"], "error");
    assert_eq!(last["kind"], "locked");
    assert_eq!(std::fs::read_to_string(&log).unwrap(), second.stdout);
    let third = lab.deploy(&[&inventory, "--wait", "1m"]);
    let first = first.end();
    assert_eq!(first.code, 0, "{}{}", first.stdout, first.stderr);
    assert!(
        third.stdout.contains("Nothing to change"),
        "{}",
        third.stdout
    );
    assert!(!third.stdout.contains("changed node"), "{}", third.stdout);
}
