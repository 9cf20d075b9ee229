//! Apply: the plan is carried out, and nothing else.
//!
//! Comes in: a [`Plan`], the connected nodes, the CA agent. Goes out: events
//! and an [`Outcome`]. The CA's part comes first, in one conversation; then
//! each play, one batch of hosts after the other as [`schedule`] says, all hosts
//! of a batch at once, each batch of a host's changes in one exec.

mod materials;
mod pair;
pub mod schedule;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

pub use materials::{Materials, issue};
use schedule::Gate;

use crate::event::{Event, Events, Failure, FailureKind, Verdict};
use crate::interrupt::Interrupt;
use crate::inventory::{Host, Inventory};
use crate::journal::{Act, Journal, JournalError};
use crate::node::facts::NodeFacts;
use crate::node::script::Script;
use crate::node::transaction::{
    Bytes, DirectoryMode, Keep, Report, StagedFile, Transaction, UnitReload, UnitRestart,
};
use crate::node::visible;
use crate::pki::{Certificate, DeliveredLeaf, Role};
use crate::plan::{
    Action, Batch, Change, Content, FileChange, Forget, LeafPart, Mode, Plan, PlannedHost,
    PlannedPlay, Served, daemon_address,
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
    /// The first failure stops everything that has not begun.
    pub fail_fast: bool,
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

impl Outcome {
    fn add(&mut self, host: HostDone) {
        *self.changed.entry(host.name.clone()).or_default() += host.changed;
        self.placed.extend(host.placed);
        self.done
            .entry(host.name.clone())
            .or_default()
            .extend(host.done);
        if !host.not_done.is_empty() {
            let not_done = self.not_done.entry(host.name.clone()).or_default();
            not_done.extend(host.not_done);
        }
        if host.unreachable {
            self.unreachable.insert(host.name.clone());
        }
        if host.failed {
            self.failed.insert(host.name);
        }
    }
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
        let gate = Gate::default();
        for (index, planned) in plan.plays.iter().enumerate() {
            let own = self.playbook.plays.get(index);
            let max_fail = schedule::max_fail_percentage(own, self.inventory);
            let mut held = Vec::new();
            for batch in schedule::batches(planned, own, self.inventory) {
                let hosts: Vec<&PlannedHost> = batch
                    .into_iter()
                    .filter(|host| !outcome.failed.contains(&host.host))
                    .collect();
                let done: Vec<HostDone> = futures::stream::iter(hosts)
                    .map(|host| self.host(index, planned, host, materials, &gate))
                    .buffer_unordered(self.forks)
                    .collect()
                    .await;
                let failed = || done.iter().filter(|host| host.failed);
                if schedule::is_too_many(failed().count(), done.len(), max_fail) {
                    gate.close(failed().map(|host| host.name.as_str()));
                }
                held.extend(
                    done.iter()
                        .filter(|host| host.held)
                        .map(|host| host.name.clone()),
                );
                for host in done {
                    outcome.add(host);
                }
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
        outcome
    }

    async fn host(
        &self,
        index: usize,
        play: &PlannedPlay,
        planned: &PlannedHost,
        materials: &Materials,
        gate: &Gate,
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
        // No two transactions of a run on a node have the same number.
        let earlier = index.saturating_mul(100);
        let mut begun = false;
        for (number, batch) in planned.batches.iter().enumerate() {
            let sequence = u32::try_from(earlier.saturating_add(number)).unwrap_or(u32::MAX);
            let subjects = batch.changes.iter().map(|change| change.subject.clone());
            // What the CA does was done before any play.
            let on_node = batch.changes.iter().any(Change::is_on_node);
            let step = self.interrupt.begin(&host.name);
            // A host that has begun is not left half-way.
            let held = on_node && !begun && gate.is_closed();
            if done.failed || held || (on_node && step.is_none()) {
                done.held |= held;
                done.not_done.extend(subjects);
                continue;
            }
            begun |= on_node;
            let carried_out = match self.begin(host, batch, on_node).await {
                Ok(_act) => {
                    self.batch(host, node, privileged, batch, sequence, materials)
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
                    self.events.emit(Event::Failed(stopped.failure));
                    if self.fail_fast {
                        gate.close([host.name.as_str()]);
                    }
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
        sequence: u32,
        materials: &Materials,
    ) -> Result<Vec<DeliveredLeaf>, Box<Stopped>> {
        let mut transaction = Transaction {
            keep: Some(Keep {
                generations: host.settings.keep_generations,
                is_new: true,
                expires: self.expires(host, batch),
            }),
            sequence,
            ..Transaction::default()
        };
        let mut sweeps = Script::default();
        let mut placed = Vec::new();
        let mut serves = Served::Issued;
        let facts = self.facts.get(&host.name);
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
                    transaction
                        .files
                        .push(staged(host, facts, file, materials).ok_or_else(|| {
                            Box::new(materials.missing(&host.name, change, file).into())
                        })?);
                }
                Action::Restart(restart) => {
                    transaction.restart = Some(UnitRestart {
                        unit: restart.unit.clone(),
                        reads: restart.reads.clone(),
                        confirm_within: host.settings.confirm_within,
                    });
                    transaction.validation.clone_from(&restart.validation);
                    serves = restart.serves.clone();
                }
                Action::Forget(Forget::Generation(path)) => {
                    transaction.back_to = Some(path.clone());
                    // What it goes back from is not kept: going back once more
                    // leads further back.
                    if let Some(keep) = &mut transaction.keep {
                        keep.is_new = false;
                    }
                }
                Action::Forget(Forget::Everything) => {
                    transaction.forget = true;
                    transaction.keep = None;
                }
                Action::Reload(reload) => {
                    transaction.reload = Some(UnitReload {
                        unit: reload.unit.clone(),
                        has_read: reload.has_read.clone(),
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
        if transaction.is_empty() {
            return Ok(placed);
        }
        if transaction.reload.is_some() {
            started(self.events, &host.name, "turning live-restore on");
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
            let seen = self
                .serves(host, node, privileged, &serves, materials)
                .await;
            self.confirm(host, node, privileged, &transaction, seen)
                .await?;
        }
        Ok(placed)
    }

    /// When the first certificate that this batch replaces expires, seconds
    /// since the epoch; 0 where it replaces none.
    fn expires(&self, host: &Host, batch: &Batch) -> i64 {
        let replaced = batch.changes.iter().filter_map(|change| {
            let Action::File(file) = &change.action else {
                return None;
            };
            let old = self.facts.get(&host.name)?.regular(&file.path())?;
            let certificate = Certificate::from_pem(old.content.as_deref()?).ok()?;
            Some(certificate.not_after().unix_timestamp())
        });
        replaced.min().unwrap_or(0)
    }

    /// Keeps the change of a restarted daemon that was `seen` to answer as it
    /// should, or has it undone.
    async fn confirm(
        &self,
        host: &Host,
        node: &Node,
        privileged: bool,
        transaction: &Transaction,
        seen: Result<(), String>,
    ) -> Result<(), Box<Stopped>> {
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

    /// Looks at what the restarted daemon serves, in a fresh handshake.
    ///
    /// Asked from the clients, whoever of them answers first: a daemon that only
    /// its own node reaches is locked up. Where no client is connected its own
    /// node has to do.
    async fn serves(
        &self,
        host: &Host,
        node: &Node,
        privileged: bool,
        serves: &Served,
        materials: &Materials,
    ) -> Result<(), String> {
        if *serves == Served::Socket {
            return answers_locally(node, privileged).await;
        }
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
        let kept = match serves {
            Served::Kept { certificate, .. } => Certificate::from_pem(certificate).ok(),
            Served::Issued | Served::Socket => None,
        };
        let served = kept
            .or_else(|| materials.certificate(&host.name, Role::Daemon))
            .or_else(|| {
                let (directory, files) = crate::plan::leaf_location(host, Role::Daemon);
                let facts = self.facts.get(&host.name)?;
                let file = facts.regular(&format!("{directory}/{}", files.cert))?;
                Certificate::from_pem(file.content.as_deref()?).ok()
            });
        let authorities = match serves {
            Served::Kept { authorities, .. } => {
                Certificate::bundle_from_pem(authorities).unwrap_or_default()
            }
            Served::Issued | Served::Socket => materials.authorities(),
        };
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

/// A daemon without TLS answers on its local socket, if there is anything to
/// ask it with; its unit is active in any case.
async fn answers_locally(node: &Node, privileged: bool) -> Result<(), String> {
    let mut script = Script::default();
    script.call("prove_socket", &[]);
    let output = node
        .run(privileged, &script, node.deadlines.step)
        .await
        .map_err(|error| error.to_string())?;
    let records = Report::parse(&output).records;
    let answer = records.iter().find_map(|record| match record.as_slice() {
        [word, outcome, tool, said] if word == "socket" => Some((outcome, tool, said)),
        _ => None,
    });
    match answer {
        Some((outcome, tool, said)) if outcome == "refused" || outcome == "timeout" => {
            Err(visible(&format!(
                "the daemon came up, but {tool} says on its local socket: {said}"
            )))
        }
        Some(_) => Ok(()),
        None => Err("the daemon came up, but its local socket was not asked".to_owned()),
    }
}

#[derive(Debug, Default)]
struct HostDone {
    name: String,
    changed: usize,
    failed: bool,
    /// It was not begun, because others had failed before it.
    held: bool,
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

fn staged(
    host: &Host,
    facts: Option<&NodeFacts>,
    file: &FileChange,
    materials: &Materials,
) -> Option<StagedFile> {
    let bytes = match &file.content {
        Content::Text(text) => Bytes::Given(Secret::from(text.clone())),
        Content::Same => Bytes::CopyOf(file.path()),
        Content::Copy { from } => Bytes::CopyOf(from.clone()),
        Content::Authority => Bytes::Given(Secret::from(materials.authority_pem.clone()?)),
        Content::Leaf { role, part } => Bytes::Given(materials.bytes(&host.name, *role, *part)?),
        Content::Kept { copy, sha256 } => Bytes::Kept {
            path: copy.clone(),
            sha256: sha256.clone(),
        },
        Content::Gone { prune } => Bytes::Gone { prune: *prune },
    };
    Some(StagedFile {
        directory: file.directory.clone(),
        directory_mode: match file.directory_mode {
            Mode::Exact(bits) => DirectoryMode::Set(bits),
            Mode::IfMissing(bits) => DirectoryMode::Keep { when_missing: bits },
        },
        missing_from: facts.and_then(|facts| facts.missing_from(&file.directory)),
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
        FailureKind::UndoFailed => Some(crate::plan::by_hand(
            &host.name,
            &host.settings.unit,
            report.by_hand.as_deref(),
        )),
        _ if step == "expect" => Some("run again: the plan will be made anew".to_owned()),
        FailureKind::Undone if step == "validate" => Some(
            "mend /etc/docker/daemon.json or the unit's flags there and run again; nothing was renamed or restarted".to_owned(),
        ),
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
