//! Whether existing files belong to this CA: decided by certificates and keys, not by names or
//! descriptions.

use super::launch::serves_tls;
use super::readmission::{InForce, is_older, judge_older};
use super::{Authority, Planner, Refusal, owner};
use crate::host::daemon_json::tls_paths;
use crate::host::in_use::paths;
use crate::host::leaf::location as leaf_location;
use inventory::Host;
use node::facts::NodeFacts;
use pki::{Certificate, Role};

impl Authority {
    /// Whether it is this CA, its successor or one of its predecessors.
    #[must_use]
    pub(crate) fn recognises(&self, authority: &Certificate) -> bool {
        let present = self.certificate.iter().filter(|_| !self.planned);
        let hash = authority.sha256();
        present
            .chain(&self.next)
            .any(|own| own.der() == authority.der())
            || self
                .ledger
                .entries()
                .iter()
                .any(|entry| entry.issuer_sha256 == hash)
    }

    fn has_signed(&self, leaf: &Certificate) -> bool {
        let present = self.certificate.iter().filter(|_| !self.planned);
        present.chain(&self.next).any(|own| leaf.is_signed_by(own))
    }
}

/// The bytes of a file on a node; none if there is no file.
fn bytes<'a>(facts: &'a NodeFacts, path: &str) -> &'a [u8] {
    let file = facts.regular(path);
    file.and_then(|file| file.content.as_deref())
        .unwrap_or_default()
}

/// The CAs of a bundle on a node; none if there is no bundle.
fn bundle(facts: &NodeFacts, path: &str) -> Vec<Certificate> {
    Certificate::bundle_from_pem(bytes(facts, path)).unwrap_or_default()
}

impl Planner<'_> {
    /// Whether files that belong together are of this CA, if one of them shows it; `None` if none
    /// does.
    #[must_use]
    pub(crate) fn is_own_set(
        &self,
        host: &Host,
        [ca, certificate, key]: [&str; 3],
    ) -> Option<bool> {
        let facts = self.facts.get(&host.name)?;
        let authority = &self.authority;
        let key = facts.regular(key);
        if key.is_some_and(|key| authority.ledger.by_key_sha256(&key.sha256).is_some()) {
            return Some(true);
        }
        let leaf = Certificate::from_pem(bytes(facts, certificate)).ok();
        if leaf.as_ref().is_some_and(|leaf| authority.has_signed(leaf)) {
            return Some(true);
        }
        let bundle = bundle(facts, ca);
        if bundle.is_empty() {
            return leaf.map(|_| false);
        }
        // Another check decides about a newer CA: this one may be an old backup.
        Some(
            bundle.iter().any(|known| authority.recognises(known))
                || is_older(authority, bytes(facts, ca)),
        )
    }

    /// Refuses to replace files that another CA delivered to a client.
    pub(crate) fn check_client_directory(&self, holder: &Host) -> Result<(), Refusal> {
        let facts = self.facts(&holder.name)?;
        let (directory, files) = leaf_location(holder, Role::Client);
        let [ca, certificate, key] = [&files.ca, &files.cert, &files.key]
            .map(|name| facts.expand(&format!("{directory}/{name}")));
        if self.authority.problem.is_some() || self.may_take_over(holder, &ca)? {
            return Ok(());
        }
        if self.is_own_set(holder, [&ca, &certificate, &key]) != Some(false) {
            return Ok(());
        }
        let subject = bundle(facts, &ca)
            .first()
            .map_or_else(String::new, |of| format!(" ({})", of.subject()));
        Err(Refusal::new(format!(
            "{} holds files of another CA{subject}, which its daemons may be in service with",
            facts.expand(&directory)
        ))
        .hint(format!(
            "adopt that CA: dtls-deploy adopt {inventory}; or give this inventory a directory of its own (dtls_client_dir); or replace the files: -e dtls_take_over=true",
            inventory = self.inventory.path.display()
        )))
    }

    /// Refuses a daemon that serves clients of another CA: either it was never set up with this
    /// program, or it has been moved to other files since. `deployed` are the keys of the CAs that
    /// this inventory last deployed there.
    pub(super) fn check_served_authority(
        &self,
        host: &Host,
        facts: &NodeFacts,
        deployed: Option<&[&str]>,
    ) -> Result<(), Refusal> {
        let is_unknown = self.authority.problem.is_some();
        if host.settings.take_over || is_unknown || !serves_tls(host, facts) {
            return Ok(());
        }
        let path = paths(host, Role::Daemon, facts).ca;
        let found = bundle(facts, &path);
        let Some(first) = found.first() else {
            return Ok(());
        };
        let is_ours = path == tls_paths(host, |path| facts.expand(path)).ca;
        let own = self
            .authority
            .certificate
            .iter()
            .chain(&self.authority.next);
        let own: Vec<String> = own
            .chain(&self.authority.bundle)
            .map(Certificate::public_key_sha256)
            .collect();
        let is_known = |known: &Certificate| {
            let key = known.public_key_sha256();
            let is_replaced =
                || is_ours || deployed.is_some_and(|deployed| deployed.contains(&key.as_str()));
            own.contains(&key)
                || self.authority.recognises(known)
                || (self.allowed.new_authority && is_replaced())
        };
        if found.iter().any(is_known) {
            return Ok(());
        }
        // This CA may be an old backup.
        let in_force = InForce::of(&self.authority);
        let file = bytes(facts, &path);
        if is_ours && judge_older(&in_force, self.allowed, file, &path)?.is_some() {
            return Ok(());
        }
        let (inventory, name) = (self.inventory.path.display(), &host.name);
        let hint = if deployed.is_some() {
            format!(
                "its files, or the CA of {inventory}, were replaced since the last deploy: take {name} out of {inventory}, or deploy it again, which locks those clients out: dtls-deploy deploy {inventory} -e dtls_take_over=true"
            )
        } else {
            format!(
                "adopt that CA: dtls-deploy adopt {inventory}; or replace it: -e dtls_take_over=true"
            )
        };
        Err(Refusal::new(format!(
            "its docker is configured for clients of another CA ({}, in {path}), which the change would lock out",
            first.subject()
        ))
        .hint(hint))
    }

    /// Whether the command line allows replacing the CA in a file of a client: any with
    /// `dtls_take_over`, and with `--new-ca` the one that daemons of this inventory had. Another
    /// inventory's clients may use the same directory.
    pub(crate) fn may_take_over(&self, holder: &Host, ca: &str) -> Result<bool, Refusal> {
        if holder.settings.take_over {
            return Ok(true);
        }
        let found = bundle(self.facts(&holder.name)?, ca);
        let keys: Vec<String> = found.iter().map(Certificate::public_key_sha256).collect();
        Ok(self.allowed.new_authority && self.daemons_had(&keys))
    }

    /// Whether a daemon of this inventory has a CA with one of these keys, or had it when it was
    /// last deployed.
    fn daemons_had(&self, keys: &[String]) -> bool {
        self.inventory.daemons().any(|daemon| {
            let facts = self.facts.get(&daemon.name);
            let facts = facts.filter(|facts| !owner::is_of_another(self.inventory, facts));
            facts.is_some_and(|facts| {
                let (directory, files) = leaf_location(daemon, Role::Daemon);
                let path = facts.expand(&format!("{directory}/{}", files.ca));
                let has = bundle(facts, &path);
                let had = owner::authorities(facts);
                keys.iter().any(|key| {
                    had.contains(&key.as_str())
                        || has.iter().any(|known| known.public_key_sha256() == *key)
                })
            })
        })
    }
}
