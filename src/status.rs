//! Status: every certificate, as it lies on its node and as it is served.
//!
//! Reads only: no lock, no agent, no passphrase.

pub mod file;
pub mod holders;
pub mod html;
mod let_in;
pub mod prometheus;
mod rows;
mod served;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use time::OffsetDateTime;

use base::event::{CertificateCounts, CertificateStatus, CertificateText, Event, FailureKind};
use inventory::{Host, Inventory};
use node::facts::{FactRequest, NodeFacts};
use plan::{Authority, authority_warning, clocks};
use run::Exit;
use run::look::Look;
use run::session::{Gathered, Node, close};

use self::holders::Holder;

/// A look that ends in a list of certificates.
#[derive(Debug)]
pub struct Status<'a>(pub Look<'a>);

/// What is known of every node.
struct World<'a> {
    inventory: &'a Inventory,
    nodes: BTreeMap<String, Arc<Node>>,
    facts: BTreeMap<String, NodeFacts>,
    missing: BTreeMap<String, FailureKind>,
    authority: Authority,
    now: OffsetDateTime,
}

#[derive(Debug)]
pub struct Found {
    pub certificates: Vec<CertificateStatus>,
    /// The CA that follows the present one, during a rollover.
    pub next: Option<CertificateText>,
    pub holders: Vec<Holder>,
    /// Hosts of the inventory with a role, whether or not they were to be checked.
    pub inventory_hosts: usize,
    /// Hosts that were checked, or were to be, and whether they answered.
    pub hosts: Vec<(String, bool)>,
    pub exit: Exit,
}

impl Status<'_> {
    /// Looks, and tells what there is.
    pub async fn look(&self) -> Found {
        let begun = Instant::now();
        self.0.announce("status");
        let hosts = self.0.hosts();
        let world = self.gather(&hosts).await;
        for note in clocks(self.0.inventory, |host| world.facts.get(host)) {
            self.warn(&note.host, note.text);
        }
        let warning = world.authority.certificate.as_ref();
        let warning = warning.and_then(|ca| authority_warning(ca, self.0.inventory, world.now));
        if let Some(text) = warning {
            self.warn(&self.0.inventory.ca().name, text);
        }
        let listed = self.0.playbook.limited(self.0.inventory);
        let mut certificates = known(&world, &listed);
        certificates.extend(served::all(&world, &listed).await);
        sort(&mut certificates);
        for certificate in &certificates {
            self.0
                .events
                .emit(Event::Certificate(Box::new(certificate.clone())));
        }
        let counts = CertificateCounts::of(&certificates);
        self.0.events.emit(Event::Status {
            certificates: counts,
            milliseconds: begun.elapsed().as_millis(),
        });
        close(&world.nodes).await;
        Found {
            exit: exit(&counts, &world.missing),
            hosts: hosts
                .iter()
                .map(|host| (host.name.clone(), world.facts.contains_key(&host.name)))
                .collect(),
            next: holders::next(&world),
            holders: holders::all(&world, &listed),
            inventory_hosts: self.with_a_role(),
            certificates,
        }
    }

    fn with_a_role(&self) -> usize {
        let hosts = self.0.inventory.hosts.iter();
        hosts
            .filter(|host| host.is_ca || host.is_daemon || host.is_client)
            .count()
    }

    fn warn(&self, host: &str, text: String) {
        self.0.events.emit(Event::Warning {
            host: Some(host.to_owned()),
            text,
        });
    }

    async fn gather<'a>(&'a self, hosts: &[&Host]) -> World<'a> {
        let of_host = |host: &Host, facts: &mut FactRequest| request(self.0.inventory, host, facts);
        let gathered = self.0.gather(hosts, of_host, self.0.events).await;
        let missing = gathered.kinds();
        let Gathered { nodes, facts, .. } = gathered;
        let ca = self.0.inventory.ca();
        World {
            inventory: self.0.inventory,
            authority: Authority::look_at(ca, facts.get(&ca.name)),
            nodes,
            facts,
            missing,
            now: OffsetDateTime::now_utc(),
        }
    }
}

/// What has to be known of a host.
pub fn request(inventory: &Inventory, host: &Host, request: &mut FactRequest) {
    rows::request(inventory, host, request);
}

/// Everything that facts tell, without a handshake; the most urgent first.
#[must_use]
pub fn examine_facts(
    inventory: &Inventory,
    facts: &BTreeMap<String, NodeFacts>,
    now: OffsetDateTime,
) -> Vec<CertificateStatus> {
    let world = World {
        inventory,
        nodes: BTreeMap::new(),
        facts: facts.clone(),
        missing: BTreeMap::new(),
        authority: Authority::look_at(inventory.ca(), facts.get(&inventory.ca().name)),
        now,
    };
    let mut certificates = known(&world, inventory);
    sort(&mut certificates);
    certificates
}

/// Everything that is known without a handshake.
fn known(world: &World<'_>, listed: &Inventory) -> Vec<CertificateStatus> {
    let mut certificates = rows::all(world, listed);
    certificates.extend(let_in::rows(world, listed));
    certificates
}

/// The most urgent first.
fn sort(certificates: &mut [CertificateStatus]) {
    certificates.sort_by(|left, right| {
        let ends = |one: &CertificateStatus| one.certificate.as_ref().map(|text| text.not_after);
        let urgent = |left: &CertificateStatus, right: &CertificateStatus| {
            (left.state, ends(left)).cmp(&(right.state, ends(right)))
        };
        urgent(left, right).then_with(|| {
            (&left.host, left.role, left.source, &left.place).cmp(&(
                &right.host,
                right.role,
                right.source,
                &right.place,
            ))
        })
    });
}

/// As after a run: what could not be checked counts more than what was seen.
fn exit(counts: &CertificateCounts, missing: &BTreeMap<String, FailureKind>) -> Exit {
    let unreachable = |kind: &FailureKind| *kind == FailureKind::Unreachable;
    if missing.values().any(|kind| !unreachable(kind)) {
        Exit::Failed
    } else if !missing.is_empty() {
        Exit::Unreachable
    } else if counts.revoked + counts.expired + counts.broken + counts.unknown > 0 {
        Exit::NotProved
    } else if counts.due > 0 {
        Exit::ChangesNeeded
    } else {
        Exit::Fine
    }
}

/// Writes what was found for `node_exporter`'s textfile collector.
///
/// # Errors
/// When the file cannot be written; the one before is still there then.
pub fn write_prometheus(path: &Path, found: &Found, now: OffsetDateTime) -> std::io::Result<()> {
    // node_exporter runs as another account.
    file::replace(path, &prometheus::text(found, now), 0o644)
}

/// Writes what was found as an HTML page, for its owner alone.
///
/// # Errors
/// When the file cannot be written; the one before is still there then.
pub fn write_html(
    path: &Path,
    found: &Found,
    inventory: &str,
    now: OffsetDateTime,
) -> std::io::Result<()> {
    let page = html::page(found, inventory, now).map_err(std::io::Error::other)?;
    file::replace(path, &page, 0o600)
}
