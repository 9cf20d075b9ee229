//! `revoke --undo`: the marks are undone, and the guards accept the certificates again.

use std::collections::BTreeMap;
use std::time::Instant;

use super::foresee::planned;
use super::{Found, RevokeOptions, STEP, named};
use crate::agent::RunningAgent;
use crate::prove::shown;
use crate::rollover::State;
use crate::session::close;
use crate::{Exit, Run, RunError};
use base::event::{Event, PlannedChange};
use inventory::Host;
use node::facts::NodeFacts;
use pki::Request;
use plan::host::guard::is_installed;
use plan::{Authority, Marks, Unknown, revoked};
use time::OffsetDateTime;

/// What to do about a revoked certificate that the ledger does not know.
const ADOPT: &str = "to use that certificate again, run dtls-deploy adopt INVENTORY, and then this command; to issue a new one, run dtls-deploy deploy INVENTORY";

impl Run<'_> {
    pub(super) async fn undo_revocation(
        &self,
        options: &RevokeOptions,
        begun: Instant,
    ) -> Result<Exit, RunError> {
        let program = self.program()?;
        let mut world = self.unless(self.look(&program, BTreeMap::new())).await?;
        let mut authority = self.usable_authority(&world)?;
        let now = OffsetDateTime::now_utc();
        // An older backup may have replaced the ledger.
        let marks = Marks::read(self.inventory, &authority.ledger, &world.facts, now);
        marks.restore(&mut authority.ledger, now);
        if let Some(mark) = self.unknown(&world.facts, &marks, &options.name) {
            return Err(refused(&mark.described(), ADOPT));
        }
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
        self.take_back(&mut agent, (&found, &marks), options, &mut state)
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

    /// A certificate that a name means, that guards reject, and that the ledger does not know,
    /// although its holder has it.
    fn unknown<'m>(
        &self,
        facts: &BTreeMap<String, NodeFacts>,
        marks: &'m Marks,
        name: &str,
    ) -> Option<&'m Unknown> {
        let serial = name.replace(':', "").to_ascii_uppercase();
        marks.unknown.values().find(|mark| {
            let own = mark.revoked.serial.as_str();
            let holder = self.inventory.holder(&mark.revoked.name);
            let shown = holder.and_then(|holder| shown(holder, facts));
            (mark.revoked.name == name || own == serial)
                && shown.is_some_and(|shown| shown.serial() == own)
        })
    }

    /// Takes the marks back under the lock.
    async fn take_back(
        &self,
        agent: &mut RunningAgent,
        (found, marks): (&Found, &Marks),
        options: &RevokeOptions,
        state: &mut State,
    ) -> Result<(), RunError> {
        let ca = &self.inventory.ca().name;
        let _step = self.interrupt.begin(ca).ok_or(RunError::Interrupted)?;
        let what = format!("certificates of {} not revoked any more", options.name);
        let step = "taking marks of revoked certificates back";
        let mut lost = found.serials();
        lost.retain(|serial| marks.lost.contains_key(serial));
        if !lost.is_empty() {
            // Only a mark in the ledger can be undone.
            self.mark_again(agent, lost).await?;
        }
        let request = Request::Readmit {
            serials: found.serials(),
        };
        self.write_marks(agent, (step, what), request, state).await
    }
}

fn refused(message: &str, hint: &str) -> RunError {
    let message = format!("{message}; nothing was changed");
    RunError::local(STEP, message, Some(hint.to_owned()))
}

/// The revoked certificates that a name means, and that daemons can accept again.
fn marked(authority: &Authority, name: &str) -> Result<Found, RunError> {
    let mut found = named(authority, name)?;
    found
        .entries
        .retain(|entry| authority.ledger.revocation(&entry.serial).is_some());
    if found.entries.is_empty() {
        return Err(refused(
            &format!("no valid certificate of {name} is revoked"),
            "dtls-deploy status INVENTORY lists the certificates",
        ));
    }
    found
        .entries
        .retain(|entry| revoked::is_of_present(authority, entry));
    if found.entries.is_empty() {
        return Err(refused(
            &format!(
                "the CA that signed the revoked certificates of {name} has been replaced, and daemons do not trust it any more"
            ),
            "dtls-deploy deploy INVENTORY issues new certificates to hosts of the inventory",
        ));
    }
    Ok(found)
}
