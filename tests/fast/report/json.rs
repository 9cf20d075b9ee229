//! The JSON lines and the page that documents them.

use std::collections::{BTreeMap, BTreeSet};

use base::event::PlannedBatches;
use base::event::{
    Audited, CertificateCounts, CertificateRole, CertificateSource, CertificateState,
    CertificateStatus, CertificateText, Check, Error, ErrorKind, Event, Failure, FailureKind,
    Finding, FindingCounts, HostRecap, Place, PlannedChange, Proof, Sample, Severity, StoppedHost,
    Topic, Verdict,
};
use run::report::json::line;
use serde_json::Value;
use time::OffsetDateTime;

// It is a list, and lists may be long.
#[allow(clippy::too_many_lines)]
/// One event of every kind with every field, its texts being `text`.
pub fn hostile_samples(text: &str) -> Vec<Event> {
    let name = || text.to_owned();
    let list = || vec![text.to_owned()];
    let all = vec![
        Event::Run {
            schema: base::event::SCHEMA,
            version: "0.0.0".to_owned(),
            run: name(),
            inventory: name(),
            playbook: name(),
            hosts: list(),
            contexts: list(),
            check: false,
        },
        Event::Connected {
            host: name(),
            address: name(),
            milliseconds: 1,
        },
        Event::Facts {
            host: name(),
            milliseconds: 1,
        },
        Event::Waited {
            host: name(),
            phase: base::event::Phase::Connect,
            milliseconds: 1,
        },
        Event::Warning {
            host: Some(name()),
            text: name(),
        },
        Event::Danger {
            host: Some(name()),
            text: name(),
        },
        Event::Plan {
            changes: vec![PlannedChange {
                host: name(),
                task: name(),
                what: name(),
                reasons: list(),
                diff: Some(name()),
            }],
            batches: vec![PlannedBatches {
                play: name(),
                restarts: true,
                hosts: vec![list(), list()],
            }],
        },
        Event::Started {
            host: name(),
            what: name(),
        },
        Event::Changed {
            host: name(),
            what: name(),
        },
        Event::Access {
            host: name(),
            what: name(),
        },
        Event::Sampled(Sample {
            tried: 1,
            all: 2,
            without_refusals: list(),
        }),
        Event::Act {
            host: name(),
            step: name(),
            what: list(),
        },
        Event::ActEnded {
            host: name(),
            step: name(),
        },
        Event::Failed(Failure {
            host: name(),
            kind: FailureKind::Undone,
            step: name(),
            message: name(),
            causes: list(),
            detail: list(),
            hint: Some(name()),
        }),
        Event::Step {
            number: 2,
            of: 6,
            what: name(),
            stopped: true,
            next: Some(name()),
            following: list(),
        },
        Event::NotBegun {
            play: name(),
            hosts: list(),
            because: list(),
        },
        Event::Proof(Proof {
            from: name(),
            to: name(),
            check: Check::Accepted,
            verdict: Verdict::Proved,
            seen: name(),
        }),
        Event::Certificate(Box::new(CertificateStatus {
            host: name(),
            identity: Some(name()),
            role: CertificateRole::Daemon,
            source: CertificateSource::Served,
            place: name(),
            holder: name(),
            state: CertificateState::Due,
            drift: list(),
            allowed: Some(name()),
            due: Some(name()),
            certificate: Some(CertificateText {
                subject: name(),
                sans: list(),
                issuer: name(),
                serial: name(),
                not_before: OffsetDateTime::UNIX_EPOCH,
                not_after: OffsetDateTime::UNIX_EPOCH,
                days_left: -1,
                used: 100,
            }),
        })),
        Event::Status {
            certificates: CertificateCounts {
                revoked: 0,
                expired: 1,
                broken: 2,
                unknown: 3,
                due: 4,
                unlisted: 5,
                fine: 6,
            },
            milliseconds: 1,
        },
        Event::Checked {
            host: name(),
            topic: Topic::Clock,
            what: name(),
        },
        Event::Finding(Box::new(Finding {
            severity: Severity::Error,
            host: name(),
            topic: Topic::PlainTcp,
            seen: name(),
            advice: name(),
            mended_by_deploy: true,
            refused_by_deploy: false,
        })),
        Event::Doctor {
            found: FindingCounts {
                errors: 1,
                warnings: 2,
                notes: 3,
                hosts: 4,
                checks: 5,
            },
            milliseconds: 1,
        },
        Event::Audited(Box::new(Audited {
            host: name(),
            at: OffsetDateTime::UNIX_EPOCH,
            decision: Some(name()),
            reason: Some(name()),
            identity: Some(name()),
            role: Some(name()),
            serial: Some(name()),
            method: Some(name()),
            path: Some(name()),
            message: name(),
        })),
        Event::Audit {
            entries: 1,
            milliseconds: 1,
        },
        Event::Interrupted { waiting: list() },
        Event::Abandoned { hosts: list() },
        Event::Stopped {
            hosts: vec![StoppedHost {
                host: name(),
                done: list(),
                not_done: list(),
            }],
            next: Some(name()),
        },
        Event::Error(Error {
            kind: ErrorKind::Inventory,
            host: Some(name()),
            place: Some(Place {
                file: name(),
                line: 1,
                column: 1,
            }),
            step: name(),
            message: name(),
            causes: list(),
            hint: Some(name()),
        }),
        Event::Recap {
            hosts: vec![HostRecap {
                host: name(),
                changed: 1,
                proved: 1,
                not_proved: 1,
                failed: 1,
                not_done: 1,
                unreachable: true,
                ..HostRecap::default()
            }],
            milliseconds: 1,
            next: Some(name()),
        },
    ];
    // An event that is added must be added above and in the page: this match
    // does not compile without it.
    for event in &all {
        match event {
            Event::Run { .. }
            | Event::Connected { .. }
            | Event::Facts { .. }
            | Event::Warning { .. }
            | Event::Danger { .. }
            | Event::Plan { .. }
            | Event::Step { .. }
            | Event::Started { .. }
            | Event::Changed { .. }
            | Event::Access { .. }
            | Event::Waited { .. }
            | Event::Act { .. }
            | Event::ActEnded { .. }
            | Event::Failed(_)
            | Event::NotBegun { .. }
            | Event::Sampled { .. }
            | Event::Proof(_)
            | Event::Certificate(_)
            | Event::Status { .. }
            | Event::Interrupted { .. }
            | Event::Abandoned { .. }
            | Event::Stopped { .. }
            | Event::Error(_)
            | Event::Checked { .. }
            | Event::Finding(_)
            | Event::Doctor { .. }
            | Event::Audited(_)
            | Event::Audit { .. }
            | Event::Recap { .. } => {}
        }
    }
    all
}

pub fn samples() -> Vec<Event> {
    hostile_samples("text")
}

/// Names of all fields, those of objects inside as `outer.inner`.
fn fields(prefix: &str, value: &Value, found: &mut BTreeSet<String>) {
    let inner = match value {
        Value::Array(items) => items.first().unwrap_or(&Value::Null),
        other => other,
    };
    if let Value::Object(object) = inner {
        for (name, value) in object {
            let name = format!("{prefix}{name}");
            fields(&format!("{name}."), value, found);
            found.insert(name);
        }
    }
}

/// The page's tables: a heading with the event's name, and rows that begin with
/// a field.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let page = include_str!("../../../docs/json-output.md");
    let mut events: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = None;
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("### `") {
            let name = name.trim_end_matches('`').to_owned();
            events.entry(name.clone()).or_default();
            current = Some(name);
        } else if line.starts_with('#') {
            current = None;
        } else if let Some(row) = line.strip_prefix("| `")
            && let Some(event) = &current
        {
            let field = row.split('`').next().unwrap().to_owned();
            events.get_mut(event).unwrap().insert(field);
        }
    }
    events
}

#[test]
fn the_page_names_every_event_and_every_field() {
    let mut written = BTreeMap::new();
    for event in samples() {
        let text = line(&event, OffsetDateTime::UNIX_EPOCH).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let name = value["event"].as_str().unwrap().to_owned();
        let mut found = BTreeSet::new();
        fields("", &value, &mut found);
        // These are of every event, and stand once in the page.
        assert!(found.remove("event") && found.remove("time"));
        written.insert(name, found);
    }
    assert_eq!(documented(), written);
}

/// A journal is read again: nothing is lost on the way.
#[test]
fn every_event_is_read_as_it_was_written() {
    for event in samples() {
        let text = line(&event, OffsetDateTime::UNIX_EPOCH).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}

/// Everything that a word of the schema can be.
#[test]
fn the_page_names_every_word() {
    let page = include_str!("../../../docs/json-output.md");
    let mut words = Vec::new();
    for kind in [
        FailureKind::Unreachable,
        FailureKind::TimedOut,
        FailureKind::Refused,
        FailureKind::Undone,
        FailureKind::Failed,
        FailureKind::Unknown,
        FailureKind::UndoFailed,
    ] {
        words.push(serde_json::to_value(kind).unwrap());
    }
    for kind in [
        ErrorKind::Usage,
        ErrorKind::Inventory,
        ErrorKind::Playbook,
        ErrorKind::Passphrase,
        ErrorKind::Locked,
        ErrorKind::Journal,
        ErrorKind::Authority,
        ErrorKind::Interrupted,
        ErrorKind::Internal,
    ] {
        words.push(serde_json::to_value(kind).unwrap());
    }
    for check in [
        Check::Accepted,
        Check::LetInWithout,
        Check::KeptOut,
        Check::Served,
        Check::Name,
        Check::NoCertificate,
        Check::MadeUp,
        Check::PlainHttp,
        Check::Port2375,
        Check::ServerAsClient,
        Check::LocalSocket,
        Check::Guard,
        Check::Closed,
        Check::Removed,
    ] {
        words.push(serde_json::to_value(check).unwrap());
    }
    for verdict in [
        Verdict::Proved,
        Verdict::NotProved,
        Verdict::Unreachable,
        Verdict::Failed,
        Verdict::NotReached,
    ] {
        words.push(serde_json::to_value(verdict).unwrap());
    }
    for role in [
        CertificateRole::Ca,
        CertificateRole::Daemon,
        CertificateRole::Client,
    ] {
        words.push(serde_json::to_value(role).unwrap());
    }
    for source in [
        CertificateSource::Served,
        CertificateSource::Disk,
        CertificateSource::Context,
        CertificateSource::Ledger,
    ] {
        words.push(serde_json::to_value(source).unwrap());
    }
    for state in [
        CertificateState::Expired,
        CertificateState::Broken,
        CertificateState::Unknown,
        CertificateState::Due,
        CertificateState::Unlisted,
        CertificateState::Fine,
    ] {
        words.push(serde_json::to_value(state).unwrap());
    }
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        words.push(serde_json::to_value(severity).unwrap());
        assert_eq!(words.last().unwrap(), severity.word());
    }
    for topic in Topic::ALL {
        words.push(serde_json::to_value(topic).unwrap());
        assert_eq!(words.last().unwrap(), topic.word());
    }
    for word in words {
        let word = word.as_str().unwrap().to_owned();
        assert!(page.contains(&format!("`{word}`")), "{word}");
    }
}
