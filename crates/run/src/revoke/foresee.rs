//! Describes what a revocation will do, before anything changes.

use time::OffsetDateTime;

use super::{Found, RevokeOptions};
use crate::{Run, RunError, World, consent};
use base::event::PlannedChange;
use pki::{Entry, Role};
use plan::host::guard::is_installed;
use plan::{Authority, Containers, Outside, Rollover, outside_of};

/// A change of a revocation, as a plan shows it.
pub(super) fn planned(host: &str, what: String, reasons: Vec<String>) -> PlannedChange {
    PlannedChange {
        host: host.to_owned(),
        task: "revoke".to_owned(),
        what,
        reasons,
        diff: None,
    }
}

impl Run<'_> {
    /// What will happen, host by host, including what will not.
    pub(super) fn foresee(
        &self,
        world: &World,
        authority: &Authority,
        found: &Found,
        options: &RevokeOptions,
        rolls: bool,
    ) -> Result<Vec<PlannedChange>, RunError> {
        let ca = &self.inventory.ca().name;
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
            changes.push(planned(ca, what, described.collect()));
        }
        if !found.rolls {
            let text =
                "no daemon has to be touched: the CA that signed them has been replaced already";
            self.warn(Some(ca), format!("{}: {text}", options.name));
            return Ok(changes);
        }
        self.explain(world, authority, found, options, rolls)?;
        for daemon in self.inventory.daemons() {
            let facts = world.facts.get(&daemon.name);
            if daemon.is_guarded() && facts.is_some_and(|facts| is_installed(daemon, facts)) {
                let what = "policy of the guard".to_owned();
                let reasons =
                    vec!["rejects it with its next request; nothing is restarted".to_owned()];
                changes.push(planned(&daemon.name, what, reasons));
            }
        }
        if !rolls {
            return Ok(changes);
        }
        changes.push(planned(
            ca,
            "CA".to_owned(),
            vec!["replaced step by step, as by dtls-deploy rotate --ca INVENTORY".to_owned()],
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
            changes.push(planned(&client.name, what, reasons));
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
                0 => "restarted no more: it trusts the next CA only".to_owned(),
                1 => "a new certificate; restarted once".to_owned(),
                2 => "a new certificate; restarted twice".to_owned(),
                times => format!("a new certificate; restarted {times} times"),
            }];
            if let Some(said) = facts.and_then(|facts| Containers::now(facts).said())
                && restarts > 0
            {
                reasons.push(format!("each time: {said}"));
            }
            changes.push(planned(&daemon.name, daemon.settings.unit.clone(), reasons));
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
        rolls: bool,
    ) -> Result<(), RunError> {
        let (ca, name) = (&self.inventory.ca().name, &options.name);
        let is_guarded = self.guards_reject(world, found);
        if !is_guarded {
            self.warn(Some(ca), format!(
            "a mark alone rejects no client: dockerd has no list of revoked certificates. {name} is accepted until every daemon has dropped the CA that signed its certificate"
            ));
        }
        let listed = |entry: &&Entry| {
            self.inventory
                .holder(&entry.host)
                .filter(|holder| !holder.is_absent())
                .is_some_and(|host| match entry.role {
                    Role::Daemon => host.is_daemon,
                    Role::Client => host.shows_certificate(),
                })
        };
        if let Some(entry) = found.entries.iter().find(listed) {
            let host = &entry.host;
            let comes = if is_guarded {
                "the next deploy or rotate gives it new certificates"
            } else if !rolls {
                "the CA's next rollover gives it new certificates"
            } else {
                "its old certificates stop working, and it gets new ones"
            };
            self.warn(Some(ca), format!(
                "{host} is in the inventory: {comes}, and daemons accept them. To lock it out, remove it from the inventory first"
            ));
        }
        if is_guarded {
            self.note_undeployed(world, name);
            return Ok(());
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
                "others outside the inventory hold certificates of this CA. It is not replaced until they are in the inventory, are revoked too, or are abandoned with --abandon NAME: {}",
                outside.join(", ")
            ));
        }
        for host in self.hosts() {
            if rolls && !world.facts.contains_key(&host.name) {
                self.warn(Some(&host.name), "it could not be checked: the rollover waits for it, and what is revoked is accepted meanwhile".to_owned());
            }
        }
        let stopping: Vec<(&str, Option<usize>)> = self
            .inventory
            .daemons()
            .filter_map(|daemon| {
                let facts = world.facts.get(&daemon.name)?;
                Some((daemon.name.as_str(), Containers::now(facts).stopped()))
            })
            .filter(|(_, count)| *count != Some(0))
            .collect();
        let may_ask = self.options.check || !rolls || consent::can_ask();
        if !stopping.is_empty() && !self.options.allow_container_restart && !may_ask {
            return Err(RunError::ContainersRunning {
                what: consent::described(&stopping),
                asked: false,
                goes_back: false,
            });
        }
        Ok(())
    }
}
