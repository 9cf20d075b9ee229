//! One cell of the matrix: a step and a fault, or no fault, to learn the steps.
//!
//! Afterwards the lab is as declared again, because the checks include a plain run after the fault.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::invariants::{Seen, certificate_hash, is_pair, leftovers, look};
use crate::lab::Lab;
use crate::node::Node;
use crate::scenario::Scenario;
use crate::steps::Step;

/// Said of a run that went by without the step: one that waits for something
/// looks as often as it has to, and the next may have to look less often.
pub const NOT_REACHED: &str = "the step was not reached";

/// What came of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which identity was there when the node had settled.
    pub what: String,
    pub broken: Vec<String>,
}

fn end(run: &mut std::process::Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(200);
    loop {
        if let Some(status) = run.try_wait().unwrap() {
            return Some(status.code().unwrap_or(-1));
        }
        if Instant::now() > deadline {
            run.kill().unwrap();
            run.wait().unwrap();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Which set there is when every directory has one of its own: a client's
/// directory and the copies of its contexts are each switched at once, one after
/// the other, and each of them works.
fn sets(before: &Seen, now: &Seen, last: &Seen) -> &'static str {
    let of = |path: &str| {
        path.rsplit_once('/')
            .map_or("", |(directory, _)| directory)
            .to_owned()
    };
    let directories: BTreeSet<String> = last.files.keys().map(|path| of(path)).collect();
    let found: BTreeSet<&str> = directories
        .iter()
        .map(|directory| set(before, now, last, |path| of(path) == *directory))
        .filter(|found| *found != "same")
        .collect();
    match found.iter().copied().collect::<Vec<_>>().as_slice() {
        [] => "same",
        [one] => one,
        ["new", "old"] => "old and new",
        _ => "mixed",
    }
}

/// All files old, all new, or neither.
fn set(before: &Seen, now: &Seen, last: &Seen, wanted: impl Fn(&str) -> bool) -> &'static str {
    let mut is_old = true;
    let mut is_new = true;
    for (path, last) in last.files.iter().filter(|(path, _)| wanted(path)) {
        let before = before.files.get(path).unwrap_or(&None);
        let now = now.files.get(path).unwrap_or(&None);
        is_old &= now == before;
        is_new &= now == last;
    }
    match (is_old, is_new) {
        (true, false) => "old",
        (false, true) => "new",
        (true, true) => "same",
        (false, false) => "mixed",
    }
}

/// Runs the scenario without a fault and gives the commands of its node.
pub fn record(lab: &Lab, scenario: Scenario, turn: usize) -> Vec<String> {
    let node = Node {
        lab,
        name: scenario.node(),
    };
    scenario.prepare(lab);
    let inventory = scenario.inventory(lab, turn);
    node.watch(None);
    lab.deploy(&[&inventory]);
    node.seen()
}

/// What the scenario's node is asked before anything is changed.
pub fn record_looking(lab: &Lab, scenario: Scenario, turn: usize) -> Vec<String> {
    let node = Node {
        lab,
        name: scenario.node(),
    };
    scenario.prepare(lab);
    let inventory = scenario.inventory(lab, turn);
    node.watch(None);
    lab.deploy(&[&inventory, "--check"]);
    node.seen()
}

/// What happens on a node that no one talks to any more.
pub type Alone = fn(&Node<'_>) -> Result<(), String>;

/// What the run itself came to.
struct Faulted {
    code: String,
    said: String,
    broken: Vec<String>,
}

/// A run that meets the fault, until the node has settled and is fixed.
fn meet(
    node: &Node<'_>,
    scenario: Scenario,
    inventory: &str,
    (fault, step): (Fault, &Step),
    alone: Alone,
) -> Faulted {
    let lab = node.lab;
    let mut broken = Vec::new();
    node.watch(Some((fault.name(), step.occurrence, &step.text)));
    let log = lab.file("run.txt", "");
    let log_file = std::fs::File::create(&log).unwrap();
    let mut child = lab
        .tool(&[inventory, "--timeout", "30"])
        .stdout(log_file.try_clone().unwrap())
        .stderr(log_file)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let has_asked = loop {
        if node.has_asked() {
            break true;
        }
        if child.try_wait().unwrap().is_some() {
            break node.has_asked();
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    if has_asked {
        fault.happen(node, scenario, &mut child);
        if fault == Fault::Cut {
            // The node is alone with it; then the network is back.
            if scenario == Scenario::Authority {
                // Its program has no end of its own: it waits for who asks.
                std::thread::sleep(Duration::from_secs(3));
            } else {
                broken.extend(alone(node).err());
            }
            node.connected(true);
        }
    } else {
        broken.push(NOT_REACHED.to_owned());
    }
    let code = match end(&mut child) {
        None => {
            broken.push("the run did not end".to_owned());
            "hung".to_owned()
        }
        Some(-1) => "killed".to_owned(),
        Some(code) => format!("exit {code}"),
    };
    if has_asked {
        fault.mend(node, scenario);
    }
    broken.extend(alone(node).err());
    let _ = node.seen();
    Faulted {
        code,
        said: std::fs::read_to_string(&log).unwrap(),
        broken,
    }
}

/// A plain run does what is left to do, and the next finds nothing.
fn converge(lab: &Lab, inventory: &str, broken: &mut Vec<String>) {
    let again = lab.run(&[inventory]);
    if again.code != 0 {
        let said = shorten(&again.stdout);
        broken.push(format!("the next run ends with {}: {said}", again.code));
    }
    let last = lab.run(&[inventory]);
    if last.code != 0 || !last.stdout.contains("Nothing to change") {
        // What it still found to do is what is to be understood.
        let said: Vec<&str> = last.stdout.lines().map(str::trim).take(12).collect();
        broken.push(format!(
            "the run after the next ends with {}: {}",
            last.code,
            said.join(" / ")
        ));
    }
}

/// The one identity or the other, whole, and everyone accepted who was.
fn compare(
    scenario: Scenario,
    (before, after, last): (&Seen, &Seen, &Seen),
    broken: &mut Vec<String>,
) -> String {
    if !after.socket_answers {
        broken.push("the local socket does not answer".to_owned());
    }
    let files = if scenario == Scenario::Client {
        sets(before, after, last)
    } else {
        set(before, after, last, |_| true)
    };
    if files == "mixed" {
        let now: Vec<&String> = after
            .files
            .iter()
            .filter(|(path, now)| before.files.get(*path) != Some(now))
            .map(|(path, _)| path)
            .collect();
        broken.push(format!(
            "neither the old nor the new set: {now:?} differ from the old"
        ));
    }
    let served = if after.served == before.served && after.served == last.served {
        "same"
    } else if after.served == before.served {
        "old"
    } else if after.served == last.served {
        "new"
    } else {
        "neither"
    };
    if served == "neither" {
        broken.push(format!(
            "dockerd serves neither certificate: {:?}",
            after.served
        ));
    }
    if before.is_let_in && !after.is_let_in {
        broken.push("the client was let in before, and is not".to_owned());
    }
    if !last.is_let_in || !last.socket_answers {
        broken.push(format!("after the next run: {last:?}"));
    }
    if files == served || served == "same" {
        files.to_owned()
    } else {
        format!("{files} files, {served} served")
    }
}

/// One cell; `alone` is what the node does, or is made to do, once the run has
/// ended.
pub fn run(
    lab: &Lab,
    scenario: Scenario,
    turn: usize,
    fault: Fault,
    step: &Step,
    alone: Alone,
) -> Outcome {
    let node = Node {
        lab,
        name: scenario.node(),
    };
    scenario.prepare(lab);
    let before = look(lab, scenario);
    let inventory = scenario.inventory(lab, turn);
    let faulted = meet(&node, scenario, &inventory, (fault, step), alone);
    let mut broken = faulted.broken;
    let after = look(lab, scenario);
    converge(lab, &inventory, &mut broken);
    let last = look(lab, scenario);
    let what = compare(scenario, (&before, &after, &last), &mut broken);
    if last.served != certificate_hash(lab, "node3", "/etc/docker/tls/cert.pem") {
        broken.push("dockerd serves another certificate than is on its disk".to_owned());
    }
    for (name, directory) in [
        ("node3", "/etc/docker/tls"),
        ("node1", "/home/ubuntu/.docker"),
    ] {
        if let Err(error) = is_pair(&Node { lab, name }, directory) {
            broken.push(error);
        }
    }
    broken.extend(leftovers(lab));
    if !broken.is_empty() {
        broken.push(format!("the run had said: {}", shorten(&faulted.said)));
    }
    Outcome {
        what: format!("{what} ({})", faulted.code),
        broken,
    }
}

/// What a run says of hosts on which something failed, on one line.
fn shorten(said: &str) -> String {
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("node") && line.contains(": ") || line.starts_with("Hint"))
        .collect();
    lines.join(" / ")
}
