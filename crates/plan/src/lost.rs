//! A CA that existed and is gone, as opposed to one that is yet to be created.
//!
//! A new CA in its place cuts off every host that the run does not reach.

use std::collections::{BTreeMap, BTreeSet};

use super::{Authority, AuthorityProblem, OWNER, Planner, Refusal, leaves_of, request_leaf};
use crate::host::daemon_json::PATH;
use crate::host::leaf::location as leaf_location;
use crate::launch::serves_tls;
use crate::playbook::Playbook;
use inventory::{Host, Inventory};
use node::facts::{FactRequest, NodeFacts};
use pki::{Certificate, Entry, Role, Subject, generation_of};

/// For a host without a certificate: one was delivered to it earlier.
#[must_use]
pub fn lost_since(entry: &Entry) -> String {
    format!(
        "a {} certificate was delivered there (serial {}, issued on {}): since then the host was installed again, or remove has run",
        entry.role,
        entry.serial,
        entry.issued_at.date()
    )
}

/// Whether a host has no trace of a deployment: `remove` has run, or there never was one. A daemon
/// that would speak TLS without its files is broken.
#[must_use]
pub fn is_undeployed(host: &Host, role: Role, facts: &NodeFacts) -> bool {
    let (directory, files) = leaf_location(host, role);
    let mut files = [files.ca, files.cert, files.key].into_iter();
    let is_there = |name: String| facts.regular(&format!("{directory}/{name}")).is_some();
    !files.any(is_there) && (role == Role::Client || !serves_tls(host, facts))
}

/// Whether a daemon is known to have no deployment: it accepts no certificate of the CA.
#[must_use]
pub fn accepts_none(daemon: &Host, facts: &NodeFacts) -> bool {
    // Not every run asks for its settings.
    facts.file(PATH).is_some() && is_undeployed(daemon, Role::Daemon, facts)
}

/// Requests the facts that [`is_undeployed`] needs besides the certificate.
pub fn request_undeployed(host: &Host, request: &mut FactRequest) {
    if host.is_daemon {
        request.unit = Some(host.settings.unit.clone());
        request.content.insert(PATH.to_owned());
    }
}

/// What to do about a host without a deployment.
#[must_use]
pub fn deploy_or_drop(host: &str) -> String {
    format!(
        "deploy to it: {}; or take the host out of the inventory",
        deploy_to(host)
    )
}

/// The command that deploys to one host.
#[must_use]
pub fn deploy_to(host: &str) -> String {
    format!("dtls-deploy INVENTORY --limit {host}")
}

/// Hosts outside of the run that may have certificates of a CA which is gone: the run would create
/// another CA, and looks at them first.
#[must_use]
pub fn before_new_authority<'a>(
    playbook: &Playbook,
    inventory: &'a Inventory,
    facts: &BTreeMap<String, NodeFacts>,
) -> Vec<(&'a Host, FactRequest)> {
    let ca = inventory.ca();
    let authority = Authority::read(ca, facts.get(&ca.name));
    let is_there = authority.problem.is_some() || authority.certificate.is_some();
    if is_there || playbook.allowed.new_authority || !playbook.creates_authority() {
        return Vec::new();
    }
    let mut requests: BTreeMap<&str, FactRequest> = BTreeMap::new();
    for (holder, role) in leaves_of(inventory) {
        let request = requests.entry(&holder.name).or_default();
        request_leaf(holder, role, request);
        request.content.insert(OWNER.to_owned());
    }
    let hosts = inventory.hosts.iter().filter(|host| {
        let is_in_run = playbook.plays.iter().any(|play| play.includes(host));
        !is_in_run && !facts.contains_key(&host.name)
    });
    hosts
        .filter_map(|host| Some((host, requests.remove(host.name.as_str())?)))
        .collect()
}

/// At most this many hosts are named; the others are counted.
const NAMED: usize = 5;

impl Planner<'_> {
    /// Refuses a new CA while something shows that there was one before, unless the command line
    /// requests it.
    pub(crate) fn refuse_lost_authority(&mut self, directory: &str) -> Result<(), Refusal> {
        if self.allowed.new_authority {
            return Ok(());
        }
        match self.lost_authority(directory) {
            Some(problem) => self.nothing_for(problem),
            None => Ok(()),
        }
    }

    /// What shows that there was a CA in an empty directory.
    pub(crate) fn lost_authority(&self, directory: &str) -> Option<AuthorityProblem> {
        let carried = self.carried();
        let issued = self.authority.ledger.entries().len();
        let mut seen: Vec<String> = carried
            .iter()
            .map(|(subject, hosts)| {
                let verb = if hosts.len() == 1 { "holds" } else { "hold" };
                format!("{} {verb} the certificate of {subject}", named(hosts))
            })
            .collect();
        let deployed = self.deployed();
        if seen.is_empty() && !deployed.is_empty() {
            seen.push(format!(
                "{OWNER} of {} says that this CA was in service there",
                named(&deployed)
            ));
        }
        if issued > 0 {
            seen.push(format!("its ledger lists {issued} certificates"));
        }
        (!seen.is_empty()).then(|| AuthorityProblem::Lost {
            directory: directory.to_owned(),
            seen: seen.join(", and "),
        })
    }

    /// The subject of a first CA: one that no daemon or client knows yet.
    #[must_use]
    pub fn unused_subject(&self, subject: &Subject) -> Subject {
        let carried = self.carried().into_keys();
        let carried: BTreeSet<String> = carried.map(|known| known.to_lowercase()).collect();
        let own = subject.common_name.as_deref();
        let named = |number: u32| match (own, number) {
            (Some(own), 1) => own.to_owned(),
            (Some(own), _) => format!("{own} {number}"),
            (None, _) => format!("{} CA {number}", self.inventory.name),
        };
        let mut subject = subject.clone();
        // Those before a known one are gone as well.
        let known = carried.iter().filter_map(|known| generation_of(known));
        let last = known.max().and_then(|last| u32::try_from(last).ok());
        for number in last.map_or(1, |last| last + 1).. {
            subject.common_name = Some(named(number));
            if !carried.contains(&subject.to_string().to_lowercase()) {
                break;
            }
        }
        subject
    }

    /// Daemons that run TLS as this inventory set them up, wherever their files are.
    fn deployed(&self) -> BTreeSet<String> {
        let is_deployed = |daemon: &&Host| {
            let facts = self.facts.get(&daemon.name);
            facts.is_some_and(|facts| {
                // Of a host outside of the run the record alone was read; `remove` removes it.
                let is_read = facts.unit.is_some();
                super::owner::is_own(self.inventory, facts)
                    && (!is_read || serves_tls(daemon, facts))
            })
        };
        let daemons = self.inventory.daemons().filter(is_deployed);
        daemons.map(|daemon| daemon.name.clone()).collect()
    }

    /// The CAs in the files of daemons and clients, with the hosts that hold them.
    pub(super) fn carried(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut carried: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (host, role) in leaves_of(self.inventory) {
            let (directory, files) = leaf_location(host, role);
            let path = format!("{directory}/{}", files.ca);
            let facts = self.facts.get(&host.name);
            // A daemon that another inventory set up tells nothing about this CA.
            let facts = facts.filter(|facts| {
                role == Role::Client || !super::owner::is_of_another(self.inventory, facts)
            });
            let file = facts.and_then(|facts| facts.regular(&path));
            let bytes = file.and_then(|file| file.content.as_deref());
            let found = Certificate::bundle_from_pem(bytes.unwrap_or_default());
            for authority in found.unwrap_or_default() {
                carried
                    .entry(authority.subject().to_owned())
                    .or_default()
                    .insert(host.name.clone());
            }
        }
        carried
    }
}

fn named(hosts: &BTreeSet<String>) -> String {
    let listed: Vec<&str> = hosts.iter().take(NAMED).map(String::as_str).collect();
    let listed = listed.join(", ");
    if hosts.len() > NAMED {
        format!("{listed} and {} others", hosts.len() - NAMED)
    } else {
        listed
    }
}
