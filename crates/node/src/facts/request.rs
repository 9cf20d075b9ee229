//! What is to be read on a node.

use std::collections::BTreeSet;

use super::{FactError, NodeFacts, STATE, TOOLS};
use crate::script::Script;

/// What to read on one node.
// Each asks for something of its own.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct FactRequest {
    /// Files whose bytes are needed: certificates, configuration.
    pub content: BTreeSet<String>,
    /// Files of which the PEM blocks of certificates are needed and nothing else may
    /// leave the node: those of the CA.
    pub certificates: BTreeSet<String>,
    /// Files of which the bytes are needed, unless a private key is in them: then it is
    /// the same as with `certificates`. Bundles and certificates of daemons and clients.
    pub bundles: BTreeSet<String>,
    /// Files whose SHA-256 is enough: private keys above all.
    pub hashed: BTreeSet<String>,
    /// Those of them of which it also matters whether they are private keys in PEM.
    pub keys: BTreeSet<String>,
    /// Where the daemon's certificates and key are to be: those that dockerd has read
    /// last from another place are named.
    pub former: BTreeSet<String>,
    /// Whether sudo records what is sent to it: asked of sudo itself, and not only
    /// where it has recorded something.
    pub sudo: bool,
    /// Files of which it is enough to know that they are there.
    pub present: BTreeSet<String>,
    /// Directories that will be written to: who owns them decides as whom.
    pub directories: BTreeSet<String>,
    /// The systemd unit of the daemon.
    pub unit: Option<String>,
    /// The running daemon of that unit: its containers, its swarm.
    pub engine: bool,
    /// Paths of which it only counts whether something is there.
    pub exists: BTreeSet<String>,
    /// Other systemd units.
    pub services: BTreeSet<String>,
    /// Host names of which the node's own addresses for them matter.
    pub names: BTreeSet<String>,
    /// What the last run's changes replaced, and what is in its places.
    pub generations: bool,
    /// TCP ports of which it matters who listens there; with them come the
    /// node's own addresses.
    pub ports: BTreeSet<u16>,
    /// The file that says where a daemon that runs listens already.
    pub drop_in: Option<String>,
    /// Accounts of which it matters that they are there, and their homes: what
    /// begins with `~NAME/` in the other parts needs NAME here.
    pub accounts: BTreeSet<String>,
    /// The systemd socket that listens for the daemon.
    pub socket: Option<String>,
    /// What confines the daemon, which docker it is, missing tools.
    pub health: bool,
    /// Under which addresses others may reach the node.
    pub own_addresses: bool,
    /// As `names`, also on nodes without getent.
    pub lookups: BTreeSet<String>,
}

impl FactRequest {
    /// A private key: its hash, and whether it is one.
    pub fn key(&mut self, path: String) {
        self.keys.insert(path.clone());
        self.hashed.insert(path);
    }

    /// The calls that read all of it.
    #[must_use]
    pub fn script(&self) -> Script {
        let mut script = Script::default();
        script.call("fact_system", &[]);
        script.call(
            "fact_sudo",
            &[if self.sudo { "always" } else { "recorded" }],
        );
        for account in &self.accounts {
            script.call("fact_account", &[account]);
        }
        // What others want to know more of comes after it.
        if self.generations {
            script.call("fact_generations", &[]);
        }
        for directory in &self.directories {
            script.call("fact_path", &[directory]);
        }
        if let Some(unit) = &self.unit {
            let units: Vec<&str> = std::iter::once(unit.as_str())
                .chain(self.socket.as_deref())
                .collect();
            script.call("fact_unit", &units);
        }
        if self.health {
            script.call("fact_health", TOOLS);
        }
        for name in self.lookups.difference(&self.names) {
            script.call("fact_lookup", &[name]);
        }
        let hashed = self.hashed.difference(&self.keys).cloned().collect();
        // Before the files: of what is asked about there more is known.
        if !self.former.is_empty() {
            let paths: Vec<&str> = self.former.iter().map(String::as_str).collect();
            script.call("fact_former", &paths);
        }
        // Text that must be masked is masked, whichever other fact asks for it.
        let bundles = &self.bundles - &self.certificates;
        let content = &(&self.content - &bundles) - &self.certificates;
        for (want, paths) in [
            ("certificates", &self.certificates),
            ("bundle", &bundles),
            ("content", &content),
            ("hash", &hashed),
            ("key", &self.keys),
            ("stat", &self.present),
        ] {
            if !paths.is_empty() {
                let arguments: Vec<&str> = std::iter::once(want)
                    .chain(paths.iter().map(String::as_str))
                    .collect();
                script.call("fact_files", &arguments);
            }
        }
        let beside = self.beside();
        if beside.is_empty() {
            script.call("fact_read", &[]);
        } else {
            script.statement(format!("beside() {{\n{}\n}}", beside.body()));
            script.call("fact_read", &["beside"]);
        }
        script
    }

    /// What needs no account's answer, and is read while they answer.
    fn beside(&self) -> Script {
        let mut script = Script::default();
        if self.engine {
            // After the unit, which knows the daemon's process.
            script.call("fact_engine", &[]);
        }
        for unit in &self.services {
            script.call("fact_service", &[unit]);
        }
        if !self.exists.is_empty() {
            let paths: Vec<&str> = self.exists.iter().map(String::as_str).collect();
            script.call("fact_exists", &paths);
        }
        for name in &self.names {
            script.call("fact_resolve", &[name]);
        }
        if self.own_addresses || !self.ports.is_empty() {
            let own = if self.own_addresses { "own" } else { "no" };
            let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
            let arguments: Vec<&str> = [own, self.drop_in.as_deref().unwrap_or_default()]
                .into_iter()
                .chain(ports.iter().map(String::as_str))
                .collect();
            script.call("fact_network", &arguments);
        }
        if !self.directories.is_empty() {
            let mut directories: Vec<&str> = self.directories.iter().map(String::as_str).collect();
            if self.unit.is_some() {
                directories.push(STATE);
            }
            script.call("fact_space", &directories);
        }
        script
    }

    /// Checks that an answer names nothing but what was asked for. What the node says of
    /// itself (its units and their files, its generations) it names by itself.
    pub(super) fn answered_by(&self, facts: &NodeFacts) -> Result<(), FactError> {
        let expanded = |paths: &BTreeSet<String>| -> BTreeSet<String> {
            paths.iter().map(|path| facts.expand(path)).collect()
        };
        let services: BTreeSet<&String> = self.services.iter().collect();
        let names: BTreeSet<&String> = self.names.union(&self.lookups).collect();
        let exists = expanded(&self.exists);
        let mut unasked = facts
            .accounts
            .keys()
            .filter(|name| !self.accounts.contains(*name))
            .chain(
                facts
                    .services
                    .keys()
                    .filter(|name| !services.contains(name)),
            )
            .chain(facts.resolved.keys().filter(|name| !names.contains(name)))
            .chain(facts.exists.keys().filter(|path| !exists.contains(*path)));
        let mut directories = expanded(&self.directories);
        if self.generations {
            // Those of the manifest.
            directories.extend(facts.directories.keys().cloned());
        }
        if !self.former.is_empty() {
            // Those of root's record of what dockerd has read.
            let former = facts.claims.former.keys();
            directories.extend(former.filter_map(|path| Some(path.rsplit_once('/')?.0.to_owned())));
        }
        let mut elsewhere = facts
            .directories
            .keys()
            .chain(facts.blocked.keys())
            .chain(&facts.leftovers)
            .chain(facts.working.values().flatten())
            .filter(|directory| !directories.contains(*directory));
        match unasked.next().or_else(|| elsewhere.next()) {
            Some(name) => Err(FactError::Unasked(name.clone())),
            None => Ok(()),
        }
    }
}
