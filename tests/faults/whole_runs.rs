//! Failures that belong to a whole run and to no step of it, and whether the
//! faults are what they are called.

use std::time::Duration;

use crate::cell::{self, Outcome};
use crate::fault::{self, Fault};
use crate::invariants::look;
use crate::matrix::Bench;
use crate::node::{Node, poll};
use crate::scenario::Scenario;
use crate::steps::Step;

/// The step after the last rename: everything new is in place, and dockerd has
/// not been restarted.
fn renamed(bench: &mut Bench) -> Step {
    let steps = bench.steps(Scenario::Rotation);
    let last = steps
        .iter()
        .rposition(|step| step.text.starts_with("mv ") && step.text.contains("/new/"))
        .expect("a rename");
    let restart = steps
        .iter()
        .position(|step| step.text.starts_with("systemctl restart"))
        .expect("a restart");
    assert!(last < restart, "{steps:?}");
    steps[last + 1].clone()
}

fn whole(outcome: &Outcome) {
    assert!(outcome.broken.is_empty(), "{outcome:#?}");
}

/// Nothing is left of the run, not even what would undo it.
fn lose_timer(node: &Node<'_>) -> Result<(), String> {
    node.sh("systemctl stop 'dtls-deploy-*.timer'");
    if poll(20, || node.scripts_have_ended()) {
        Ok(())
    } else {
        Err("a script has survived".to_owned())
    }
}

fn wait_for_timer(node: &Node<'_>) -> Result<(), String> {
    let left = "systemctl list-units --plain --no-legend --state=active,activating 'dtls-deploy*'";
    if poll(40, || node.sh(left).is_empty()) {
        Ok(())
    } else {
        Err("the timer has not run out".to_owned())
    }
}

#[test]
fn a_restart_that_was_lost_with_its_run_is_made_up_for_by_the_next() {
    let mut bench = Bench::new();
    let step = renamed(&mut bench);
    let turn = bench.next();
    let outcome = cell::run(
        &bench.lab,
        Scenario::Rotation,
        turn,
        Fault::Die,
        &step,
        lose_timer,
    );
    whole(&outcome);
    assert_eq!(outcome.what, "new files, old served (killed)");
}

#[test]
fn a_run_that_dies_is_undone_by_the_nodes_own_timer() {
    let mut bench = Bench::new();
    let step = renamed(&mut bench);
    let turn = bench.next();
    let outcome = cell::run(
        &bench.lab,
        Scenario::Rotation,
        turn,
        Fault::Die,
        &step,
        wait_for_timer,
    );
    whole(&outcome);
    assert_eq!(outcome.what, "old (killed)");
}

/// Stands before dockerd and lets it start only with the certificate of now.
fn obstruct(node: &Node<'_>, otherwise: &str) {
    node.sh(&format!(
        "d=/usr/local/lib/faults; mkdir -p $d; cp /usr/sbin/dockerd $d/dockerd; rm -f $d/accepted; cp /etc/docker/tls/cert.pem $d/accepted 2>/dev/null; printf '%s\\n' '#!/bin/sh' 'if [ -e /etc/docker/tls/cert.pem ]; then cmp -s /etc/docker/tls/cert.pem /usr/local/lib/faults/accepted || {{ echo obstructed >&2; {otherwise}; }}; fi' 'exec /usr/local/lib/faults/dockerd \"$@\"' >$d/wrapper; chmod 755 $d/wrapper; mount --bind $d/wrapper /usr/sbin/dockerd"
    ));
}

fn obstructed(otherwise: &str) {
    let mut bench = Bench::new();
    for scenario in [Scenario::Rotation, Scenario::First] {
        let lab = &bench.lab;
        let node = Node { lab, name: "node3" };
        scenario.prepare(lab);
        let before = look(lab, scenario);
        obstruct(&node, otherwise);
        let turn = bench.next();
        let lab = &bench.lab;
        let node = Node { lab, name: "node3" };
        let inventory = scenario.inventory(lab, turn);
        let run = lab.run(&[&inventory]);
        assert_eq!(run.code, 4, "{}{}", run.stdout, run.stderr);
        assert!(
            run.stdout.contains("everything is as it was"),
            "{}",
            run.stdout
        );
        assert_eq!(look(lab, scenario), before, "{}", run.stdout);
        node.sh("umount -l /usr/sbin/dockerd");
        lab.deploy(&[&inventory]);
        let run = lab.deploy(&[&inventory]);
        assert!(run.stdout.contains("Nothing to change"), "{}", run.stdout);
        let last = look(lab, scenario);
        assert!(last.is_let_in && last.socket_answers, "{last:?}");
        assert_ne!(last.served, before.served);
    }
}

#[test]
fn a_dockerd_that_refuses_the_new_files_is_back_with_the_old() {
    obstructed("exit 1");
}

#[test]
#[ignore = "three minutes: `make faults`"]
fn a_dockerd_that_hangs_with_the_new_files_is_back_with_the_old() {
    obstructed("exec sleep 600");
}

#[test]
fn the_faults_are_what_they_are_called() {
    let bench = Bench::new();
    let node = Node {
        lab: &bench.lab,
        name: "node3",
    };
    let scenario = Scenario::Rotation;
    let answers = || {
        let mut command = node.lab.command(&[
            "timeout",
            "2",
            "bash",
            "-c",
            "exec 3<>/dev/tcp/10.0.0.12/22",
        ]);
        command.output().unwrap().status.success()
    };
    let can_write = || {
        scenario
            .directories()
            .iter()
            .map(|directory| {
                node.lab
                    .try_exec(
                        "node3",
                        &format!("echo x >{directory}/probe && rm {directory}/probe"),
                    )
                    .0
            })
            .collect::<Vec<bool>>()
    };
    node.watch(None);
    // A process that stands in for the run.
    let mut nobody = std::process::Command::new("sleep")
        .arg("60")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert!(answers());
    Fault::Cut.happen(&node, scenario, &mut nobody);
    assert!(!answers());
    Fault::Cut.mend(&node, scenario);
    assert!(poll(5, answers));
    fault::mount(&node, scenario);
    for fault in [Fault::ReadOnly, Fault::Full] {
        assert_eq!(can_write(), [true; 3]);
        fault.happen(&node, scenario, &mut nobody);
        assert_eq!(can_write(), [false; 3], "{}", fault.name());
        fault.mend(&node, scenario);
    }
    assert_eq!(can_write(), [true; 3]);
    fault::unmount(&node, scenario);
    Fault::KillSshd.happen(&node, scenario, &mut nobody);
    std::thread::sleep(Duration::from_millis(50));
    Fault::KillSshd.mend(&node, scenario);
    assert!(poll(5, answers));
    assert!(nobody.try_wait().unwrap().is_none());
    Fault::KillController.happen(&node, scenario, &mut nobody);
    assert!(!nobody.wait().unwrap().success());
}
