//! What a revoked identity has open on daemons: no plugin is asked about a session that has begun,
//! and a restart of dockerd ends it.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;

use super::{Found, RevokeOptions};
use crate::rollover::State;
use crate::{Run, RunError, World, consent};
use base::event::{Event, Failure, FailureKind, PlannedChange};
use inventory::Host;
use node::script::Script;
use node::transaction::Report;
use node::visible;
use plan::Containers;
use plan::host::guard::is_installed;

/// For the journal and Docker's list of containers.
const LOOKING: Duration = Duration::from_secs(40);
/// For a restart, in seconds.
const RESTART: u64 = 120;
/// Sessions named in one line.
const NAMED: usize = 10;

impl Run<'_> {
    /// By daemon, what is open there as far as the guard's journal tells.
    pub(super) async fn sessions(
        &self,
        world: &World,
        found: &Found,
        state: &State,
    ) -> Vec<(String, BTreeSet<String>)> {
        let serials = found.serials();
        let asked = self.told(world, state).filter_map(|daemon| {
            let node = world.nodes.get(&daemon.name)?;
            let mut script = Script::default();
            let words: Vec<&str> = serials.iter().map(String::as_str).collect();
            script.call("guard_sessions", &words);
            Some(async move {
                let output = node.run(daemon.as_root, &script, LOOKING).await.ok()?;
                Some((daemon.name.clone(), sessions_in(&output)))
            })
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Names what stays open.
    pub(super) fn name_sessions(
        &self,
        sessions: &[(String, BTreeSet<String>)],
        options: &RevokeOptions,
    ) {
        for (daemon, open) in sessions.iter().filter(|(_, open)| !open.is_empty()) {
            let mut said: Vec<String> = open.iter().take(NAMED).cloned().collect();
            if open.len() > NAMED {
                said.push(format!("{} more", open.len() - NAMED));
            }
            let text = format!(
                "{} has sessions that no guard ends: {}. dtls-deploy revoke INVENTORY {} --cut-sessions restarts Docker to end them",
                options.name,
                said.join(", "),
                options.name
            );
            self.warn(Some(daemon), text);
        }
    }

    /// Daemons whose restart ends what is open.
    fn restarted<'a>(&'a self, world: &'a World) -> impl Iterator<Item = &'a Host> {
        self.inventory.daemons().filter(|daemon| {
            let facts = world.facts.get(&daemon.name);
            facts.is_some_and(|facts| is_installed(daemon, facts))
        })
    }

    fn containers_stopped<'a>(&'a self, world: &'a World) -> Vec<(&'a str, Option<usize>)> {
        let daemons = self.restarted(world).filter_map(|daemon| {
            let facts = world.facts.get(&daemon.name)?;
            Some((daemon.name.as_str(), Containers::now(facts).stopped()))
        });
        daemons.filter(|(_, count)| *count != Some(0)).collect()
    }

    /// Adds the restarts to the plan, and refuses them if no one agrees that containers stop.
    pub(super) fn foresee_cut(
        &self,
        world: &World,
        changes: &mut Vec<PlannedChange>,
    ) -> Result<(), RunError> {
        for daemon in self.restarted(world) {
            let facts = world.facts.get(&daemon.name);
            let mut reasons = vec!["restarted, which ends open sessions".to_owned()];
            reasons.extend(facts.and_then(|facts| Containers::now(facts).said()));
            changes.push(PlannedChange {
                host: daemon.name.clone(),
                task: "revoke".to_owned(),
                what: daemon.settings.unit.clone(),
                reasons,
                diff: None,
            });
        }
        let stopped = self.containers_stopped(world);
        let may = self.options.allow_container_restart || self.options.check;
        if stopped.is_empty() || may || consent::can_ask() {
            return Ok(());
        }
        Err(RunError::ContainersRunning {
            what: consent::described(&stopped),
            asked: false,
            goes_back: false,
        })
    }

    /// Nothing is touched before someone has agreed that containers stop.
    pub(super) async fn agreed_to_cut(&self, world: &World) -> Result<(), RunError> {
        let stopped = self.containers_stopped(world);
        if stopped.is_empty() || self.options.allow_container_restart {
            return Ok(());
        }
        let what = format!("Restarting Docker stops {}.", consent::described(&stopped));
        self.unless_declined(world, false, what).await
    }

    /// Restarts Docker, one daemon after the other: a swarm keeps its quorum. The first that does
    /// not come back is the last.
    pub(super) async fn cut(&self, world: &World, state: &mut State) -> Result<(), RunError> {
        for daemon in self.restarted(world) {
            let (name, unit) = (&daemon.name, &daemon.settings.unit);
            let Some(node) = world.nodes.get(name) else {
                continue;
            };
            let _step = self.interrupt.begin(name).ok_or(RunError::Interrupted)?;
            let what = format!("restart {unit}");
            let _act = self
                .journal
                .act(
                    self.events,
                    name,
                    "ending open sessions",
                    vec![what.clone()],
                )
                .await?;
            let mut script = Script::default();
            script.call("own_service", &[&RESTART.to_string(), "restart", unit]);
            let deadline = Duration::from_secs(RESTART + 30);
            let failure = match node.run(daemon.as_root, &script, deadline).await {
                Ok(output) => failure_in(name, &output),
                Err(error) => Some(error.failure(name, "end open sessions")),
            };
            if let Some(failure) = failure {
                self.events.emit(Event::Failed(failure));
                state.outcome.failed.insert(name.clone());
                return Ok(());
            }
            *state.outcome.changed.entry(name.clone()).or_default() += 1;
            let done = state.outcome.done.entry(name.clone()).or_default();
            done.push(what.clone());
            self.events.emit(Event::Changed {
                host: name.clone(),
                what,
            });
        }
        Ok(())
    }
}

fn failure_in(host: &str, output: &[u8]) -> Option<Failure> {
    let report = Report::parse(output);
    if report.done && report.failed.is_none() {
        return None;
    }
    let message = report.failed.map_or_else(
        || "the script on the node ended without a report".to_owned(),
        |(_, message)| visible(&message),
    );
    Some(Failure {
        host: host.to_owned(),
        kind: FailureKind::Failed,
        step: "end open sessions".to_owned(),
        message,
        causes: Vec::new(),
        detail: report.journal.iter().map(|line| visible(line)).collect(),
        hint: None,
    })
}

/// "exec in web", "attach to db, perhaps".
fn sessions_in(output: &[u8]) -> BTreeSet<String> {
    let report = Report::parse(output);
    let sessions = report
        .records
        .iter()
        .filter_map(|fields| match fields.as_slice() {
            [word, kind, container] if word == "session" => {
                let container = visible(container);
                Some(match kind.as_str() {
                    "exec" => format!("exec in {container}"),
                    // Whether that has ended is not recorded.
                    _ => format!("attach to {container}, perhaps"),
                })
            }
            _ => None,
        });
    sessions.collect()
}
