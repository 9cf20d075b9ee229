//! A run of several plans under one lock: a rollover of the CA.
//!
//! Each pass is an ordinary plan from facts, carried out and proved; then the
//! nodes are looked at again, and what they show decides about the next one.
//! A run that dies is gone on with by the next, which sees the same nodes.

use std::time::Instant;

use super::{Exit, Run, RunError, World};
use crate::agent::Program;
use crate::apply::Outcome;
use crate::event::{Check, Event, Failure, FailureKind, Proof, Verdict};
use crate::pki::Request;
use crate::plan::Action;

/// Far more than a rollover has steps: a pass that changes nothing ends it
/// before.
const PASSES: usize = 24;

impl Run<'_> {
    /// Makes plans and carries them out until there is nothing left to do.
    ///
    /// # Errors
    /// As [`Run::execute`]; what earlier passes did stays.
    pub(super) async fn roll_over(&self, begun: Instant) -> Result<Exit, RunError> {
        let left = self.left_behind();
        let program = self.program()?;
        let mut world = self
            .unless(self.look(&program, std::collections::BTreeMap::new()))
            .await?;
        let mut agent = self.unless(self.lock(&world, &program)).await??;
        let mut outcome = Outcome::default();
        let mut proofs = Vec::new();
        let mut passphrase = None;
        for pass in 0..PASSES {
            // The first look was without the lock.
            if world.plan.unsettled {
                self.settle(&world).await?;
            }
            world = self.unless(self.look(&program, world.nodes)).await?;
            if pass == 0 {
                self.say_found(&left, &world);
            }
            let over = world
                .plan
                .changes()
                .any(|change| matches!(change.action, Action::EndRollover { .. }));
            if world.plan.is_empty() {
                self.show(&world.plan);
                if proofs.is_empty() {
                    proofs = self.proved(&world, &self.materials(&world)).await;
                }
                break;
            }
            self.show(&world.plan);
            self.consent(&world.plan).await?;
            let materials = self.issue(&world, &mut agent, &mut passphrase).await?;
            let mut done = self.apply(&world, pass).run(&world.plan, &materials).await;
            proofs = self.proved(&world, &materials).await;
            self.tell_delivered(&mut agent, &mut done, &proofs).await;
            let failed = !done.failed.is_empty();
            outcome.absorb(done);
            if failed || over || self.interrupt.is_asked() {
                break;
            }
            if let Some(proof) = proofs.iter().find(|proof| rejects(proof)) {
                self.events.emit(Event::Failed(held(proof)));
                outcome.failed.insert(proof.from.clone());
                break;
            }
        }
        if let Err(error) = self.call(&mut agent, Request::Bye).await {
            self.said_by_authority(&error, &mut outcome);
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

    pub(super) fn program(&self) -> Result<Program, RunError> {
        Program::read(self.options.agent_program.clone()).map_err(|source| {
            let path = self.options.agent_program.clone();
            let path = path.unwrap_or_else(|| "/proc/self/exe".into());
            RunError::Program { path, source }
        })
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
        host: proof.from.clone(),
        kind: FailureKind::Failed,
        step: "prove a step of the rollover".to_owned(),
        message: format!(
            "{} {}: {}",
            match proof.check {
                Check::Accepted => "its certificate is not accepted by",
                _ => "it is not shown the right certificate by",
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
