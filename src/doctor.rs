//! Doctor: everything that a run needs, and everything that commonly breaks.
//!
//! Reads only: no lock, no agent, no passphrase, nothing written on any node.
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
mod plain;
mod reach;
mod revoked;
mod rollover;
mod socket;
mod system;

use plan::LeftKey;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use time::OffsetDateTime;

use base::event::{Event, Events, FailureKind, Finding, FindingCounts, Renderer, Topic};
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
use run::look::{Look, hosts};
use run::session::{Gathered, Node, close};

/// A look that ends in findings.
#[derive(Debug)]
pub struct Doctor<'a>(pub Look<'a>);

/// What is known of every node.
struct World<'a> {
    inventory: &'a Inventory,
    playbook: &'a Playbook,
    nodes: BTreeMap<String, Arc<Node>>,
    facts: BTreeMap<String, NodeFacts>,
    missing: BTreeMap<String, FailureKind>,
    examined: Examined,
    authority: Authority,
    now: OffsetDateTime,
}

impl Doctor<'_> {
    /// Looks, and tells what there is.
    pub async fn look(&self) -> Exit {
        let begun = Instant::now();
        self.0.announce("doctor");
        let hosts = self.0.hosts();
        let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        let mut findings = Findings::default();
        let world = self.gather(&hosts, &mut findings).await;
        on_disk(&mut findings, &world);
        socket::check(&mut findings, &world).await;
        reach::check(&mut findings, &world).await;
        close(&world.nodes).await;
        let found = self.tell(&findings, &names, begun);
        exit(&found, &world.missing)
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

    async fn gather<'a>(&'a self, hosts: &[&Host], findings: &mut Findings) -> World<'a> {
        let events = Events::new(Box::new(ButFailures(self.0.events.clone())));
        let request = |host: &Host, request: &mut FactRequest| self.request(host, request);
        let gathered = self.0.gather(hosts, request, &events).await;
        connection::check(findings, gathered.missing.values());
        let missing = gathered.kinds();
        let Gathered {
            nodes, mut facts, ..
        } = gathered;
        for host in hosts.iter().filter(|host| facts.contains_key(&host.name)) {
            if let Some(node) = nodes.get(&host.name) {
                let what = format!("connected to {}", node.connection.description());
                findings.fine(&host.name, Topic::Ssh, what);
            }
            if host.as_root {
                findings.fine(&host.name, Topic::Sudo, "became root");
            }
        }
        let ca = self.0.inventory.ca();
        let now = OffsetDateTime::now_utc();
        let look = |facts: &_| examine(self.0.inventory, self.0.playbook, facts, now);
        let mut examined = look(&facts);
        if dry_start::ask(
            self.0.inventory,
            examined.changes.iter(),
            &nodes,
            &mut facts,
        )
        .await
        {
            examined = look(&facts);
        }
        World {
            inventory: self.0.inventory,
            playbook: self.0.playbook,
            examined,
            authority: Authority::read(ca, facts.get(&ca.name)),
            nodes,
            facts,
            missing,
            now,
        }
    }

    /// What deploy has to know, and some more.
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
fn on_disk(findings: &mut Findings, world: &World<'_>) {
    deploy::refusals(findings, world);
    certificates::authority(findings, world);
    rollover::check(findings, world);
    revoked::check(findings, world);
    for host in hosts(world.inventory, world.playbook) {
        let Some(facts) = world.facts.get(&host.name) else {
            continue;
        };
        system::check(findings, world, host, facts);
        let mut plays = world.playbook.plays.iter();
        if !plays.any(|play| play.includes(host)) {
            continue;
        }
        disk(findings, host, facts);
        certificates::leaves(findings, world, host, facts);
        if host.is_daemon {
            daemon::check(findings, world, host, facts);
            plain::check(findings, world, host, facts);
        }
    }
    deploy::drift(findings, world);
}

/// What can be found in facts and a plan that was made from them, without a connection; the
/// worst first.
#[must_use]
pub fn examine_facts(
    inventory: &Inventory,
    playbook: &Playbook,
    facts: &BTreeMap<String, NodeFacts>,
    examined: Examined,
    now: OffsetDateTime,
) -> Vec<Finding> {
    let world = World {
        inventory,
        playbook,
        nodes: BTreeMap::new(),
        facts: facts.clone(),
        missing: BTreeMap::new(),
        examined,
        authority: Authority::read(inventory.ca(), facts.get(&inventory.ca().name)),
        now,
    };
    let mut findings = Findings::default();
    on_disk(&mut findings, &world);
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

impl World<'_> {
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

    /// Whether the next deployment removes a key that waits on the CA node.
    fn has_unwanted(&self, key: &LeftKey) -> bool {
        let mut arrived = self.examined.plan.arrived.iter();
        arrived.any(|leaf| leaf.replaces.contains(&key.leaf.serial))
    }

    fn has_new_leaf(&self, host: &str, role: Role) -> bool {
        let mut changes = self.examined.changes.iter();
        changes.any(|change| certificates::issues(&change.action, host, role))
    }

    /// Whether anything of ours is on a host, or should be: `remove` leaves neither files nor what
    /// the node keeps of earlier changes.
    fn is_deployed(&self, host: &Host) -> bool {
        let ledger = &self.authority.ledger;
        if roles(host).next().is_none() {
            return host.is_ca && self.authority.certificate.is_some();
        }
        roles(host).any(|role| {
            let (directory, files) = leaf_location(host, role);
            let is_delivered = ledger.delivered(&host.name, role).is_some();
            let Some(facts) = self.facts.get(&host.name) else {
                return is_delivered;
            };
            // A client that shows no certificate has the CA alone.
            let has_leaf = role == Role::Daemon || host.shows_certificate();
            let name = if has_leaf { &files.cert } else { &files.ca };
            let is_there = |path: &str| facts.regular(path).is_some();
            is_there(&format!("{directory}/{name}")) || (is_delivered && keeps_record(facts))
        })
    }
}

/// Whether a node keeps something of a deployment: `remove` leaves nothing of it.
fn keeps_record(facts: &NodeFacts) -> bool {
    facts.regular(RECORD).is_some() || !facts.generations.is_empty()
}

/// Passes events on, but for failures: they become findings.
#[derive(Debug)]
struct ButFailures(Events);

impl Renderer for ButFailures {
    fn event(&mut self, event: &Event) {
        if !matches!(event, Event::Failed(_)) {
            self.0.emit(event.clone());
        }
    }
}

/// As after a run: what could not be checked counts more than what was seen.
fn exit(found: &FindingCounts, missing: &BTreeMap<String, FailureKind>) -> Exit {
    let unreachable = |kind: &FailureKind| *kind == FailureKind::Unreachable;
    if missing.values().any(|kind| !unreachable(kind)) {
        Exit::Failed
    } else if !missing.is_empty() {
        Exit::Unreachable
    } else if found.errors > 0 {
        Exit::NotProved
    } else if found.warnings > 0 {
        Exit::ChangesNeeded
    } else {
        Exit::Fine
    }
}
