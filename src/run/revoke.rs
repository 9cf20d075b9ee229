//! `dtls-deploy revoke`: certificates are marked in the ledger, and the CA that
//! signed them is replaced.
//!
//! Comes in: a name or a serial. Goes out: what that will do, shown before it is
//! asked for and done; then marks, and the passes of a rollover, under one lock.
//! dockerd has no list of revoked certificates: the mark alone keeps nobody out.

use std::collections::BTreeMap;
use std::time::Instant;

use time::OffsetDateTime;

use super::rollover::{Pass, State};
use super::{Exit, Run, RunError, World, consent};
use crate::agent::RunningAgent;
use crate::event::{Event, PlannedChange};
use crate::inventory::names::nearest;
use crate::pki::{Entry, Ledger, Request, Response, Role};
use crate::plan::{
    Authority, AuthorityProblem, Containers, Outside, Rollover, outside_of, revoked,
};

const STEP: &str = "revoke certificates";

/// What of the command line is `revoke`'s own.
#[derive(Debug, Clone, Default)]
pub struct RevokeOptions {
    /// A host's name, or a serial in hexadecimal.
    pub name: String,
    /// For the ledger.
    pub reason: Option<String>,
    /// The answer to the question.
    pub yes: bool,
    /// The CA is replaced another time.
    pub mark_only: bool,
}

/// What is to be revoked, and what that means.
struct Found {
    /// Unexpired leaves that the name means.
    entries: Vec<Entry>,
    /// How many of them are not marked yet.
    fresh: usize,
    /// Some are of the present CA or of the next one: it has to be replaced.
    rolls: bool,
    /// Some are of the CA that is to come: it has to be replaced as well.
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
        let next = authority.next.as_ref().map(crate::pki::Certificate::sha256);
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
    /// Carries it out.
    ///
    /// # Errors
    /// When it ends before anything was changed.
    pub async fn revoke(&self, options: &RevokeOptions) -> Result<Exit, RunError> {
        let begun = Instant::now();
        self.announce();
        let left = self.left_behind();
        let program = self.program()?;
        let mut world = self.unless(self.look(&program, BTreeMap::new())).await?;
        let authority = self.usable_authority(&world)?;
        let found = named(&authority, &options.name)?;
        let rolls = found.rolls && !options.mark_only;
        let planned = self.foresee(&world, &authority, &found, options)?;
        let nothing = planned.is_empty();
        self.events.emit(Event::Plan {
            changes: planned,
            batches: Vec::new(),
        });
        let mut state = State::default();
        if self.options.check || nothing {
            let exit = self.recap(&world, &state.outcome, &[], begun);
            for node in world.nodes.values() {
                node.connection.close().await;
            }
            return Ok(exit);
        }
        self.agreed(&world, options, rolls).await?;
        let mut agent = self.unless(self.lock(&world, &program)).await??;
        if rolls {
            // A mark that nothing follows is not what was asked for.
            let passphrase = self.ca_passphrase(false).await?;
            let request = Request::OpenAuthority {
                passphrase: passphrase.clone(),
            };
            self.call(&mut agent, request).await?;
            state.passphrase = Some(passphrase);
        }
        let found = self.mark(&mut agent, &world, options, &mut state).await?;
        let text = if rolls {
            let mut came_to = self
                .passes(&mut world, &mut agent, &mut state, &program, &left)
                .await?;
            if came_to == Pass::Over && found.twice {
                came_to = self
                    .passes(&mut world, &mut agent, &mut state, &program, &[])
                    .await?;
            }
            if came_to == Pass::Over {
                ""
            } else {
                "it may still be let in: the rollover has not come to its end; mend what is said above, and dtls-deploy rotate --ca goes on with it"
            }
        } else {
            "it is let in until every daemon has dropped the CA that signed its certificate: dtls-deploy rotate --ca does that"
        };
        if found.rolls && !text.is_empty() {
            self.warn(
                Some(&self.inventory.ca().name),
                format!("{}: {text}", options.name),
            );
        }
        self.end_passes(world, agent, state, begun).await
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
        if !authority.has_ledger {
            let path = format!("{}/{}", ca.settings.ca_dir, crate::pki::LEDGER);
            let problem = AuthorityProblem::NoLedger(path);
            return Err(self.refused(STEP, problem.to_string(), Some(problem.hint())));
        }
        Ok(authority)
    }

    /// What will happen, host by host. Says what it does not do, too.
    fn foresee(
        &self,
        world: &World,
        authority: &Authority,
        found: &Found,
        options: &RevokeOptions,
    ) -> Result<Vec<PlannedChange>, RunError> {
        let ca = &self.inventory.ca().name;
        let change = |host: &str, what: String, reasons: Vec<String>| PlannedChange {
            host: host.to_owned(),
            task: "revoke".to_owned(),
            what,
            reasons,
            diff: None,
        };
        let mut changes = Vec::new();
        if found.fresh > 0 {
            let described = found.entries.iter().filter_map(|entry| {
                let is_new = authority.ledger.revocation(&entry.serial).is_none();
                is_new.then(|| {
                    let (role, serial) = (entry.role, &entry.serial);
                    format!("{role}, serial {serial}, until {}", entry.not_after.date())
                })
            });
            let what = format!("certificates of {} marked as revoked", options.name);
            changes.push(change(ca, what, described.collect()));
        }
        if !found.rolls {
            let text =
                "no daemon has to be touched: the CA that signed them has been replaced already";
            self.warn(Some(ca), format!("{}: {text}", options.name));
            return Ok(changes);
        }
        self.explain(world, authority, found, options)?;
        if options.mark_only {
            return Ok(changes);
        }
        changes.push(change(
            ca,
            "CA".to_owned(),
            vec!["replaced step by step, as by dtls-deploy rotate --ca".to_owned()],
        ));
        let rollover = Rollover::read(
            authority,
            self.inventory,
            &world.facts,
            OffsetDateTime::now_utc(),
        );
        for client in self.inventory.clients() {
            let what = "certificate, key and CAs of the client".to_owned();
            let reasons = vec!["replaced; nothing is restarted".to_owned()];
            changes.push(change(&client.name, what, reasons));
        }
        for daemon in self.inventory.daemons() {
            let facts = world.facts.get(&daemon.name);
            let now = match (&rollover, facts) {
                (Some(rollover), Some(facts)) => {
                    rollover.restarts_left(daemon, facts, self.inventory)
                }
                _ => 2,
            };
            let restarts = now + if found.twice { 2 } else { 0 };
            let mut reasons = vec![match restarts {
                0 => "restarted no more: it trusts the next CA alone".to_owned(),
                1 => "a new certificate; restarted once".to_owned(),
                2 => "a new certificate; restarted twice".to_owned(),
                times => format!("a new certificate; restarted {times} times"),
            }];
            if let Some(said) = facts.and_then(|facts| Containers::now(facts).said())
                && restarts > 0
            {
                reasons.push(format!("each time: {said}"));
            }
            changes.push(change(&daemon.name, daemon.settings.unit.clone(), reasons));
        }
        Ok(changes)
    }

    /// What the plan does not show.
    fn explain(
        &self,
        world: &World,
        authority: &Authority,
        found: &Found,
        options: &RevokeOptions,
    ) -> Result<(), RunError> {
        let (ca, name) = (&self.inventory.ca().name, &options.name);
        self.warn(Some(ca), format!(
            "a mark keeps nobody out: dockerd has no list of revoked certificates. {name} is let in until every daemon has dropped the CA that signed its certificate"
        ));
        let listed = |entry: &&Entry| {
            self.inventory
                .holder(&entry.host)
                .filter(|holder| !holder.is_absent())
                .is_some_and(|host| match entry.role {
                    Role::Daemon => host.is_daemon,
                    Role::Client => host.is_client,
                })
        };
        if let Some(entry) = found.entries.iter().find(listed) {
            let host = &entry.host;
            self.warn(Some(ca), format!(
                "{host} is in the inventory: its old certificates stop working, and it gets new ones and goes on being let in. If it shall be kept out, take it out of the inventory first"
            ));
        }
        let now = OffsetDateTime::now_utc();
        let outside: Vec<String> = outside_of(authority, self.inventory, now)
            .into_iter()
            .filter(|outside: &Outside| {
                let is_meant =
                    |entry: &Entry| entry.host == outside.host && entry.role == outside.role;
                !found.entries.iter().any(is_meant)
            })
            .map(|outside| format!("{} ({})", outside.host, outside.role))
            .collect();
        if !outside.is_empty() {
            self.warn(Some(ca), format!(
                "others outside the inventory hold certificates of this CA, and the daemons cannot drop it before they are in the inventory, revoked too, or let go with --abandon NAME: {}",
                outside.join(", ")
            ));
        }
        for host in self.hosts() {
            if !world.facts.contains_key(&host.name) {
                self.warn(Some(&host.name), "it could not be looked at: the rollover waits for it, and what is revoked is let in meanwhile".to_owned());
            }
        }
        let stopping: Vec<(&str, usize)> = self
            .inventory
            .daemons()
            .filter_map(|daemon| {
                let facts = world.facts.get(&daemon.name)?;
                Some((daemon.name.as_str(), Containers::now(facts).stopped()))
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        let may_ask = self.options.check || options.mark_only || consent::can_ask();
        if !stopping.is_empty() && !self.options.allow_container_restart && !may_ask {
            return Err(RunError::ContainersRunning {
                what: consent::described(&stopping),
                asked: false,
            });
        }
        Ok(())
    }

    /// Nothing is touched before somebody has said yes.
    async fn agreed(
        &self,
        world: &World,
        options: &RevokeOptions,
        rolls: bool,
    ) -> Result<(), RunError> {
        if options.yes {
            return Ok(());
        }
        let refused = |message: &str, hint: &str| RunError::Refused {
            host: None,
            step: STEP,
            message: message.to_owned(),
            hint: Some(hint.to_owned()),
        };
        if !consent::can_ask() {
            return Err(refused(
                "there is no terminal to ask on whether this shall be done; nothing was changed",
                "--yes agrees to it; --check only shows it",
            ));
        }
        let daemons = self.inventory.daemons().count();
        let what = if rolls {
            format!("Revoke, and replace the CA ({daemons} daemons restarted).")
        } else {
            "Mark as revoked.".to_owned()
        };
        let asking = tokio::task::spawn_blocking(move || consent::question(&what));
        match self.unless(asking).await?.map_err(RunError::Prompt)? {
            Ok(true) => Ok(()),
            Err(_) if self.interrupt.is_asked() => Err(RunError::Interrupted),
            Ok(false) | Err(_) => {
                for node in world.nodes.values() {
                    node.connection.close().await;
                }
                Err(refused(
                    "the answer was no; nothing was changed",
                    "--check only shows it",
                ))
            }
        }
    }

    /// Marks what the name means under the lock.
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
        // Something may have been issued since it was looked at.
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
            let _act = self
                .journal
                .act(self.events, ca, step, vec![what.clone()])
                .await?;
            let request = Request::Revoke {
                serials: found.serials(),
                reason: options.reason.clone(),
            };
            self.call(agent, request).await?;
            *state.outcome.changed.entry(ca.clone()).or_default() += 1;
            let done = state.outcome.done.entry(ca.clone()).or_default();
            done.push(what.clone());
            self.events.emit(Event::Changed {
                host: ca.clone(),
                what,
            });
        }
        Ok(found)
    }
}

/// The certificates that a name means.
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
            None => "dtls-deploy status INVENTORY shows whom there are certificates of. What an adopted CA issued before it was adopted is in no ledger: dtls-deploy rotate --ca keeps out all of it".to_owned(),
        };
    Err(RunError::Refused {
        host: None,
        step: STEP,
        message: format!(
            "the CA's ledger knows no certificate of {name}, and none with that serial, that has not expired; nothing was changed"
        ),
        hint: Some(hint),
    })
}
