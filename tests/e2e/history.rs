//! The journal: there before anything changes, told once after a crash, and
//! shown again.

use crate::interrupt::{Running, slow_restart};
use crate::lab::{Lab, PASSPHRASE};

fn events(text: &str) -> Vec<serde_json::Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[test]
fn a_run_that_changes_something_can_be_looked_at_again() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    assert!(
        lab.deploy(&["history"]).stdout.contains("no run"),
        "nothing yet"
    );
    lab.deploy(&[&inventory, "--check"]);
    assert_eq!(lab.journals().len(), 0, "--check changes nothing");
    let run = lab.deploy(&[&inventory]);
    lab.deploy(&[&inventory]);
    lab.deploy(&["verify", &inventory]);
    assert_eq!(lab.journals().len(), 1, "the others changed nothing");
    lab.deploy(&[
        &inventory,
        "-e",
        "dtls_key_type=ecdsa-p384",
        "--limit",
        "node1",
    ]);
    let list = lab.deploy(&["history"]).stdout;
    let rows: Vec<&str> = list.lines().collect();
    assert_eq!(rows.len(), 3, "{list}");
    assert!(rows[0].starts_with("run ") && rows[1] > rows[2], "{list}");
    assert!(rows[1..].iter().all(|row| row.ends_with("fine")), "{list}");
    let one = lab
        .deploy(&["history", "-n", "1", "--output", "json"])
        .stdout;
    let one = events(&one);
    assert_eq!(
        (one.len(), one[0]["hosts"].as_u64()),
        (1, Some(2)),
        "{one:?}"
    );
    assert_eq!(one[0]["state"], "fine");
    // The first run, as it was drawn.
    let name = rows[2].split(' ').next().unwrap();
    let shown = lab.deploy(&["history", name]).stdout;
    for line in run
        .stdout
        .lines()
        .filter(|line| line.starts_with("changed "))
    {
        // With the paths, as `-v` shows them.
        let path = "changed node1: /home/ubuntu/.docker/contexts/";
        let line = if line.contains(": context ") {
            path
        } else {
            line
        };
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let raw = lab.deploy(&["history", name, "--output", "json"]).stdout;
    let path = &lab.journals()[1];
    assert_eq!(raw, std::fs::read_to_string(path).unwrap());
    // A line out of the middle of a key is as good as the key.
    let keys = [
        lab.exec("node1", "cat /home/ubuntu/.docker/key.pem"),
        lab.exec("node3", "cat /etc/docker/tls/key.pem"),
    ];
    for journal in lab.journals() {
        let text = std::fs::read_to_string(journal).unwrap();
        for secret in [PASSPHRASE, "PRIVATE KEY"] {
            assert!(!text.contains(secret), "{text}");
        }
        for key in &keys {
            assert!(!text.contains(key.lines().nth(1).unwrap()), "{text}");
        }
    }
    let both = lab.run(&["history", "20"]);
    assert_eq!(both.code, 2);
    assert!(both.stderr.contains("several runs"), "{}", both.stderr);
    let none = lab.run(&["history", "19"]);
    assert_eq!(none.code, 2);
    assert!(
        none.stderr.contains("no run begins with"),
        "{}",
        none.stderr
    );
    let newest = lab.deploy(&["history", "last"]).stdout;
    assert!(newest.contains("client certificate for node1"), "{newest}");
}

#[test]
fn a_run_that_died_is_told_of_once_and_what_it_left_is_settled() {
    let lab = Lab::fresh();
    slow_restart(&lab, "node3");
    let inventory = lab.inventory("");
    let mut run = Running::start(&lab, &[&inventory, "-v"]);
    run.until("restarting docker");
    // Before the node has done anything that could be seen, this is written.
    let text = std::fs::read_to_string(&lab.journals()[0]).unwrap();
    let acts: Vec<(String, String)> = events(&text)
        .iter()
        .filter(|event| event["event"] == "act")
        .map(|act| (act["host"].to_string(), act["step"].to_string()))
        .collect();
    assert!(
        acts.contains(&("\"node3\"".to_owned(), "\"restarting docker\"".to_owned())),
        "{acts:?}"
    );
    lab.exec(
        "node3",
        "timeout 30 sh -c 'until ls /var/lib/dtls-deploy/armed/*/pending; do sleep 0.1; done'",
    );
    // It never hears of the restart that succeeds, and dies before it confirms.
    run.signal(rustix::process::Signal::STOP);
    lab.exec(
        "node3",
        "timeout 30 sh -c 'until ss -ltn | grep -q :2376; do sleep 0.2; done' && sleep 1",
    );
    run.signal(rustix::process::Signal::KILL);
    run.end();
    let list = lab.deploy(&["history"]).stdout;
    let said = "ended without a report while changing node3 (restarting docker)";
    assert!(list.contains(said), "{list}");

    let look = lab.run(&[&inventory, "--check"]);
    assert_eq!(look.code, 4, "{}{}", look.stdout, look.stderr);
    assert!(
        look.stdout.contains("ended without a report"),
        "{}",
        look.stdout
    );
    assert!(look.stdout.contains("is not settled"), "{}", look.stdout);

    let next = lab.deploy(&[&inventory, "--wait", "10s"]);
    let said = &next.stdout;
    assert!(said.contains("ended without a report"), "{said}");
    assert!(said.contains("undone what the run"), "{said}");
    assert!(said.contains("it is planned again"), "{said}");
    assert!(said.contains("changed node3: docker.service"), "{said}");
    assert_eq!(lab.exec("node3", "ls /var/lib/dtls-deploy/armed"), "");

    let again = lab.deploy(&[&inventory]).stdout;
    assert!(again.contains("Nothing to change"), "{again}");
    assert!(!again.contains("ended without a report"), "{again}");
    let died = std::fs::read_to_string(&lab.journals()[1]).unwrap();
    assert!(
        died.lines().last().unwrap().contains("\"adopted\""),
        "{died}"
    );
}

#[test]
fn without_a_place_for_the_journal_nothing_is_changed() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    let mut command = lab.tool(&[&inventory, "--output", "json"]);
    command.env("XDG_STATE_HOME", "/proc/nowhere");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let last = events(&String::from_utf8_lossy(&output.stdout))
        .pop()
        .unwrap();
    assert_eq!(last["kind"], "journal", "{last}");
    assert!(
        last["hint"].as_str().unwrap().contains("XDG_STATE_HOME"),
        "{last}"
    );
    let touched = "ls -d /etc/docker/tls ~/.docker /etc/dtls-deploy/ca/ca.pem 2>/dev/null; true";
    for node in ["node1", "node2", "node3"] {
        assert_eq!(lab.exec(node, touched), "", "{node}");
    }
    let mut command = lab.tool(&[&inventory, "--no-journal"]);
    command.env("XDG_STATE_HOME", "/proc/nowhere");
    assert!(command.output().unwrap().status.success());
}

/// A disk that is full from some act on: the hosts that were not begun stay as
/// they were.
#[test]
fn a_journal_that_breaks_in_the_middle_stops_what_is_not_begun() {
    let lab = Lab::fresh();
    let inventory = lab.inventory("");
    lab.deploy(&[&inventory]);
    let other = "dtls_key_type=ecdsa-p384";
    lab.deploy(&[&inventory, "-e", other]);
    // The next journal is as long as this one, but for the times in it.
    let text = std::fs::read_to_string(&lab.journals()[0]).unwrap();
    let first = text.find("\"event\":\"act\"").unwrap();
    let end = first + text[first..].find('\n').unwrap();
    let line = format!(
        "trap '' XFSZ; exec prlimit --fsize={} {} {inventory}",
        end + 200,
        env!("CARGO_BIN_EXE_dtls-deploy")
    );
    let output = lab.command(&["bash", "-c", &line]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("cannot be written"), "{said}");
    assert!(said.contains("File too large"), "{said}");
    assert!(said.contains("XDG_STATE_HOME"), "{said}");
    for host in ["node1: /", "node3: /", "node3: docker.service"] {
        assert!(!said.contains(&format!("changed {host}")), "{said}");
    }
    let next = lab.deploy(&[&inventory]);
    assert!(
        next.stdout.contains("changed node3: docker.service"),
        "{}",
        next.stdout
    );
    let list = lab.deploy(&["history", "-n", "2"]).stdout;
    assert!(list.contains("ended without a report"), "{list}");
}
