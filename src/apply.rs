//! Apply: the plan is carried out, and nothing else.
//!
//! Comes in: a [`Plan`], the connected nodes, the CA agent. Goes out: events
//! and an [`Outcome`]. The CA's part comes first, in one conversation; then
//! each play, all of its hosts at once, each batch of a host in one exec.

mod materials;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

pub use materials::{Materials, issue};

use crate::event::{Event, Events, Failure, FailureKind, Verdict};
use crate::interrupt::Interrupt;
use crate::inventory::{Host, Inventory};
use crate::journal::{Act, Journal, JournalError};
use crate::node::facts::NodeFacts;
use crate::node::script::Script;
use crate::node::transaction::{
    Bytes, DirectoryMode, Report, StagedFile, Transaction, UnitRestart,
};
use crate::pki::{Certificate, DeliveredLeaf, Role};
use crate::plan::{
    Action, Batch, Change, Content, FileChange, LeafPart, Mode, Plan, PlannedHost, PlannedPlay,
    daemon_address,
};
use crate::playbook::Playbook;
use crate::secret::Secret;
use crate::session::{Node, NodeError};
use crate::verify::probe::is_refusal;
use crate::verify::{handshake, judge_shown};

/// How often a daemon that has just been started is asked again.
const PROBE_TRIES: usize = 24;
/// From how many clients.
const PROBE_CLIENTS: usize = 3;
const PROBE_PAUSE: Duration = Duration::from_millis(250);
/// After this time no other try is begun.
const PROBE_DEADLINE: Duration = Duration::from_secs(20);

/// What carrying out a plan needs.
#[derive(Debug)]
pub struct Apply<'a> {
    pub inventory: &'a Inventory,
    pub playbook: &'a Playbook,
    pub nodes: &'a BTreeMap<String, Arc<Node>>,
    pub facts: &'a BTreeMap<String, NodeFacts>,
    pub events: &'a Events,
    pub journal: &'a Journal,
    pub forks: usize,
    pub interrupt: &'a Interrupt,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Changes made, by host.
    pub changed: BTreeMap<String, usize>,
    /// What they changed, by host.
    pub done: BTreeMap<String, Vec<String>>,
    /// What was planned and not done, by host.
    pub not_done: BTreeMap<String, Vec<String>>,
    /// Hosts on which a change failed.
    pub failed: BTreeSet<String>,
    /// Those of them whose connection was lost.
    pub unreachable: BTreeSet<String>,
    /// Leaves that were put in place: host, role, serial.
    pub placed: Vec<DeliveredLeaf>,
}

fn started(events: &Events, host: &str, what: &str) {
    events.emit(Event::Started {
        host: host.to_owned(),
        what: what.to_owned(),
    });
}

impl Apply<'_> {
    /// Carries out everything that happens on the nodes.
    pub async fn run(&self, plan: &Plan, materials: &Materials) -> Outcome {
        let mut outcome = Outcome::default();
        for (index, play) in plan.plays.iter().enumerate() {
            let hosts: Vec<&PlannedHost> = play
                .hosts
                .iter()
                .filter(|host| !outcome.failed.contains(&host.host))
                .collect();
            let done: Vec<HostDone> = futures::stream::iter(hosts)
                .map(|host| self.host(index, play, host, materials))
                .buffer_unordered(self.forks)
                .collect()
                .await;
            for host in done {
                *outcome.changed.entry(host.name.clone()).or_default() += host.changed;
                outcome.placed.extend(host.placed);
                let done = outcome.done.entry(host.name.clone()).or_default();
                done.extend(host.done);
                if !host.not_done.is_empty() {
                    let not_done = outcome.not_done.entry(host.name.clone()).or_default();
                    not_done.extend(host.not_done);
                }
                if host.unreachable {
                    outcome.unreachable.insert(host.name.clone());
                }
                if host.failed {
                    outcome.failed.insert(host.name);
                }
            }
        }
        outcome
    }

    async fn host(
        &self,
        index: usize,
        play: &PlannedPlay,
        planned: &PlannedHost,
        materials: &Materials,
    ) -> HostDone {
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
        let privileged = self
            .playbook
            .plays
            .get(index)
            .is_some_and(|play| play.is_privileged(host));
        for batch in &planned.batches {
            let subjects = batch.changes.iter().map(|change| change.subject.clone());
            // What the CA does was done before any play.
            let on_node = batch.changes.iter().any(Change::is_on_node);
            let step = self.interrupt.begin(&host.name);
            if done.failed || (on_node && step.is_none()) {
                done.not_done.extend(subjects);
                continue;
            }
            let carried_out = match self.begin(host, batch, on_node).await {
                Ok(_act) => self.batch(host, node, privileged, batch, materials).await,
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
                    self.events.emit(Event::Failed(stopped.failure));
                    done.failed = true;
                    done.unreachable = stopped.unreachable;
                    done.not_done.extend(subjects);
                }
            }
        }
        done
    }

    /// Says in the journal what is about to be changed on the node.
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
        host: &Host,
        node: &Node,
        privileged: bool,
        batch: &Batch,
        materials: &Materials,
    ) -> Result<Vec<DeliveredLeaf>, Box<Stopped>> {
        let mut transaction = Transaction::default();
        let mut sweeps = Script::default();
        let mut placed = Vec::new();
        for change in &batch.changes {
            match &change.action {
                Action::File(file) => {
                    if let Content::Leaf {
                        role,
                        part: LeafPart::Key,
                    } = file.content
                        && let Some(leaf) = materials.leaves.get(&(host.name.clone(), role))
                    {
                        placed.push(DeliveredLeaf {
                            host: host.name.clone(),
                            role,
                            serial: leaf.serial.clone(),
                        });
                    }
                    transaction.files.push(
                        staged(host, file, materials)
                            .ok_or_else(|| Box::new(no_material(host, change).into()))?,
                    );
                }
                Action::Restart(restart) => {
                    transaction.restart = Some(UnitRestart {
                        unit: restart.unit.clone(),
                        reads: restart.reads.clone(),
                        confirm_within: host.settings.confirm_within,
                    });
                }
                Action::Sweep { directory, account } => {
                    let mut sweep = Script::default();
                    sweep.call("sweep", &[directory]);
                    sweeps.in_account(account, &sweep, " || exit 71");
                }
                // Alone in its batch.
                Action::Command { .. } | Action::Service { .. } | Action::Wait { .. } => {
                    started(self.events, &host.name, &change.subject);
                    steps::carry_out(node, privileged, change).await?;
                }
                // Done on the CA node before any play.
                Action::Authority { .. } | Action::Issue(_) | Action::Fetch { .. } => {}
            }
        }
        if !sweeps.is_empty() {
            let output = node
                .run(privileged, &sweeps, node.deadlines.step)
                .await
                .map_err(|error| Box::new(Stopped::in_change(&error, &host.name, "")))?;
            let report = Report::parse(&output);
            if !report.done {
                return Err(Box::new(failure(host, &report).into()));
            }
        }
        if transaction.files.is_empty() && transaction.restart.is_none() {
            return Ok(placed);
        }
        if transaction.restart.is_some() {
            started(self.events, &host.name, "restarting docker");
        }
        let output = node
            .run(privileged, &transaction.execute(), node.deadlines.step)
            .await
            .map_err(|error| Box::new(Stopped::in_change(&error, &host.name, "")))?;
        let report = Report::parse(&output);
        if !report.done || report.failed.is_some() {
            return Err(Box::new(failure(host, &report).into()));
        }
        if transaction.restart.is_some() {
            self.confirm(host, node, privileged, &transaction, materials)
                .await?;
        }
        Ok(placed)
    }

    /// Looks at what the restarted daemon serves, in a fresh handshake; keeps
    /// the change, or has it undone.
    async fn confirm(
        &self,
        host: &Host,
        node: &Node,
        privileged: bool,
        transaction: &Transaction,
        materials: &Materials,
    ) -> Result<(), Box<Stopped>> {
        let seen = self.serves(host, node, materials).await;
        let script = match &seen {
            Ok(()) => transaction.confirm(),
            Err(_) => transaction.undo(),
        };
        let step = match &seen {
            Ok(()) => "confirming the restart",
            Err(_) => "undoing the restart",
        };
        // A full disk here is no reason to leave the node without either word.
        let _act = self
            .journal
            .act(self.events, &host.name, step, Vec::new())
            .await;
        let output = node
            .run(privileged, &script, node.deadlines.step)
            .await
            .map_err(|error| {
                Box::new(Stopped::in_change(
                    &error,
                    &host.name,
                    "confirm the restart",
                ))
            })?;
        let report = Report::parse(&output);
        match seen {
            Ok(()) if report.done && report.failed.is_none() => Ok(()),
            Ok(()) => Err(Box::new(failure(host, &report).into())),
            Err(seen) => {
                let mut failure = failure(host, &report);
                if !report.undone {
                    failure.kind = FailureKind::UndoFailed;
                }
                "check the restarted daemon".clone_into(&mut failure.step);
                failure.message = seen;
                Err(Box::new(failure.into()))
            }
        }
    }

    /// Asked from the clients, whoever of them answers first: a daemon that only
    /// its own node reaches is locked up. Where no client is connected its own
    /// node has to do.
    async fn serves(&self, host: &Host, node: &Node, materials: &Materials) -> Result<(), String> {
        let address = daemon_address(host);
        let mut from: Vec<&Node> = self
            .inventory
            .clients()
            .filter(|client| client.name != host.name)
            .filter_map(|client| Some(self.nodes.get(&client.name)?.as_ref()))
            .take(PROBE_CLIENTS)
            .collect();
        if from.is_empty() {
            from.push(node);
        }
        let served = materials.certificate(&host.name, Role::Daemon).or_else(|| {
            let (directory, files) = crate::plan::leaf_location(host, Role::Daemon);
            let facts = self.facts.get(&host.name)?;
            let file = facts.regular(&format!("{directory}/{}", files.cert))?;
            Certificate::from_pem(file.content.as_deref()?).ok()
        });
        let authorities = materials.authorities();
        let mut last = String::new();
        let begun = std::time::Instant::now();
        for attempt in 0..PROBE_TRIES {
            if begun.elapsed() > PROBE_DEADLINE {
                break;
            }
            let Some(node) = from.get(attempt % from.len()) else {
                break;
            };
            let (host, port) = (address.host.as_str(), address.port);
            match handshake(node, host, port, host, &authorities, None).await {
                Ok((answer, shown)) if is_refusal(&answer) => {
                    let (verdict, seen) =
                        judge_shown(&shown, served.as_ref().map(Certificate::der), &authorities);
                    if verdict == Verdict::Proved {
                        return Ok(());
                    }
                    last = format!("the daemon came up, but: {seen}");
                }
                // Nobody may be let in without a certificate, and one that
                // clients do not accept locks them out.
                Ok((answer, _)) => last = format!("the daemon came up, but: {answer}"),
                Err(error) => {
                    last = format!("{} does not reach the daemon: {error}", node.name);
                }
            }
            if (attempt + 1) % from.len() == 0 {
                tokio::time::sleep(PROBE_PAUSE).await;
            }
        }
        Err(last)
    }
}

#[derive(Debug, Default)]
struct HostDone {
    name: String,
    changed: usize,
    failed: bool,
    unreachable: bool,
    done: Vec<String>,
    not_done: Vec<String>,
    placed: Vec<DeliveredLeaf>,
}

/// Why a host goes no further.
struct Stopped {
    failure: Failure,
    unreachable: bool,
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            unreachable: false,
        }
    }
}

impl Stopped {
    fn in_change(error: &NodeError, host: &str, step: &str) -> Self {
        Self {
            failure: error.failure_in_change(host, step),
            unreachable: error.is_gone(),
        }
    }
}

fn staged(host: &Host, file: &FileChange, materials: &Materials) -> Option<StagedFile> {
    let bytes = match &file.content {
        Content::Text(text) => Bytes::Given(Secret::from(text.clone())),
        Content::Same => Bytes::CopyOf(file.path()),
        Content::Copy { from } => Bytes::CopyOf(from.clone()),
        Content::Authority => Bytes::Given(Secret::from(materials.authority_pem.clone()?)),
        Content::Leaf { role, part } => Bytes::Given(materials.bytes(&host.name, *role, *part)?),
    };
    Some(StagedFile {
        directory: file.directory.clone(),
        directory_mode: match file.directory_mode {
            Mode::Exact(bits) => DirectoryMode::Set(bits),
            Mode::IfMissing(bits) => DirectoryMode::Keep { when_missing: bits },
        },
        name: file.name.clone(),
        mode: file.mode,
        account: file.account.clone(),
        before: file.before.clone(),
        bytes,
    })
}

/// Nothing is begun that the journal does not say.
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

fn no_material(host: &Host, change: &Change) -> Failure {
    Failure {
        host: host.name.clone(),
        kind: FailureKind::Failed,
        step: change.task.clone(),
        message: format!("there is nothing to write to {}", change.subject),
        causes: Vec::new(),
        detail: Vec::new(),
        hint: None,
    }
}

fn failure(host: &Host, report: &Report) -> Failure {
    let (step, message) = report.failed.clone().unwrap_or_else(|| {
        (
            String::new(),
            "the script on the node ended without a word".to_owned(),
        )
    });
    let kind = if report.undo_failed {
        FailureKind::UndoFailed
    } else if report.undone {
        FailureKind::Undone
    } else {
        FailureKind::Failed
    };
    let hint = match kind {
        FailureKind::UndoFailed => Some(format!(
            "look at {} now: systemctl status {}; journalctl -u {}",
            host.name, host.settings.unit, host.settings.unit
        )),
        _ if step == "expect" => Some("run again: the plan will be made anew".to_owned()),
        FailureKind::Undone => {
            Some("mend what is said above and run again; nothing of the change is left".to_owned())
        }
        _ => Some(format!(
            "look at {}, mend what is said above, and run again: the next run looks at what it finds",
            host.name
        )),
    };
    Failure {
        host: host.name.clone(),
        kind,
        step,
        message: crate::node::visible(&message),
        causes: Vec::new(),
        detail: report
            .journal
            .iter()
            .map(|line| crate::node::visible(line))
            .collect(),
        hint,
    }
}
