//! Masks texts from nodes in events, for `--untrusted`.
//!
//! Decides by the fields of an event, never by the text.

use base::event::{Error, ErrorKind, Event, Failure, Renderer};

/// Shown in place of a text.
const MASKED: &str = "masked by --untrusted";

/// Masks the events that it passes on.
pub struct Masked(pub Box<dyn Renderer>);

impl std::fmt::Debug for Masked {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Masked")
    }
}

impl Renderer for Masked {
    fn event(&mut self, event: &Event) {
        if let Some(event) = masked(event.clone()) {
            self.0.event(&event);
        }
    }
}

/// None for an event with only a node's text.
fn masked(mut event: Event) -> Option<Event> {
    match &mut event {
        Event::Plan { changes, .. } => {
            for change in changes {
                change.reasons.clear();
                change.diff = None;
            }
        }
        Event::Warning {
            host: Some(_),
            text,
        } => MASKED.clone_into(text),
        Event::Failed(failure) => mask_failure(failure),
        Event::Error(error) => mask_error(error),
        Event::Proof(proof) => MASKED.clone_into(&mut proof.seen),
        Event::Certificate(_) | Event::Finding(_) | Event::Checked { .. } | Event::Audited(_) => {
            return None;
        }
        Event::Run { .. }
        | Event::Connected { .. }
        | Event::Facts { .. }
        | Event::Waited { .. }
        | Event::Warning { host: None, .. }
        | Event::Danger { .. }
        | Event::Step { .. }
        | Event::Started { .. }
        | Event::Changed { .. }
        | Event::Access { .. }
        | Event::Act { .. }
        | Event::ActEnded { .. }
        | Event::NotBegun { .. }
        | Event::Sampled(_)
        | Event::Status { .. }
        | Event::Doctor { .. }
        | Event::Audit { .. }
        | Event::Interrupted { .. }
        | Event::Abandoned { .. }
        | Event::Stopped { .. }
        | Event::Recap { .. } => {}
    }
    Some(event)
}

/// Every failure contains a node's words. The error of an unreachable host quotes whatever answers
/// at an address that the inventory chose, and so shows open ports.
fn mask_failure(failure: &mut Failure) {
    failure.detail.clear();
    MASKED.clone_into(&mut failure.message);
    failure.causes.clear();
    failure.hint = None;
}

fn mask_error(error: &mut Error) {
    match error.kind {
        ErrorKind::Usage
        | ErrorKind::Inventory
        | ErrorKind::Playbook
        | ErrorKind::Passphrase
        | ErrorKind::Journal
        | ErrorKind::Interrupted
        | ErrorKind::Internal => {}
        ErrorKind::Locked | ErrorKind::ContainersRunning | ErrorKind::Authority => {
            MASKED.clone_into(&mut error.message);
            error.causes.clear();
            error.hint = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::event::{
        Check, Event, FailureKind, Finding, Place, PlannedChange, Proof, Severity, Topic, Verdict,
    };

    /// A node's text, in every field that may hold one.
    const NODE: &str = "a node's text";

    fn text() -> String {
        NODE.to_owned()
    }

    fn failure(kind: FailureKind) -> Event {
        Event::Failed(Failure {
            host: "node3".to_owned(),
            kind,
            step: "read facts".to_owned(),
            message: text(),
            causes: vec![text()],
            detail: vec![text()],
            hint: Some(text()),
        })
    }

    fn error(kind: ErrorKind) -> Event {
        Event::Error(Error {
            kind,
            host: None,
            place: None::<Place>,
            step: "issue".to_owned(),
            message: text(),
            causes: vec![text()],
            hint: Some(text()),
        })
    }

    #[test]
    fn no_text_of_a_node_gets_through() {
        let mut events = vec![
            Event::Plan {
                changes: vec![PlannedChange {
                    host: "node3".to_owned(),
                    task: "push".to_owned(),
                    what: "/etc/docker/daemon.json".to_owned(),
                    reasons: vec![text()],
                    diff: Some(text()),
                }],
                batches: Vec::new(),
            },
            Event::Warning {
                host: Some("node3".to_owned()),
                text: text(),
            },
            Event::Proof(Proof {
                from: "node1".to_owned(),
                to: "node3".to_owned(),
                check: Check::Served,
                verdict: Verdict::Failed,
                seen: text(),
            }),
            Event::Finding(Box::new(Finding {
                host: "node3".to_owned(),
                severity: Severity::Error,
                topic: Topic::Files,
                seen: text(),
                advice: text(),
                mended_by_deploy: false,
                refused_by_deploy: false,
            })),
            Event::Checked {
                host: "node3".to_owned(),
                topic: Topic::Files,
                what: text(),
            },
            error(ErrorKind::Authority),
            error(ErrorKind::Locked),
            error(ErrorKind::ContainersRunning),
        ];
        events.extend(
            [
                FailureKind::Unreachable,
                FailureKind::TimedOut,
                FailureKind::Refused,
                FailureKind::Undone,
                FailureKind::Failed,
                FailureKind::Unknown,
                FailureKind::UndoFailed,
            ]
            .map(failure),
        );
        for event in events {
            let before = serde_json::to_string(&event).unwrap();
            assert!(before.contains(NODE));
            let after = serde_json::to_string(&masked(event)).unwrap();
            assert!(!after.contains(NODE), "{before}: {after}");
        }
    }

    #[test]
    fn what_this_machine_has_seen_is_told() {
        for event in [
            error(ErrorKind::Inventory),
            error(ErrorKind::Usage),
            Event::Danger {
                host: Some("node3".to_owned()),
                text: text(),
            },
        ] {
            let after = serde_json::to_string(&masked(event)).unwrap();
            assert!(after.contains(NODE), "{after}");
        }
    }
}
