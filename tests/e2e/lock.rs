//! The CA's lock: one run changes things, whatever happens to the others.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::interrupt::{Running, slow_restart};
use crate::lab::Lab;

/// Tries of the race, 1.3 s each on two idle cores; `DTLS_RACE_TRIES` names
/// another number.
const TRIES: usize = 30;

/// Certificates that the CA has ever issued.
fn issued(lab: &Lab) -> usize {
    let ledger = lab.exec("node2", "cat /etc/dtls-deploy/ca/.ledger.jsonl");
    ledger
        .lines()
        .filter(|line| line.starts_with("{\"event\":\"issued\""))
        .count()
}

fn start(lab: &Lab, arguments: &[&str]) -> Child {
    let mut command = lab.tool(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Exit code, changes made, and the last line.
fn end(child: Child) -> (i32, u64, serde_json::Value) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let hosts = last["hosts"].as_array().cloned().unwrap_or_default();
    let changed = hosts
        .iter()
        .map(|host| host["changed"].as_u64().unwrap())
        .sum();
    (output.status.code().unwrap_or(-1), changed, last)
}

#[test]
fn of_two_runs_at_the_same_instant_exactly_one_changes_things() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    // A client's certificate of another kind each time: no daemon restarts.
    let playbook = lab.file(
        "client.yaml",
        "- hosts: clients\n  tasks:\n    - certificate: {role: client}\n    - push: {role: client}\n",
    );
    let tries = std::env::var("DTLS_RACE_TRIES").map_or(TRIES, |text| text.parse().unwrap());
    let mut refused = 0;
    let mut before = issued(&lab);
    for number in 0..tries {
        let kind = ["ecdsa-p384", "ecdsa-p256"][number % 2];
        let variable = format!("dtls_key_type={kind}");
        let arguments = [
            inventory.as_str(),
            &playbook,
            "-e",
            &variable,
            "--output",
            "json",
        ];
        let [first, second] = [start(&lab, &arguments), start(&lab, &arguments)];
        let mut ends = [end(first), end(second)];
        ends.sort_by_key(|(code, changed, _)| (*code, u64::MAX - changed));
        let [(code, changed, done), (other_code, other_changed, other)] = ends;
        assert!(code == 0 && changed > 0, "try {number}: {code} {done}");
        assert_eq!(other_changed, 0, "try {number}: {other}");
        match other_code {
            // It came when everything was done.
            0 => {}
            7 => {
                refused += 1;
                assert_eq!(other["kind"], "locked", "try {number}: {other}");
                let message = other["message"].as_str().unwrap();
                assert!(message.contains("process "), "try {number}: {message}");
                assert!(message.contains("since 20"), "try {number}: {message}");
            }
            code => panic!("try {number}: {code} {other}"),
        }
        let now = issued(&lab);
        assert_eq!(now, before + 1, "try {number}: certificates issued");
        before = now;
    }
    assert!(refused > tries / 2, "they met {refused} times");
    println!("{tries} tries, {refused} times the other was told who holds the lock");
}

#[test]
fn a_controller_that_is_killed_frees_the_lock_within_seconds() {
    let lab = Lab::fresh();
    slow_restart(&lab, "node3");
    let inventory = lab.inventory("");
    let mut run = Running::start(&lab, &[&inventory, "-v"]);
    run.until("restarting docker");
    run.signal(rustix::process::Signal::KILL);
    run.end();
    let begun = Instant::now();
    // The certificate of the client is at stake: nothing to wait for.
    let variable = "dtls_key_type=ecdsa-p384";
    let next = lab.deploy(&[
        &inventory, "--limit", "node1", "-e", variable, "--wait", "10",
    ]);
    let took = begun.elapsed();
    println!("lock and run after {took:?}");
    assert!(next.stdout.contains("changed node1"), "{}", next.stdout);
}

/// Cut off: nothing that the controller sends arrives, and nothing closes.
struct Cut(String);

impl Cut {
    fn new(lab: &str) -> Self {
        let cut = Self(format!("dtls-{lab}-controller"));
        cut.link("down");
        cut
    }

    fn link(&self, state: &str) {
        let status = Command::new("ip")
            .args(["-n", &self.0, "link", "set", "node2", state])
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.link("up");
    }
}

#[test]
fn a_controller_that_is_cut_off_frees_the_lock_within_a_minute() {
    let lab = Lab::fresh();
    slow_restart(&lab, "node3");
    let inventory = lab.inventory("");
    let mut run = Running::start(&lab, &[&inventory, "-v"]);
    run.until("restarting docker");
    let cut = Cut::new(lab.name());
    let begun = Instant::now();
    // flock(1) on the CA node itself: the network is not there.
    let probe = "flock --nonblock /etc/dtls-deploy/ca/.lock true";
    assert!(!lab.try_exec("node2", probe).0, "it is held");
    while !lab.try_exec("node2", probe).0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "still held");
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("free after {:?}", begun.elapsed());
    drop(cut);
    run.signal(rustix::process::Signal::KILL);
    run.end();
}
