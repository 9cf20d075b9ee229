//! The plan as events.

use super::Run;
use crate::apply::schedule;
use base::event::{Event, Failure, FailureKind, PlannedBatches, PlannedChange};
use plan::{Change, Plan, PlannedHost};

impl Run<'_> {
    pub(super) fn show(&self, plan: &Plan) {
        for note in &plan.notes {
            let (host, text) = (Some(note.host.clone()), note.text.clone());
            self.events.emit(if note.danger {
                Event::Danger { host, text }
            } else {
                Event::Warning { host, text }
            });
        }
        self.show_refusals(plan);
        if self.playbook.only_proves() {
            return;
        }
        self.events.emit(Event::Plan {
            changes: plan
                .changes()
                .map(|change| PlannedChange {
                    host: change.host.clone(),
                    task: change.task.clone(),
                    what: change.subject.clone(),
                    reasons: change.reasons.clone(),
                    diff: self.options.diff.then(|| draw(change)).flatten(),
                })
                .collect(),
            batches: self.batches(plan),
        });
    }

    pub(super) fn show_refusals(&self, plan: &Plan) {
        for problem in &plan.problems {
            self.events.emit(Event::Failed(Failure {
                host: problem.host.clone(),
                kind: FailureKind::Refused,
                step: problem.task.clone(),
                message: problem.refusal.message.clone(),
                causes: Vec::new(),
                detail: Vec::new(),
                hint: problem.refusal.hint.clone(),
            }));
        }
    }

    /// Plays whose hosts are split into batches.
    pub(super) fn batches(&self, plan: &Plan) -> Vec<PlannedBatches> {
        let plays = plan.plays.iter().enumerate().map(|(index, planned)| {
            let own = self.playbook.plays.get(index);
            let hosts = schedule::batches(planned, own, self.inventory).into_iter();
            let names = |batch: Vec<&PlannedHost>| {
                let names = batch.into_iter().map(|host| host.host.clone());
                names.collect::<Vec<String>>()
            };
            PlannedBatches {
                play: planned.name.clone(),
                restarts: planned
                    .hosts
                    .iter()
                    .any(|host| schedule::restart(host).is_some()),
                hosts: hosts.map(names).collect(),
            }
        });
        plays.filter(|play| play.hosts.len() > 1).collect()
    }
}

/// A unified diff of a file that holds no secret.
fn draw(change: &Change) -> Option<String> {
    let diff = change.diff.as_ref()?;
    let text = similar::TextDiff::from_lines(&diff.before, &diff.after)
        .unified_diff()
        .context_radius(3)
        .header("before", "after")
        .to_string();
    Some(text)
}
