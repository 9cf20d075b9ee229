//! One run: inventory and playbook in, an exit code out.
//!
//! ```text
//! facts ──> plan ──> [CA agent: lock, look again, issue] ──> apply ──> verify ──> recap
//! ```
//!
//! Facts are read without the lock, so that a run that changes nothing needs
//! no agent. A run that does takes the lock and compares what the agent sees
//! with what the plan was made from; where the CA has moved on meanwhile, it
//! reads and plans again, under the lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use time::{OffsetDateTime, UtcOffset};

use crate::agent::{Program, RunningAgent, StartError};
use crate::apply::{Apply, Materials, Outcome, issue, schedule};
use crate::event::{
    Check, Event, Events, Failure, FailureKind, HostRecap, PlannedBatches, PlannedChange, Proof,
    SCHEMA, StoppedHost, Verdict,
};
use crate::interrupt::Interrupt;
use crate::inventory::{ConnectionKind, Host, Inventory};
use crate::journal::{Act, Journal};
use crate::node::SshContext;
use crate::node::facts::{FactRequest, NodeFacts};
use crate::passphrase;
use crate::pki::{Certificate, DeliveredLeaf, PROTOCOL, Request, Response, Role};
use crate::plan::{Action, Change, Plan, PlannedHost, leaf_location, plan};
use crate::playbook::Playbook;
use crate::secret::Secret;
use crate::session::{Deadlines, Gathered, Gathering, Node, Passwords, causes, gather};
use crate::verify::{Expectations, verify};

mod access;
mod adopt;
mod authority;
mod backup;
mod consent;
mod error;
mod holder;
mod left;
mod rollover;

pub use adopt::AdoptOptions;
pub use authority::Task;
pub use backup::{BackupOptions, RestoreOptions};
pub use error::{Exit, RunError};

/// What the command line asked for.
// Its flags are independent of each other.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone)]
pub struct Options {
    /// Plan and show, change nothing.
    pub check: bool,
    /// With `check`: say by the exit code whether something would change.
    pub exit_code: bool,
    pub diff: bool,
    /// Containers may be stopped by a restart without a question.
    pub allow_container_restart: bool,
    /// The first failure stops everything that has not begun.
    pub fail_fast: bool,
    /// Hosts worked on at one time.
    pub forks: usize,
    pub passphrase: passphrase::Source,
    pub passwords: Passwords,
    pub agent_program: Option<std::path::PathBuf>,
    /// Seconds to wait for another run's lock.
    pub wait_seconds: u64,
    pub deadlines: Deadlines,
    /// Plans are made and carried out until there is nothing left to do.
    pub until_done: bool,
}

/// The run itself.
#[derive(Debug)]
pub struct Run<'a> {
    pub id: String,
    /// This machine's time zone, which maintenance windows are in.
    pub zone: UtcOffset,
    pub inventory: &'a Inventory,
    pub playbook: &'a Playbook,
    pub options: &'a Options,
    pub context: &'a SshContext,
    pub events: &'a Events,
    /// Where what is about to be changed is written first.
    pub journal: &'a Journal,
    pub interrupt: &'a Interrupt,
}

struct World {
    nodes: BTreeMap<String, Arc<Node>>,
    facts: BTreeMap<String, NodeFacts>,
    missing: BTreeMap<String, FailureKind>,
    plan: Plan,
}

impl Run<'_> {
    /// Carries it out.
    ///
    /// # Errors
    /// When it ends before anything was changed on daemons and clients.
    pub async fn execute(&self) -> Result<Exit, RunError> {
        let begun = Instant::now();
        self.announce();
        if self.options.until_done && !self.options.check {
            return self.roll_over(begun).await;
        }
        let left = self.left_behind();
        let program = self.program()?;
        let mut world = self.unless(self.look(&program, BTreeMap::new())).await?;
        let mut outcome = Outcome::default();
        let mut proofs = Vec::new();
        let mut materials = self.materials(&world);
        // A run that is still at work holds the lock.
        let unsettled = world.plan.unsettled;
        if self.options.check || (world.plan.is_empty() && !unsettled) {
            self.say_found(&left, &world);
            self.show(&world.plan);
        } else {
            if !unsettled && let Err(refused) = self.refuse_unasked(&world.plan) {
                self.show(&world.plan);
                return Err(refused);
            }
            let asked = Instant::now();
            let mut agent = self.unless(self.lock(&world, &program)).await??;
            // Whoever held the lock may have changed nodes, too.
            let waited = self.options.wait_seconds > 0 && asked.elapsed().as_millis() > 900;
            let moved = self.unless(self.moved_on(&mut agent, &world.facts));
            if unsettled {
                // Whoever had begun it would hold the lock if it were at work.
                self.settle(&world).await?;
            }
            if moved.await?? || waited || unsettled {
                world = self.unless(self.look(&program, world.nodes)).await?;
            }
            self.say_found(&left, &world);
            self.show(&world.plan);
            self.consent(&world.plan).await?;
            materials = self.issue(&world, &mut agent, &mut None).await?;
            outcome = self.apply(&world, 0).run(&world.plan, &materials).await;
            if world.plan.verify {
                let proving = self.interrupt.or(self.prove(&world, &materials));
                proofs = proving.await.unwrap_or_default();
            }
            self.tell_delivered(&mut agent, &mut outcome, &proofs).await;
            // The agent gives the lock back and ends.
            if let Err(error) = self.call(&mut agent, Request::Bye).await {
                self.said_by_authority(&error, &mut outcome);
            }
        }
        if proofs.is_empty() && world.plan.verify && !self.options.check {
            let proving = self.interrupt.or(self.prove(&world, &materials));
            proofs = proving.await.unwrap_or_default();
        }
        if self.interrupt.is_asked() {
            self.stopped(&outcome);
        }
        let exit = self.recap(&world, &outcome, &proofs, begun);
        for node in world.nodes.values() {
            node.connection.close().await;
        }
        Ok(exit)
    }

    /// The first event.
    fn announce(&self) {
        self.events.emit(Event::Run {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            run: self.id.clone(),
            inventory: self.inventory.path.display().to_string(),
            playbook: self.playbook.name.clone(),
            hosts: self.hosts().iter().map(|host| host.name.clone()).collect(),
            check: self.options.check,
        });
    }

    /// What the CA agent is started from.
    fn program(&self) -> Result<Program, RunError> {
        Program::read(self.options.agent_program.clone()).map_err(|source| {
            let path = self.options.agent_program.clone();
            let path = path.unwrap_or_else(|| "/proc/self/exe".into());
            RunError::Program { path, source }
        })
    }

    fn apply<'a>(&'a self, world: &'a World, pass: usize) -> Apply<'a> {
        Apply {
            inventory: self.inventory,
            playbook: self.playbook,
            nodes: &world.nodes,
            facts: &world.facts,
            events: self.events,
            journal: self.journal,
            forks: self.options.forks,
            pass,
            fail_fast: self.options.fail_fast,
            interrupt: self.interrupt,
        }
    }

    /// What the CA has, and nothing issued yet.
    fn materials(&self, world: &World) -> Materials {
        let mut materials = Materials::new(self.ca_text(&world.facts, "ca.pem"));
        materials.next_pem = self.ca_text(&world.facts, "next/ca.pem");
        materials.bundles.clone_from(&world.plan.bundles);
        materials
    }

    async fn tell_delivered(
        &self,
        agent: &mut RunningAgent,
        outcome: &mut Outcome,
        proofs: &[Proof],
    ) {
        if let Err(error) = self.delivered(agent, outcome, proofs).await {
            self.said_by_authority(&error, outcome);
        }
    }

    /// The daemons are done: what went wrong is the CA's alone.
    fn said_by_authority(&self, error: &RunError, outcome: &mut Outcome) {
        let ca = &self.inventory.ca().name;
        self.events.emit(Event::Failed(Failure {
            host: ca.clone(),
            kind: FailureKind::Failed,
            step: "tell the CA what was delivered".to_owned(),
            message: error.to_string(),
            causes: causes(error),
            detail: Vec::new(),
            hint: error.hint(),
        }));
        outcome.failed.insert(ca.clone());
    }

    /// Work that changes nothing, unless an interruption comes first.
    async fn unless<T>(&self, work: impl Future<Output = T>) -> Result<T, RunError> {
        self.interrupt.or(work).await.ok_or(RunError::Interrupted)
    }

    fn stopped(&self, outcome: &Outcome) {
        let of = |map: &BTreeMap<String, Vec<String>>, host: &Host| {
            map.get(&host.name).cloned().unwrap_or_default()
        };
        let hosts = self.hosts().into_iter().map(|host| StoppedHost {
            host: host.name.clone(),
            done: of(&outcome.done, host),
            not_done: of(&outcome.not_done, host),
        });
        self.events.emit(Event::Stopped {
            hosts: hosts
                .filter(|host| !host.done.is_empty() || !host.not_done.is_empty())
                .collect(),
        });
    }

    /// Every host that some play runs on, and the CA, in the inventory's order.
    fn hosts(&self) -> Vec<&Host> {
        self.inventory
            .hosts
            .iter()
            .filter(|host| host.is_ca || self.playbook.plays.iter().any(|play| play.includes(host)))
            .collect()
    }

    fn is_privileged(&self, host: &Host) -> bool {
        self.playbook.is_privileged(host)
    }

    fn request(&self, host: &Host, program: &Program) -> FactRequest {
        let mut request = FactRequest::default();
        self.playbook.request(self.inventory, host, &mut request);
        if host.is_ca {
            request
                .present
                .insert(program.path(self.is_privileged(host)));
        }
        request
    }

    /// Facts of every host, and the plan that follows from them.
    async fn look(&self, program: &Program, known: BTreeMap<String, Arc<Node>>) -> World {
        let wanted: Vec<(&Host, FactRequest, bool)> = self
            .hosts()
            .into_iter()
            .map(|host| (host, self.request(host, program), self.is_privileged(host)))
            .collect();
        // Connections that are there already are kept.
        let (fresh, again): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .partition(|(host, _, _)| !known.contains_key(&host.name));
        let how = Gathering {
            context: self.context,
            passwords: &self.options.passwords,
            run: &self.id,
            forks: self.options.forks,
            deadlines: self.options.deadlines,
            events: self.events,
        };
        let Gathered {
            mut nodes,
            mut facts,
            mut missing,
        } = gather(&fresh, how).await;
        for (host, request, privileged) in &again {
            if let Some(node) = known.get(&host.name) {
                match node.facts(*privileged, request).await {
                    Ok(fact) => {
                        facts.insert(host.name.clone(), fact);
                        nodes.insert(host.name.clone(), Arc::clone(node));
                    }
                    Err(error) => {
                        let failure = error.failure(&host.name, "read facts");
                        missing.insert(host.name.clone(), failure.kind);
                        self.events.emit(Event::Failed(failure));
                    }
                }
            }
        }
        let plan = plan(
            self.inventory,
            self.playbook,
            &facts,
            OffsetDateTime::now_utc().to_offset(self.zone),
        );
        World {
            nodes,
            facts,
            missing,
            plan,
        }
    }

    fn show(&self, plan: &Plan) {
        for note in &plan.notes {
            self.events.emit(Event::Warning {
                host: Some(note.host.clone()),
                text: note.text.clone(),
            });
        }
        for problem in &plan.problems {
            self.events.emit(Event::Failed(Failure {
                host: problem.host.clone(),
                kind: FailureKind::Refused,
                step: problem.task.clone(),
                message: problem.message.clone(),
                causes: Vec::new(),
                detail: Vec::new(),
                hint: problem.hint.clone(),
            }));
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

    /// Plays whose hosts are not all taken at one time.
    fn batches(&self, plan: &Plan) -> Vec<PlannedBatches> {
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

    fn ca_error(&self, source: StartError) -> RunError {
        RunError::Agent {
            host: self.inventory.ca().name.clone(),
            source,
        }
    }

    /// Starts the agent and takes the CA's lock.
    async fn lock(&self, world: &World, program: &Program) -> Result<RunningAgent, RunError> {
        self.lock_after(world, program, None).await
    }

    /// As [`Self::lock`], with a request before the lock is taken.
    async fn lock_after(
        &self,
        world: &World,
        program: &Program,
        first: Option<Request>,
    ) -> Result<RunningAgent, RunError> {
        let ca = self.inventory.ca();
        let (Some(node), Some(facts)) = (world.nodes.get(&ca.name), world.facts.get(&ca.name))
        else {
            let kind = world.missing.get(&ca.name).copied();
            return Err(RunError::NoAuthority {
                host: ca.name.clone(),
                kind: kind.unwrap_or(FailureKind::Unreachable),
            });
        };
        let is_local = ca.connection.kind == ConnectionKind::Local;
        let mut agent = crate::agent::start(node, facts, self.is_privileged(ca), is_local, program)
            .await
            .map_err(|error| self.ca_error(error))?;
        if let Some(first) = first {
            self.call(&mut agent, first).await?;
        }
        let hello = agent
            .client
            .call(Request::Hello {
                protocol: PROTOCOL,
                directory: facts.expand(&ca.settings.ca_dir).into(),
                holder: self.id.clone(),
                wait_seconds: self.options.wait_seconds,
            })
            .await;
        match hello {
            Ok(Response::Held { holder, since }) => Err(RunError::Locked(holder::said(
                &holder,
                since,
                &ca.name,
                OffsetDateTime::now_utc(),
            ))),
            Ok(_) => Ok(agent),
            Err(error) => {
                let error = agent.explain(error).await;
                Err(self.ca_error(error))
            }
        }
    }

    /// Whether the CA is not what the facts say any more.
    async fn moved_on(
        &self,
        agent: &mut RunningAgent,
        facts: &BTreeMap<String, NodeFacts>,
    ) -> Result<bool, RunError> {
        let ca = self.inventory.ca();
        let state = self.call(agent, Request::State {}).await?;
        let Response::State {
            ledger,
            certificate_pem,
            next_certificate_pem,
            ..
        } = state
        else {
            return Ok(true);
        };
        let seen = |name: &str| {
            facts
                .get(&ca.name)?
                .text(&format!("{}/{name}", ca.settings.ca_dir))
        };
        Ok(
            ledger.as_deref().unwrap_or_default() != seen(".ledger.jsonl").unwrap_or_default()
                || certificate_pem.as_deref() != seen("ca.pem")
                || next_certificate_pem.as_deref() != seen("next/ca.pem"),
        )
    }

    async fn call(&self, agent: &mut RunningAgent, request: Request) -> Result<Response, RunError> {
        match agent.client.call(request).await {
            Ok(response) => Ok(response),
            Err(error) => {
                let error = agent.explain(error).await;
                Err(self.ca_error(error))
            }
        }
    }

    /// The CA's part. The passphrase is asked for once, when it is first needed.
    async fn issue(
        &self,
        world: &World,
        agent: &mut RunningAgent,
        passphrase: &mut Option<Secret>,
    ) -> Result<Materials, RunError> {
        if passphrase.is_none() && world.plan.needs_authority_key() {
            let new = world
                .plan
                .changes()
                .any(|change| matches!(change.action, Action::Authority { .. }));
            *passphrase = Some(self.ca_passphrase(new).await?);
        }
        let ca = &self.inventory.ca().name;
        let _step = self.interrupt.begin(ca).ok_or(RunError::Interrupted)?;
        let _act = self.act_of_authority(&world.plan).await?;
        let issued = issue(
            &world.plan,
            &mut agent.client,
            passphrase.as_ref(),
            self.materials(world),
            self.events,
            self.inventory,
        )
        .await;
        match issued {
            Ok(materials) => Ok(materials),
            Err(error) => {
                let error = agent.explain(error).await;
                Err(self.ca_error(error))
            }
        }
    }

    /// What the CA is about to be asked for, where it is asked for something.
    async fn act_of_authority(&self, plan: &Plan) -> Result<Option<Act<'_>>, RunError> {
        let mut what = Vec::new();
        let mut step = "handing out certificates that were waiting";
        for change in plan.changes() {
            match change.action {
                Action::Authority { .. } => step = "creating the CA and issuing certificates",
                Action::NextAuthority { .. } => step = "creating the next CA",
                Action::Promote => step = "retiring the old CA",
                Action::EndRollover { destroy_old: true } => {
                    step = "removing the keys of retired CAs";
                }
                Action::EndRollover { .. } => step = "ending the rollover",
                Action::Issue(_) if what.is_empty() => step = "issuing certificates",
                Action::Issue(_) | Action::Fetch { .. } => {}
                _ => continue,
            }
            what.push(change.subject.clone());
        }
        if what.is_empty() {
            return Ok(None);
        }
        let ca = &self.inventory.ca().name;
        Ok(Some(self.journal.act(self.events, ca, step, what).await?))
    }

    fn ca_text(&self, facts: &BTreeMap<String, NodeFacts>, name: &str) -> Option<String> {
        let ca = self.inventory.ca();
        let path = format!("{}/{name}", ca.settings.ca_dir);
        Some(facts.get(&ca.name)?.text(&path)?.to_owned())
    }

    async fn prove(&self, world: &World, materials: &Materials) -> Vec<Proof> {
        let mut expectations = Expectations {
            authorities: materials.authorities(),
            trusted: materials
                .bundles
                .keys()
                .map(|(host, role)| {
                    let trusted = materials.trusted_by(host, *role);
                    ((host.clone(), *role), trusted)
                })
                .collect(),
            ..Expectations::default()
        };
        for host in self.hosts() {
            expectations
                .privileged
                .insert(host.name.clone(), self.is_privileged(host));
        }
        for daemon in self.inventory.daemons() {
            let issued = materials.certificate(&daemon.name, Role::Daemon);
            let certificate = issued.or_else(|| {
                let (directory, files) = leaf_location(daemon, Role::Daemon);
                let facts = world.facts.get(&daemon.name)?;
                let file = facts.regular(&format!("{directory}/{}", files.cert))?;
                Certificate::from_pem(file.content.as_deref()?).ok()
            });
            if let Some(certificate) = certificate {
                expectations
                    .served
                    .insert(daemon.name.clone(), certificate.der().to_vec());
            }
        }
        let about = self.playbook.limited(self.inventory);
        verify(&world.nodes, &about, &expectations, self.events).await
    }

    /// Tells the CA what has arrived and is proved, so that keys may leave it.
    async fn delivered(
        &self,
        agent: &mut RunningAgent,
        outcome: &Outcome,
        proofs: &[Proof],
    ) -> Result<(), RunError> {
        let proved = |leaf: &DeliveredLeaf| {
            outcome.failed.iter().all(|host| *host != leaf.host)
                && (leaf.role == Role::Daemon
                    || (proofs.is_empty() && !self.interrupt.is_asked())
                    || proofs.iter().any(|proof| {
                        proof.from == leaf.host
                            && proof.check == Check::Accepted
                            && proof.verdict == Verdict::Proved
                    }))
        };
        let leaves: Vec<DeliveredLeaf> = outcome
            .placed
            .iter()
            .filter(|leaf| proved(leaf))
            .cloned()
            .collect();
        if !leaves.is_empty() {
            let ca = &self.inventory.ca().name;
            let step = "telling the CA what was delivered";
            let _act = self.journal.act(self.events, ca, step, Vec::new()).await?;
            let keep_keys = self.inventory.ca().settings.keep_issued_keys;
            self.call(agent, Request::Delivered { leaves, keep_keys })
                .await?;
        }
        Ok(())
    }

    fn recap(&self, world: &World, outcome: &Outcome, proofs: &[Proof], begun: Instant) -> Exit {
        let problems = world.plan.problems.iter();
        let refused: BTreeSet<&str> = problems.map(|problem| problem.host.as_str()).collect();
        let mut hosts = Vec::new();
        for host in self.hosts() {
            let name = host.name.as_str();
            let of = |verdict| {
                proofs
                    .iter()
                    .filter(|proof| proof.from == name && proof.verdict == verdict)
                    .count()
            };
            let issued = world
                .plan
                .changes()
                .filter(|change| change.host == name && !change.is_on_node())
                .count();
            let placed = outcome.changed.get(name).copied().unwrap_or(0);
            let only_issued = if self.options.check || placed > 0 {
                0
            } else {
                issued
            };
            let missing = world.missing.get(name);
            let unreachable =
                missing == Some(&FailureKind::Unreachable) || outcome.unreachable.contains(name);
            let failed =
                outcome.failed.contains(name) || refused.contains(name) || missing.is_some();
            hosts.push(HostRecap {
                host: name.to_owned(),
                changed: placed.max(only_issued),
                proved: of(Verdict::Proved),
                not_proved: of(Verdict::NotProved),
                failed: usize::from(failed && !unreachable) + of(Verdict::Failed),
                not_done: outcome.not_done.get(name).map_or(0, Vec::len),
                unreachable,
            });
        }
        let unreachable = hosts.iter().any(|host| host.unreachable);
        let failed = hosts.iter().any(|host| {
            let name = host.host.as_str();
            !host.unreachable
                && (outcome.failed.contains(name)
                    || refused.contains(name)
                    || world.missing.contains_key(name))
        });
        self.events.emit(Event::Recap {
            hosts,
            milliseconds: begun.elapsed().as_millis(),
        });
        if self.interrupt.is_asked() {
            return Exit::Interrupted;
        }
        if failed {
            Exit::Failed
        } else if unreachable {
            Exit::Unreachable
        } else if proofs.iter().any(|proof| proof.verdict != Verdict::Proved) {
            Exit::NotProved
        } else if self.options.check && self.options.exit_code && !world.plan.is_empty() {
            Exit::ChangesNeeded
        } else {
            Exit::Fine
        }
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

/// Names a run: when, who, where. It is what others read in the lock.
#[must_use]
pub fn run_id(now: OffsetDateTime) -> String {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let when = now.format(&format).unwrap_or_default();
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let user = std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_else(|_| format!("uid{}", rustix::process::getuid().as_raw()));
    let clean = |text: &str| -> String {
        text.chars()
            .map(|character| {
                if character.is_ascii_alphanumeric() || "-_.".contains(character) {
                    character
                } else {
                    '_'
                }
            })
            .collect()
    };
    format!(
        "{when}-{}@{}-{}",
        clean(&user),
        clean(&host),
        rustix::process::getpid().as_raw_nonzero()
    )
}
