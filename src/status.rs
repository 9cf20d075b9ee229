//! Status: every certificate, on disk and as served.
//!
//! Read-only: no lock, no agent, no passphrase.

pub mod file;
pub mod holders;
pub mod html;
mod judge;
mod let_in;
pub mod prometheus;
mod rows;
mod served;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use time::OffsetDateTime;

use base::event::{CertificateCounts, CertificateStatus, CertificateText, Event};
use inventory::{Host, Inventory};
use node::facts::{FactRequest, NodeFacts};
use plan::host::client::context_names;
use plan::{Authority, authority_warning, clocks};
use run::Exit;
use run::look::{Look, Observation};
use run::session::close;

use self::holders::Holder;

/// The inputs of a `status` run.
#[derive(Debug)]
pub struct Status<'a>(pub Look<'a>);

#[derive(Debug)]
pub struct StatusReport {
    pub certificates: Vec<CertificateStatus>,
    /// The CA that follows the present one, during a rollover.
    pub next: Option<CertificateText>,
    pub holders: Vec<Holder>,
    /// Names of the docker contexts, whose paths contain only their hashes.
    pub contexts: Vec<String>,
    /// Hosts of the inventory with a role, selected or not.
    pub inventory_hosts: usize,
    /// The selected hosts, and whether they answered.
    pub hosts: Vec<(String, bool)>,
    pub exit: Exit,
}

impl Status<'_> {
    /// Looks, and tells what there is.
    pub async fn look(&self) -> StatusReport {
        let begun = Instant::now();
        self.0.announce("status");
        let hosts = self.0.hosts();
        let of_host = |host: &Host, facts: &mut FactRequest| request(self.0.inventory, host, facts);
        let gathered = self.0.gather(&hosts, of_host, self.0.events).await;
        let observed = self.0.observation(gathered, Authority::look_at);
        for note in clocks(self.0.inventory, |host| observed.facts.get(host)) {
            self.warn(&note.host, note.text);
        }
        let warning = observed.authority.certificate.as_ref();
        let warning = warning.and_then(|ca| authority_warning(ca, self.0.inventory, observed.now));
        if let Some(text) = warning {
            self.warn(&self.0.inventory.ca().name, text);
        }
        let listed = self.0.playbook.limited(self.0.inventory);
        let mut certificates = known(&observed, &listed);
        certificates.extend(served::all(&observed, &listed).await);
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
        close(&observed.nodes).await;
        StatusReport {
            exit: observed.exit_or(exit(&counts)),
            hosts: hosts
                .iter()
                .map(|host| (host.name.clone(), observed.facts.contains_key(&host.name)))
                .collect(),
            next: holders::next(&observed),
            holders: holders::all(&observed, &listed),
            contexts: context_names(self.0.inventory),
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
}

/// Requests the facts about a host.
pub fn request(inventory: &Inventory, host: &Host, request: &mut FactRequest) {
    rows::request(inventory, host, request);
}

/// Everything that facts show, without a handshake; the most urgent first.
#[must_use]
pub fn examine_facts(
    inventory: &Inventory,
    facts: &BTreeMap<String, NodeFacts>,
    now: OffsetDateTime,
) -> Vec<CertificateStatus> {
    let authority = Authority::look_at(inventory.ca(), facts.get(&inventory.ca().name));
    let observed = Observation::of_facts(inventory, facts.clone(), authority, now);
    let mut certificates = known(&observed, inventory);
    sort(&mut certificates);
    certificates
}

/// Everything that is known without a handshake.
fn known(observed: &Observation<'_>, listed: &Inventory) -> Vec<CertificateStatus> {
    let mut certificates = rows::all(observed, listed);
    certificates.extend(let_in::rows(observed, listed));
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

fn exit(counts: &CertificateCounts) -> Exit {
    if counts.revoked + counts.expired + counts.broken + counts.unknown > 0 {
        Exit::NotProved
    } else if counts.due > 0 {
        Exit::ChangesNeeded
    } else {
        Exit::Fine
    }
}

/// Writes the result for `node_exporter`'s textfile collector.
///
/// # Errors
/// When the file cannot be written; the one before is still there then.
pub fn write_prometheus(
    path: &Path,
    found: &StatusReport,
    now: OffsetDateTime,
) -> std::io::Result<()> {
    // node_exporter runs as another account.
    file::replace(path, &prometheus::text(found, now), 0o644)
}

/// Writes the result as an HTML page, readable only by its owner.
///
/// # Errors If the file cannot be written; the previous one is then kept.
pub fn write_html(
    path: &Path,
    found: &StatusReport,
    inventory: &str,
    now: OffsetDateTime,
) -> std::io::Result<()> {
    let page = html::page(found, inventory, now).map_err(std::io::Error::other)?;
    file::replace(path, &page, 0o600)
}
