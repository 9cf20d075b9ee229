//! Apply: carries out the plan, and nothing else.
//!
//! The CA's part comes first, in one conversation; then each play, batch by batch as [`schedule`]
//! says: all hosts of a batch at once, each batch of a host's changes in one exec.

mod away;
mod compose;
mod confirm;
mod followers;
mod in_place;
mod job;
mod materials;
mod outcome;
mod pair;
pub mod schedule;
mod steps;

use std::time::{Duration, Instant};

use futures::StreamExt as _;

pub use away::Away;
use compose::{Composed, compose};
pub(crate) use confirm::PROBE_CLIENTS;
use followers::{Due, Followers};
use in_place::Arrival;
pub use in_place::InPlace;
pub use job::Apply;
use materials::started;
pub use materials::{Materials, issue};
pub use outcome::Outcome;
use outcome::{HostDone, Stopped};
use schedule::Gate;

use crate::journal::{Act, JournalError};
use crate::session::Node;
use base::event::{Event, Failure, FailureKind, Phase};
use inventory::Host;
use node::facts::NodeFacts;
use node::transaction::{Report, Undo};
use node::validation::STEP;
use pki::DeliveredLeaf;
use plan::preflight::FIX_SETTINGS;
use plan::{Action, Batch, Change, ForeignValues, Plan, PlannedPlay, Served, owner_record};

impl Apply<'_> {
    /// Carries out all changes on nodes.
    pub async fn run(&self, plan: &Plan, materials: &Materials) -> Outcome {
        let mut outcome = Outcome::default();
        let gate = Gate::default();
        let mut followers = Followers::new(plan);
        let last_play = plan.plays.iter().rposition(|play| !play.hosts.is_empty());
        for (index, planned) in plan.plays.iter().enumerate() {
            let own = self.playbook.plays.get(index);
            let max_fail = schedule::max_fail_percentage(own, self.inventory);
            let mut held = Vec::new();
            let mut batches = schedule::batches(planned, own, self.inventory)
                .into_iter()
                .peekable();
            while let Some(batch) = batches.next() {
                let hosts: Vec<Due> = batch
                    .into_iter()
                    .filter(|host| !outcome.failed.contains(&host.host))
                    .filter_map(|host| followers.in_place(index, host))
                    .collect();
                let is_last = last_play == Some(index)
                    && batches.peek().is_none()
                    && !followers.concern_proof();
                let expected = if is_last { hosts.len() } else { 0 };
                let arrivals = self.in_place.expect(expected).into_iter().map(Some);
                let arrivals = arrivals.chain(std::iter::repeat_with(|| None));
                let done: Vec<HostDone> = futures::stream::iter(hosts.into_iter().zip(arrivals))
                    .map(|(host, arrival)| {
                        self.host(planned, host, materials, Some(&gate), arrival)
                    })
                    .buffer_unordered(self.forks)
                    .collect()
                    .await;
                let failed = || {
                    let failed = done.iter().filter(|host| host.failed);
                    failed.filter(|host| self.holds_back(planned, &host.name))
                };
                if schedule::is_too_many(failed().count(), done.len(), max_fail) {
                    gate.close(failed().map(|host| host.name.as_str()));
                }
                held.extend(
                    done.iter()
                        .filter(|host| host.held)
                        .map(|host| host.name.clone()),
                );
                followers.settle(planned, &done);
                for host in done {
                    outcome.add(host);
                }
                self.follow(plan, &mut followers, materials, &mut outcome)
                    .await;
            }
            if !held.is_empty() {
                held.sort_unstable();
                self.events.emit(Event::NotBegun {
                    play: planned.name.clone(),
                    hosts: held,
                    because: gate.closed_by(),
                });
            }
        }
        for kept in followers.left(&mut outcome) {
            self.events.emit(Event::Warning {
                host: Some(kept.client.clone()),
                text: kept.to_string(),
            });
        }
        let unshown = self.in_place.unshown();
        if !unshown.is_empty() {
            self.events.emit(Event::Warning {
                host: None,
                text: format!(
                    "{} restarted without a test connection, because this run did not open the CA's key",
                    unshown.join(", ")
                ),
            });
        }
        self.in_place.end();
        outcome
    }

    /// Carries out the changes of clients whose daemons are confirmed by now. They complete what
    /// those daemons did: neither an interruption nor a failure elsewhere stops them.
    async fn follow(
        &self,
        plan: &Plan,
        followers: &mut Followers<'_>,
        materials: &Materials,
        outcome: &mut Outcome,
    ) {
        let due = followers.due().into_iter();
        let due = due.filter_map(|due| Some((plan.plays.get(due.play)?, due)));
        let done: Vec<HostDone> = futures::stream::iter(due)
            .map(|(play, due)| self.host(play, due, materials, None, None))
            .buffer_unordered(self.forks)
            .collect()
            .await;
        for host in done {
            outcome.add(host);
        }
    }

    /// Whether the failure of this host stops later hosts.
    fn holds_back(&self, play: &PlannedPlay, name: &str) -> bool {
        let planned = play.hosts.iter().find(|planned| planned.host == name);
        match (self.inventory.host(name), planned, self.facts.get(name)) {
            (Some(host), Some(planned), Some(facts)) => schedule::holds_back(host, planned, facts),
            _ => true,
        }
    }

    /// Carries out what is due on one host. Without a gate, it is the follower's part.
    async fn host(
        &self,
        play: &PlannedPlay,
        due: Due,
        materials: &Materials,
        gate: Option<&Gate>,
        mut arrival: Option<Arrival>,
    ) -> HostDone {
        let planned = &due.planned;
        let mut done = HostDone {
            name: planned.host.clone(),
            ..HostDone::default()
        };
        let (Some(host), Some(node)) = (
            self.inventory.host(&planned.host),
            self.nodes.get(&planned.host),
        ) else {
            return done;
        };
        let own = self.playbook.plays.get(due.play);
        let own_steps_as_root = own.is_some_and(|play| play.own_steps_as_root(host));
        // The transactions of a run on a node have distinct numbers.
        let earlier = self
            .pass
            .saturating_mul(100)
            .saturating_add(due.play)
            .saturating_mul(1000)
            .saturating_add(due.first);
        let mut begun = false;
        let last = planned.batches.len().saturating_sub(1);
        for (number, batch) in planned.batches.iter().enumerate() {
            let sequence = u32::try_from(earlier.saturating_add(number)).unwrap_or(u32::MAX);
            let subjects = batch.changes.iter().map(|change| change.subject.clone());
            // The CA's part was done before any play.
            let on_node = batch.changes.iter().any(Change::is_on_node);
            let step = match gate {
                Some(_) => self.interrupt.begin(&host.name),
                None => Some(self.interrupt.finish(&host.name)),
            };
            // A host that has begun is completed.
            let held = on_node && !begun && gate.is_some_and(Gate::is_closed);
            if done.failed || held || (on_node && step.is_none()) {
                done.held |= held;
                done.not_done.extend(subjects);
                continue;
            }
            begun |= on_node;
            let carried_out = match self.begin(host, batch, on_node).await {
                Ok(_act) => {
                    let at = At {
                        host,
                        node,
                        own_steps_as_root,
                    };
                    let arrival = (number == last).then(|| arrival.take()).flatten();
                    self.batch(at, batch, sequence, materials, &mut done.away, arrival)
                        .await
                }
                Err(error) => Err(Box::new(not_written(host, &error).into())),
            };
            match carried_out {
                Ok(placed) => {
                    done.placed.extend(placed);
                    done.done.extend(subjects);
                    for change in &batch.changes {
                        done.changed += 1;
                        self.events.emit(Event::Changed {
                            host: host.name.clone(),
                            what: change.subject.clone(),
                        });
                    }
                }
                Err(mut stopped) => {
                    if stopped.failure.step.is_empty() {
                        stopped.failure.step.clone_from(&play.name);
                    }
                    let kind = stopped.failure.kind;
                    self.events.emit(Event::Failed(stopped.failure));
                    if let Some(gate) = gate.filter(|_| self.fail_fast) {
                        gate.close([host.name.as_str()]);
                    }
                    done.failed = true;
                    done.away.still |= kind == FailureKind::UndoFailed;
                    done.unreachable = stopped.unreachable;
                    // The node may keep a change whose outcome is unknown.
                    if kind == FailureKind::Unknown {
                        self.in_place.lost(&host.name);
                    } else {
                        done.not_done.extend(subjects);
                    }
                }
            }
        }
        let is_done = !done.failed && done.not_done.is_empty();
        self.in_place.played(&host.name, is_done);
        done
    }

    /// Records in the journal what is about to change on the node.
    async fn begin(
        &self,
        host: &Host,
        batch: &Batch,
        on_node: bool,
    ) -> Result<Option<Act<'_>>, JournalError> {
        if !on_node {
            return Ok(None);
        }
        let mut step = "changing files";
        for change in &batch.changes {
            match change.action {
                Action::Restart(_) => step = "restarting docker",
                Action::Command { .. } | Action::Service { .. } | Action::Wait { .. } => {
                    step = &change.subject;
                }
                _ => {}
            }
        }
        let what = batch.changes.iter().map(|change| change.subject.clone());
        let what = what.collect();
        let act = self.journal.act(self.events, &host.name, step, what);
        act.await.map(Some)
    }

    async fn batch(
        &self,
        at: At<'_>,
        batch: &Batch,
        sequence: u32,
        materials: &Materials,
        away: &mut Away,
        arrival: Option<Arrival>,
    ) -> Result<Vec<DeliveredLeaf>, Box<Stopped>> {
        let At {
            host,
            node,
            own_steps_as_root,
        } = at;
        for change in &batch.changes {
            if change.action.is_own_step() {
                // It is the only change in its batch.
                started(self.events, &host.name, &change.subject);
                let begun = Instant::now();
                let carried_out = steps::carry_out(node, own_steps_as_root, change).await;
                self.events.waited(&host.name, Phase::Steps, begun);
                carried_out?;
            }
        }
        let facts = self.facts.get(&host.name);
        let composed = compose(host, facts, batch, sequence, materials)
            .map_err(|failure| Box::new((*failure).into()))?;
        let Composed {
            mut transaction,
            sweeps,
            placed,
            serves,
        } = composed;
        if let (Some(restart), Served::Issued(_)) = (&mut transaction.restart, &serves) {
            restart.owner = Some(owner_record(self.inventory, host, &materials.signers()));
        }
        if !sweeps.is_empty() {
            let output = node
                .run(host.as_root, &sweeps, node.deadlines.step)
                .await
                .map_err(|error| Box::new(Stopped::in_change(&error, &host.name, "")))?;
            let report = Report::parse(&output);
            if !report.done {
                return Err(Box::new(
                    failure(host, self.facts.get(&host.name), &report).into(),
                ));
            }
        }
        if transaction.is_empty() {
            return Ok(placed);
        }
        if transaction.reload.is_some() {
            started(self.events, &host.name, "turning live-restore on");
        }
        if transaction.restart.is_some() {
            started(self.events, &host.name, "restarting docker");
        }
        let begun = Instant::now();
        let output = node
            .run(host.as_root, &transaction.execute(), node.deadlines.step)
            .await
            .map_err(|error| Box::new(Stopped::in_change(&error, &host.name, "")))?;
        let report = Report::parse(&output);
        self.say_waited(host, begun.elapsed(), &report);
        let is_whole = report.done && report.failed.is_none();
        let restarts = transaction.restart.is_some();
        let is_restarted = report.restarted.is_some();
        let tried = report.failed.iter().any(|(step, _)| step == "restart");
        if restarts && (is_whole || is_restarted || tried) {
            self.count_away(host, node, report.away, away).await;
            away.still |= report.stopping;
        }
        if restarts && is_restarted && !is_whole {
            // The node has restarted it again with the previous files.
            self.count_away(host, node, None, away).await;
        }
        if !is_whole {
            return Err(Box::new(
                failure(host, self.facts.get(&host.name), &report).into(),
            ));
        }
        if restarts {
            let begun = Instant::now();
            let seen = self.serves(host, node, &serves, materials).await;
            let is_well = seen.is_ok();
            if is_well {
                // Only keeping the change is left, which no check depends on.
                self.in_place.restarted(&host.name);
                drop(arrival);
            }
            let confirmed = self.confirm(host, node, &transaction, seen).await;
            self.events.waited(&host.name, Phase::Confirm, begun);
            if !is_well {
                self.count_away(host, node, None, away).await;
            } else if confirmed.is_err() {
                self.in_place.withdraw(&host.name);
            }
            confirmed?;
        }
        Ok(placed)
    }

    /// Reports the times of a transaction: the restart, and everything else.
    fn say_waited(&self, host: &Host, took: Duration, report: &Report) {
        let restart = report.restart_took.map(Duration::from_millis);
        let push = took.saturating_sub(restart.unwrap_or_default());
        for (phase, took) in [(Phase::Push, Some(push)), (Phase::Restart, restart)] {
            if let Some(took) = took {
                self.events.emit(Event::Waited {
                    host: host.name.clone(),
                    phase,
                    milliseconds: took.as_millis(),
                });
            }
        }
    }
}

/// Where a batch is carried out.
#[derive(Clone, Copy)]
struct At<'a> {
    host: &'a Host,
    node: &'a Node,
    own_steps_as_root: bool,
}

/// Nothing begins that the journal does not record.
fn not_written(host: &Host, error: &JournalError) -> Failure {
    Failure {
        host: host.name.clone(),
        kind: FailureKind::Refused,
        step: "write the journal".to_owned(),
        message: error.to_string(),
        causes: error.reason().map(str::to_owned).into_iter().collect(),
        detail: Vec::new(),
        hint: Some(error.hint()),
    }
}

/// What another user wrote while the change was in place, and where it is now.
fn edited(report: &Report) -> impl Iterator<Item = String> {
    report
        .records
        .iter()
        .filter_map(|record| match record.as_slice() {
            [word, path] if word == "kept" => Some(format!(
                "someone changed a file during the run; that version is now {}",
                node::visible(path)
            )),
            _ => None,
        })
}

fn failure(host: &Host, facts: Option<&NodeFacts>, report: &Report) -> Failure {
    // dockerd's message may quote a setting.
    let settings = facts.map(ForeignValues::of).unwrap_or_default();
    let (step, message) = if report.is_expired() {
        let within = host.settings.confirm_within;
        (
            "confirm the restart".to_owned(),
            format!(
                "not confirmed within {within} s (dtls_confirm_within), and the node has put the old files back by itself"
            ),
        )
    } else {
        report.failed.clone().unwrap_or_else(|| {
            (
                String::new(),
                "the script on the node ended without a report".to_owned(),
            )
        })
    };
    let kind = if report.undo == Undo::Failed {
        FailureKind::UndoFailed
    } else if report.undo == Undo::Done {
        FailureKind::Undone
    } else if report.failed.is_none() {
        FailureKind::Unknown
    } else {
        FailureKind::Failed
    };
    let hint = match kind {
        FailureKind::Unknown => Some(format!(
            "{} finishes the change or puts back what was there; then run again: the next run checks what is there and completes it",
            host.name
        )),
        FailureKind::UndoFailed => Some(plan::by_hand(host, facts, report.by_hand.as_deref())),
        _ if step == "expect" => Some("run again: a new plan is made".to_owned()),
        FailureKind::Undone if step == STEP => {
            Some(format!("{FIX_SETTINGS}; nothing was renamed or restarted"))
        }
        FailureKind::Undone if report.is_expired() => Some(
            "set dtls_confirm_within to more seconds than a restart of docker takes there, and run again".to_owned(),
        ),
        FailureKind::Undone if report.stopping => Some(format!(
            "{} shuts down; its next boot starts the daemon with the old files; run again then",
            host.name
        )),
        FailureKind::Undone => Some(
            "fix what is reported above and run again; nothing of the change is left".to_owned(),
        ),
        _ => Some(format!(
            "look at {}, fix what is reported above, and run again: the next run checks what is there",
            host.name
        )),
    };
    Failure {
        host: host.name.clone(),
        kind,
        step,
        message: node::visible(&settings.masked(&message)),
        causes: Vec::new(),
        detail: report
            .journal
            .iter()
            .map(|line| node::visible(&settings.masked(line)))
            .chain(edited(report))
            .collect(),
        hint,
    }
}
