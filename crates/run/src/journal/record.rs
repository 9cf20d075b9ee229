//! Reads a journal: what a run did, and how it ended.
//!
//! An incomplete last line, from a crash, is ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::place::{self, newest};
use base::event::{Event, Proof};
use plan::playbook::LastRun;

/// Lines that are the journal's own; all others are events.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Own {
    /// The first line. `inventory` is absolute, so that it can be compared.
    Journal {
        run: String,
        inventory: PathBuf,
        #[serde(with = "time::serde::rfc3339")]
        time: OffsetDateTime,
    },
    /// Another run has checked what this one left.
    Adopted {
        by: String,
        #[serde(with = "time::serde::rfc3339")]
        time: OffsetDateTime,
    },
}

#[derive(Deserialize)]
struct Timed {
    #[serde(with = "time::serde::rfc3339")]
    time: OffsetDateTime,
    #[serde(flatten)]
    event: Event,
}

fn text(own: &Own) -> String {
    // Everything in it is valid JSON.
    serde_json::to_string(own).unwrap_or_default()
}

/// The first line of a journal.
pub(super) fn header(run: &str, inventory: &Path, time: OffsetDateTime) -> String {
    text(&Own::Journal {
        run: run.to_owned(),
        inventory: inventory.to_owned(),
        time,
    })
}

/// The line that records that another run has checked.
pub(super) fn adopted(by: &str, time: OffsetDateTime) -> String {
    text(&Own::Adopted {
        by: by.to_owned(),
        time,
    })
}

/// A change that a run began and did not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenAct {
    pub host: String,
    pub step: String,
    /// As in the plan.
    pub what: Vec<String>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    UnderWay,
    Fine,
    /// Hosts that failed or were not reached.
    Failed(Vec<String>),
    /// All changes were made; these daemons are not verified.
    NotProved(Vec<String>),
    Interrupted,
    /// Ended by a second Ctrl-C, with acts under way.
    Abandoned(Vec<OpenAct>),
    /// The run could not continue, and why.
    Error(String),
    /// Its journal just stops: the process was killed, or the power failed.
    Silent(Vec<OpenAct>),
}

/// The runs that a later one may undo, and the hosts that each changed. None if the journals cannot
/// be read.
#[must_use]
pub fn undoable(directory: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let paths = newest(directory).unwrap_or_default();
    let records = paths.iter().filter_map(|path| Record::read(path).ok()?);
    let made = records.filter(|record| !GOING_BACK.contains(&record.about().0));
    made.map(|record| (record.run.clone(), record.changed()))
        .collect()
}

/// The last run with this inventory that changed something. None if it was one that undoes others.
#[must_use]
pub fn last_changing(directory: &Path, inventory: &Path) -> Option<LastRun> {
    let inventory = inventory.canonicalize().ok()?;
    let paths = newest(directory).unwrap_or_default();
    let records = paths.iter().filter_map(|path| Record::read(path).ok()?);
    let mut changing = records
        .filter(|record| record.inventory == inventory && record.about().0 != CA_BACKUP)
        .map(|record| (record.done(), record))
        .filter(|(hosts, _)| !hosts.is_empty());
    let (hosts, record) = changing.next()?;
    let command = record.about().0.to_owned();
    (!GOING_BACK.contains(&command.as_str())).then(|| LastRun {
        run: record.run.clone(),
        command,
        hosts,
    })
}

/// The playbooks of runs that keep nothing of what they replace.
const GOING_BACK: [&str; 2] = ["rollback", "remove"];

/// It writes a file on the controller only.
const CA_BACKUP: &str = "ca backup";

/// One run, according to its journal.
#[derive(Debug)]
pub struct Record {
    pub path: PathBuf,
    pub run: String,
    /// Absolute.
    pub inventory: PathBuf,
    /// UTC.
    pub begun: OffsetDateTime,
    pub events: Vec<(OffsetDateTime, Event)>,
    /// Runs that have checked what this one left.
    pub adopted: Vec<String>,
    is_at_work: bool,
}

impl Record {
    /// Reads a journal; `None` if it has no first line, because its run has just created it or died
    /// doing so.
    pub fn read(path: &Path) -> std::io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        // Checked first: a run that ends in between counts as ended.
        let is_at_work = place::is_at_work(&file);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines();
        let Some(Ok(Own::Journal {
            run,
            inventory,
            time: begun,
        })) = lines.next().map(serde_json::from_str)
        else {
            return Ok(None);
        };
        let mut events = Vec::new();
        let mut adopted = Vec::new();
        for line in lines {
            if let Ok(Timed { time, event }) = serde_json::from_str(line) {
                events.push((time, event));
            } else if let Ok(Own::Adopted { by, .. }) = serde_json::from_str(line) {
                adopted.push(by);
            }
        }
        // The journal is created with the first act, so its first line is not the run's beginning.
        let run_event = events
            .iter()
            .find(|(_, event)| matches!(event, Event::Run { .. }));
        let begun = run_event.map_or(begun, |(time, _)| *time);
        Ok(Some(Self {
            path: path.to_owned(),
            run,
            inventory,
            begun,
            events,
            adopted,
            is_at_work,
        }))
    }

    /// The hosts that it changed, or was about to change when it died.
    fn changed(&self) -> BTreeSet<String> {
        self.all()
            .filter_map(|event| match event {
                Event::Changed { host, .. } | Event::Act { host, .. } => Some(host.clone()),
                _ => None,
            })
            .collect()
    }

    /// The hosts that it changed, and those whose change it began and never reported.
    fn done(&self) -> BTreeSet<String> {
        let open = self.open_acts().into_iter().map(|act| act.host);
        let changed = self.all().filter_map(|event| match event {
            Event::Changed { host, .. } => Some(host.clone()),
            _ => None,
        });
        open.chain(changed).collect()
    }

    fn all(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter().map(|(_, event)| event)
    }

    /// Acts that began and did not complete.
    #[must_use]
    pub(crate) fn open_acts(&self) -> Vec<OpenAct> {
        let mut open: Vec<OpenAct> = Vec::new();
        for event in self.all() {
            match event {
                Event::Act { host, step, what } => open.push(OpenAct {
                    host: host.clone(),
                    step: step.clone(),
                    what: what.clone(),
                }),
                Event::ActEnded { host, step } => {
                    let ended = open
                        .iter()
                        .position(|act| act.host == *host && act.step == *step);
                    if let Some(ended) = ended {
                        open.remove(ended);
                    }
                }
                _ => {}
            }
        }
        open
    }

    #[must_use]
    pub fn ending(&self) -> Ending {
        if self.is_at_work {
            return Ending::UnderWay;
        }
        let last = self.all().rev().find(|event| {
            matches!(
                event,
                Event::Recap { .. } | Event::Error(_) | Event::Abandoned { .. }
            )
        });
        let interrupted = self
            .all()
            .any(|event| matches!(event, Event::Interrupted { .. }));
        match last {
            None => Ending::Silent(self.open_acts()),
            Some(Event::Abandoned { .. }) => Ending::Abandoned(self.open_acts()),
            Some(_) if interrupted => Ending::Interrupted,
            Some(Event::Error(error)) => Ending::Error(error.message.clone()),
            Some(Event::Recap { hosts, .. }) => {
                let about = self.failures();
                let failed: Vec<String> = hosts
                    .iter()
                    .filter(|host| host.unreachable || about.contains(host.host.as_str()))
                    .map(|host| host.host.clone())
                    .collect();
                let unproved = self.unproved();
                if !failed.is_empty() {
                    Ending::Failed(failed)
                } else if unproved.is_empty() {
                    Ending::Fine
                } else {
                    Ending::NotProved(unproved)
                }
            }
            Some(_) => Ending::Fine,
        }
    }

    fn failures(&self) -> BTreeSet<&str> {
        self.all()
            .filter_map(|event| match event {
                Event::Failed(failure) => Some(failure.host.as_str()),
                _ => None,
            })
            .collect()
    }

    /// Daemons that the last plan did not verify. A rollover makes many plans: an earlier failure
    /// does not count if a later plan verified the daemon.
    fn unproved(&self) -> Vec<String> {
        let is_plan = |(_, event): &(OffsetDateTime, Event)| matches!(event, Event::Plan { .. });
        let last = self.events.iter().rposition(is_plan).unwrap_or(0);
        let daemons: BTreeSet<&String> = self
            .all()
            .skip(last)
            .filter_map(|event| match event {
                Event::Proof(Proof { to, verdict, .. }) if !verdict.is_fine() => Some(to),
                _ => None,
            })
            .collect();
        daemons.into_iter().cloned().collect()
    }

    /// The playbook, and the number of hosts.
    #[must_use]
    pub fn about(&self) -> (&str, usize) {
        self.all()
            .find_map(|event| match event {
                Event::Run {
                    playbook, hosts, ..
                } => Some((playbook.as_str(), hosts.len())),
                _ => None,
            })
            .unwrap_or(("", 0))
    }

    /// The number of changes made, and the hosts that failed.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let changed = self
            .all()
            .filter(|event| matches!(event, Event::Changed { .. }))
            .count();
        (changed, self.failures().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json::line;
    use base::event::{Check, Failure, FailureKind, HostRecap, SCHEMA, Verdict};

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn act(host: &str, step: &str) -> Event {
        Event::Act {
            host: host.to_owned(),
            step: step.to_owned(),
            what: Vec::new(),
        }
    }

    fn ended(host: &str, step: &str) -> Event {
        Event::ActEnded {
            host: host.to_owned(),
            step: step.to_owned(),
        }
    }

    fn failed(host: &str) -> Event {
        Event::Failed(Failure {
            host: host.to_owned(),
            kind: FailureKind::Failed,
            step: String::new(),
            message: String::new(),
            causes: Vec::new(),
            detail: Vec::new(),
            hint: None,
        })
    }

    fn recap(host: &str) -> Event {
        Event::Recap {
            hosts: vec![HostRecap {
                host: host.to_owned(),
                changed: 1,
                ..HostRecap::default()
            }],
            milliseconds: 1,
            next: None,
        }
    }

    fn record(events: &[Event], tail: &str) -> Record {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.jsonl");
        let mut text = header("run", Path::new("/i.yaml"), NOW) + "\n";
        text += &line(
            &Event::Run {
                schema: SCHEMA,
                version: String::new(),
                run: "run".to_owned(),
                inventory: "i.yaml".to_owned(),
                playbook: "deploy".to_owned(),
                hosts: vec!["node3".to_owned()],
                contexts: Vec::new(),
                check: false,
            },
            NOW,
        )
        .unwrap();
        text.push('\n');
        for event in events {
            text += &line(event, NOW).unwrap();
            text.push('\n');
        }
        std::fs::write(&path, text + tail).unwrap();
        Record::read(&path).unwrap().unwrap()
    }

    #[test]
    fn how_it_ended_follows_from_what_it_said() {
        let begun = || act("node3", "restarting docker");
        let done = || ended("node3", "restarting docker");
        let fine = record(&[begun(), done(), recap("node3")], "");
        assert_eq!(fine.ending(), Ending::Fine);
        let bad = record(&[begun(), done(), failed("node3"), recap("node3")], "");
        assert_eq!(bad.ending(), Ending::Failed(vec!["node3".to_owned()]));
        let interrupted = Event::Interrupted {
            waiting: Vec::new(),
        };
        let stopped = record(&[begun(), interrupted, done(), recap("node3")], "");
        assert_eq!(stopped.ending(), Ending::Interrupted);
        let other = ended("node4", "restarting docker");
        // The last line is incomplete.
        let killed = record(&[begun(), other], "{\"event\":\"rec");
        let open = vec![OpenAct {
            host: "node3".to_owned(),
            step: "restarting docker".to_owned(),
            what: Vec::new(),
        }];
        assert_eq!(killed.ending(), Ending::Silent(open));
        assert_eq!(killed.about(), ("deploy", 1));
    }

    #[test]
    fn the_last_run_is_the_last_one_that_changed_something_with_this_inventory() {
        let directory = tempfile::tempdir().unwrap();
        let inventory = directory.path().join("i.yaml");
        std::fs::write(&inventory, "").unwrap();
        let inventory = inventory.canonicalize().unwrap();
        let changed = |host: &str| Event::Changed {
            host: host.to_owned(),
            what: String::new(),
        };
        let run = |run: &str, of: &Path, command: &str, events: &[Event]| {
            let about = Event::Run {
                schema: SCHEMA,
                version: String::new(),
                run: run.to_owned(),
                inventory: of.display().to_string(),
                playbook: command.to_owned(),
                hosts: Vec::new(),
                contexts: Vec::new(),
                check: false,
            };
            let mut text = header(run, of, NOW) + "\n";
            for event in std::iter::once(&about).chain(events) {
                text += &(line(event, NOW).unwrap() + "\n");
            }
            std::fs::write(directory.path().join(format!("{run}.jsonl")), text).unwrap();
            last_changing(directory.path(), &inventory).map(|last| (last.run, last.hosts))
        };
        let last = |run: &str, host: &str| Some((run.to_owned(), [host.to_owned()].into()));
        let found = run("1", &inventory, "deploy", &[changed("node3")]);
        assert_eq!(found, last("1", "node3"));
        let found = run("2", &inventory, "revoke", &[changed("node2")]);
        assert_eq!(found, last("2", "node2"));
        let undone = [act("node3", "restart"), ended("node3", "restart")];
        let found = run("3", &inventory, "deploy", &undone);
        assert_eq!(found, last("2", "node2"), "it changed nothing");
        let found = run("4", &inventory, "ca backup", &[changed("node2")]);
        assert_eq!(found, last("2", "node2"), "it changed nothing");
        let found = run("5", Path::new("/other.yaml"), "deploy", &[changed("node3")]);
        assert_eq!(found, last("2", "node2"), "another inventory");
        let found = run("6", &inventory, "deploy", &[act("node4", "restart")]);
        assert_eq!(found, last("6", "node4"), "it died at work");
        let found = run("7", &inventory, "rollback", &[changed("node4")]);
        assert_eq!(found, None);
    }

    #[test]
    fn what_the_last_plan_proved_counts() {
        let plan = || Event::Plan {
            changes: Vec::new(),
            batches: Vec::new(),
        };
        let proof = |verdict| {
            Event::Proof(Proof {
                from: "node1".to_owned(),
                to: "node3".to_owned(),
                check: Check::Accepted,
                verdict,
                seen: String::new(),
            })
        };
        let (good, bad) = (proof(Verdict::Proved), proof(Verdict::NotProved));
        let later = record(
            &[plan(), bad.clone(), plan(), good.clone(), recap("node3")],
            "",
        );
        assert_eq!(later.ending(), Ending::Fine);
        let now = record(&[plan(), good, plan(), bad, recap("node3")], "");
        assert_eq!(now.ending(), Ending::NotProved(vec!["node3".to_owned()]));
    }
}
