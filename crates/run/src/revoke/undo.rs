//! `revoke --undo`: the marks are undone, and the guards accept the certificates again.

use std::collections::BTreeMap;
use std::time::Instant;

use super::foresee::planned;
use super::{Found, RevokeOptions, STEP, named};
use crate::agent::RunningAgent;
use crate::rollover::State;
use crate::session::close;
use crate::{Exit, Run, RunError};
use base::event::{Event, PlannedChange};
use inventory::Host;
use node::facts::NodeFacts;
use pki::Request;
use plan::host::guard::is_installed;
use plan::{Authority, revoked};

impl Run<'_> {
    pub(super) async fn undo_revocation(
        &self,
        options: &RevokeOptions,
        begun: Instant,
    ) -> Result<Exit, RunError> {
        let program = self.program()?;
        let mut world = self.unless(self.look(&program, BTreeMap::new())).await?;
        let authority = self.usable_authority(&world)?;
        let found = marked(&authority, &options.name)?;
        let changes = self.foresee_undo(&world.facts, &found, options);
        self.events.emit(Event::Plan {
            changes,
            batches: Vec::new(),
        });
        let ca = &self.inventory.ca().name;
        if authority.next.is_some() {
            let text = "the CA is being replaced: these certificates stop working when that is finished, and the holder needs new ones";
            self.warn(Some(ca), format!("{}: {text}", options.name));
        }
        world.plan.problems.clear();
        world.plan.plays.clear();
        let mut state = State::default();
        if self.options.check {
            let exit = match self.recap(&world, &state.outcome, &[], begun) {
                Exit::Fine if self.options.exit_code => Exit::ChangesNeeded,
                exit => exit,
            };
            close(&world.nodes).await;
            return Ok(exit);
        }
        let what = "Undo: daemons accept the certificates again.".to_owned();
        self.unless_declined(&world, options.yes, what).await?;
        let mut agent = self.unless(self.lock(&world, &program)).await??;
        self.take_back(&mut agent, &found, options, &mut state)
            .await?;
        let told = self
            .tell_guards(&world, &mut agent, &found, options, &mut state)
            .await;
        if let Err(error) = told {
            self.after_marks(Err(error), "update the guards", &world, &mut state);
        }
        self.end_passes(world, agent, state, begun).await
    }

    fn foresee_undo(
        &self,
        facts: &BTreeMap<String, NodeFacts>,
        found: &Found,
        options: &RevokeOptions,
    ) -> Vec<PlannedChange> {
        let described = found.entries.iter().map(|entry| {
            let (role, serial) = (entry.role, &entry.serial);
            format!("{role}, serial {serial}, until {}", entry.not_after.date())
        });
        let what = format!("certificates of {} not revoked any more", options.name);
        let own = planned(&self.inventory.ca().name, what, described.collect());
        let is_guarded = |daemon: &&Host| {
            let facts = facts.get(&daemon.name);
            daemon.is_guarded() && facts.is_some_and(|facts| is_installed(daemon, facts))
        };
        let daemons = self.inventory.daemons().filter(is_guarded).map(|daemon| {
            let reasons = vec!["accepts it with its next request; nothing is restarted".to_owned()];
            planned(&daemon.name, "policy of the guard".to_owned(), reasons)
        });
        std::iter::once(own).chain(daemons).collect()
    }

    /// Takes the marks back under the lock.
    async fn take_back(
        &self,
        agent: &mut RunningAgent,
        found: &Found,
        options: &RevokeOptions,
        state: &mut State,
    ) -> Result<(), RunError> {
        let ca = &self.inventory.ca().name;
        let _step = self.interrupt.begin(ca).ok_or(RunError::Interrupted)?;
        let what = format!("certificates of {} not revoked any more", options.name);
        let step = "taking marks of revoked certificates back";
        let request = Request::Readmit {
            serials: found.serials(),
        };
        self.write_marks(agent, (step, what), request, state).await
    }
}

/// The revoked certificates that a name means, and that daemons can accept again.
fn marked(authority: &Authority, name: &str) -> Result<Found, RunError> {
    let mut found = named(authority, name)?;
    let refused = |message: String, hint: &str| {
        RunError::local(
            STEP,
            format!("{message}; nothing was changed"),
            Some(hint.to_owned()),
        )
    };
    found
        .entries
        .retain(|entry| authority.ledger.revocation(&entry.serial).is_some());
    if found.entries.is_empty() {
        return Err(refused(
            format!("no valid certificate of {name} is revoked"),
            "dtls-deploy status INVENTORY lists the certificates",
        ));
    }
    found
        .entries
        .retain(|entry| revoked::is_of_present(authority, entry));
    if found.entries.is_empty() {
        return Err(refused(
            format!(
                "the CA that signed the revoked certificates of {name} has been replaced, and daemons do not trust it any more"
            ),
            "dtls-deploy deploy INVENTORY issues new certificates to hosts of the inventory",
        ));
    }
    Ok(found)
}
