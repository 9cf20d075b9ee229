//! One plan of a run: shown, confirmed, carried out under the CA's lock, and verified.

use std::collections::BTreeSet;
use std::time::Instant;

use super::rollover::{ahead, at};
use super::{Run, RunError, World};
use crate::agent::{Program, RunningAgent};
use crate::apply::{InPlace, Materials, Outcome};
use crate::journal::left::Left;
use base::event::{Check, Proof, Verdict};
use pki::Request;
use plan::playbook::after;

impl Run<'_> {
    /// Shows, carries out and verifies what is planned.
    pub(super) async fn round(
        &self,
        world: &mut World,
        pass: usize,
        program: &Program,
        left: &[Left],
    ) -> Result<(Outcome, Vec<Proof>), RunError> {
        let mut outcome = Outcome::default();
        let mut proofs = Vec::new();
        let mut materials = self.materials(world);
        // An active run holds the lock.
        let unsettled = world.plan.unsettled;
        if self.options.check || (world.plan.is_empty() && !unsettled) {
            self.say_found(left, world);
            if let Some(step) = world.plan.rollover_step {
                let check = self.options.check;
                let event = if check { ahead(step) } else { at(step, None) };
                self.events.emit(event);
            }
            self.show(&world.plan);
            if !self.options.check {
                proofs = self
                    .proved(world, &materials, &InPlace::default(), program)
                    .await;
            }
        } else {
            let begin = self.begin(world, program, left, &mut materials, pass > 0);
            let mut agent = begin.await?;
            (outcome, proofs) = self.apply_and_prove(world, pass, &materials, program).await;
            outcome.placed.extend(world.plan.arrived.iter().cloned());
            self.tell_delivered(&mut agent, &mut outcome, &proofs).await;
            // The agent releases the lock and ends.
            if let Err(error) = self.call(&mut agent, Request::Bye).await {
                self.said_by_authority(&error, &mut outcome);
            }
        }
        if world.plan.is_empty() {
            self.tell_arrived(world, program, &mut outcome, &proofs)
                .await?;
        }
        Ok((outcome, proofs))
    }

    /// Takes the lock, and issues the planned certificates based on the facts at that time.
    async fn begin(
        &self,
        world: &mut World,
        program: &Program,
        left: &[Left],
        materials: &mut Materials,
        changed: bool,
    ) -> Result<RunningAgent, RunError> {
        let unsettled = world.plan.unsettled;
        if !unsettled && let Err(refused) = self.refuse_unasked(&world.plan) {
            self.show(&world.plan);
            return Err(refused);
        }
        let mut passphrase = None;
        // The agent creates the directory of a new CA: no refusal may follow that.
        let is_shown = world.plan.creates_authority() && !unsettled;
        if is_shown {
            self.agree(left, world).await?;
            passphrase = Some(self.new_passphrase().await?);
        }
        let asked = Instant::now();
        let mut agent = self.unless(self.lock(world, program)).await??;
        // The run that held the lock may have changed nodes too.
        let waited = self.options.wait_seconds > 0 && asked.elapsed().as_millis() > 900;
        let moved = self.unless(self.moved_on(&mut agent, &world.facts));
        if unsettled {
            // An active run would hold the lock.
            self.settle(world).await?;
        }
        let looks_again = moved.await?? || waited || unsettled;
        if looks_again {
            let nodes = world.nodes.clone();
            *world = self.unless(self.look(program, nodes)).await?;
        }
        if looks_again || !is_shown {
            self.agree(left, world).await?;
        }
        *materials = self
            .issue(world, &mut agent, &mut passphrase, changed)
            .await?;
        Ok(agent)
    }

    /// Shows the plan, and asks for consent if needed.
    async fn agree(&self, left: &[Left], world: &World) -> Result<(), RunError> {
        self.say_found(left, world);
        self.show(&world.plan);
        self.consent(&world.plan, true).await
    }

    /// Whether verification found daemons that accept clients of another CA although they had no
    /// planned change: they have read another bundle than the one in place. The plan is then made
    /// again with their restarts.
    pub(super) async fn marks_foreign(
        &self,
        world: &mut World,
        program: &Program,
        proofs: &[Proof],
    ) -> Result<bool, RunError> {
        let foreign: BTreeSet<&str> = proofs
            .iter()
            .filter(|proof| proof.check == Check::Authorities && proof.verdict == Verdict::Failed)
            .map(|proof| proof.to.as_str())
            .collect();
        let declared = after(self.playbook).is_none();
        if foreign.is_empty() || !declared || self.options.check || self.interrupt.is_asked() {
            return Ok(false);
        }
        let nodes = world.nodes.clone();
        *world = self.unless(self.look(program, nodes)).await?;
        for (host, facts) in &mut world.facts {
            facts.claims.foreign_authority = foreign.contains(host.as_str());
        }
        world.plan = self.plan(&world.facts);
        Ok(!world.plan.is_empty())
    }
}
