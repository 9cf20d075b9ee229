//! The text, at several widths and verbosities.

use std::sync::{Arc, Mutex};

use base::event::{Event, Failure, FailureKind, HostRecap, Renderer as _, StoppedHost};
use run::report::plain::{Channel, Text};
use run::report::{Style, Verbosity};
use unicode_width::UnicodeWidthStr as _;

use super::events;

pub fn style(width: Option<usize>, verbosity: Verbosity) -> Style {
    Style {
        timings: false,
        colour: false,
        verbosity,
        width,
    }
}

fn draw(style: Style, events: &[Event]) -> String {
    let drawn = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&drawn);
    let mut text = Text::new(style, move |channel, line: &str| {
        let mut sink = sink.lock().unwrap();
        if channel == Channel::Error {
            sink.push_str("stderr: ");
        }
        sink.push_str(line);
        sink.push('\n');
    });
    for event in events {
        text.event(event);
    }
    drop(text);
    Arc::into_inner(drawn).unwrap().into_inner().unwrap()
}

#[test]
fn three_hosts() {
    insta::assert_snapshot!(draw(style(None, Verbosity::Normal), &events::three_hosts()));
}

/// Certificates of several days are due in the same run.
#[test]
fn hosts_whose_reasons_differ_only_in_dates_are_one_group() {
    let name = |number: usize| format!("node{number}");
    let due = |number: usize| {
        let day = 1 + number % 9;
        let reason = format!("expires on 2027-03-0{day}, due for renewal");
        let what = format!("daemon certificate for {}", name(number));
        events::change(&name(number), "issue", &what, &[&reason])
    };
    let plan = |verbosity| {
        let run = events::run((1..=40).map(name).collect());
        let changes = (1..=40).map(due).collect();
        let batches = Vec::new();
        draw(
            style(None, verbosity),
            &[run, Event::Plan { changes, batches }],
        )
    };
    let text = plan(Verbosity::Normal);
    let shown = "expires on 2027-03-01 to 2027-03-09, due for renewal";
    assert_eq!(text.matches("expires on").count(), 1, "{text}");
    assert!(
        text.contains(shown) && text.contains("each of 40 hosts"),
        "{text}"
    );
    // With -v, each host has its own date.
    assert_eq!(plan(Verbosity::Verbose).matches("expires on").count(), 9);
}

/// Addresses differ in length, as the names of hosts do.
#[test]
fn equal_failures_are_one_group_whatever_the_length_of_their_names() {
    let name = |number: usize| format!("node{number}");
    let hosts: Vec<String> = (1..=42).map(name).collect();
    let mut list = vec![events::run(hosts.clone())];
    let away = |number: usize| {
        let address = format!("127.0.1.{number}");
        Event::Failed(Failure {
            step: "connect".to_owned(),
            message: format!("{address}: nothing listens on port 22{number}"),
            hint: Some(format!("is sshd running on {address}?")),
            ..events::failure(&name(number), FailureKind::Unreachable)
        })
    };
    list.extend((1..=42).map(away));
    list.push(Event::Recap {
        hosts: Vec::new(),
        milliseconds: 1,
        next: None,
    });
    let text = draw(style(None, Verbosity::Normal), &list);
    let ending = text.split("Failed").last().unwrap();
    assert_eq!(ending.matches("nothing listens").count(), 1, "{text}");
    assert_eq!(ending.matches("is sshd running").count(), 1, "{text}");
}

#[test]
fn three_hosts_at_80_columns() {
    insta::assert_snapshot!(draw(
        style(Some(80), Verbosity::Normal),
        &events::three_hosts()
    ));
}

#[test]
fn three_hosts_at_40_columns() {
    let text = draw(style(Some(40), Verbosity::Normal), &events::three_hosts());
    assert!(text.lines().all(|line| line.width() <= 40), "{text}");
    insta::assert_snapshot!(text);
}

/// A check that could not be made has a next command, and so has a new CA.
#[test]
fn what_remains_after_a_run_without_failures_is_last() {
    let last = |verdict, next: Option<&str>| {
        let run = events::three_hosts().into_iter().next().unwrap();
        let recap = Event::Recap {
            hosts: vec![events::recap("node3", 1, 1)],
            milliseconds: 1,
            next: next.map(str::to_owned),
        };
        let check = base::event::Check::Accepted;
        let proof = events::proof("node1", "node3", check, verdict, "seen");
        let text = draw(style(None, Verbosity::Normal), &[run, proof, recap]);
        let next = text.lines().filter(|line| line.starts_with("Next: "));
        next.map(str::to_owned).collect::<Vec<_>>()
    };
    let proved = base::event::Verdict::Proved;
    let backup = "back up the new CA: dtls-deploy ca backup i.yaml --to ca.backup";
    assert_eq!(last(proved, None), Vec::<String>::new());
    assert_eq!(last(proved, Some(backup)), [format!("Next: {backup}")]);
    let next = last(base::event::Verdict::NotProved, None);
    assert!(
        next.len() == 1 && next[0].starts_with("Next: dtls-deploy doctor "),
        "{next:?}"
    );
}

#[test]
fn three_hosts_verbosely() {
    insta::assert_snapshot!(draw(
        style(None, Verbosity::Verbose),
        &events::three_hosts()
    ));
}

#[test]
fn three_hosts_quietly() {
    insta::assert_snapshot!(draw(style(None, Verbosity::Quiet), &events::three_hosts()));
}

#[test]
fn of_300_hosts_those_that_failed_are_shown() {
    let text = draw(style(Some(80), Verbosity::Normal), &events::many_hosts());
    assert!(text.lines().count() < 60, "{text}");
    insta::assert_snapshot!(text);
    let text = draw(style(None, Verbosity::Verbose), &events::many_hosts());
    assert!(text.contains("\nweb250  changed=5"), "{text}");
}

/// 40 daemons fail alike, one could not be undone, and the rest was skipped.
#[test]
fn the_last_screen_names_each_cause_once_and_a_failed_undo_last() {
    let name = |number: usize| format!("web{number:03}");
    let names: Vec<String> = (0..300).map(name).collect();
    let mut events = vec![events::run(names.clone())];
    let worst = Failure {
        hint: Some("sudo sh /var/lib/dtls-deploy/armed/run/rollback.sh".to_owned()),
        ..events::failure("web041", FailureKind::UndoFailed)
    };
    events.push(Event::Failed(worst));
    events.extend((0..40).map(|number| {
        let host = name(number);
        Event::Failed(Failure {
            message: format!("the unit did not come up on {host}"),
            causes: vec!["exit status 1".to_owned()],
            ..events::failure(&host, FailureKind::Undone)
        })
    }));
    events.push(Event::NotBegun {
        play: "Daemons".to_owned(),
        hosts: names[42..].to_vec(),
        because: names[..41].to_vec(),
    });
    let recaps = names.iter().enumerate().map(|(number, name)| HostRecap {
        failed: usize::from(number < 42),
        skipped: usize::from(number >= 42),
        ..events::recap(name, 0, 0)
    });
    events.push(Event::Recap {
        hosts: recaps.collect(),
        milliseconds: 1_000,
        next: None,
    });
    let text = draw(style(Some(80), Verbosity::Normal), &events);
    let (before, last) = text.rsplit_once("Failed:").unwrap();
    assert_eq!(
        before.matches("Caused by: exit status 1").count(),
        1,
        "{before}"
    );
    assert!(last.lines().count() < 24, "{last}");
    insta::assert_snapshot!(last);
}

#[test]
fn an_interruption_says_what_is_done_and_what_not() {
    let hosts = vec![
        StoppedHost {
            host: "node3".to_owned(),
            done: vec![
                "/etc/docker/tls/key.pem".to_owned(),
                "docker.service".to_owned(),
            ],
            not_done: Vec::new(),
        },
        StoppedHost {
            host: "node4".to_owned(),
            done: Vec::new(),
            not_done: vec!["docker.service".to_owned()],
        },
    ];
    let waiting = vec!["node3".to_owned()];
    let events = [
        Event::Interrupted {
            waiting: waiting.clone(),
        },
        Event::Stopped { hosts, next: None },
        Event::Abandoned { hosts: waiting },
        Event::Interrupted {
            waiting: Vec::new(),
        },
        Event::Stopped {
            hosts: Vec::new(),
            next: Some("dtls-deploy rotate --ca inventory.yaml".to_owned()),
        },
    ];
    insta::assert_snapshot!(draw(style(Some(60), Verbosity::Normal), &events));
}

/// A node, or a program that writes to its journal, chooses names and texts.
#[test]
fn nothing_that_comes_from_a_node_reaches_the_terminal_as_it_is() {
    let hostile = "\u{1b}[2J\u{1b}]0;title\u{7}\rok: forged\n\u{9b}31m\u{202e}\u{200b}\u{8}";
    let mut failure = events::failure(hostile, FailureKind::Failed);
    for text in [&mut failure.step, &mut failure.message] {
        hostile.clone_into(text);
    }
    failure.causes.push(hostile.to_owned());
    failure.detail.push(hostile.to_owned());
    failure.hint = Some(hostile.to_owned());
    let mut change = events::change(hostile, hostile, hostile, &[hostile]);
    change.diff = Some(format!("-\told\n+{hostile}\n"));
    let mut list = super::json::samples();
    list.push(Event::Failed(failure));
    list.push(Event::Plan {
        changes: vec![change],
        batches: vec![base::event::PlannedBatches {
            play: hostile.to_owned(),
            restarts: false,
            hosts: vec![vec![hostile.to_owned()], vec![hostile.to_owned()]],
        }],
    });
    list.push(events::proof(
        hostile,
        hostile,
        base::event::Check::Accepted,
        base::event::Verdict::Failed,
        hostile,
    ));
    list.push(events::changed(hostile, hostile));
    list.push(Event::Recap {
        hosts: vec![events::recap(hostile, 1, 1)],
        milliseconds: 1,
        next: Some(hostile.to_owned()),
    });
    // Every text of every event.
    let list: Vec<Event> = list
        .into_iter()
        .chain(super::json::hostile_samples(hostile))
        .collect();
    for verbosity in [Verbosity::Quiet, Verbosity::Normal, Verbosity::Verbose] {
        for width in [None, Some(40)] {
            let text = draw(style(width, verbosity), &list);
            for line in text.lines() {
                assert!(line.chars().all(node::is_visible), "{line:?}");
                assert!(!line.starts_with("ok: forged"), "{text}");
            }
        }
    }
}

#[test]
fn certificates() {
    insta::assert_snapshot!(draw(style(None, Verbosity::Normal), &events::status()));
}

#[test]
fn certificates_at_80_columns() {
    let text = draw(style(Some(80), Verbosity::Verbose), &events::status());
    assert!(text.lines().all(|line| line.width() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn certificates_quietly() {
    insta::assert_snapshot!(draw(style(None, Verbosity::Quiet), &events::status()));
}

#[test]
fn findings() {
    let text = draw(style(None, Verbosity::Verbose), &events::doctor());
    insta::assert_snapshot!(text);
    let quiet = draw(style(None, Verbosity::Quiet), &events::doctor());
    assert!(
        !quiet.contains("AppArmor") && quiet.contains("trailing comma"),
        "{quiet}"
    );
}

#[test]
fn findings_in_little_room() {
    for width in [30, 80] {
        let text = draw(style(Some(width), Verbosity::Normal), &events::doctor());
        assert!(text.lines().all(|line| line.width() <= width), "{text}");
        assert!(!text.contains("\n\n"), "{text}");
    }
    let text = draw(style(Some(80), Verbosity::Normal), &events::doctor());
    insta::assert_snapshot!(text);
}

#[test]
fn nothing_found_is_said() {
    let doctor = |notes| Event::Doctor {
        found: base::event::FindingCounts {
            notes,
            hosts: 3,
            checks: 41,
            ..base::event::FindingCounts::default()
        },
        milliseconds: 500,
    };
    let draw = |notes| draw(style(None, Verbosity::Quiet), &[doctor(notes)]);
    assert_eq!(draw(0), "Nothing found: 3 hosts, 41 checks; took 0.50 s\n");
    assert_eq!(
        draw(2),
        "Nothing found but 2 notes: 3 hosts, 41 checks; took 0.50 s\n"
    );
}
