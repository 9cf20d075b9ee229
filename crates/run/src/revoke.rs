//! `dtls-deploy revoke`: marks certificates as revoked in the ledger, and replaces the CA that
//! signed them.
//!
//! dockerd has no list of revoked certificates: the mark alone rejects no client.

mod foresee;
mod guards;
mod sessions;
mod undo;

use std::collections::BTreeMap;
use std::time::Instant;

use time::OffsetDateTime;

use self::guards::Told;
use super::rollover::{Pass, State};
use super::{Exit, Run, RunError, World, consent};
use crate::agent::{Program, RunningAgent};
use crate::journal::left::Left;
use crate::session::{causes, close};
use base::event::{Event, Failure, FailureKind};
use inventory::Host;
use inventory::names::nearest;
use pki::{Entry, Ledger, Request, Response};
use plan::host::guard::is_installed;
use plan::{Authority, AuthorityProblem, Plan, Refusal, RefusalKind, revoked};

const STEP: &str = "revoke certificates";
const REPLACE: &str = "replace the CA";

/// The options of `revoke`.
// Flags of a command line are independent of each other: booleans say so best.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, Default)]
pub struct RevokeOptions {
    /// A host's name, or a serial in hexadecimal.
    pub name: String,
    /// For the ledger.
    pub reason: Option<String>,
    /// Answers the question with yes.
    pub yes: bool,
    /// Leaves replacing the CA to a later run.
    pub mark_only: bool,
    /// Marks are undone.
    pub undo: bool,
    /// Docker is restarted, which ends what the holder has open.
    pub cut_sessions: bool,
}

/// What will be revoked, and its consequences.
struct Found {
    /// Unexpired leaves that match the name.
    entries: Vec<Entry>,
    /// The number of those not marked yet.
    fresh: usize,
    /// Some are of the present or the next CA: it must be replaced.
    rolls: bool,
    /// Some are of the next CA: it must be replaced as well.
    twice: bool,
}

impl Found {
    fn read(authority: &Authority, name: &str, now: OffsetDateTime) -> Self {
        let serial = name.replace(':', "").to_ascii_uppercase();
        let entries: Vec<Entry> = authority
            .ledger
            .entries()
            .iter()
            .filter(|entry| entry.not_after > now)
            .filter(|entry| entry.host == name || entry.serial == serial)
            .cloned()
            .collect();
        let is_marked = |entry: &&Entry| authority.ledger.revocation(&entry.serial).is_some();
        let next = authority.next.as_ref().map(pki::Certificate::sha256);
        Self {
            fresh: entries.len() - entries.iter().filter(is_marked).count(),
            rolls: entries
                .iter()
                .any(|entry| revoked::is_of_present(authority, entry)),
            twice: entries
                .iter()
                .any(|entry| Some(&entry.issuer_sha256) == next.as_ref()),
            entries,
        }
    }

    fn serials(&self) -> Vec<String> {
        let serials = self.entries.iter().map(|entry| entry.serial.clone());
        serials.collect()
    }
}

impl Run<'_> {
    /// Carries out the revocation.
    ///
    /// # Errors If it ends before anything was changed.
    pub async fn revoke(&self, options: &RevokeOptions) -> Result<Exit, RunError> {
        let begun = Instant::now();
        self.announce();
        if options.undo {
            return self.undo_revocation(options, begun).await;
        }
        let left = self.left_behind();
        let program = self.program()?;
        let mut world = self.seen(&program, options).await?;
        let authority = self.usable_authority(&world)?;
        let found = named(&authority, &options.name)?;
        self.refuse_unknown_abandoned(&world)?;
        let is_guarded = self.guards_reject(&world, &found);
        let replaces = found.rolls && !options.mark_only && !is_guarded;
        let held = if replaces { self.held(&world)? } else { None };
        let rolls = replaces && held.is_none();
        let mut planned = self.foresee(&world, &authority, &found, options, rolls)?;
        if options.cut_sessions && is_guarded {
            self.foresee_cut(&world, &mut planned)?;
        }
        let nothing = planned.is_empty();
        self.events.emit(Event::Plan {
            changes: planned,
            batches: Vec::new(),
        });
        let mut state = State::default();
        judged(&mut world.plan, rolls, self.options.check);
        if self.options.check {
            self.show_refusals(&world.plan);
            self.tell_held(held.as_ref(), &mut state);
        }
        if self.options.check || nothing {
            let asks = self.options.check && self.options.exit_code && !nothing;
            let exit = match self.recap(&world, &state.outcome, &[], begun) {
                Exit::Fine if asks => Exit::ChangesNeeded,
                exit => exit,
            };
            close(&world.nodes).await;
            return Ok(exit);
        }
        self.agreed(&world, options, (rolls, is_guarded)).await?;
        let mut agent = self.unless(self.lock(&world, &program)).await??;
        if rolls {
            // A mark without consequences is not what the operator asked for.
            let passphrase = self.unlock(&mut agent, false, &[]).await?;
            let request = Request::OpenAuthority {
                passphrase: passphrase.clone(),
            };
            self.call(&mut agent, request).await?;
            state.passphrase = Some(passphrase);
        }
        let found = self.mark(&mut agent, &world, options, &mut state).await?;
        let told = self
            .tell_guards(&world, &mut agent, &found, options, &mut state)
            .await;
        let told = told.unwrap_or_else(|error| {
            self.after_marks(Err(error), "update the guards", &world, &mut state);
            Told::default()
        });
        if is_guarded && options.cut_sessions {
            self.cut(&world, &mut state).await?;
        } else if is_guarded {
            self.name_sessions(&told.sessions, options);
        }
        let is_over = if rolls {
            let came_to = self
                .replace(
                    &mut world,
                    &mut agent,
                    &mut state,
                    (&program, &left),
                    &found,
                )
                .await;
            Some(came_to == Pass::Over)
        } else {
            None
        };
        if held.is_some() {
            self.tell_held(held.as_ref(), &mut state);
        }
        let guards = is_guarded.then_some(told.all_reject);
        let text = remaining(guards, is_over, held.is_some());
        if found.rolls && !text.is_empty() {
            self.warn(
                Some(&self.inventory.ca().name),
                format!("{}: {text}", options.name),
            );
        }
        self.end_passes(world, agent, state, begun).await
    }

    /// What the revocation needs to know: if guards reject the certificates everywhere, much less
    /// than for a new CA.
    async fn seen(&self, program: &Program, options: &RevokeOptions) -> Result<World, RunError> {
        let mut known = BTreeMap::new();
        if self.inventory.daemons().all(Host::is_guarded) && !options.cut_sessions {
            let world = self.unless(self.look_at_guards(program)).await?;
            let authority = self.usable_authority(&world)?;
            if self.guards_reject(&world, &named(&authority, &options.name)?) {
                return Ok(world);
            }
            known = world.nodes;
        }
        self.unless(self.look(program, known)).await
    }

    /// Why the rollover does not begin because of a daemon. If there are guards to tell, the
    /// certificates are marked all the same; otherwise the mark would reject no client, and the
    /// revocation is refused.
    fn held(&self, world: &World) -> Result<Option<Refusal>, RunError> {
        let mut daemons = self.inventory.daemons();
        let has_guards = daemons.any(|daemon| {
            let facts = world.facts.get(&daemon.name);
            daemon.is_guarded() && facts.is_some_and(|facts| is_installed(daemon, facts))
        });
        let refusals = world.plan.problems.iter().map(|found| &found.refusal);
        let mut unready = refusals.filter(|refusal| {
            matches!(&refusal.kind, RefusalKind::Authority(problem) if matches!(**problem, AuthorityProblem::Unready { .. }))
        });
        match unready.next() {
            Some(refusal) if !has_guards => Err(self.refused(
                STEP,
                format!("{refusal}; nothing was changed"),
                refusal.hint.clone(),
            )),
            refusal => Ok(refusal.cloned()),
        }
    }

    /// Reports that the CA is not replaced, while the rest of the revocation is carried out.
    fn tell_held(&self, held: Option<&Refusal>, state: &mut State) {
        let Some(refusal) = held else {
            return;
        };
        let ca = &self.inventory.ca().name;
        self.events.emit(Event::Failed(Failure {
            host: ca.clone(),
            kind: FailureKind::Failed,
            step: REPLACE.to_owned(),
            message: refusal.message.clone(),
            causes: Vec::new(),
            detail: Vec::new(),
            hint: refusal.hint.clone(),
        }));
        state.outcome.failed.insert(ca.clone());
    }

    /// Replaces the CA, twice if the next one has signed some of the certificates.
    async fn replace(
        &self,
        world: &mut World,
        agent: &mut RunningAgent,
        state: &mut State,
        (program, left): (&Program, &[Left]),
        found: &Found,
    ) -> Pass {
        let passed = self.passes(world, agent, state, program, left).await;
        let mut came_to = self.after_marks(passed, REPLACE, world, state);
        if came_to == Pass::Over && found.twice {
            let passed = self.passes(world, agent, state, program, &[]).await;
            came_to = self.after_marks(passed, REPLACE, world, state);
        }
        came_to
    }

    /// An early end of the passes does not end the run: certificates are marked by now, so the
    /// warning and the recap follow.
    fn after_marks(
        &self,
        passed: Result<Pass, RunError>,
        step: &str,
        world: &World,
        state: &mut State,
    ) -> Pass {
        let error = match passed {
            Ok(came_to) => return came_to,
            Err(error) => error,
        };
        let exit = exit_after_marks(&error);
        match &error {
            RunError::Interrupted => {}
            RunError::ContainersRunning { what, .. } => {
                self.wait_for_containers(world, what);
            }
            error => {
                let ca = &self.inventory.ca().name;
                self.events.emit(Event::Failed(Failure {
                    host: ca.clone(),
                    kind: FailureKind::Failed,
                    step: step.to_owned(),
                    message: error.to_string(),
                    causes: causes(error),
                    detail: Vec::new(),
                    hint: error.hint(),
                }));
                state.outcome.failed.insert(ca.clone());
            }
        }
        state.exit = Some(exit);
        Pass::Stopped
    }

    fn usable_authority(&self, world: &World) -> Result<Authority, RunError> {
        let ca = self.inventory.ca();
        let authority = Authority::read(ca, Some(self.ca_facts(world)?));
        if let Some(problem) = &authority.problem {
            return Err(self.refused(STEP, problem.to_string(), Some(problem.hint())));
        }
        if authority.certificate.is_none() {
            let host = ca.name.clone();
            return Err(RunError::NoCertificate { host });
        }
        if !authority.knows_holders() {
            let path = format!("{}/{}", ca.settings.ca_dir, pki::LEDGER);
            let problem = AuthorityProblem::NoLedger(path);
            return Err(self.refused(STEP, problem.to_string(), Some(problem.hint())));
        }
        Ok(authority)
    }

    /// Nothing changes before the operator has agreed.
    async fn agreed(
        &self,
        world: &World,
        options: &RevokeOptions,
        (rolls, is_guarded): (bool, bool),
    ) -> Result<(), RunError> {
        let daemons = self.inventory.daemons().count();
        let what = if rolls {
            let plural = if daemons == 1 { "" } else { "s" };
            format!("Revoke, and replace the CA ({daemons} daemon{plural} restarted).")
        } else if is_guarded && options.cut_sessions {
            "Revoke: the guards of all deployed daemons reject it, and Docker is restarted."
                .to_owned()
        } else if is_guarded {
            "Revoke: the guards of all deployed daemons reject it, and nothing is restarted."
                .to_owned()
        } else {
            "Mark as revoked.".to_owned()
        };
        self.unless_declined(world, options.yes, what).await?;
        if options.cut_sessions && is_guarded {
            self.agreed_to_cut(world).await?;
        }
        Ok(())
    }

    async fn unless_declined(
        &self,
        world: &World,
        yes: bool,
        what: String,
    ) -> Result<(), RunError> {
        if yes {
            return Ok(());
        }
        let refused = |message: &str, hint: &str| {
            RunError::local(STEP, message.to_owned(), Some(hint.to_owned()))
        };
        if !consent::can_ask() {
            return Err(refused(
                "there is no terminal to ask on; nothing was changed",
                "--yes agrees to it; --check only shows it",
            ));
        }
        let asking = tokio::task::spawn_blocking(move || consent::question(&what));
        match self.unless(asking).await?.map_err(RunError::Prompt)? {
            Ok(true) => Ok(()),
            Err(_) if self.interrupt.is_asked() => Err(RunError::Interrupted),
            Ok(false) | Err(_) => {
                close(&world.nodes).await;
                Err(refused(
                    "the answer was no; nothing was changed",
                    "--check only shows it",
                ))
            }
        }
    }

    /// Marks the matching certificates, under the lock.
    async fn mark(
        &self,
        agent: &mut RunningAgent,
        world: &World,
        options: &RevokeOptions,
        state: &mut State,
    ) -> Result<Found, RunError> {
        let ca = &self.inventory.ca().name;
        let _step = self.interrupt.begin(ca).ok_or(RunError::Interrupted)?;
        let mut authority = self.usable_authority(world)?;
        // A certificate may have been issued since the check.
        if let Response::State {
            ledger: Some(text), ..
        } = self.call(agent, Request::State {}).await?
            && let Ok(ledger) = Ledger::parse(&text)
        {
            authority.ledger = ledger;
        }
        let found = named(&authority, &options.name)?;
        if found.fresh > 0 {
            let what = format!("certificates of {} marked as revoked", options.name);
            let step = "marking certificates as revoked";
            let request = Request::Revoke {
                serials: found.serials(),
                reason: options.reason.clone(),
            };
            self.write_marks(agent, (step, what), request, state)
                .await?;
        }
        Ok(found)
    }

    /// A change of the marks in the ledger, with its journal entry.
    async fn write_marks(
        &self,
        agent: &mut RunningAgent,
        (step, what): (&'static str, String),
        request: Request,
        state: &mut State,
    ) -> Result<(), RunError> {
        let ca = &self.inventory.ca().name;
        let subjects = vec![what.clone()];
        let _act = self.journal.act(self.events, ca, step, subjects).await?;
        self.call(agent, request).await?;
        *state.outcome.changed.entry(ca.clone()).or_default() += 1;
        let done = state.outcome.done.entry(ca.clone()).or_default();
        done.push(what.clone());
        self.events.emit(Event::Changed {
            host: ca.clone(),
            what,
        });
        Ok(())
    }
}

/// What is left to do for the operator. `all_reject`: what the guards do, if all daemons have one;
/// `is_over`: whether the rollover has ended, if there was one.
fn remaining(all_reject: Option<bool>, is_over: Option<bool>, is_held: bool) -> &'static str {
    match (all_reject, is_over) {
        (Some(false), _) => {
            "not every daemon rejects it yet: fix what is reported above, then run dtls-deploy rotate INVENTORY"
        }
        (Some(true), _) => {
            "its certificates are valid until they expire, and the guards reject them: dtls-deploy rotate --ca INVENTORY makes them invalid"
        }
        (None, Some(true)) => "",
        (None, Some(false)) => {
            "daemons may still accept it: the rollover is not finished; fix what is reported above, then run dtls-deploy rotate --ca INVENTORY"
        }
        (None, None) if is_held => {
            "its certificates are marked, and daemons with a guard reject them. The others accept them until the CA is replaced: fix what is reported above, then run dtls-deploy rotate --ca INVENTORY"
        }
        (None, None) => {
            "daemons accept it until each of them has dropped the CA that signed its certificate: run dtls-deploy rotate --ca INVENTORY"
        }
    }
}

/// Drops from a plan what this run does not do. Without a rollover nothing is carried out; with
/// `--check`, it shows the changes of
/// [`Run::foresee`] with the refusals of the first pass.
fn judged(plan: &mut Plan, rolls: bool, check: bool) {
    if !rolls {
        plan.problems.clear();
    }
    if !rolls || check {
        plan.plays.clear();
    }
}

/// Exit codes for "nothing was changed" do not apply after a mark.
fn exit_after_marks(error: &RunError) -> Exit {
    match error.exit() {
        Exit::Usage | Exit::Locked => Exit::Failed,
        exit => exit,
    }
}

/// The certificates that match a name.
fn named(authority: &Authority, name: &str) -> Result<Found, RunError> {
    let now = OffsetDateTime::now_utc();
    let found = Found::read(authority, name, now);
    if !found.entries.is_empty() {
        return Ok(found);
    }
    let entries = authority.ledger.entries().iter();
    let known: Vec<&str> = entries
        .filter(|entry| entry.not_after > now)
        .map(|entry| entry.host.as_str())
        .collect();
    let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => "dtls-deploy status INVENTORY -v lists the certificates with their whole serial numbers. What a CA issued before it was adopted is in no ledger: dtls-deploy rotate --ca INVENTORY rejects all of it".to_owned(),
        };
    Err(RunError::local(
        STEP,
        format!(
            "the CA has issued no valid certificate with the name or serial {name}; nothing was changed"
        ),
        Some(hint),
    ))
}

#[cfg(test)]
mod tests {
    use super::{Exit, RunError, exit_after_marks, judged};
    use plan::{Plan, PlanProblem, PlannedPlay, Refusal};

    #[test]
    fn after_a_mark_no_code_says_that_nothing_was_changed() {
        let refused = RunError::local(super::STEP, "no".to_owned(), None);
        assert_eq!(exit_after_marks(&refused), Exit::Failed);
        assert_eq!(exit_after_marks(&RunError::Interrupted), Exit::Interrupted);
        let asked = RunError::ContainersRunning {
            what: "1 container".to_owned(),
            asked: true,
            goes_back: false,
        };
        assert_eq!(exit_after_marks(&asked), Exit::ContainersRunning);
    }

    fn plan() -> Plan {
        Plan {
            plays: vec![PlannedPlay {
                name: "CA".to_owned(),
                hosts: Vec::new(),
            }],
            problems: vec![PlanProblem {
                host: "daemon".to_owned(),
                task: "restart".to_owned(),
                refusal: Refusal::new("no"),
            }],
            ..Plan::default()
        }
    }

    #[test]
    fn only_what_is_carried_out_or_shown_is_judged() {
        let left = |rolls, check| {
            let mut plan = plan();
            judged(&mut plan, rolls, check);
            (plan.plays.len(), plan.problems.len())
        };
        assert_eq!(left(true, false), (1, 1));
        assert_eq!(left(true, true), (0, 1));
        assert_eq!(left(false, false), (0, 0));
        assert_eq!(left(false, true), (0, 0));
    }
}
