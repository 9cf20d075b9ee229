//! Clients that follow daemons: which batches wait, and when they are due.

use std::collections::{BTreeMap, BTreeSet};

use super::outcome::{HostDone, Outcome};
use plan::{Action, Batch, Change, Content, NotFollowed, Plan, PlannedHost, PlannedPlay, Why};

/// Transactions of followers are numbered from here.
const FIRST: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Confirmed,
    Not(Why),
}

/// One client's batches that are due together.
pub(super) struct Due {
    pub play: usize,
    pub planned: PlannedHost,
    /// The number of its first transaction.
    pub first: usize,
}

struct Waiting<'a> {
    play: usize,
    host: &'a str,
    batch: &'a Batch,
}

pub(super) struct Followers<'a> {
    daemons: BTreeMap<&'a str, State>,
    waiting: Vec<Waiting<'a>>,
    waves: usize,
}

impl<'a> Followers<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        let restarts = plan
            .changes()
            .filter(|change| matches!(change.action, Action::Restart(_)));
        Self {
            daemons: restarts
                .map(|change| (change.host.as_str(), State::Pending))
                .collect(),
            waiting: Vec::new(),
            waves: 0,
        }
    }

    /// Whether a waiting change matters to a check. The profiles and contexts of a client that is
    /// no daemon do not: they only set which name its users use for a daemon.
    pub(super) fn concern_proof(&self) -> bool {
        let is_text = |change: &Change| matches!(&change.action, Action::File(file) if matches!(file.content, Content::Text(_)));
        self.waiting.iter().any(|waiting| {
            self.daemons.contains_key(waiting.host) || !waiting.batch.changes.iter().all(is_text)
        })
    }

    /// What a host does in its own play: all that follows no daemon, or only confirmed daemons. The
    /// rest waits.
    pub(super) fn in_place(&mut self, play: usize, planned: &'a PlannedHost) -> Option<Due> {
        let mut now: Vec<&Batch> = Vec::new();
        for batch in &planned.batches {
            if self.is_due(batch) {
                now.push(batch);
            } else {
                let host = planned.host.as_str();
                self.waiting.push(Waiting { play, host, batch });
            }
        }
        let batches = merged(&now);
        (!batches.is_empty()).then(|| Due {
            play,
            planned: PlannedHost {
                host: planned.host.clone(),
                batches,
            },
            first: 0,
        })
    }

    fn is_due(&self, batch: &Batch) -> bool {
        let confirmed =
            |daemon: &String| self.daemons.get(daemon.as_str()).copied() == Some(State::Confirmed);
        batch.follows.iter().all(confirmed)
    }

    /// Records the outcome of the daemons in a batch of hosts.
    pub(super) fn settle(&mut self, play: &'a PlannedPlay, done: &[HostDone]) {
        for host in done {
            let planned = play.hosts.iter().find(|one| one.host == host.name);
            let restarts = planned.and_then(super::schedule::restart).is_some();
            let Some(state) = self
                .daemons
                .get_mut(host.name.as_str())
                .filter(|_| restarts)
            else {
                continue;
            };
            *state = if host.failed {
                State::Not(Why::Failed)
            } else if host.held || !host.not_done.is_empty() {
                State::Not(Why::Skipped)
            } else {
                State::Confirmed
            };
        }
    }

    /// What has become due since.
    pub(super) fn due(&mut self) -> Vec<Due> {
        let (ready, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| self.is_due(waiting.batch));
        self.waiting = waiting;
        let mut hosts: BTreeMap<(&str, usize), Vec<&Batch>> = BTreeMap::new();
        for one in &ready {
            hosts
                .entry((one.host, one.play))
                .or_default()
                .push(one.batch);
        }
        let first = FIRST.saturating_add(self.waves);
        if !hosts.is_empty() {
            self.waves = self.waves.saturating_add(1);
        }
        let due = hosts.into_iter().map(|((host, play), batches)| Due {
            play,
            planned: PlannedHost {
                host: host.to_owned(),
                batches: merged(&batches),
            },
            first,
        });
        due.collect()
    }

    /// What stays unchanged, and the outcome of its clients.
    pub(super) fn left(self, outcome: &mut Outcome) -> Vec<NotFollowed> {
        let mut kept: BTreeMap<(&str, &str, Why), Vec<String>> = BTreeMap::new();
        for Waiting { host, batch, .. } in &self.waiting {
            let subjects = batch.changes.iter().map(|change| change.subject.clone());
            let subjects: Vec<String> = subjects.collect();
            let not_done = outcome.skipped.entry((*host).to_owned()).or_default();
            not_done.extend(subjects);
            if let Some((daemon, why)) = self.because(&batch.follows, outcome) {
                let what = kept.entry((host, daemon, why)).or_default();
                what.extend(batch.called.iter().cloned());
            }
        }
        let kept = kept.into_iter().map(|((host, daemon, why), what)| {
            NotFollowed::new(host, what, daemon.to_owned(), why)
        });
        kept.collect()
    }

    /// The first daemon that blocks a change.
    fn because<'b>(
        &self,
        follows: &'b BTreeSet<String>,
        outcome: &Outcome,
    ) -> Option<(&'b str, Why)> {
        follows.iter().find_map(|daemon| {
            let why = match self.daemons.get(daemon.as_str()) {
                Some(State::Confirmed) => return None,
                Some(State::Not(why)) => *why,
                _ if outcome.failed.contains(daemon) => Why::Failed,
                Some(State::Pending) | None => Why::Skipped,
            };
            Some((daemon.as_str(), why))
        })
    }
}

/// Merges batches of followers where possible, so that a rollback takes few steps.
fn merged(batches: &[&Batch]) -> Vec<Batch> {
    let mut all: Vec<Batch> = Vec::new();
    for batch in batches {
        let alone = |batch: &Batch| batch.changes.iter().any(|change| change.action.is_alone());
        let copy = |batch: &Batch| Batch {
            transaction: batch.transaction,
            changes: batch.changes.iter().map(Change::clone).collect(),
            follows: batch.follows.clone(),
            called: batch.called.clone(),
        };
        match all.last_mut() {
            Some(last)
                if !batch.follows.is_empty()
                    && !last.follows.is_empty()
                    && !batch.transaction
                    && !last.transaction
                    && !alone(batch)
                    && !alone(last) =>
            {
                last.changes.extend(batch.changes.iter().cloned());
                last.called.extend(batch.called.iter().cloned());
            }
            _ => all.push(copy(batch)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use pki::Role;
    use plan::{FileChange, LeafPart};

    fn batch(content: Content) -> Batch {
        let change = Change {
            host: "desk".to_owned(),
            task: "Clients".to_owned(),
            subject: "a file".to_owned(),
            reasons: Vec::new(),
            diff: None,
            action: Action::File(FileChange {
                directory: "/home/a".to_owned(),
                directory_mode: 0o700,
                name: ".profile".to_owned(),
                mode: 0o644,
                account: "a".to_owned(),
                before: None,
                attributes: Vec::new(),
                content,
            }),
        };
        Batch {
            transaction: false,
            changes: vec![change],
            follows: BTreeSet::from(["node".to_owned()]),
            called: Vec::new(),
        }
    }

    #[test]
    fn a_proof_waits_for_certificates_and_not_for_texts() {
        let text = batch(Content::Text("export DOCKER_HOST=x\n".to_owned()));
        let key = batch(Content::Leaf {
            holder: "desk".to_owned(),
            role: Role::Client,
            part: LeafPart::Key,
        });
        let waiting = |host, batch| {
            let plan = Plan::default();
            let mut followers = Followers::new(&plan);
            followers.daemons.insert("node", State::Pending);
            followers.waiting.push(Waiting {
                play: 0,
                host,
                batch,
            });
            followers.concern_proof()
        };
        assert!(!waiting("desk", &text));
        assert!(waiting("desk", &key));
        assert!(waiting("node", &text), "a daemon's own settings");
        assert!(!Followers::new(&Plan::default()).concern_proof());
    }
}
