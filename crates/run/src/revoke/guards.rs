//! Revocation with guards: they reject the certificate from its next request on, without a restart.

use std::collections::BTreeSet;
use std::time::Instant;

use super::{Found, RevokeOptions};
use crate::agent::{Program, RunningAgent};
use crate::apply::InPlace;
use crate::rollover::State;
use crate::session::gather;
use crate::verify::{Expectations, own_certificate};
use crate::{Run, RunError, World};
use base::event::{Check, Event, Proof, Verdict};
use inventory::{Host, host_of};
use node::facts::FactRequest;
use pki::{Ledger, Request, Response, Role};
use plan::host::guard::{is_installed, request_policy};
use plan::module::outdated_policies;
use plan::{Authority, Plan, accepts_none, leave_out_shared};
use time::OffsetDateTime;

/// What came of updating the guards.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Every daemon with a guard rejects the certificates now.
    pub all_reject: bool,
    /// By daemon, what the holder has open there.
    pub sessions: Vec<(String, BTreeSet<String>)>,
}

impl Run<'_> {
    /// Only the facts that a revocation needs if guards reject the certificate everywhere: the CA's
    /// and the policies. There is no plan.
    pub(super) async fn look_at_guards(&self, program: &Program) -> World {
        let hosts = self.hosts().into_iter().map(|host| {
            let mut request = FactRequest::default();
            request_policy(host, &mut request);
            if host.is_ca {
                Authority::request(self.inventory, &mut request);
                request.present.insert(program.path(host.as_root));
            }
            (host, request)
        });
        let hosts: Vec<(&Host, FactRequest)> = hosts.collect();
        let mut gathered = gather(&hosts, self.gathering(self.events)).await;
        leave_out_shared(&mut gathered.facts);
        World {
            missing: gathered.kinds(),
            nodes: gathered.nodes,
            facts: gathered.facts,
            plan: Plan::default(),
        }
    }

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

    /// Updates the policies of all guards from the ledger at once, tries the revoked certificates,
    /// and asks what the holder has open.
    pub(super) async fn tell_guards(
        &self,
        world: &World,
        agent: &mut RunningAgent,
        found: &Found,
        options: &RevokeOptions,
        state: &mut State,
    ) -> Result<Told, RunError> {
        let marked = Instant::now();
        let mut authority = self.usable_authority(world)?;
        let Response::State {
            ledger: Some(text), ..
        } = self.call(agent, Request::State {}).await?
        else {
            return Ok(Told::default());
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
        let asks = !options.undo && !options.cut_sessions;
        let sessions = async {
            if asks {
                self.sessions(world, found, state).await
            } else {
                Vec::new()
            }
        };
        let (proofs, sessions) = tokio::join!(
            self.try_shown(world, found, options, (state, marked)),
            sessions
        );
        let failed = |proof: &Proof| proof.verdict == Verdict::Failed;
        let all_reject = all_reject && !proofs.iter().any(failed);
        state.proofs.extend(proofs);
        Ok(Told {
            all_reject,
            sessions,
        })
    }

    /// Shows each of the certificates, from where it is, to each daemon that was reached.
    async fn try_shown(
        &self,
        world: &World,
        found: &Found,
        options: &RevokeOptions,
        (state, marked): (&State, Instant),
    ) -> Vec<Proof> {
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
                let shown = own_certificate(node, holder, daemon, &expectations);
                requests.push(async move {
                    let mut proofs = shown.await;
                    let rejects = |proof: &&mut Proof| {
                        proof.check == Check::Revoked && proof.verdict == Verdict::Proved
                    };
                    for proof in proofs.iter_mut().filter(rejects) {
                        let seconds = marked.elapsed().as_secs_f64();
                        proof.seen = format!("{}, {seconds:.2} s after the mark", proof.seen);
                    }
                    proofs
                });
            }
        }
        let tried = futures::future::join_all(requests).await;
        let proofs: Vec<Proof> = tried.into_iter().flatten().collect();
        for proof in &proofs {
            self.events.emit(Event::Proof(proof.clone()));
        }
        proofs
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
