//! What the proof of a run expects of each daemon.
//!
//! Comes in: what was planned, issued and done. Goes out: proofs. A daemon whose change was
//! not made is measured by what it has, not by what it should have had.

use std::borrow::Cow;

use super::{Run, World};
use crate::agent::Program;
use crate::apply::{InPlace, Materials};
use crate::event::{Event, Events, Proof};
use crate::inventory::{Host, Inventory};
use crate::module::restart::listens_as_declared;
use crate::module::verify::after;
use crate::node::facts::NodeFacts;
use crate::pki::{Certificate, Role};
use crate::plan::{Action, leaf_location};
use crate::verify::{Expectations, verify};

impl Run<'_> {
    /// The proof, where the plan has one and no interruption comes first.
    pub(super) async fn proved(
        &self,
        world: &World,
        materials: &Materials,
        in_place: &InPlace,
        program: &Program,
    ) -> Vec<Proof> {
        if !world.plan.verify {
            return Vec::new();
        }
        if let Some(after) = after(self.playbook) {
            let proving = self.prove_found(world, program, in_place, after);
            return self.interrupt.or(proving).await.unwrap_or_default();
        }
        let proving = self.prove(world, materials, in_place, self.events);
        self.interrupt.or(proving).await.unwrap_or_default()
    }

    pub(super) async fn prove(
        &self,
        world: &World,
        materials: &Materials,
        in_place: &InPlace,
        events: &Events,
    ) -> Vec<Proof> {
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
        let mut left_out = Vec::new();
        for daemon in self.inventory.daemons() {
            let is_left = is_left(world, in_place, daemon);
            let facts = world.facts.get(&daemon.name);
            let issued = materials.certificate(&daemon.name, Role::Daemon);
            let in_use = || InUse::of(daemon, facts?);
            let certificate = issued
                .filter(|_| !is_left)
                .or_else(|| in_use()?.certificate);
            if let Some(certificate) = certificate {
                expectations
                    .served
                    .insert(daemon.name.clone(), certificate.der().to_vec());
            }
            if !is_left {
                continue;
            }
            if let Some(bundle) = in_use().map(|found| found.bundle) {
                let key = (daemon.name.clone(), Role::Daemon);
                expectations.trusted.insert(key, bundle);
            }
            if facts.is_some_and(|facts| listens_elsewhere(daemon, facts)) {
                left_out.push(daemon.name.clone());
                events.emit(Event::Warning {
                    host: Some(daemon.name.clone()),
                    text: "not verified: docker does not listen at the address in the inventory, and this run has not changed that".to_owned(),
                });
            }
        }
        let about = self.playbook.limited(self.inventory);
        let about = without(about, &left_out);
        verify(&world.nodes, &about, &expectations, events).await
    }
}

/// Whether a change of this daemon was to be made and was not.
fn is_left(world: &World, in_place: &InPlace, daemon: &Host) -> bool {
    let name = &daemon.name;
    let restarts = world
        .plan
        .changes()
        .any(|change| change.host == *name && matches!(change.action, Action::Restart(_)));
    let mut problems = world.plan.problems.iter();
    problems.any(|problem| problem.host == *name) || (restarts && !in_place.has_changed(name))
}

/// The files of a daemon as they were before the run.
struct InUse {
    certificate: Option<Certificate>,
    bundle: Vec<Certificate>,
}

impl InUse {
    fn of(daemon: &Host, facts: &NodeFacts) -> Option<Self> {
        let (directory, files) = leaf_location(daemon, Role::Daemon);
        let bytes = |name: &str| {
            let file = facts.regular(&format!("{directory}/{name}"))?;
            file.content.as_deref()
        };
        let certificate = bytes(&files.cert);
        Some(Self {
            certificate: certificate.and_then(|bytes| Certificate::from_pem(bytes).ok()),
            bundle: Certificate::bundle_from_pem(bytes(&files.ca)?).ok()?,
        })
    }
}

/// Whether its unit says another address than the one by which clients would call it.
fn listens_elsewhere(daemon: &Host, facts: &NodeFacts) -> bool {
    facts.unit.is_some() && !listens_as_declared(daemon, facts, &[])
}

/// The inventory without these daemons.
fn without<'a>(inventory: Cow<'a, Inventory>, daemons: &[String]) -> Cow<'a, Inventory> {
    if daemons.is_empty() {
        return inventory;
    }
    let mut inventory = inventory.into_owned();
    for host in &mut inventory.hosts {
        host.is_daemon &= !daemons.contains(&host.name);
    }
    Cow::Owned(inventory)
}
