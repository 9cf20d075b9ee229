//! dockerd's trust anchor: who can change its CA bundle, certificate and key. A user who can add a
//! CA to the bundle is root on the host at dockerd's next start. Also: where the daemon's files
//! were before they moved.

use super::{Change, Content, Desired, Note, Place, Planner, Refusal};
use crate::host::leaf::location as leaf_location;
use crate::playbook::Task;
use inventory::Host;
use node::facts::NodeFacts;
use pki::Role;

/// The variable that names the owner of the directory.
const VARIABLE: &str = "dtls_daemon_dir_trusted_owner";

impl Planner<'_> {
    /// Requires that only root can change what a daemon trusts, unless the inventory names another
    /// owner; every run then notes it.
    ///
    /// # Errors If another account can change it, or the owner differs from the inventory.
    pub(crate) fn check_anchor(&mut self, host: &Host) -> Result<(), Refusal> {
        let facts = self.facts(&host.name)?;
        let directory = facts.expand(&host.settings.daemon_dir);
        let owner = facts.account_for(&directory)?;
        match &host.settings.daemon_dir_trusted_owner {
            None if owner == "root" => Ok(()),
            None => Err(Refusal::new(format!(
                "{directory} is {owner}'s, who can add a CA to dockerd's bundle there and is root on this host at its next start"
            ))
            .hint(format!(
                "set dtls_daemon_dir to a directory of root's (/etc/docker/tls is the default) and deploy: the files move there; or accept it: {VARIABLE}: {owner}"
            ))),
            Some(_) if owner == "root" => {
                self.note(host, format!("{directory} is root's: leave {VARIABLE} out"));
                Ok(())
            }
            Some(trusted) if *trusted != owner => Err(Refusal::new(format!(
                "{VARIABLE} is {trusted}, and {directory} is {owner}'s"
            ))
            .hint(format!(
                "find out why it is {owner}'s before you change the variable"
            ))),
            Some(trusted) => {
                let text = format!(
                    "{directory} is {trusted}'s ({VARIABLE}): anyone with that account can become root on this host"
                );
                self.notes.push(Note {
                    danger: true,
                    host: host.name.clone(),
                    text,
                });
                Ok(())
            }
        }
    }

    /// Removes the files that the daemon read before it moved. They are removed with the change
    /// that moves them, if they are what dockerd last read and this CA issued the key.
    pub(crate) fn remove_former(&self, host: &Host, task: &Task) -> Result<Vec<Change>, Refusal> {
        let facts = self.facts(&host.name)?;
        let ledger = &self.authority.ledger;
        let former = &facts.claims.former;
        let is_unchanged =
            |path: &str, hash: &str| facts.regular(path).is_some_and(|file| file.sha256 == hash);
        let keys = former
            .iter()
            .filter(|(_, hash)| ledger.by_key_sha256(hash).is_some());
        let directories: Vec<&str> = keys
            .filter_map(|(path, _)| Some(path.rsplit_once('/')?.0))
            .collect();
        let used = used(host, facts);
        let moved: Vec<String> = (task.argument("state") != Some("absent"))
            .then(|| "the daemon's files have moved".to_owned())
            .into_iter()
            .collect();
        let mut changes = Vec::new();
        for (path, hash) in former {
            let Some((directory, name)) = path.rsplit_once('/') else {
                continue;
            };
            if !directories.contains(&directory) || used.contains(path) || !is_unchanged(path, hash)
            {
                continue;
            }
            let desired = Desired::new(Place::Kept, directory, name, Content::Gone { prune: 1 })
                .because(moved.clone());
            changes.extend(self.compare(host, task, desired)?);
        }
        Ok(changes)
    }
}

/// The paths that this host will still use.
fn used(host: &Host, facts: &NodeFacts) -> Vec<String> {
    let holders = host.client_holders().map(|holder| (holder, Role::Client));
    let places = holders.map(|(holder, role)| leaf_location(holder, role));
    let mut used: Vec<String> = places
        .chain([leaf_location(host, Role::Daemon)])
        .flat_map(|(directory, files)| {
            [files.ca, files.cert, files.key].map(|name| format!("{directory}/{name}"))
        })
        .collect();
    if host.is_ca {
        used.push(format!("{}/ca.pem", host.settings.ca_dir));
    }
    used.iter().map(|path| facts.expand(path)).collect()
}
