//! What verification expects of each daemon.
//!
//! A daemon whose change was not made is checked against what it has, not against what it should
//! have got.

use std::collections::{BTreeMap, BTreeSet};

use super::found::as_found;
use super::{Run, World};
use crate::agent::Program;
use crate::apply::{InPlace, Materials};
use crate::verify::{Expectations, verify};
use base::event::{Check, Event, Events, Proof, Verdict};
use docker::tls::{ClientMode, DaemonMode};
use inventory::{Host, Inventory, host_of};
use node::facts::NodeFacts;
use pki::{Certificate, Role};
use plan::host::daemon_json;
use plan::host::guard::is_expected;
use plan::host::leaf::location as leaf_location;
use plan::playbook::after;
use plan::{Action, Authority, Marks, is_undeployed};
use time::OffsetDateTime;

impl Run<'_> {
    /// Verifies, if the plan asks for it; ends early on an interruption.
    pub(super) async fn proved(
        &self,
        world: &World,
        materials: &Materials,
        in_place: &InPlace,
        program: &Program,
    ) -> Vec<Proof> {
        let mut proofs = Vec::new();
        if !world.plan.verify {
            return proofs;
        }
        if let Some(after) = after(self.playbook) {
            let proving = self.prove_found(world, program, in_place, after, &mut proofs);
            self.interrupt.or(proving).await;
        } else {
            let proving = self.prove(world, materials, in_place, self.events, &mut proofs);
            self.interrupt.or(proving).await;
        }
        proofs
    }

    /// Holders whose certificate is revoked and not replaced.
    pub(super) fn revoked(
        &self,
        facts: &BTreeMap<String, NodeFacts>,
        materials: &Materials,
    ) -> BTreeSet<String> {
        let ca = self.inventory.ca();
        let mut ledger = Authority::read(ca, facts.get(&ca.name)).ledger;
        let now = OffsetDateTime::now_utc();
        // This run updates the guards that lack what others reject.
        Marks::read(self.inventory, &ledger, facts, now).restore(&mut ledger, now);
        let holders = self.inventory.clients().flat_map(Host::certificate_holders);
        let revoked = holders.filter(|holder| {
            materials
                .certificate(&holder.holder(), Role::Client)
                .is_none()
                && shown(holder, facts)
                    .is_some_and(|shown| ledger.revocation(shown.serial()).is_some())
        });
        revoked.map(Host::holder).collect()
    }

    pub(super) async fn prove(
        &self,
        world: &World,
        materials: &Materials,
        in_place: &InPlace,
        events: &Events,
        proofs: &mut Vec<Proof>,
    ) {
        let mut expectations = Expectations {
            authorities: materials.authorities(),
            trusted: materials
                .bundles
                .keys()
                .map(|(host, role)| {
                    let trusted = materials.trusted_by(host, *role);
                    ((host.clone(), *role), trusted)
                })
                .collect(),
            ..Expectations::default()
        };
        expectations.revoked = self.revoked(&world.facts, materials);
        let guarded = self.inventory.daemons();
        let guarded = guarded.filter(|one| is_expected(one, world.facts.get(&one.name)));
        expectations.guards = guarded.map(|one| one.name.clone()).collect();
        self.warn_of_unknown_authority(world, &expectations, events);
        let mut about = self.playbook.limited(self.inventory);
        if self.playbook.leaves_modes() {
            as_deployed(world, materials, about.to_mut());
        }
        if about.daemons().next().is_some() && about.clients().next().is_none() {
            events.emit(Event::Warning {
                host: None,
                text: "no client is in --limit, so what clients see was not checked: dtls-deploy verify INVENTORY checks it".to_owned(),
            });
        }
        for host in self.inventory.daemons() {
            if in_place.is_lost(&host.name) {
                let text = "not verified: what has become of its change is not known; the next run settles that";
                events.emit(Event::Warning {
                    host: Some(host.name.clone()),
                    text: text.to_owned(),
                });
                let hosts = &mut about.to_mut().hosts;
                for host in hosts.iter_mut().filter(|one| one.name == host.name) {
                    host.is_daemon = false;
                }
            }
        }
        let left = self.left(world, in_place).await;
        for daemon in self.inventory.daemons() {
            let issued = materials.certificate(&daemon.name, Role::Daemon);
            if !left.contains_key(&daemon.name)
                && let Some(certificate) = issued.or_else(|| on_disk(world, daemon))
            {
                let der = certificate.der().to_vec();
                expectations.served.insert(daemon.name.clone(), der);
            }
        }
        if !left.is_empty() {
            for host in &mut about.to_mut().hosts {
                let Some(facts) = left.get(&host.name).filter(|_| host.is_daemon) else {
                    continue;
                };
                host.is_daemon = as_found(host, facts, &mut expectations);
                if !host.is_daemon {
                    let why = match daemon_json::check(facts) {
                        Err(error) => format!("{} is not valid: {error}", daemon_json::PATH),
                        Ok(()) => {
                            "docker does not speak TLS there, and this run has not changed that"
                                .to_owned()
                        }
                    };
                    events.emit(Event::Warning {
                        host: Some(host.name.clone()),
                        text: format!("not verified: {why}"),
                    });
                }
            }
        }
        for host in undeployed(world, &about, &left, &expectations) {
            let proof = Proof {
                from: host.clone(),
                to: host.clone(),
                check: Check::Served,
                verdict: Verdict::NotProved,
                seen: "nothing is deployed there: run deploy first".to_owned(),
            };
            events.emit(Event::Proof(proof.clone()));
            proofs.push(proof);
            for daemon in &mut about.to_mut().hosts {
                daemon.is_daemon &= daemon.name != host;
            }
        }
        verify(&world.nodes, &about, &expectations, events, proofs).await;
    }

    /// Warns why checks that need the CA's certificate are skipped, if nothing else reports it.
    fn warn_of_unknown_authority(
        &self,
        world: &World,
        expectations: &Expectations,
        events: &Events,
    ) {
        let ca = self.inventory.ca();
        let Some(facts) = world.facts.get(&ca.name) else {
            return;
        };
        if !expectations.authorities.is_empty() || !world.plan.problems.is_empty() {
            return;
        }
        if let Some(problem) = Authority::look_at(ca, Some(facts)).problem {
            events.emit(Event::Warning {
                host: Some(ca.name.clone()),
                text: format!("{problem}: what needs the CA's certificate is not checked"),
            });
        }
    }

    /// Daemons whose planned change was not made, with their previous files.
    async fn left(&self, world: &World, in_place: &InPlace) -> BTreeMap<String, NodeFacts> {
        let daemons = self.inventory.daemons();
        let left = daemons.filter(|daemon| is_left(world, in_place, daemon));
        let facts = left.filter_map(|daemon| {
            let facts = world.facts.get(&daemon.name)?;
            Some((daemon.name.clone(), facts.clone()))
        });
        let mut facts = facts.collect();
        self.look_at_certificates(world, &mut facts).await;
        facts
    }
}

/// Gives daemons and clients the modes that are deployed, because this run leaves them.
fn as_deployed(world: &World, materials: &Materials, about: &mut Inventory) {
    let modes = &world.plan.modes;
    let is_open = modes.values().any(|mode| *mode == DaemonMode::Tls);
    for host in &mut about.hosts {
        if let Some(mode) = modes.get(&host.name) {
            host.settings.daemon_mode = *mode;
        }
        let Some(facts) = world.facts.get(&host.name) else {
            continue;
        };
        for holder in &mut host.identities {
            holder.settings.client_mode = deployed_mode(holder, facts, materials, is_open);
        }
        host.settings.client_mode = deployed_mode(host, facts, materials, is_open);
    }
}

/// The mode of a client by the files that it has. One that lacks a certificate shows none to
/// daemons that are open.
fn deployed_mode(
    holder: &Host,
    facts: &NodeFacts,
    materials: &Materials,
    is_open: bool,
) -> ClientMode {
    let declared = holder.settings.client_mode;
    let (directory, files) = leaf_location(holder, Role::Client);
    let is_there = |name: &str| facts.regular(&format!("{directory}/{name}")).is_some();
    let shows = is_there(&files.cert)
        || materials
            .certificate(&holder.holder(), Role::Client)
            .is_some();
    match declared {
        ClientMode::TlsVerifyCa if shows => ClientMode::TlsVerify,
        ClientMode::Tls if shows => ClientMode::TlsCert,
        ClientMode::TlsVerify if !shows && is_open => ClientMode::TlsVerifyCa,
        ClientMode::TlsCert if !shows && is_open => ClientMode::Tls,
        declared => declared,
    }
}

/// Daemons without a deployment and without planned changes.
fn undeployed(
    world: &World,
    about: &Inventory,
    left: &BTreeMap<String, NodeFacts>,
    expectations: &Expectations,
) -> Vec<String> {
    let is_known = |daemon: &&Host| {
        left.contains_key(&daemon.name) || expectations.served.contains_key(&daemon.name)
    };
    let daemons = about.daemons().filter(|daemon| !is_known(daemon));
    let undeployed = daemons.filter(|daemon| {
        let facts = world.facts.get(&daemon.name);
        facts.is_some_and(|facts| is_undeployed(daemon, Role::Daemon, facts))
    });
    undeployed.map(|daemon| daemon.name.clone()).collect()
}

/// Whether this daemon's planned change was not made.
fn is_left(world: &World, in_place: &InPlace, daemon: &Host) -> bool {
    let name = &daemon.name;
    let restarts = world
        .plan
        .changes()
        .any(|change| change.host == *name && matches!(change.action, Action::Restart(_)));
    let mut problems = world.plan.problems.iter();
    problems.any(|problem| problem.host == *name) || (restarts && !in_place.has_restarted(name))
}

/// The certificate in the inventory's file of a daemon before the run.
fn on_disk(world: &World, daemon: &Host) -> Option<Certificate> {
    let (directory, files) = leaf_location(daemon, Role::Daemon);
    let facts = world.facts.get(&daemon.name)?;
    let file = facts.regular(&format!("{directory}/{}", files.cert))?;
    Certificate::from_pem(file.content.as_deref()?).ok()
}
/// The certificate that a client has.
pub(super) fn shown(holder: &Host, facts: &BTreeMap<String, NodeFacts>) -> Option<Certificate> {
    let (directory, files) = leaf_location(holder, Role::Client);
    let facts = facts.get(host_of(&holder.holder()))?;
    let file = facts.regular(&format!("{directory}/{}", files.cert))?;
    Certificate::from_pem(file.content.as_deref()?).ok()
}
