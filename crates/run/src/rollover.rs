//! A run of several plans under one lock: a rollover of the CA.
//!
//! Each pass is an ordinary plan from facts, carried out and verified; then the nodes' facts decide
//! about the next one. If a run dies, the next one continues from the nodes' state.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{Exit, Run, RunError, World};
use crate::agent::{Program, RunningAgent};
use crate::apply::{InPlace, Outcome};
use crate::journal::left::Left;
use crate::session::close;
use base::event::{Check, Event, Failure, FailureKind, Proof, Verdict};
use base::secret::Secret;
use inventory::{host_of, identity_of};
use pki::Request;
use plan::playbook::Playbook;
use plan::{Action, Plan, RESTARTING, STEPS};

/// Far more than the steps of a rollover: a pass without changes ends it earlier.
const PASSES: usize = 24;

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Another pass may follow.
    Again,
    /// There was nothing to do: it is postponed, or complete.
    Idle,
    /// Something went wrong.
    Stopped,
    /// The rollover is complete.
    Over,
}

/// The state that one pass hands to the next.
#[derive(Default)]
pub(super) struct State {
    pub(super) outcome: Outcome,
    /// Number of plans so far.
    pub(super) passes: usize,
    /// Of the last pass.
    pub(super) proofs: Vec<Proof>,
    pub(super) passphrase: Option<Secret>,
    /// The step that was not verified as done.
    pub(super) step: Option<u8>,
    /// Notes that were already reported: host and text.
    noted: BTreeSet<(String, String)>,
    /// The exit code, if it differs from the recap's.
    pub(super) exit: Option<Exit>,
}

impl State {
    /// Keeps refusals of earlier passes: the recap knows only the last plan, but a host that was
    /// refused earlier has not succeeded.
    fn keep_refusals(&mut self, plan: &Plan) {
        let hosts = plan.problems.iter().map(|problem| problem.host.clone());
        self.outcome.failed.extend(hosts);
    }
}

impl Run<'_> {
    /// Makes plans and carries them out until there is nothing left to do.
    ///
    /// # Errors Like [`Run::execute`]; the changes of earlier passes stay.
    pub(super) async fn roll_over(&self, begun: Instant) -> Result<Exit, RunError> {
        let left = self.left_behind();
        let program = self.program()?;
        let mut world = self.unless(self.look(&program, BTreeMap::new())).await?;
        self.refuse_unknown_abandoned(&world)?;
        let mut agent = self.unless(self.lock(&world, &program)).await??;
        let mut state = State::default();
        self.passes(&mut world, &mut agent, &mut state, &program, &left)
            .await?;
        self.end_passes(world, agent, state, begun).await
    }

    /// The command that continues a rollover. It is never `revoke`, which would also revoke
    /// certificates issued since.
    pub(super) fn continues(&self) -> &'static str {
        match self.rotation {
            Some(_) => "dtls-deploy rotate INVENTORY",
            None => "dtls-deploy rotate --ca INVENTORY",
        }
    }

    /// Runs passes under the held lock until none may follow.
    ///
    /// # Errors If the first one ends before anything was changed.
    pub(super) async fn passes(
        &self,
        world: &mut World,
        agent: &mut RunningAgent,
        state: &mut State,
        program: &Program,
        left: &[Left],
    ) -> Result<Pass, RunError> {
        for _ in 0..PASSES {
            let pass = state.passes;
            match self.pass(world, agent, state, program, left).await {
                Ok(Pass::Again) => {}
                Ok(other) => return Ok(other),
                // The recap reports the changes of earlier passes.
                Err(RunError::Interrupted) if pass > 0 => return Ok(Pass::Stopped),
                Err(RunError::ContainersRunning { what, .. }) if pass > 0 => {
                    self.wait_for_containers(world, &what);
                    state.exit = Some(Exit::ContainersRunning);
                    return Ok(Pass::Stopped);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Pass::Stopped)
    }

    /// Releases the lock and reports the outcome.
    pub(super) async fn end_passes(
        &self,
        world: World,
        mut agent: RunningAgent,
        mut state: State,
        begun: Instant,
    ) -> Result<Exit, RunError> {
        if let Err(error) = self.call(&mut agent, Request::Bye).await {
            self.said_by_authority(&error, &mut state.outcome);
        }
        if self.interrupt.is_asked() {
            self.stopped(&state.outcome, Some(self.continues().to_owned()));
        }
        // Before the first change there is nothing to continue.
        if let Some(step) = state.step
            && (step > 0 || !state.outcome.changed.is_empty())
        {
            self.events.emit(at(step, Some(self.continues())));
        }
        if state.step.is_none() && !state.outcome.changed.is_empty() {
            self.warn_of_left_out("is locked out now: --abandon left it out of the rollover");
        }
        let exit = self.recap(&world, &state.outcome, &state.proofs, begun);
        close(&world.nodes).await;
        Ok(state.exit.unwrap_or(exit))
    }

    /// `dtls_auto_ca_rollover` in a run of rotate.yaml: replaces the CA if that is possible now;
    /// otherwise only renews what is due.
    pub(super) async fn roll_over_by_itself(
        &self,
        rotation: &Playbook,
        why: &str,
        mut world: World,
        program: &Program,
        left: &[Left],
        begun: Instant,
    ) -> Result<Exit, RunError> {
        let rolling = Run {
            playbook: rotation,
            id: self.id.clone(),
            ..*self
        };
        self.warn(
            Some(&self.inventory.ca().name),
            format!("{why}: the CA is replaced, as dtls_auto_ca_rollover asks for"),
        );
        if self.options.check {
            world = self.unless(rolling.look(program, world.nodes)).await?;
            self.say_found(left, &world);
            if let Some(step) = world.plan.rollover_step {
                self.events.emit(ahead(step));
            }
            self.show(&world.plan);
            let exit = self.recap(&world, &Outcome::default(), &[], begun);
            close(&world.nodes).await;
            return Ok(exit);
        }
        let mut agent = self.unless(self.lock(&world, program)).await??;
        let mut state = State::default();
        let came_to = match rolling
            .passes(&mut world, &mut agent, &mut state, program, left)
            .await
        {
            Err(RunError::ContainersRunning { what, .. }) => {
                self.wait_for_containers(&world, &what);
                state.exit = Some(Exit::ContainersRunning);
                Pass::Idle
            }
            // A later pass asked for consent.
            Ok(Pass::Stopped) if state.exit.is_some() => Pass::Idle,
            came_to => came_to?,
        };
        if came_to == Pass::Idle {
            // It is postponed: certificates must not expire because of that.
            state.keep_refusals(&world.plan);
            match self
                .pass(&mut world, &mut agent, &mut state, program, &[])
                .await
            {
                // Already noted for the same daemons.
                Err(RunError::ContainersRunning { .. }) if state.exit.is_some() => {}
                Err(RunError::ContainersRunning { what, .. }) => {
                    self.wait_for_containers(&world, &what);
                    state.exit = Some(Exit::ContainersRunning);
                }
                Err(RunError::Interrupted) | Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        self.end_passes(world, agent, state, begun).await
    }

    /// Notes that the rollover waits because containers would stop.
    pub(super) fn wait_for_containers(&self, world: &World, what: &str) {
        let failure = waits(world, what, self.continues());
        self.events.emit(Event::Failed(failure));
    }

    /// One plan, carried out and verified; returns whether another may follow.
    async fn pass(
        &self,
        world: &mut World,
        agent: &mut RunningAgent,
        state: &mut State,
        program: &Program,
        left: &[Left],
    ) -> Result<Pass, RunError> {
        let pass = state.passes;
        state.passes += 1;
        // The first facts were read without the lock.
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
        if let Some(step) = world.plan.rollover_step {
            if state.step != Some(step) && !world.plan.is_empty() {
                // The operator agrees to all of them.
                let asks = pass == 0 && self.options.asks;
                let event = if asks { ahead(step) } else { at(step, None) };
                self.events.emit(event);
            }
            state.step = Some(step);
        }
        self.show(&world.plan);
        if world.plan.is_empty() {
            state.proofs = self
                .proved(world, &self.materials(world), &InPlace::default(), program)
                .await;
            return Ok(Pass::Idle);
        }
        // Checks of an earlier plan do not apply to this one's changes.
        state.proofs.clear();
        self.consent(&world.plan, pass == 0).await?;
        let changed = !state.outcome.changed.is_empty();
        let materials = self
            .issue(world, agent, &mut state.passphrase, changed)
            .await?;
        let (mut done, proofs) = self.apply_and_prove(world, pass, &materials, program).await;
        state.proofs = proofs;
        done.placed.extend(world.plan.arrived.iter().cloned());
        self.tell_delivered(agent, &mut done, &state.proofs).await;
        let mut goes_on = done.failed.is_empty() && !self.interrupt.is_asked();
        state.outcome.absorb(done);
        // With an expired CA, no client is accepted before the last of them is done.
        let is_dead = world.plan.authority_expired;
        if goes_on
            && !is_dead
            && let Some(proof) = state.proofs.iter().find(|proof| rejects(proof))
        {
            let failure = held(proof, &state.proofs, self.continues());
            state.outcome.failed.insert(failure.host.clone());
            self.events.emit(Event::Failed(failure));
            goes_on = false;
        }
        let is_over = world
            .plan
            .changes()
            .any(|change| matches!(change.action, Action::EndRollover { .. }));
        if is_over {
            state.step = None;
        }
        Ok(match (goes_on, is_over) {
            (false, _) => Pass::Stopped,
            (true, true) => Pass::Over,
            (true, false) => Pass::Again,
        })
    }
}

/// The event of a step, with the command to continue if the run stops there.
pub(super) fn at(step: u8, next: Option<&str>) -> Event {
    Event::Step {
        number: step,
        of: u8::try_from(STEPS.len() - 1).unwrap_or(u8::MAX),
        what: STEPS
            .get(usize::from(step))
            .copied()
            .unwrap_or_default()
            .to_owned(),
        stopped: next.is_some(),
        next: next.map(str::to_owned),
        following: Vec::new(),
    }
}

/// The same in a read-only run: also announces the later steps, which are planned when this one is
/// done.
pub(super) fn ahead(step: u8) -> Event {
    let mut event = at(step, None);
    if let Event::Step { following, .. } = &mut event {
        let after = STEPS.iter().enumerate().skip(usize::from(step) + 1);
        *following = after
            .map(|(number, what)| {
                let restarts = if RESTARTING.contains(&number) {
                    " (restarts Docker)"
                } else {
                    ""
                };
                format!("{number}. {what}{restarts}")
            })
            .collect();
    }
    event
}

/// Whether a check blocks the next step: a client is rejected, a daemon serves the wrong
/// certificate, or neither could be checked. A port that could not be closed does not block it.
fn rejects(proof: &Proof) -> bool {
    matches!(proof.verdict, Verdict::Failed | Verdict::Unreachable)
        && (is_of_client(proof.check) || proof.check == Check::Authorities)
}

/// Whether only a client that reaches the daemon passes it.
const fn is_of_client(check: Check) -> bool {
    matches!(check, Check::Accepted | Check::LetInWithout | Check::Served)
}

/// What stops the rollover: the daemon if no client reaches it, otherwise the client.
fn held(proof: &Proof, all: &[Proof], next: &str) -> Failure {
    let client = host_of(&proof.from);
    let is_reached = all.iter().any(|other| {
        other.to == proof.to && is_of_client(other.check) && other.verdict == Verdict::Proved
    });
    let is_unreachable = proof.verdict == Verdict::Unreachable;
    let (host, message) = if is_unreachable && !is_reached {
        (&*proof.to, format!("{client} does not reach it"))
    } else {
        let message = match (is_unreachable, proof.check, identity_of(&proof.from)) {
            (true, ..) => format!("it does not reach {}", proof.to),
            (_, Check::Accepted, None) => {
                format!("its certificate is not accepted by {}", proof.to)
            }
            (_, Check::Accepted, Some(_)) => format!(
                "the certificate of {} is not accepted by {}",
                proof.from, proof.to
            ),
            _ => format!("it is not shown the right certificate by {}", proof.to),
        };
        (client, message)
    };
    let mut hint = format!(
        "the rollover stops here, and nothing is undone. Fix this and run {next} to continue"
    );
    if host == client {
        hint = format!(
            "{hint}; add --abandon {} to continue without this client",
            proof.from
        );
    }
    Failure {
        host: host.to_owned(),
        kind: FailureKind::Failed,
        step: "check a step of the rollover".to_owned(),
        message: format!("{message}: {}", proof.seen),
        causes: Vec::new(),
        detail: Vec::new(),
        hint: Some(hint),
    }
}

/// Containers would stop, and the operator does not agree.
fn waits(world: &World, what: &str, next: &str) -> Failure {
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
        hint: Some(format!(
            "run {next} to continue; --allow-container-restart agrees to it, dtls_live_restore: true in the inventory keeps containers running"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{State, held};
    use base::event::{Check, Proof, Verdict};
    use plan::{Plan, PlanProblem, Refusal};

    #[test]
    fn what_a_rollover_was_refused_is_a_failure_after_the_next_plan() {
        let mut state = State::default();
        state.keep_refusals(&Plan::default());
        assert!(state.outcome.failed.is_empty());
        state.keep_refusals(&Plan {
            problems: vec![PlanProblem {
                host: "authority".to_owned(),
                task: "the next step".to_owned(),
                refusal: Refusal::new("others hold certificates of the old CA"),
            }],
            ..Plan::default()
        });
        assert!(state.outcome.failed.contains("authority"));
    }

    #[test]
    fn a_daemon_that_no_client_reaches_is_the_one_that_is_named() {
        let proof = |from: &str, verdict| Proof {
            check: Check::Accepted,
            from: from.to_owned(),
            to: "docker3".to_owned(),
            verdict,
            seen: "10.0.0.14:2376 refused the connection".to_owned(),
        };
        let held_by = |all: &[Proof]| {
            let held = held(&all[0], all, "dtls-deploy rotate --ca INVENTORY");
            let offers = held.hint.unwrap_or_default().contains("--abandon");
            (held.host, held.message, offers)
        };
        let (desk, ci) = (Verdict::Unreachable, Verdict::Proved);
        let (host, message, offers) = held_by(&[proof("desk", desk), proof("ci", desk)]);
        assert_eq!((host.as_str(), offers), ("docker3", false));
        assert!(message.starts_with("desk does not reach it: "), "{message}");
        // The cause is in the client's own network or files.
        let (host, message, offers) = held_by(&[proof("desk", desk), proof("ci", ci)]);
        assert_eq!((host.as_str(), offers), ("desk", true));
        assert!(
            message.starts_with("it does not reach docker3: "),
            "{message}"
        );
        let (host, message, offers) = held_by(&[proof("desk", Verdict::Failed)]);
        assert_eq!((host.as_str(), offers), ("desk", true));
        assert!(message.contains("is not accepted by docker3"), "{message}");
    }
}
