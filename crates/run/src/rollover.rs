//! A run of several plans under one lock: a rollover of the CA.
//!
//! Each pass is an ordinary plan from facts, carried out and proved; then the
//! nodes are checked again, and what they show decides about the next one.
//! A run that dies is gone on with by the next, which sees the same nodes.

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

/// Far more than a rollover has steps: a pass that changes nothing ends it
/// before.
const PASSES: usize = 24;

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Another one may follow.
    Again,
    /// There was nothing to do: it is postponed, or all is done.
    Idle,
    /// Something went wrong.
    Stopped,
    /// The rollover has come to its end.
    Over,
}

/// What is carried from one pass to the next.
#[derive(Default)]
pub(super) struct State {
    pub(super) outcome: Outcome,
    /// Plans that were made so far.
    pub(super) passes: usize,
    /// Of the last pass.
    pub(super) proofs: Vec<Proof>,
    pub(super) passphrase: Option<Secret>,
    /// The step that was not seen to be done.
    pub(super) step: Option<u8>,
    /// What was said already: host and text.
    noted: BTreeSet<(String, String)>,
    /// How the run ends, where that is not what the recap says.
    pub(super) exit: Option<Exit>,
}

impl State {
    /// The recap knows the last plan alone: what an earlier one was refused has
    /// not succeeded, whatever the plan after it does.
    fn keep_refusals(&mut self, plan: &Plan) {
        let hosts = plan.problems.iter().map(|problem| problem.host.clone());
        self.outcome.failed.extend(hosts);
    }
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
        self.refuse_unknown_abandoned(&world)?;
        let mut agent = self.unless(self.lock(&world, &program)).await??;
        let mut state = State::default();
        self.passes(&mut world, &mut agent, &mut state, &program, &left)
            .await?;
        self.end_passes(world, agent, state, begun).await
    }

    /// The command that continues a rollover. `revoke` is none: it would revoke what a host of the
    /// inventory was issued since.
    pub(super) fn continues(&self) -> &'static str {
        match self.rotation {
            Some(_) => "dtls-deploy rotate INVENTORY",
            None => "dtls-deploy rotate --ca INVENTORY",
        }
    }

    /// Passes under a lock that is held, until none may follow.
    ///
    /// # Errors
    /// When the first one ends before anything was changed.
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
                // What earlier passes did is reported in the recap.
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

    /// The lock is given back, and what came of it is reported.
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
        // Before the first change, nothing is left to continue.
        if let Some(step) = state.step
            && (step > 0 || !state.outcome.changed.is_empty())
        {
            self.events.emit(at(step, Some(self.continues())));
        }
        let exit = self.recap(&world, &state.outcome, &state.proofs, begun);
        close(&world.nodes).await;
        Ok(state.exit.unwrap_or(exit))
    }

    /// What `dtls_auto_ca_rollover` asks for, in a run of rotate.yaml: the CA is
    /// replaced, as far as that is possible now; where it is not, what is due is
    /// renewed as ever.
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
            // It asked in a later pass.
            Ok(Pass::Stopped) if state.exit.is_some() => Pass::Idle,
            came_to => came_to?,
        };
        if came_to == Pass::Idle {
            // It is postponed: certificates do not expire over that.
            state.keep_refusals(&world.plan);
            match self
                .pass(&mut world, &mut agent, &mut state, program, &[])
                .await
            {
                // Said already, of the same daemons.
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

    /// Says that the rollover waits, because containers would stop.
    pub(super) fn wait_for_containers(&self, world: &World, what: &str) {
        let failure = waits(world, what, self.continues());
        self.events.emit(Event::Failed(failure));
    }

    /// One plan, carried out and proved; whether another may follow.
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
        if let Some(step) = world.plan.rollover_step {
            if state.step != Some(step) && !world.plan.is_empty() {
                // What is agreed to are all of them.
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
        // Those of an earlier plan say nothing of what this one changes.
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
        // With an expired CA no one is accepted before the last of them is done.
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

/// The event of a step, with the command that continues it where the run stops there.
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

/// The same where nothing is carried out: it tells the steps after it as well, which are planned
/// when it is done.
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

/// A client that is not accepted, or a daemon that does not show what it should, or which of the
/// two it is was not seen: the next step could make it worse. A port that should be closed could
/// not.
fn rejects(proof: &Proof) -> bool {
    matches!(proof.verdict, Verdict::Failed | Verdict::Unreachable)
        && (is_of_client(proof.check) || proof.check == Check::Authorities)
}

/// Whether only a client that reaches the daemon passes it.
const fn is_of_client(check: Check) -> bool {
    matches!(check, Check::Accepted | Check::LetInWithout | Check::Served)
}

/// What stops the rollover: the daemon, where no client reaches it, and otherwise the client.
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

/// Containers would stop, and no one agrees to it.
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
        // The client's own network, or its own files.
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
