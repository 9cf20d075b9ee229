//! A rollover of the CA: how far the nodes are, and what each may do next.
//!
//! ```text
//! 1 clients trust both ──> 2 daemons trust both and show a leaf of the new CA
//!   ──> 3 clients hold leaves of the new CA ──> 4 daemons trust it alone
//!   ──> 5 clients trust it alone ──> 6 the old CA retires
//! ```
//!
//! A step begins when every node of the inventory shows the ones before. A run
//! that does not roll over leaves each node at the step it has reached.

use std::collections::BTreeMap;

use super::expiry::has_expired;
use super::undeployed;
use super::{Authority, Outside, outside, outside_of};
use crate::host::client::{PROFILES, context_paths, keeps_context};
use crate::host::leaf::location;
use crate::host::read::{RECORD, runs_with};
use docker::context::ContextPaths;
use inventory::{Host, Inventory};
use node::facts::{FactRequest, NodeFacts};
use pki::{Certificate, Role, Signer};

/// The step that follows all others.
const RETIRE: u8 = 6;

/// What holds once a step is done, from 0 on.
pub const STEPS: [&str; 7] = [
    "the CA node has the next CA",
    "clients trust both CAs",
    "daemons trust both CAs and serve certificates of the new CA",
    "clients hold certificates of the new CA",
    "daemons trust the new CA only",
    "clients trust the new CA only",
    "the old CA has retired",
];

/// The steps in which each daemon is restarted.
pub const RESTARTING: [usize; 2] = [2, 4];

/// The step since which daemons trust the next CA only.
pub const NEXT_ONLY: u8 = 4;

/// A node that has not reached a step, or that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    pub host: String,
    pub why: String,
}

#[derive(Debug)]
pub struct Rollover {
    pub(super) current: Certificate,
    next: Certificate,
    old_text: String,
    both_text: String,
    next_text: String,
    /// The present CA has expired: everything it signed is already rejected.
    pub expired: bool,
    /// This run continues the rollover, as opposed to keeping the current state.
    pub advances: bool,
    /// The first step that some node has not reached: 1 to 6.
    pub step: u8,
    /// The nodes that have not reached it.
    pub behind: Vec<Behind>,
    /// The last step that some node shows to have begun, 1 to 5. It began when every node had
    /// reached the previous one.
    begun: u8,
    /// Unexpired identities of the old CA that are not in the inventory.
    pub outside: Vec<Outside>,
    /// The next step would cut off identities outside the inventory, so it is not taken.
    pub waits: bool,
    /// Bundles found on the nodes.
    found: BTreeMap<(String, Role), Trust>,
}

/// Which CAs a bundle trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    Old,
    Both,
    New,
}

impl Rollover {
    /// What the facts show; `None` where no rollover is under way.
    #[must_use]
    pub fn read(
        authority: &Authority,
        inventory: &Inventory,
        facts: &BTreeMap<String, NodeFacts>,
        now: time::OffsetDateTime,
    ) -> Option<Self> {
        let (current, next) = (authority.certificate.clone()?, authority.next.clone()?);
        let old_text = authority.pem.clone()?;
        let next_text = authority.next_pem.clone()?;
        let mut rollover = Self {
            both_text: format!("{old_text}{next_text}"),
            expired: has_expired(&current, inventory, facts, now),
            current,
            next,
            old_text,
            next_text,
            advances: false,
            step: 1,
            behind: Vec::new(),
            begun: 1,
            outside: Vec::new(),
            waits: false,
            found: BTreeMap::new(),
        };
        rollover.outside = outside_of(authority, inventory, now);
        let outside = &mut rollover.outside;
        outside.retain(|one| !one.is_removed(inventory, facts));
        for (host, role) in super::leaves_of(inventory) {
            if let Some(facts) = facts.get(&host.name) {
                rollover.see(host, role, facts);
            }
        }
        rollover.find_step(inventory, facts);
        Some(rollover)
    }

    /// The facts that tell the step of a host.
    pub fn request(inventory: &Inventory, host: &Host, request: &mut FactRequest) {
        outside::request(host, request);
        for (holder, role) in super::leaves_of(inventory) {
            if holder.name == host.name {
                super::request_leaf(holder, role, request);
            }
        }
        if host.is_daemon {
            request.unit = Some(host.settings.unit.clone());
            request.content.insert(RECORD.to_owned());
        }
        if host.is_client {
            let profiles = PROFILES.iter().map(|name| format!("~/{name}"));
            request.content.extend(profiles);
        }
        for holder in host.client_holders() {
            for daemon in inventory.daemons() {
                let ContextPaths { metadata, tls } = context_paths(holder, daemon);
                request.content.insert(format!("{metadata}/meta.json"));
                for name in ["ca.pem", "cert.pem"] {
                    request.bundles.insert(format!("{tls}/{name}"));
                }
            }
        }
    }

    /// The subject of the next CA.
    #[must_use]
    pub fn next(&self) -> &Certificate {
        &self.next
    }

    /// Records what a node shows.
    fn see(&mut self, host: &Host, role: Role, facts: &NodeFacts) {
        let (directory, files) = location(host, role);
        let trust = self.trust(facts, &format!("{directory}/{}", files.ca));
        if let Some(trust) = trust {
            self.found.insert((host.holder(), role), trust);
        }
        let leaf = self.is_new_leaf(facts, &format!("{directory}/{}", files.cert));
        let begun = match (role, trust, leaf) {
            (Role::Client, Some(Trust::New), _) => 5,
            (Role::Daemon, Some(Trust::New), _) => 4,
            (Role::Client, _, true) => 3,
            (Role::Daemon, _, true) => 2,
            _ => 1,
        };
        self.begun = self.begun.max(begun);
    }

    /// Which CAs the bundle at a path trusts; `None` if there is no bundle.
    pub(super) fn trust(&self, facts: &NodeFacts, path: &str) -> Option<Trust> {
        let bytes = facts.regular(path)?.content.as_deref()?;
        let bundle = Certificate::bundle_from_pem(bytes).ok()?;
        let is_next = |certificate: &Certificate| certificate.der() == self.next.der();
        Some(
            match (bundle.iter().any(is_next), bundle.iter().all(is_next)) {
                (_, true) => Trust::New,
                (true, false) => Trust::Both,
                (false, false) => Trust::Old,
            },
        )
    }

    fn is_new_leaf(&self, facts: &NodeFacts, path: &str) -> bool {
        facts
            .regular(path)
            .and_then(|file| Certificate::from_pem(file.content.as_deref()?).ok())
            .is_some_and(|leaf| leaf.is_signed_by(&self.next))
    }

    /// Whether a context has this file. A context that was never made trusts no CA, and one of
    /// another CA is not part of the rollover.
    fn is_in_context(&self, facts: &NodeFacts, path: &str) -> bool {
        let ca = path.replace("/cert.pem", "/ca.pem");
        let bytes = facts.regular(&ca).and_then(|file| file.content.as_deref());
        let bundle = bytes.and_then(|bytes| Certificate::bundle_from_pem(bytes).ok());
        let is_own = |of: &Certificate| {
            [&self.current, &self.next]
                .iter()
                .any(|own| own.der() == of.der())
        };
        facts.regular(path).is_some() && bundle.iter().flatten().any(is_own)
    }

    fn find_step(&mut self, inventory: &Inventory, facts: &BTreeMap<String, NodeFacts>) {
        for step in 1..RETIRE {
            let role = if matches!(step, 2 | 4) {
                Role::Daemon
            } else {
                Role::Client
            };
            let behind: Vec<Behind> = super::leaves_of(inventory)
                .into_iter()
                .filter(|(_, of)| *of == role)
                .filter_map(|(host, _)| {
                    let why = match facts.get(&host.name) {
                        None => Some("it could not be reached".to_owned()),
                        Some(facts) => self.lacks(step, host, facts, inventory),
                    };
                    why.map(|why| Behind {
                        host: host.name.clone(),
                        why,
                    })
                })
                .collect();
            if !behind.is_empty() {
                self.step = step;
                self.behind = behind;
                return;
            }
        }
        self.step = RETIRE;
    }

    /// What a node lacks for a step.
    fn lacks(
        &self,
        step: u8,
        host: &Host,
        facts: &NodeFacts,
        inventory: &Inventory,
    ) -> Option<String> {
        if step == 1
            && let Some(why) = undeployed::directory(host, facts, inventory)
        {
            return Some(why);
        }
        match step {
            1 | 5 => {
                let enough = |trust| trust == Trust::New || (step == 1 && trust == Trust::Both);
                let files = client_files(host, inventory, facts, "ca.pem");
                files.into_iter().enumerate().find_map(|(index, path)| {
                    if index > 0 && !self.is_in_context(facts, &path) {
                        return None;
                    }
                    let is_enough = self.trust(facts, &path).is_some_and(enough);
                    let what = if step == 1 {
                        "does not hold the new CA"
                    } else {
                        "still holds the old CA"
                    };
                    (!is_enough).then(|| format!("{} {what}", facts.expand(&path)))
                })
            }
            3 if !host.shows_certificate() => undeployed::pair(host, facts),
            3 => {
                let files = client_files(host, inventory, facts, "cert.pem");
                files.into_iter().enumerate().find_map(|(index, path)| {
                    if index > 0 && !self.is_in_context(facts, &path) {
                        return None;
                    }
                    (!self.is_new_leaf(facts, &path))
                        .then(|| format!("{} is not of the new CA", facts.expand(&path)))
                })
            }
            _ => {
                let (directory, files) = location(host, Role::Daemon);
                let ca = facts.expand(&format!("{directory}/{}", files.ca));
                let certificate = facts.expand(&format!("{directory}/{}", files.cert));
                let trust = self.trust(facts, &ca);
                if step == 4 && trust != Some(Trust::New) {
                    return Some(format!("{ca} still holds the old CA"));
                }
                if !matches!(trust, Some(Trust::Both | Trust::New)) {
                    return Some(format!("{ca} does not hold the new CA"));
                }
                if !self.is_new_leaf(facts, &certificate) {
                    return Some(format!("{certificate} is not of the new CA"));
                }
                [ca, certificate]
                    .into_iter()
                    .find(|path| !runs_with(path, facts))
                    .map(|path| format!("dockerd has not read {path} yet"))
            }
        }
    }

    /// Whether hosts of this role take the step that begins their conversion.
    fn converts(&self, role: Role) -> bool {
        // No client is accepted anyway, so the shortest way is best.
        if self.expired && self.advances {
            return true;
        }
        if self.waits {
            return false;
        }
        match role {
            // In the middle of it, the remaining daemons are included.
            Role::Daemon => self.step >= 2 && (self.advances || self.begun >= 2),
            Role::Client => self.step >= 3 && (self.advances || self.begun >= 3),
        }
    }

    fn drops(&self, role: Role) -> bool {
        let step = match role {
            Role::Daemon => 4,
            Role::Client => 5,
        };
        self.advances && self.step >= step && !self.waits && self.outside.is_empty()
    }

    /// Which CAs a node will trust after this run.
    #[must_use]
    pub fn wanted(&self, host: &str, role: Role) -> Trust {
        let found = self.found.get(&(host.to_owned(), role)).copied();
        if found == Some(Trust::New) || self.drops(role) {
            return Trust::New;
        }
        match (role, found) {
            // A restart only for the bundle would be one too many.
            (Role::Daemon, Some(Trust::Old)) if self.begun < 3 && !self.converts(role) => {
                Trust::Old
            }
            _ => Trust::Both,
        }
    }

    #[must_use]
    pub fn bundle(&self, host: &str, role: Role) -> &str {
        match self.wanted(host, role) {
            Trust::Old => &self.old_text,
            Trust::Both => &self.both_text,
            Trust::New => &self.next_text,
        }
    }

    /// Which CA signs a leaf now: one that the peers who verify it trust.
    #[must_use]
    pub fn signer(&self, role: Role) -> Signer {
        let begun = match role {
            Role::Daemon => 2,
            Role::Client => 3,
        };
        if self.converts(role) || self.begun >= begun {
            Signer::Next
        } else {
            Signer::Current
        }
    }

    /// Whether a leaf of the old CA is no longer enough.
    #[must_use]
    pub(crate) fn needs_new_leaf(&self, role: Role) -> bool {
        // Some host already trusts only the new CA.
        let begun = match role {
            Role::Daemon => 5,
            Role::Client => 4,
        };
        self.converts(role) || self.begun >= begun
    }

    /// Which of the two CAs signed a leaf.
    #[must_use]
    pub(crate) fn signer_of(&self, leaf: &Certificate) -> Option<&Certificate> {
        [&self.current, &self.next]
            .into_iter()
            .find(|authority| leaf.is_signed_by(authority))
    }

    /// How often a daemon restarts until the rollover is complete.
    #[must_use]
    pub fn restarts_left(&self, host: &Host, facts: &NodeFacts, inventory: &Inventory) -> usize {
        [2, 4]
            .into_iter()
            .filter(|step| self.lacks(*step, host, facts, inventory).is_some())
            .count()
    }

    /// Identities outside the inventory that the present step would cut off. They trust only the
    /// old CA and show leaves of it: clients reject a daemon that shows a leaf of the new CA (2),
    /// and are rejected by one that has dropped the old CA (4); daemons reject a client with a leaf
    /// of the new CA (3), and are rejected by one that has dropped the old CA (5).
    #[must_use]
    pub(crate) fn cut_off(&self) -> Vec<&Outside> {
        let outside = self.outside.iter();
        outside
            .filter(|of| match of.role {
                Role::Client => self.step >= 2,
                Role::Daemon => self.step >= 3,
            })
            .collect()
    }

    /// What blocks the present step, in words.
    #[must_use]
    pub(crate) fn held_back(&self) -> Vec<(String, String)> {
        let step = match self.step {
            1 => "before daemons are given leaves of the new CA, every client trusts it",
            2 => "before clients are given leaves of the new CA, every daemon trusts it",
            3 => "before daemons drop the old CA, every client holds a leaf of the new one",
            4 => "before clients drop the old CA, every daemon has dropped it",
            _ => "before the old CA retires, every client has dropped it",
        };
        self.behind
            .iter()
            .map(|behind| {
                let text = format!("CA rollover: {step}, and here: {}", behind.why);
                (behind.host.clone(), text)
            })
            .collect()
    }
}

/// Where a client keeps a file: its own path, then the copy in each context that is requested or
/// that an earlier deployment made.
pub(super) fn client_files(
    host: &Host,
    inventory: &Inventory,
    facts: &NodeFacts,
    name: &str,
) -> Vec<String> {
    let (directory, files) = location(host, Role::Client);
    let own = if name == "ca.pem" {
        files.ca
    } else {
        files.cert
    };
    let mut paths = vec![facts.expand(&format!("{directory}/{own}"))];
    let kept = inventory
        .daemons()
        .filter(|daemon| keeps_context(host, daemon, inventory, facts));
    paths.extend(kept.map(|daemon| {
        let tls = context_paths(host, daemon).tls;
        facts.expand(&format!("{tls}/{name}"))
    }));
    paths
}
