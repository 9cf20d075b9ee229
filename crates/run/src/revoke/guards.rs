//! Revocation with guards: they reject the certificate from its next request on, without a restart.

use std::collections::BTreeSet;

use super::{Found, RevokeOptions};
use crate::agent::RunningAgent;
use crate::apply::InPlace;
use crate::rollover::State;
use crate::verify::{Expectations, own_certificate};
use crate::{Run, RunError, World};
use base::event::{Event, Proof, Verdict};
use inventory::{Host, host_of};
use pki::{Ledger, Request, Response, Role};
use plan::accepts_none;
use plan::host::guard::is_installed;
use plan::module::outdated_policies;
use time::OffsetDateTime;

impl Run<'_> {
    /// Whether every deployed daemon has a guard, so that no CA must be replaced to reject the
    /// revoked certificates. A guard does not see the certificate that a daemon presents to clients.
    pub(super) fn guards_reject(&self, world: &World, found: &Found) -> bool {
        let rejects = |daemon: &Host| match world.facts.get(&daemon.name) {
            Some(facts) if accepts_none(daemon, facts) => true,
            Some(facts) => daemon.is_guarded() && is_installed(daemon, facts),
            None => daemon.is_guarded(),
        };
        found.entries.iter().all(|entry| entry.role == Role::Client)
            && self.inventory.daemons().all(rejects)
    }

    /// Notes daemons that are not deployed, and what their first deployment means for what is
    /// revoked.
    pub(super) fn note_undeployed(&self, world: &World, name: &str) {
        for daemon in self.inventory.daemons() {
            let facts = world.facts.get(&daemon.name);
            if !facts.is_some_and(|facts| accepts_none(daemon, facts)) {
                continue;
            }
            let then = if daemon.is_guarded() {
                "its first deployment brings the policy of its guard".to_owned()
            } else {
                format!(
                    "it has no guard, and accepts {name} once it is deployed: set dtls_guard: true for it first"
                )
            };
            let text = format!("it is not deployed and has nothing to reject; {then}");
            self.warn(Some(&daemon.name), text);
        }
    }

    /// Updates the policies of all guards from the ledger at once, and tries the revoked
    /// certificates. Returns whether every daemon with a guard now rejects them.
    pub(super) async fn tell_guards(
        &self,
        world: &World,
        agent: &mut RunningAgent,
        found: &Found,
        options: &RevokeOptions,
        state: &mut State,
    ) -> Result<bool, RunError> {
        let mut authority = self.usable_authority(world)?;
        let Response::State {
            ledger: Some(text), ..
        } = self.call(agent, Request::State {}).await?
        else {
            return Ok(false);
        };
        if let Ok(ledger) = Ledger::parse(&text) {
            authority.ledger = ledger;
        }
        let now = OffsetDateTime::now_utc();
        let plan = outdated_policies(self.inventory, &authority, &world.facts, now);
        let in_place = InPlace::default();
        let materials = self.materials(world);
        let apply = self.apply(world, state.passes, &in_place);
        state.outcome.absorb(apply.run(&plan, &materials).await);
        state.passes += 1;
        let mut all_reject = state.outcome.failed.is_empty();
        for daemon in self.inventory.daemons() {
            if daemon.is_guarded() && !world.facts.contains_key(&daemon.name) {
                all_reject = false;
                let does = if options.undo { "rejects" } else { "accepts" };
                let text = format!(
                    "it was not reached, and {does} {} until a run reaches it: deploy, rotate and the schedule update its guard",
                    options.name
                );
                self.warn(Some(&daemon.name), text);
            }
        }
        self.try_shown(world, found, options, state).await;
        let failed = |proof: &Proof| proof.verdict == Verdict::Failed;
        Ok(all_reject && !state.proofs.iter().any(failed))
    }

    /// Shows each of the certificates, from where it is, to each daemon that was reached.
    async fn try_shown(
        &self,
        world: &World,
        found: &Found,
        options: &RevokeOptions,
        state: &mut State,
    ) {
        let mut expectations = Expectations::default();
        let holders = found.entries.iter().map(|entry| entry.host.clone());
        let holders: BTreeSet<String> = holders.collect();
        if !options.undo {
            expectations.revoked.clone_from(&holders);
        }
        let mut requests = Vec::new();
        for name in &holders {
            let holder = self.inventory.holder(name);
            let node = world.nodes.get(host_of(name));
            let Some((holder, node)) = holder.filter(|of| of.shows_certificate()).zip(node) else {
                continue;
            };
            for daemon in self.told(world, state) {
                requests.push(own_certificate(node, holder, daemon, &expectations));
            }
        }
        let tried = futures::future::join_all(requests).await;
        for proof in tried.into_iter().flatten() {
            self.events.emit(Event::Proof(proof.clone()));
            state.proofs.push(proof);
        }
    }

    /// Daemons whose guard is there and has the new policy.
    pub(super) fn told<'a>(
        &'a self,
        world: &'a World,
        state: &'a State,
    ) -> impl Iterator<Item = &'a Host> {
        let failed = &state.outcome.failed;
        self.inventory.daemons().filter(|daemon| {
            let facts = world.facts.get(&daemon.name);
            daemon.is_guarded()
                && !failed.contains(&daemon.name)
                && facts.is_some_and(|facts| is_installed(daemon, facts))
        })
    }
}
