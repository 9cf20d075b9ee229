//! What to read on a node.

use std::collections::BTreeSet;

use super::{FactError, NodeFacts, STATE, TOOLS};
use crate::script::Script;

/// What to read on one node.
// Each requests something different.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct FactRequest {
    /// Files whose bytes are needed: certificates, configuration.
    pub content: BTreeSet<String>,
    /// Files of which only the PEM certificate blocks may leave the node: those of the CA.
    pub certificates: BTreeSet<String>,
    /// Files of which the bytes are needed, unless they contain a private key: then they are
    /// treated like `certificates`. Bundles and certificates of daemons and clients.
    pub bundles: BTreeSet<String>,
    /// Files of which only the SHA-256 is needed: above all private keys.
    pub hashed: BTreeSet<String>,
    /// Those of them that are also checked for being private keys in PEM.
    pub keys: BTreeSet<String>,
    /// Where the daemon's certificates and key should be: reports those that dockerd last read from
    /// another place.
    pub former: BTreeSet<String>,
    /// Whether sudo records its input: asks sudo itself, not only if it has recorded something.
    pub sudo: bool,
    /// Files whose existence is enough.
    pub present: BTreeSet<String>,
    /// Directories that will be written to: their owner decides which account acts there.
    pub directories: BTreeSet<String>,
    /// The systemd unit of the daemon.
    pub unit: Option<String>,
    /// The running daemon of that unit: its containers and swarm.
    pub engine: bool,
    /// Paths to check for existence.
    pub exists: BTreeSet<String>,
    /// Other systemd units.
    pub services: BTreeSet<String>,
    /// Host names to resolve on the node.
    pub names: BTreeSet<String>,
    /// What the last run's changes replaced, and what is there now.
    pub generations: bool,
    /// TCP ports whose listeners are needed; the node's own addresses come with them.
    pub ports: BTreeSet<u16>,
    /// The file with the listeners of a running daemon.
    pub drop_in: Option<String>,
    /// Accounts whose existence and homes are needed: a path with `~NAME/` in the other parts needs
    /// NAME here.
    pub accounts: BTreeSet<String>,
    /// The systemd socket that listens for the daemon.
    pub socket: Option<String>,
    /// What confines the daemon, its docker version, missing tools.
    pub health: bool,
    /// The addresses at which others may reach the node.
    pub own_addresses: bool,
    /// The newest entries of the guard's journal: seconds, entries, whose (empty: everyone's),
    /// `all` or `denied`.
    pub audit: Option<[String; 4]>,
    /// The guard that the daemon may have, as plugin and path of its program: whether dockerd asks it.
    pub guard: Option<[String; 2]>,
    /// Like `names`, but also on nodes without getent.
    pub lookups: BTreeSet<String>,
}

impl FactRequest {
    /// A private key: its hash, and whether it is one.
    pub fn key(&mut self, path: String) {
        self.keys.insert(path.clone());
        self.hashed.insert(path);
    }

    /// The calls that read everything requested.
    #[must_use]
    pub fn script(&self) -> Script {
        let mut script = Script::default();
        script.call("fact_system", &[]);
        if let Some(audit) = &self.audit {
            script.call("guard_audit", &audit.each_ref().map(String::as_str));
        }
        script.call(
            "fact_sudo",
            &[if self.sudo { "always" } else { "recorded" }],
        );
        for account in &self.accounts {
            script.call("fact_account", &[account]);
        }
        // Other calls build on its result.
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
            if let Some(guard) = &self.guard {
                script.call("fact_guard", &guard.each_ref().map(String::as_str));
            }
        }
        if self.health {
            script.call("fact_health", TOOLS);
        }
        for name in self.lookups.difference(&self.names) {
            script.call("fact_lookup", &[name]);
        }
        let hashed = self.hashed.difference(&self.keys).cloned().collect();
        // Before the other files: more is needed about these.
        if !self.former.is_empty() {
            let paths: Vec<&str> = self.former.iter().map(String::as_str).collect();
            script.call("fact_former", &paths);
        }
        // Text that must be masked is masked, whichever fact requests it.
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

    /// Facts that depend on no other account, read while accounts answer.
    fn beside(&self) -> Script {
        let mut script = Script::default();
        if self.engine {
            // After the unit, which determines the daemon's process.
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

    /// Requires that an answer names only what was requested. What the node reports about itself
    /// (its units and their files, its generations) it names on its own.
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
            // Those in the manifest.
            directories.extend(facts.directories.keys().cloned());
        }
        if !self.former.is_empty() {
            // Those in root's record of what dockerd has read.
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
