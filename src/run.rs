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

use time::OffsetDateTime;

use crate::agent::{Program, RunningAgent, StartError};
use crate::apply::{Apply, Materials, Outcome, issue};
use crate::event::{
    Check, Event, Events, Failure, FailureKind, HostRecap, PlannedChange, Proof, SCHEMA, Verdict,
};
use crate::inventory::{ConnectionKind, Host, Inventory};
use crate::node::SshContext;
use crate::node::facts::{FactRequest, NodeFacts};
use crate::passphrase::{self, PassphraseError};
use crate::pki::{Certificate, DeliveredLeaf, PROTOCOL, Request, Response, Role};
use crate::plan::{Action, Change, Plan, leaf_location, plan};
use crate::playbook::{Playbook, Step};
use crate::session::{Node, Passwords, gather};
use crate::verify::{Expectations, verify};

/// What the command line asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Plan and show, change nothing.
    pub check: bool,
    /// With `check`: say by the exit code whether something would change.
    pub exit_code: bool,
    pub diff: bool,
    /// Hosts worked on at one time.
    pub forks: usize,
    pub passphrase: passphrase::Source,
    pub passwords: Passwords,
    pub agent_program: Option<std::path::PathBuf>,
    /// Seconds to wait for another run's lock.
    pub wait_seconds: u64,
}

/// How a run ended; the numbers are documented in the README.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Fine = 0,
    /// Command line, inventory or playbook are wrong; nothing was touched.
    Usage = 2,
    /// With `--check --exit-code`: there is something to change.
    ChangesNeeded = 3,
    /// A change failed on some host, or a host could not be planned for.
    Failed = 4,
    Unreachable = 5,
    /// Everything was done, and the proof failed.
    NotProved = 6,
    /// Another run holds the CA's lock.
    Locked = 7,
    Interrupted = 130,
}

/// A run that ended early, before any change was made on a daemon or client.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    #[error("another run holds the lock of this CA: {0}")]
    Locked(String),
    #[error("the CA agent on {host}: {source}")]
    Agent { host: String, source: StartError },
    #[error("this program cannot be read: {0}")]
    Program(std::io::Error),
}

impl RunError {
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Passphrase(error) => Some(error.hint().to_owned()),
            Self::Locked(_) => Some("wait for it, with --wait SECONDS for instance".to_owned()),
            Self::Agent { source, .. } => source.hint(),
            Self::Program(_) => None,
        }
    }

    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Locked(_) => Exit::Locked,
            Self::Passphrase(_) => Exit::Usage,
            Self::Agent { .. } | Self::Program(_) => Exit::Failed,
        }
    }
}

/// The run itself.
#[derive(Debug)]
pub struct Run<'a> {
    pub id: String,
    pub inventory: &'a Inventory,
    pub playbook: &'a Playbook,
    pub options: &'a Options,
    pub context: &'a SshContext,
    pub events: &'a Events,
}

struct World {
    nodes: BTreeMap<String, Arc<Node>>,
    facts: BTreeMap<String, NodeFacts>,
    /// Reached, and would not do as told.
    refused: BTreeSet<String>,
    plan: Plan,
}

impl Run<'_> {
    /// Carries it out.
    ///
    /// # Errors
    /// When it ends before anything was changed on daemons and clients.
    pub async fn execute(&self) -> Result<Exit, RunError> {
        let begun = Instant::now();
        self.events.emit(Event::Run {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            run: self.id.clone(),
            inventory: self.inventory.path.display().to_string(),
            playbook: self.playbook.name.clone(),
            hosts: self.hosts().iter().map(|host| host.name.clone()).collect(),
            check: self.options.check,
        });
        let program =
            Program::read(self.options.agent_program.clone()).map_err(RunError::Program)?;
        let mut world = self.look(&program, BTreeMap::new()).await;
        let mut outcome = Outcome::default();
        let mut proofs = Vec::new();
        let mut materials = Materials::new(self.authority_pem(&world.facts));
        if self.options.check || world.plan.is_empty() {
            self.show(&world.plan);
        } else {
            let mut agent = self.lock(&world, &program).await?;
            if self.moved_on(&mut agent, &world.facts).await? {
                world = self.look(&program, world.nodes).await;
            }
            self.show(&world.plan);
            materials = self.issue(&world, &mut agent).await?;
            let apply = Apply {
                inventory: self.inventory,
                playbook: self.playbook,
                nodes: &world.nodes,
                facts: &world.facts,
                events: self.events,
                forks: self.options.forks,
            };
            outcome = apply.run(&world.plan, &materials).await;
            if world.plan.verify {
                proofs = self.prove(&world, &materials).await;
            }
            self.delivered(&mut agent, &outcome, &proofs).await?;
            // The agent answers, gives the lock back, and ends.
            let _ = agent.client.call(Request::Bye).await;
        }
        if proofs.is_empty() && world.plan.verify && !self.options.check {
            proofs = self.prove(&world, &materials).await;
        }
        let exit = self.recap(&world, &outcome, &proofs, begun);
        for node in world.nodes.values() {
            node.connection.close().await;
        }
        Ok(exit)
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
        self.playbook
            .plays
            .iter()
            .any(|play| play.includes(host) && play.is_privileged(host))
    }

    fn request(&self, host: &Host, program: &Program) -> FactRequest {
        let mut request = FactRequest::default();
        for play in &self.playbook.plays {
            if play.includes(host) {
                for task in play.steps.iter().flat_map(Step::tasks) {
                    task.module.facts(self.inventory, host, task, &mut request);
                }
            }
        }
        if host.is_ca {
            request
                .content
                .insert(format!("{}/ca.pem", host.settings.ca_dir));
            request
                .hashed
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
        let (mut nodes, mut facts, mut refused) = gather(
            &fresh,
            self.context,
            &self.options.passwords,
            &self.id,
            self.options.forks,
            self.events,
        )
        .await;
        for (host, request, privileged) in &again {
            if let Some(node) = known.get(&host.name) {
                match node.facts(*privileged, request).await {
                    Ok(fact) => {
                        facts.insert(host.name.clone(), fact);
                        nodes.insert(host.name.clone(), Arc::clone(node));
                    }
                    Err(error) => {
                        let failure = error.failure(&host.name, "read facts");
                        if failure.kind == FailureKind::Refused {
                            refused.insert(host.name.clone());
                        }
                        self.events.emit(Event::Failed(failure));
                    }
                }
            }
        }
        let plan = plan(
            self.inventory,
            self.playbook,
            &facts,
            OffsetDateTime::now_utc(),
        );
        World {
            nodes,
            facts,
            refused,
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
        });
    }

    fn ca_error(&self, source: StartError) -> RunError {
        RunError::Agent {
            host: self.inventory.ca().name.clone(),
            source,
        }
    }

    /// Starts the agent and takes the CA's lock.
    async fn lock(&self, world: &World, program: &Program) -> Result<RunningAgent, RunError> {
        let ca = self.inventory.ca();
        let (Some(node), Some(facts)) = (world.nodes.get(&ca.name), world.facts.get(&ca.name))
        else {
            return Err(self.ca_error(StartError::Unavailable));
        };
        let is_local = ca.connection.kind == ConnectionKind::Local;
        let mut agent = crate::agent::start(node, facts, self.is_privileged(ca), is_local, program)
            .await
            .map_err(|error| self.ca_error(error))?;
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
            Ok(Response::Held { holder, since }) => {
                let since = since.map_or_else(String::new, |since| {
                    format!(", since {}", since.truncate_to_second())
                });
                Err(RunError::Locked(format!(
                    "{}{since}",
                    crate::node::visible(&holder)
                )))
            }
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
                || certificate_pem.as_deref() != seen("ca.pem"),
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

    async fn issue(&self, world: &World, agent: &mut RunningAgent) -> Result<Materials, RunError> {
        let passphrase = if world.plan.needs_authority_key() {
            let new = world
                .plan
                .changes()
                .any(|change| matches!(change.action, Action::Authority { .. }));
            Some(passphrase::obtain(&self.options.passphrase, new)?)
        } else {
            None
        };
        let issued = issue(
            &world.plan,
            &mut agent.client,
            passphrase.as_ref(),
            self.authority_pem(&world.facts),
            self.events,
            self.inventory.ca(),
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

    fn authority_pem(&self, facts: &BTreeMap<String, NodeFacts>) -> Option<String> {
        let ca = self.inventory.ca();
        let path = format!("{}/ca.pem", ca.settings.ca_dir);
        Some(facts.get(&ca.name)?.text(&path)?.to_owned())
    }

    async fn prove(&self, world: &World, materials: &Materials) -> Vec<Proof> {
        let authorities = materials
            .authority_pem
            .iter()
            .filter_map(|pem| Certificate::from_pem(pem.as_bytes()).ok())
            .collect();
        let mut expectations = Expectations {
            authorities,
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
        verify(&world.nodes, self.inventory, &expectations, self.events).await
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
                    || proofs.is_empty()
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
        if leaves.is_empty() {
            return Ok(());
        }
        let keep_keys = self.inventory.ca().settings.keep_issued_keys;
        self.call(agent, Request::Delivered { leaves, keep_keys })
            .await?;
        Ok(())
    }

    fn recap(&self, world: &World, outcome: &Outcome, proofs: &[Proof], begun: Instant) -> Exit {
        let problems = world.plan.problems.iter();
        let refused: BTreeSet<&str> = problems
            .map(|problem| problem.host.as_str())
            .chain(world.refused.iter().map(String::as_str))
            .collect();
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
                .filter(|change| {
                    change.host == name
                        && matches!(
                            change.action,
                            Action::Authority { .. } | Action::Issue(_) | Action::Fetch { .. }
                        )
                })
                .count();
            let placed = outcome.changed.get(name).copied().unwrap_or(0);
            let only_issued = if self.options.check || placed > 0 {
                0
            } else {
                issued
            };
            hosts.push(HostRecap {
                host: name.to_owned(),
                changed: placed.max(only_issued),
                proved: of(Verdict::Proved),
                not_proved: of(Verdict::NotProved),
                failed: usize::from(outcome.failed.contains(name) || refused.contains(name))
                    + of(Verdict::Failed),
                unreachable: !world.facts.contains_key(name) && !world.refused.contains(name),
            });
        }
        let unreachable = hosts.iter().any(|host| host.unreachable);
        self.events.emit(Event::Recap {
            hosts,
            milliseconds: begun.elapsed().as_millis(),
        });
        if !outcome.failed.is_empty() || !refused.is_empty() {
            Exit::Failed
        } else if unreachable {
            Exit::Unreachable
        } else if proofs.iter().any(|proof| proof.verdict == Verdict::Failed) {
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
