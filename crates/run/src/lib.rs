//! One run: inventory and playbook in, an exit code out.
//!
//! ```text
//! facts ──> plan ──> [CA agent: lock, look again, issue] ──> apply ──> verify ──> recap
//! ```
//!
//! Facts are read without the lock, so a run without changes needs no agent. A run with changes
//! takes the lock and compares the agent's view with the facts of the plan; if the CA has changed
//! in between, it reads and plans again, under the lock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;
use time::{OffsetDateTime, UtcOffset};

use crate::agent::{Program, RunningAgent};
use crate::apply::{Apply, InPlace, Materials, Outcome, issue};
use crate::interrupt::Interrupt;
use crate::journal::{Act, Journal};
use crate::session::{Deadlines, Gathered, Gathering, Node, Passwords, close, gather};
use base::event::{Check, Event, Events, FailureKind, Phase, Proof, Verdict};
use base::secret::Secret;
use inventory::{Host, Inventory};
use node::SshContext;
use node::facts::{FactRequest, NodeFacts};
use pki::Bundle;
use plan::orchestrator;
use plan::orchestrator::plan;
use plan::playbook::Allowed;
use plan::playbook::Playbook;
use plan::playbook::after;
use plan::{Action, Plan, before_new_authority, leave_out_shared};

mod abandoned;
mod access;
mod adopt;
pub mod agent;
pub mod apply;
mod authority;
mod backup;
mod consent;
pub mod dry_start;
mod ending;
mod error;
mod forwarding;
mod found;
mod holder;
pub mod interrupt;
pub mod journal;
mod left;
mod lock;
pub mod look;
pub mod passphrase;
mod prove;
pub mod report;
mod revoke;
mod rollover;
mod round;
pub mod session;
mod show;
mod unlock;
pub mod verify;

pub use adopt::AdoptOptions;
pub use authority::Task;
pub use backup::{BackupOptions, RestoreOptions};
pub use consent::can_ask;
pub use error::{Exit, RunError};
pub use holder::run_id;
pub use revoke::RevokeOptions;

/// The options from the command line.
// Its flags are independent of each other.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Shows the plan and changes nothing.
    pub check: bool,
    /// With `check`: sets the exit code if something would change.
    pub exit_code: bool,
    pub diff: bool,
    /// The operator is at the terminal and must agree to the plan.
    pub asks: bool,
    /// Restarts may stop containers without a question.
    pub allow_container_restart: bool,
    /// The first failure stops everything that has not begun.
    pub fail_fast: bool,
    /// Maximum number of hosts at a time.
    pub forks: usize,
    pub passphrase: passphrase::Source,
    pub passwords: Passwords,
    pub agent_program: Option<std::path::PathBuf>,
    /// Seconds to wait for another run's lock.
    pub wait_seconds: u64,
    pub deadlines: Deadlines,
    /// Makes and carries out plans until nothing is left to do.
    pub until_done: bool,
    /// What the command line allows by name.
    pub allowed: Allowed,
}

#[derive(Debug)]
pub struct Run<'a> {
    pub id: String,
    /// The controller's time zone, for maintenance windows.
    pub zone: UtcOffset,
    pub inventory: &'a Inventory,
    pub playbook: &'a Playbook,
    /// The playbook that replaces the CA, if this run may begin that on its own.
    pub rotation: Option<&'a Playbook>,
    pub options: &'a Options,
    pub context: &'a SshContext,
    pub events: &'a Events,
    /// Records what is about to be changed.
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
    /// # Errors If it ends before anything was changed on daemons and clients.
    pub async fn execute(&self) -> Result<Exit, RunError> {
        let begun = Instant::now();
        self.announce();
        if self.options.until_done && !self.options.check {
            return self.roll_over(begun).await;
        }
        let left = self.left_behind();
        let program = self.program()?;
        let mut world = self.unless(self.look(&program, BTreeMap::new())).await?;
        self.refuse_unknown_abandoned(&world)?;
        if let Some(rotation) = self.rotation
            && let Some(why) = world.plan.rollover_due.clone()
        {
            return self
                .roll_over_by_itself(rotation, &why, world, &program, &left, begun)
                .await;
        }
        let (mut outcome, mut proofs) = self.round(&mut world, 0, &program, &left).await?;
        if self.marks_foreign(&mut world, &program, &proofs).await? {
            let (later, again) = self.round(&mut world, 1, &program, &[]).await?;
            outcome.absorb(later);
            proofs = again;
        }
        if !self.options.check {
            proofs.extend(self.rejected_by_guards(&world));
        }
        if self.interrupt.is_asked() {
            self.stopped(&outcome, None);
        }
        let exit = self.recap(&world, &outcome, &proofs, begun);
        close(&world.nodes).await;
        Ok(exit)
    }

    /// Clients of the run that do not get in, by the policies of guards that it has not updated.
    fn rejected_by_guards(&self, world: &World) -> Vec<Proof> {
        let pairs = world.plan.unnamed.iter().flat_map(|one| {
            let daemons = one.daemons.iter();
            daemons.map(move |daemon| (one.holder.clone(), daemon.clone()))
        });
        let proofs: Vec<Proof> = pairs
            .map(|(from, to)| Proof {
                from,
                to,
                check: Check::Policy,
                verdict: Verdict::Failed,
                seen: "its guard rejects the client".to_owned(),
            })
            .collect();
        for proof in &proofs {
            self.events.emit(Event::Proof(proof.clone()));
        }
        proofs
    }

    /// Emits the first event.
    fn announce(&self) {
        self.announce_as(&self.playbook.name, &self.hosts());
    }

    fn announce_as(&self, name: &str, hosts: &[&Host]) {
        let Self {
            events,
            id,
            inventory,
            ..
        } = self;
        look::announce(events, id, inventory, name, hosts, self.options.check);
    }

    fn gathering<'a>(&'a self, events: &'a Events) -> Gathering<'a> {
        Gathering {
            context: self.context,
            passwords: &self.options.passwords,
            run: &self.id,
            forks: self.options.forks,
            deadlines: self.options.deadlines,
            events,
        }
    }

    /// The binary to start the CA agent from.
    fn program(&self) -> Result<Program, RunError> {
        Program::read(self.options.agent_program.clone()).map_err(|source| {
            let path = self.options.agent_program.clone();
            let path = path.unwrap_or_else(|| "/proc/self/exe".into());
            RunError::Program { path, source }
        })
    }

    /// Carries out the plan, and begins verification once no remaining change affects it.
    async fn apply_and_prove(
        &self,
        world: &World,
        pass: usize,
        materials: &Materials,
        program: &Program,
    ) -> (Outcome, Vec<Proof>) {
        let in_place = InPlace::default();
        let apply = self.apply(world, pass, &in_place);
        let applying = apply.run(&world.plan, materials);
        if !world.plan.verify || after(self.playbook).is_some() {
            let outcome = applying.await;
            let proofs = self.proved(world, materials, &in_place, program).await;
            return (outcome, proofs);
        }
        // Reported after the changes.
        let (aside, told) = Events::aside();
        let mut proofs = Vec::new();
        let early = async {
            in_place.reached().await;
            let proving = self.prove(world, materials, &in_place, &aside, &mut proofs);
            self.interrupt.or(proving).await
        };
        let (outcome, _) = tokio::join!(applying, early);
        if in_place.is_withdrawn() {
            let proofs = self.proved(world, materials, &in_place, program).await;
            return (outcome, proofs);
        }
        for event in told.take() {
            self.events.emit(event);
        }
        (outcome, proofs)
    }

    fn apply<'a>(&'a self, world: &'a World, pass: usize, in_place: &'a InPlace) -> Apply<'a> {
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
            in_place,
        }
    }

    /// The present CA, with nothing issued yet.
    fn materials(&self, world: &World) -> Materials {
        let mut materials = Materials::new(self.ca_text(&world.facts, "ca.pem"));
        materials.next_pem = self.ca_text(&world.facts, "next/ca.pem");
        materials.bundles.clone_from(&world.plan.bundles);
        materials
    }

    /// Work that changes nothing, cancelled by an interruption.
    async fn unless<T>(&self, work: impl Future<Output = T>) -> Result<T, RunError> {
        self.interrupt.or(work).await.ok_or(RunError::Interrupted)
    }

    /// Every host that some play runs on, and the CA, in the inventory's order.
    fn hosts(&self) -> Vec<&Host> {
        look::hosts(self.inventory, self.playbook)
    }

    fn request(&self, host: &Host, program: &Program) -> FactRequest {
        let mut request = FactRequest::default();
        orchestrator::request(self.playbook, self.inventory, host, &mut request);
        if host.is_ca {
            request.present.insert(program.path(host.as_root));
        }
        request
    }

    /// Facts of every host, and the plan from them.
    async fn look(&self, program: &Program, known: BTreeMap<String, Arc<Node>>) -> World {
        let wanted: Vec<(&Host, FactRequest)> = self
            .hosts()
            .into_iter()
            .map(|host| (host, self.request(host, program)))
            .collect();
        // Existing connections are reused.
        let (fresh, again): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .partition(|(host, _)| !known.contains_key(&host.name));
        let gathered = gather(&fresh, self.gathering(self.events)).await;
        let mut missing = gathered.kinds();
        let Gathered {
            mut nodes,
            mut facts,
            ..
        } = gathered;
        if !again.is_empty() {
            let (read, failed) = self.read_again(program, &known).await;
            for host in read.keys() {
                if let Some(node) = known.get(host) {
                    nodes.insert(host.clone(), Arc::clone(node));
                }
            }
            facts.extend(read);
            missing.extend(failed);
        }
        leave_out_shared(&mut facts);
        let how = self.gathering(self.events);
        look::add_policies(self.playbook, self.inventory, &mut facts, how).await;
        look::add_left_contexts(self.playbook, self.inventory, &nodes, &mut facts).await;
        let others = self.others(&facts).await;
        let plan_from = |facts: &BTreeMap<String, NodeFacts>| {
            if others.is_empty() {
                return self.plan(facts);
            }
            let all = others.iter().chain(facts);
            self.plan(
                &all.map(|(host, facts)| (host.clone(), facts.clone()))
                    .collect(),
            )
        };
        let mut plan = plan_from(&facts);
        let unheard = self.unheard(&plan, &nodes).await;
        let mut is_news = !unheard.is_empty();
        for (daemon, clients) in unheard {
            if let Some(facts) = facts.get_mut(&daemon) {
                facts.claims.unheard = clients;
            }
        }
        if self.options.check {
            is_news |= dry_start::ask(self.inventory, plan.changes(), &nodes, &mut facts).await;
        }
        if is_news {
            plan = plan_from(&facts);
        }
        World {
            nodes,
            facts,
            missing,
            plan,
        }
    }

    /// Facts of hosts outside of the run that matter before a CA is made. The plan names hosts that
    /// do not answer.
    async fn others(&self, facts: &BTreeMap<String, NodeFacts>) -> BTreeMap<String, NodeFacts> {
        let hosts = before_new_authority(self.playbook, self.inventory, facts);
        if hosts.is_empty() {
            return BTreeMap::new();
        }
        let (events, _) = Events::aside();
        let gathered = gather(&hosts, self.gathering(&events)).await;
        close(&gathered.nodes).await;
        gathered.facts
    }

    /// Reads the facts of connected nodes again; returns which nodes failed.
    async fn read_again(
        &self,
        program: &Program,
        nodes: &BTreeMap<String, Arc<Node>>,
    ) -> (BTreeMap<String, NodeFacts>, BTreeMap<String, FailureKind>) {
        let reading = self.hosts().into_iter().filter_map(|host| {
            let node = nodes.get(&host.name)?;
            Some(async move {
                let begun = Instant::now();
                let request = self.request(host, program);
                let read = node.facts_of(host, &request).await;
                self.events.waited(&host.name, Phase::Facts, begun);
                (host, read)
            })
        });
        let (mut facts, mut missing) = (BTreeMap::new(), BTreeMap::new());
        let mut reading = futures::stream::iter(reading).buffer_unordered(self.options.forks);
        while let Some((host, read)) = reading.next().await {
            match read {
                Ok(fact) => {
                    facts.insert(host.name.clone(), fact);
                }
                Err(error) => {
                    let failure = error.failure(&host.name, "read facts");
                    missing.insert(host.name.clone(), failure.kind);
                    self.events.emit(Event::Failed(failure));
                }
            }
        }
        (facts, missing)
    }

    fn plan(&self, facts: &BTreeMap<String, NodeFacts>) -> Plan {
        let now = OffsetDateTime::now_utc().to_offset(self.zone);
        plan(self.inventory, self.playbook, facts, now)
    }

    /// The CA's part. Asks for the passphrase once, when it is first needed. `changed`: this run
    /// has changed something.
    async fn issue(
        &self,
        world: &World,
        agent: &mut RunningAgent,
        passphrase: &mut Option<Secret>,
        changed: bool,
    ) -> Result<Materials, RunError> {
        if passphrase.is_none() && world.plan.needs_authority_key() {
            *passphrase = Some(if world.plan.creates_authority() {
                self.new_passphrase().await?
            } else {
                self.unlock(agent, changed, &world.plan.unrenewed).await?
            });
        }
        self.remember_marks(agent, &world.plan).await?;
        self.remember(agent, &world.plan.unrenewed).await?;
        let ca = &self.inventory.ca().name;
        let _step = self.interrupt.begin(ca).ok_or(RunError::Interrupted)?;
        let _act = self.act_of_authority(&world.plan).await?;
        let begun = Instant::now();
        let issued = issue(
            &world.plan,
            &mut agent.client,
            passphrase.as_ref(),
            self.materials(world),
            self.events,
            self.inventory,
        )
        .await;
        self.events.waited(ca, Phase::Keys, begun);
        match issued {
            Ok(materials) => Ok(materials),
            Err(error) => {
                let error = agent.explain(error).await;
                Err(self.ca_error(error))
            }
        }
    }

    /// What the CA is about to be asked for, if anything.
    async fn act_of_authority(&self, plan: &Plan) -> Result<Option<Act<'_>>, RunError> {
        let mut what = Vec::new();
        let mut step = "handing out certificates that were waiting";
        for change in plan.changes() {
            match change.action {
                Action::Authority(_) => step = "creating the CA and issuing certificates",
                Action::NextAuthority(_) => step = "creating the next CA",
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

    /// The certificates of a file in the CA directory.
    fn ca_text(&self, facts: &BTreeMap<String, NodeFacts>, name: &str) -> Option<String> {
        let ca = self.inventory.ca();
        let path = format!("{}/{name}", ca.settings.ca_dir);
        let file = facts.get(&ca.name)?.regular(&path)?;
        let bundle = Bundle::read(file.content.as_deref()?).ok()?;
        Some(bundle.to_pem())
    }
}
