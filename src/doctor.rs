//! Doctor: checks everything that a run needs, and common problems.
//!
//! Read-only: no lock, no agent, no passphrase, nothing written on any node.
//!
//! ```text
//! facts ──> the plan, examined (refusals, drift) ──┐
//!       ──> checks of its own, a file a topic ─────┼──> findings
//! clients ──> daemons: names, ports, TLS ──────────┘
//! ```

mod certificates;
mod connection;
mod daemon;
mod deploy;
mod findings;
mod left;
mod plain;
mod reach;
mod revoked;
mod rollover;
mod socket;
mod system;

use plan::LeftKey;
use std::collections::BTreeMap;
use std::time::Instant;

use time::OffsetDateTime;

use base::event::{Event, Events, Finding, FindingCounts, Renderer, Topic};
use findings::{DeployFixes, Findings};
use inventory::{Host, Inventory};
use node::facts::{FactRequest, NodeFacts};
use pki::Role;
use plan::host::address::daemon_address;
use plan::host::leaf::location as leaf_location;
use plan::host::read::RECORD;
use plan::orchestrator::{Examined, examine};
use plan::playbook::Playbook;
use plan::{Action, Authority, Change};
use run::Exit;
use run::dry_start;
use run::look::{Look, Observation, hosts};
use run::session::close;

/// The inputs of a `doctor` run.
#[derive(Debug)]
pub struct Doctor<'a>(pub Look<'a>);

/// What there is on every node, and what a deployment would change there.
struct Diagnosis<'a> {
    observed: Observation<'a>,
    playbook: &'a Playbook,
    examined: Examined,
}

impl Doctor<'_> {
    /// Runs all checks and reports the findings.
    pub async fn look(&self) -> Exit {
        let begun = Instant::now();
        self.0.announce("doctor");
        let hosts = self.0.hosts();
        let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        let mut findings = Findings::default();
        let diagnosis = self.gather(&hosts, &mut findings).await;
        on_disk(&mut findings, &diagnosis);
        socket::check(&mut findings, &diagnosis).await;
        reach::check(&mut findings, &diagnosis).await;
        close(&diagnosis.observed.nodes).await;
        let found = self.tell(&findings, &names, begun);
        diagnosis.observed.exit_or(exit(&found))
    }

    fn tell(&self, findings: &Findings, names: &[&str], begun: Instant) -> FindingCounts {
        for (host, topic, what) in findings.checked() {
            self.0.events.emit(Event::Checked {
                host: host.clone(),
                topic: *topic,
                what: what.clone(),
            });
        }
        for finding in findings.sorted(names) {
            self.0.events.emit(Event::Finding(Box::new(finding)));
        }
        let found = findings.counts(names.len());
        self.0.events.emit(Event::Doctor {
            found,
            milliseconds: begun.elapsed().as_millis(),
        });
        found
    }

    async fn gather<'a>(&'a self, hosts: &[&Host], findings: &mut Findings) -> Diagnosis<'a> {
        let events = Events::new(Box::new(ButFailures(self.0.events.clone())));
        let request = |host: &Host, request: &mut FactRequest| self.request(host, request);
        let gathered = self.0.gather(hosts, request, &events).await;
        connection::check(findings, gathered.missing.values());
        let mut observed = self.0.observation(gathered, Authority::read);
        for host in hosts
            .iter()
            .filter(|host| observed.facts.contains_key(&host.name))
        {
            if let Some(node) = observed.nodes.get(&host.name) {
                let what = format!("connected to {}", node.connection.description());
                findings.fine(&host.name, Topic::Ssh, what);
            }
            if host.as_root {
                findings.fine(&host.name, Topic::Sudo, "became root");
            }
        }
        let look = |facts: &_| examine(self.0.inventory, self.0.playbook, facts, observed.now);
        let mut examined = look(&observed.facts);
        let changes = examined.changes.iter();
        if dry_start::ask(
            self.0.inventory,
            changes,
            &observed.nodes,
            &mut observed.facts,
        )
        .await
        {
            examined = look(&observed.facts);
        }
        let playbook = self.0.playbook;
        Diagnosis {
            observed,
            playbook,
            examined,
        }
    }

    /// Requests what deploy needs, and more.
    fn request(&self, host: &Host, request: &mut FactRequest) {
        request.health = true;
        request.generations = true;
        request.sudo = true;
        for role in roles(host) {
            let (directory, files) = leaf_location(host, role);
            for name in [&files.ca, &files.cert] {
                request.bundles.insert(format!("{directory}/{name}"));
            }
            request.hashed.insert(format!("{directory}/{}", files.key));
        }
        if host.is_daemon {
            request.ports.insert(plain::PORT);
        }
        if host.is_client {
            let names = self
                .0
                .inventory
                .daemons()
                .map(|daemon| daemon_address(daemon).host);
            request
                .lookups
                .extend(names.filter(|name| name.parse::<std::net::IpAddr>().is_err()));
        }
    }
}

/// Everything that facts tell; pure.
fn on_disk(findings: &mut Findings, diagnosis: &Diagnosis<'_>) {
    deploy::refusals(findings, diagnosis);
    certificates::authority(findings, diagnosis);
    rollover::check(findings, diagnosis);
    revoked::check(findings, diagnosis);
    left::check(findings, diagnosis);
    for host in hosts(diagnosis.observed.inventory, diagnosis.playbook) {
        let Some(facts) = diagnosis.observed.facts.get(&host.name) else {
            continue;
        };
        system::check(findings, diagnosis, host, facts);
        let mut plays = diagnosis.playbook.plays.iter();
        if !plays.any(|play| play.includes(host)) {
            continue;
        }
        disk(findings, host, facts);
        certificates::leaves(findings, diagnosis, host, facts);
        if host.is_daemon {
            daemon::check(findings, diagnosis, host, facts);
            plain::check(findings, diagnosis, host, facts);
        }
    }
    deploy::drift(findings, diagnosis);
    reach::guards(findings, diagnosis);
}

/// The findings from facts and their plan, without a connection; the worst first.
#[must_use]
pub fn examine_facts(
    inventory: &Inventory,
    playbook: &Playbook,
    facts: &BTreeMap<String, NodeFacts>,
    examined: Examined,
    now: OffsetDateTime,
) -> Vec<Finding> {
    let authority = Authority::read(inventory.ca(), facts.get(&inventory.ca().name));
    let observed = Observation::of_facts(inventory, facts.clone(), authority, now);
    let diagnosis = Diagnosis {
        observed,
        playbook,
        examined,
    };
    let mut findings = Findings::default();
    on_disk(&mut findings, &diagnosis);
    let names = inventory.hosts.iter().map(|host| host.name.as_str());
    findings.sorted(&names.collect::<Vec<_>>())
}

fn roles(host: &Host) -> impl Iterator<Item = Role> {
    let daemon = host.is_daemon.then_some(Role::Daemon);
    daemon
        .into_iter()
        .chain(host.is_client.then_some(Role::Client))
}

fn disk(findings: &mut Findings, host: &Host, facts: &NodeFacts) {
    if !facts.space.is_empty() && !findings.has(&host.name, Topic::Disk) {
        let what = "there is room wherever a run writes";
        findings.fine(&host.name, Topic::Disk, what);
    }
}

impl Diagnosis<'_> {
    /// Whether a run fixes something, which is one of these changes.
    fn deploy_fixes(&self, host: &str, is_it: impl Fn(&Change) -> bool) -> DeployFixes {
        let is_it = |change: &Change| change.host == host && is_it(change);
        if self.examined.plan.changes().any(is_it) {
            DeployFixes::Now
        } else if self.examined.changes.iter().any(is_it) {
            DeployFixes::Later
        } else {
            DeployFixes::Never
        }
    }

    fn deploy_fixes_file(&self, host: &str, path: &str) -> DeployFixes {
        self.deploy_fixes(
            host,
            |change| matches!(&change.action, Action::File(file) if file.path() == path),
        )
    }

    /// Whether the next deployment removes a key that is still on the CA node.
    fn has_unwanted(&self, key: &LeftKey) -> bool {
        let mut arrived = self.examined.plan.arrived.iter();
        arrived.any(|leaf| leaf.replaces.contains(&key.leaf.serial))
    }

    fn has_new_leaf(&self, host: &str, role: Role) -> bool {
        let mut changes = self.examined.changes.iter();
        changes.any(|change| certificates::issues(&change.action, host, role))
    }

    /// Whether a host has, or should have, any file of dtls-deploy: `remove` deletes all files and
    /// the node's record of earlier changes.
    fn is_deployed(&self, host: &Host) -> bool {
        let ledger = &self.observed.authority.ledger;
        if roles(host).next().is_none() {
            return host.is_ca && self.observed.authority.certificate.is_some();
        }
        roles(host).any(|role| {
            let (directory, files) = leaf_location(host, role);
            let is_delivered = ledger.delivered(&host.name, role).is_some();
            let Some(facts) = self.observed.facts.get(&host.name) else {
                return is_delivered;
            };
            // A client without a certificate has only the CA.
            let has_leaf = role == Role::Daemon || host.shows_certificate();
            let name = if has_leaf { &files.cert } else { &files.ca };
            let is_there = |path: &str| facts.regular(path).is_some();
            is_there(&format!("{directory}/{name}")) || (is_delivered && keeps_record(facts))
        })
    }
}

/// Whether a node keeps records of a deployment: `remove` deletes them.
fn keeps_record(facts: &NodeFacts) -> bool {
    facts.regular(RECORD).is_some() || !facts.generations.is_empty()
}

/// Passes events on, except failures: they become findings.
#[derive(Debug)]
struct ButFailures(Events);

impl Renderer for ButFailures {
    fn event(&mut self, event: &Event) {
        if !matches!(event, Event::Failed(_)) {
            self.0.emit(event.clone());
        }
    }
}

fn exit(found: &FindingCounts) -> Exit {
    if found.errors > 0 {
        Exit::NotProved
    } else if found.warnings > 0 {
        Exit::ChangesNeeded
    } else {
        Exit::Fine
    }
}
