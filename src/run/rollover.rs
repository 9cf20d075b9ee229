//! A run of several plans under one lock: a rollover of the CA.
//!
//! Each pass is an ordinary plan from facts, carried out and proved; then the
//! nodes are looked at again, and what they show decides about the next one.
//! A run that dies is gone on with by the next, which sees the same nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{Exit, Run, RunError, World};
use crate::agent::{Program, RunningAgent};
use crate::apply::Outcome;
use crate::event::{Check, Event, Failure, FailureKind, Proof, Verdict};
use crate::inventory::{host_of, identity_of};
use crate::journal::left::Left;
use crate::pki::Request;
use crate::plan::Action;
use crate::secret::Secret;

/// Far more than a rollover has steps: a pass that changes nothing ends it
/// before.
const PASSES: usize = 24;

/// What is carried from one pass to the next.
#[derive(Default)]
struct State {
    outcome: Outcome,
    /// Of the last pass.
    proofs: Vec<Proof>,
    passphrase: Option<Secret>,
    /// What was said already: host and text.
    noted: BTreeSet<(String, String)>,
    /// How the run ends, where that is not what the recap says.
    exit: Option<Exit>,
}

impl Run<'_> {
    /// Makes plans and carries them out until there is nothing left to do.
    ///
    /// # Errors
    /// As [`Run::execute`]; what earlier passes did stays.
    pub(super) async fn roll_over(&self, begun: Instant) -> Result<Exit, RunError> {
        let left = self.left_behind();
        let program = self.program()?;
        let mut world = self.unless(self.look(&program, BTreeMap::new())).await?;
        let mut agent = self.unless(self.lock(&world, &program)).await??;
        let mut state = State::default();
        for pass in 0..PASSES {
            match self
                .pass(pass, &mut world, &mut agent, &mut state, &program, &left)
                .await
            {
                Ok(true) => {}
                Ok(false) => break,
                // What earlier passes did is said in the recap.
                Err(RunError::Interrupted) if pass > 0 => break,
                Err(RunError::ContainersRunning { what, .. }) if pass > 0 => {
                    self.events.emit(Event::Failed(waits(&world, &what)));
                    state.exit = Some(Exit::ContainersRunning);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if let Err(error) = self.call(&mut agent, Request::Bye).await {
            self.said_by_authority(&error, &mut state.outcome);
        }
        if self.interrupt.is_asked() {
            self.stopped(&state.outcome);
        }
        let exit = self.recap(&world, &state.outcome, &state.proofs, begun);
        for node in world.nodes.values() {
            node.connection.close().await;
        }
        Ok(state.exit.unwrap_or(exit))
    }

    /// One plan, carried out and proved; whether another may follow.
    async fn pass(
        &self,
        pass: usize,
        world: &mut World,
        agent: &mut RunningAgent,
        state: &mut State,
        program: &Program,
        left: &[Left],
    ) -> Result<bool, RunError> {
        // The first look was without the lock.
        if world.plan.unsettled {
            self.settle(world).await?;
        }
        let nodes = world.nodes.clone();
        *world = self.unless(self.look(program, nodes)).await?;
        if pass == 0 {
            self.say_found(left, world);
        }
        world.plan.notes.retain(|note| {
            let note = (note.host.clone(), note.text.clone());
            state.noted.insert(note)
        });
        self.show(&world.plan);
        if world.plan.is_empty() {
            state.proofs = self.proved(world, &self.materials(world)).await;
            return Ok(false);
        }
        self.consent(&world.plan).await?;
        let materials = self.issue(world, agent, &mut state.passphrase).await?;
        let mut done = self.apply(world, pass).run(&world.plan, &materials).await;
        state.proofs = self.proved(world, &materials).await;
        self.tell_delivered(agent, &mut done, &state.proofs).await;
        let mut goes_on = done.failed.is_empty() && !self.interrupt.is_asked();
        state.outcome.absorb(done);
        if goes_on && let Some(proof) = state.proofs.iter().find(|proof| rejects(proof)) {
            self.events.emit(Event::Failed(held(proof)));
            state.outcome.failed.insert(host_of(&proof.from).to_owned());
            goes_on = false;
        }
        let is_over = world
            .plan
            .changes()
            .any(|change| matches!(change.action, Action::EndRollover { .. }));
        Ok(goes_on && !is_over)
    }
    async fn proved(&self, world: &World, materials: &crate::apply::Materials) -> Vec<Proof> {
        if !world.plan.verify {
            return Vec::new();
        }
        let proving = self.interrupt.or(self.prove(world, materials));
        proving.await.unwrap_or_default()
    }
}

/// A client that is not let in, or a daemon that does not show what it should:
/// the next step could make it worse. A port that should be closed could not.
fn rejects(proof: &Proof) -> bool {
    proof.verdict == Verdict::Failed && matches!(proof.check, Check::Accepted | Check::Served)
}

fn held(proof: &Proof) -> Failure {
    Failure {
        host: host_of(&proof.from).to_owned(),
        kind: FailureKind::Failed,
        step: "prove a step of the rollover".to_owned(),
        message: format!(
            "{} {}: {}",
            match (proof.check, identity_of(&proof.from)) {
                (Check::Accepted, None) => "its certificate is not accepted by".to_owned(),
                (Check::Accepted, Some(_)) => {
                    format!("the certificate of {} is not accepted by", proof.from)
                }
                _ => "it is not shown the right certificate by".to_owned(),
            },
            proof.to,
            proof.seen
        ),
        causes: Vec::new(),
        detail: Vec::new(),
        hint: Some(
            "the rollover stops here, and nothing of it is undone: mend this and run the same again, it goes on from here".to_owned(),
        ),
    }
}

/// Containers would stop, and nobody agrees to it.
fn waits(world: &World, what: &str) -> Failure {
    let host = world.plan.changes().find_map(|change| match change.action {
        Action::Restart(_) => Some(change.host.clone()),
        _ => None,
    });
    Failure {
        host: host.unwrap_or_default(),
        kind: FailureKind::Refused,
        step: "ask before containers are stopped".to_owned(),
        message: format!("restarting docker would stop {what}: the rollover waits here"),
        causes: Vec::new(),
        detail: Vec::new(),
        hint: Some(
            "the same command goes on from here; --allow-container-restart agrees to it, dtls_live_restore: true in the inventory keeps containers running".to_owned(),
        ),
    }
}
