//! The end of a run: the report to the CA, the recap of each host, the exit code.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Instant;

use super::{Exit, Run, RunError, World};
use crate::agent::{Program, RunningAgent};
use crate::apply::Outcome;
use crate::session::causes;
use base::event::{Check, Event, Failure, FailureKind, HostRecap, Proof, StoppedHost, Verdict};
use inventory::{Host, host_of};
use pki::{DeliveredLeaf, LeafName, Request, Role};
use plan::{Action, Change, Plan};

impl Run<'_> {
    pub(super) async fn tell_delivered(
        &self,
        agent: &mut RunningAgent,
        outcome: &mut Outcome,
        proofs: &[Proof],
    ) {
        if let Err(error) = self.delivered(agent, outcome, proofs).await {
            self.said_by_authority(&error, outcome);
        }
    }

    /// Tells the CA about certificates that an earlier run delivered without reporting them, in a
    /// run that has nothing else to do.
    ///
    /// # Errors If it is interrupted.
    pub(super) async fn tell_arrived(
        &self,
        world: &World,
        program: &Program,
        outcome: &mut Outcome,
        proofs: &[Proof],
    ) -> Result<(), RunError> {
        let plan = &world.plan;
        let knows_all =
            plan.arrived.is_empty() && plan.unrenewed.is_empty() && plan.marks.is_empty();
        if self.options.check || knows_all {
            return Ok(());
        }
        let mut agent = match self.unless(self.lock(world, program)).await? {
            Ok(agent) => agent,
            // The host that holds it reports its arrival.
            Err(RunError::Locked(_)) if plan.unrenewed.is_empty() && plan.marks.is_empty() => {
                return Ok(());
            }
            Err(error) => {
                self.said_by_authority(&error, outcome);
                return Ok(());
            }
        };
        outcome.placed.extend(plan.arrived.iter().cloned());
        self.tell_delivered(&mut agent, outcome, proofs).await;
        self.tell_unrenewed(&mut agent, plan, outcome).await;
        if let Err(error) = self.call(&mut agent, Request::Bye).await {
            self.said_by_authority(&error, outcome);
        }
        Ok(())
    }

    /// Tells the CA which marks it has lost, and which certificates should be renewed but cannot be
    /// now.
    pub(super) async fn tell_unrenewed(
        &self,
        agent: &mut RunningAgent,
        plan: &Plan,
        outcome: &mut Outcome,
    ) {
        for told in [
            self.remember_marks(agent, plan).await,
            self.remember(agent, &plan.unrenewed).await,
        ] {
            if let Err(error) = told {
                self.said_by_authority(&error, outcome);
            }
        }
    }

    /// Has the CA remember marks that its ledger has lost.
    pub(super) async fn remember_marks(
        &self,
        agent: &mut RunningAgent,
        plan: &Plan,
    ) -> Result<(), RunError> {
        if plan.marks.is_empty() {
            return Ok(());
        }
        self.mark_again(agent, plan.marks.clone()).await
    }

    /// Marks in the ledger what a guard's policy alone has.
    pub(super) async fn mark_again(
        &self,
        agent: &mut RunningAgent,
        serials: Vec<String>,
    ) -> Result<(), RunError> {
        let request = Request::Revoke {
            serials,
            reason: Some("its mark was in the policy of a guard only".to_owned()),
        };
        self.call(agent, request).await.map(drop)
    }

    /// Has the CA remember what `--force` renews, before it does.
    pub(super) async fn remember(
        &self,
        agent: &mut RunningAgent,
        leaves: &[LeafName],
    ) -> Result<(), RunError> {
        if leaves.is_empty() {
            return Ok(());
        }
        let leaves = leaves.to_vec();
        self.call(agent, Request::AskRenewal { leaves })
            .await
            .map(drop)
    }

    /// The daemons are complete: this failure is only the CA's.
    pub(super) fn said_by_authority(&self, error: &RunError, outcome: &mut Outcome) {
        let ca = &self.inventory.ca().name;
        self.events.emit(Event::Failed(Failure {
            host: ca.clone(),
            kind: FailureKind::Failed,
            step: "tell the CA what was delivered".to_owned(),
            message: error.to_string(),
            causes: causes(error),
            detail: Vec::new(),
            hint: error.hint(),
        }));
        outcome.failed.insert(ca.clone());
    }

    /// Reports what an interrupted run has done, and the command that continues it if it is a
    /// different one.
    pub(super) fn stopped(&self, outcome: &Outcome, next: Option<String>) {
        let of = |map: &BTreeMap<String, Vec<String>>, host: &Host| {
            map.get(&host.name).cloned().unwrap_or_default()
        };
        let hosts = self.hosts().into_iter().map(|host| StoppedHost {
            host: host.name.clone(),
            done: of(&outcome.done, host),
            not_done: [of(&outcome.not_done, host), of(&outcome.skipped, host)].concat(),
        });
        self.events.emit(Event::Stopped {
            hosts: hosts
                .filter(|host| !host.done.is_empty() || !host.not_done.is_empty())
                .collect(),
            next,
        });
    }

    /// Tells the CA what has arrived and is verified, so that it can remove the keys.
    pub(super) async fn delivered(
        &self,
        agent: &mut RunningAgent,
        outcome: &Outcome,
        proofs: &[Proof],
    ) -> Result<(), RunError> {
        let accepted: HashSet<&str> = proofs
            .iter()
            .filter(|proof| proof.check == Check::Accepted && proof.verdict == Verdict::Proved)
            .map(|proof| proof.from.as_str())
            .collect();
        let proved = |leaf: &DeliveredLeaf| {
            outcome
                .failed
                .iter()
                .all(|host| host != host_of(&leaf.host))
                && (leaf.role == Role::Daemon
                    || (proofs.is_empty() && !self.interrupt.is_asked())
                    || accepted.contains(leaf.host.as_str()))
        };
        let leaves: Vec<DeliveredLeaf> = outcome
            .placed
            .iter()
            .filter(|leaf| proved(leaf))
            .cloned()
            .collect();
        if !leaves.is_empty() {
            let ca = &self.inventory.ca().name;
            let step = "telling the CA what was delivered";
            let _act = self.journal.act(self.events, ca, step, Vec::new()).await?;
            let keep_keys = self.inventory.ca().settings.keep_issued_keys;
            self.call(agent, Request::Delivered { leaves, keep_keys })
                .await?;
        }
        Ok(())
    }

    pub(super) fn recap(
        &self,
        world: &World,
        outcome: &Outcome,
        proofs: &[Proof],
        begun: Instant,
    ) -> Exit {
        let problems = world.plan.problems.iter();
        let refused: BTreeSet<&str> = problems.map(|problem| problem.host.as_str()).collect();
        // A check counts for the daemon it is about, unless --limit excludes that one.
        let listed: HashSet<&str> = self.hosts().iter().map(|host| host.name.as_str()).collect();
        let mut verdicts: HashMap<&str, Vec<Verdict>> = HashMap::new();
        for proof in proofs {
            let daemon = proof.to.as_str();
            let about = if listed.contains(daemon) {
                daemon
            } else {
                host_of(&proof.from)
            };
            let own = verdicts.entry(about).or_default();
            own.push(proof.verdict);
        }
        let mut issued_for: HashMap<&str, usize> = HashMap::new();
        for change in world.plan.changes().filter(|change| !change.is_on_node()) {
            *issued_for.entry(change.host.as_str()).or_default() += 1;
        }
        let mut hosts = Vec::new();
        for host in self.hosts() {
            let name = host.name.as_str();
            let own = verdicts.get(name).map_or(&[][..], Vec::as_slice);
            let of = |verdict| own.iter().filter(|seen| **seen == verdict).count();
            let issued = issued_for.get(name).copied().unwrap_or(0);
            let placed = outcome.changed.get(name).copied().unwrap_or(0);
            let only_issued = if self.options.check || placed > 0 {
                0
            } else {
                issued
            };
            let missing = world.missing.get(name);
            let unreachable =
                missing == Some(&FailureKind::Unreachable) || outcome.unreachable.contains(name);
            let failed =
                outcome.failed.contains(name) || refused.contains(name) || missing.is_some();
            hosts.push(HostRecap {
                host: name.to_owned(),
                changed: placed.max(only_issued),
                proved: of(Verdict::Proved),
                not_proved: of(Verdict::NotProved) + of(Verdict::Unreachable),
                failed: usize::from(failed && !unreachable) + of(Verdict::Failed),
                not_done: outcome.not_done.get(name).map_or(0, Vec::len),
                skipped: outcome.skipped.get(name).map_or(0, Vec::len),
                unreachable,
                restarts: outcome.away.get(name).map_or(0, |away| away.restarts),
                away_milliseconds: outcome.away.get(name).map_or(0, |away| away.milliseconds),
                still_away: outcome.away.get(name).is_some_and(|away| away.still),
            });
        }
        let unreachable = hosts.iter().any(|host| host.unreachable);
        let failed = hosts.iter().any(|host| {
            let name = host.host.as_str();
            !host.unreachable
                && (outcome.failed.contains(name)
                    || refused.contains(name)
                    || world.missing.contains_key(name))
        });
        let is_created = |change: &Change| matches!(change.action, Action::Authority(_));
        let has_new_authority = !self.options.check && world.plan.changes().any(is_created);
        let next = (has_new_authority && !failed).then(|| {
            "back up the new CA: dtls-deploy ca backup INVENTORY --to ca.backup".to_owned()
        });
        self.events.emit(Event::Recap {
            hosts,
            milliseconds: begun.elapsed().as_millis(),
            next,
        });
        if self.interrupt.is_asked() {
            return Exit::Interrupted;
        }
        if failed {
            Exit::Failed
        } else if unreachable {
            Exit::Unreachable
        } else if proofs.iter().any(|proof| !proof.verdict.is_fine()) {
            Exit::NotProved
        } else if self.options.check && self.options.exit_code && !world.plan.is_empty() {
            Exit::ChangesNeeded
        } else {
            Exit::Fine
        }
    }
}
