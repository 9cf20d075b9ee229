//! What earlier runs left unfinished: reported at the start of a run, checked with its facts, and
//! settled once the CA's lock is held.

use std::collections::BTreeSet;

use futures::StreamExt as _;

use super::{Run, RunError, World};
use crate::journal::left::{Left, left_behind};
use crate::journal::record::OpenAct;
use base::event::{Event, Failure, FailureKind};
use inventory::Host;
use node::settle::Leftover;
use node::transaction::Report;
use node::visible;

/// Seconds that a node may take to restore its old files: a restart may take 90, and so may the one
/// it replaces.
const SETTLE_SECONDS: u32 = 200;

impl Run<'_> {
    pub(super) fn warn(&self, host: Option<&str>, text: String) {
        self.events.emit(Event::Warning {
            host: host.map(str::to_owned),
            text,
        });
    }

    /// Runs that ended during a change; reports each.
    pub(super) fn left_behind(&self) -> Vec<Left> {
        let Some(directory) = self.journal.directory() else {
            return Vec::new();
        };
        let left = left_behind(directory, &self.inventory.path);
        for earlier in &left {
            let how = if earlier.is_abandoned {
                "was left"
            } else {
                "ended without a report"
            };
            let doing: Vec<String> = earlier
                .acts
                .iter()
                .map(|act| format!("{} ({})", act.host, act.step))
                .collect();
            let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]");
            self.warn(
                None,
                format!(
                    "the run {} of {} UTC {how} while it was changing {}; what it left is checked now",
                    visible(&earlier.run),
                    earlier.begun.format(&format).unwrap_or_default(),
                    doing.join(", "),
                ),
            );
        }
        left
    }

    /// Reports for each host what happened, judging by a plan made from its present state.
    pub(super) fn say_found(&self, left: &[Left], world: &World) {
        for earlier in left {
            let mut all_known = true;
            for act in &earlier.acts {
                let (known, text) = self.found(act, world);
                all_known &= known;
                self.warn(Some(&act.host), format!("{text} (run {})", earlier.run));
            }
            if all_known
                && !self.options.check
                && let Err(error) = earlier.adopt(&self.id)
            {
                self.warn(
                    None,
                    format!(
                        "the journal of the run {} cannot be added to, so the next run reports it again: {error}",
                        earlier.run
                    ),
                );
            }
        }
    }

    /// The outcome of an act, and whether it is known.
    fn found(&self, act: &OpenAct, world: &World) -> (bool, String) {
        let host = act.host.as_str();
        let step = visible(&act.step);
        if !self.hosts().iter().any(|known| known.name == host) {
            return (
                false,
                format!("{step}: not checked, because this run does not concern it"),
            );
        }
        if !world.facts.contains_key(host) {
            return (
                false,
                format!("{step}: its outcome is not known, because the host does not answer"),
            );
        }
        if world
            .plan
            .problems
            .iter()
            .any(|problem| problem.host == host)
        {
            return (
                false,
                format!("{step}: its outcome is not settled, see below"),
            );
        }
        let of_authority = self.inventory.ca().name == host;
        let planned: BTreeSet<&str> = world
            .plan
            .changes()
            .filter(|change| change.host == host || of_authority)
            .map(|change| change.subject.as_str())
            .collect();
        let missing = act
            .what
            .iter()
            .filter(|what| planned.contains(what.as_str()))
            .count();
        let next = if self.options.check {
            "left to do"
        } else {
            "planned again"
        };
        let text = if act.what.is_empty() || missing == 0 {
            format!("{step}: nothing of it is left to do")
        } else if missing == act.what.len() {
            format!("{step}: it did not begin or was undone; it is {next}")
        } else {
            format!(
                "{step}: {missing} of {} changes are missing, and are {next}",
                act.what.len()
            )
        };
        (true, text)
    }

    /// Settles what runs left unconfirmed on the nodes. Call it with the CA's lock held: the run
    /// that armed it would hold the lock if it were still active.
    pub(super) async fn settle(&self, world: &World) -> Result<(), RunError> {
        let hosts: Vec<&Host> = self
            .hosts()
            .into_iter()
            .filter(|host| {
                let facts = world.facts.get(&host.name);
                facts.is_some_and(|facts| !facts.unsettled().is_empty())
            })
            .collect();
        let settled: Vec<Result<(), RunError>> = futures::stream::iter(hosts)
            .map(|host| self.settle_host(host, world))
            .buffer_unordered(self.options.forks)
            .collect()
            .await;
        settled.into_iter().collect()
    }

    async fn settle_host(&self, host: &Host, world: &World) -> Result<(), RunError> {
        let (Some(node), Some(facts)) = (world.nodes.get(&host.name), world.facts.get(&host.name))
        else {
            return Ok(());
        };
        for run in facts.unsettled() {
            let name = visible(run);
            let Some(_under_way) = self.interrupt.begin(&host.name) else {
                return Err(RunError::Interrupted);
            };
            let step = format!("settling what the run {name} left");
            self.events.emit(Event::Started {
                host: host.name.clone(),
                what: step.clone(),
            });
            let _act = self
                .journal
                .act(self.events, &host.name, &step, Vec::new())
                .await?;
            let mut left = Leftover::default();
            for directory in facts.working.get(run).into_iter().flatten() {
                // It stays if another account than its owner could change the path to it.
                if let Ok(account) = facts.account_for(directory) {
                    let own = left.directories.entry(account).or_default();
                    own.push(directory.clone());
                }
            }
            let script = left.settle(run, SETTLE_SECONDS);
            let answer = node.run(host.as_root, &script, node.deadlines.step).await;
            match answer {
                Ok(output) => self.say_settled(host, &name, &step, &Report::parse(&output)),
                Err(error) => {
                    let failure = error.failure_in_change(&host.name, &step);
                    self.events.emit(Event::Failed(failure));
                }
            }
        }
        Ok(())
    }

    fn say_settled(&self, host: &Host, run: &str, step: &str, report: &Report) {
        let how = report
            .records
            .iter()
            .find_map(|record| match record.as_slice() {
                [word, how] if word == "settled" => Some(how.as_str()),
                _ => None,
            });
        match how {
            Some("undone") => self.warn(
                Some(&host.name),
                format!("undone what the run {run} had left unconfirmed"),
            ),
            Some("by-itself") => self.warn(
                Some(&host.name),
                format!(
                    "what the run {run} had not settled is settled now, by that run or by the node itself"
                ),
            ),
            // Further planning starts from the current state.
            Some(_) => self.warn(
                Some(&host.name),
                format!(
                    "what the run {run} had left unconfirmed could not be undone {}",
                    report
                        .journal
                        .last()
                        .map(|line| visible(line))
                        .unwrap_or_default()
                ),
            ),
            None => self.events.emit(Event::Failed(Failure {
                host: host.name.clone(),
                kind: FailureKind::Failed,
                step: step.to_owned(),
                message: report.failed.as_ref().map_or_else(
                    || "the script on the node ended without a report".to_owned(),
                    |(_, message)| visible(message),
                ),
                causes: Vec::new(),
                detail: Vec::new(),
                hint: Some(format!(
                    "look at {name}: what runs there, and /var/lib/dtls-deploy/armed",
                    name = host.name
                )),
            })),
        }
    }
}
