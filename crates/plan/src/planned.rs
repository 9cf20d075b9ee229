//! What a plan is: plays, hosts, batches of changes, and what is to be known of them.
//!
//! Made by [`super::plan`]; shown, carried out and proved by its caller.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Change, Kept, Refusal};
use pki::{DeliveredLeaf, LeafName, Role};

/// Everything that will be done, in the playbook's order.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub plays: Vec<PlannedPlay>,
    /// Hosts that cannot be planned for, with the reason: they are skipped.
    pub problems: Vec<PlanProblem>,
    pub notes: Vec<Note>,
    /// What stays on clients because of a daemon; the notes say so, too.
    pub kept: Vec<Kept>,
    /// The playbook ends in a proof.
    pub verify: bool,
    /// Whom each holder will trust, in PEM, while the CA is rolled over.
    pub bundles: BTreeMap<(String, Role), String>,
    /// Leaves that are in place, and that the CA has not heard of.
    pub arrived: Vec<DeliveredLeaf>,
    /// Leaves that the run was asked to renew, and that it cannot issue now.
    pub unrenewed: Vec<LeafName>,
    /// Why the CA is to be replaced now, where it is and this run does not do so.
    pub rollover_due: Option<String>,
    /// The present CA has expired, and this run replaces it.
    pub authority_expired: bool,
    /// The step of the rollover that this plan is for, where it begins one or goes on with it.
    pub rollover_step: Option<u8>,
    /// Some host was skipped because its last change is not settled: the
    /// run that made it may still be at work.
    pub unsettled: bool,
}

/// One play, and what each of its hosts has to do.
#[derive(Debug, Clone)]
pub struct PlannedPlay {
    pub name: String,
    /// Hosts in the inventory's order; those without changes are left out.
    pub hosts: Vec<PlannedHost>,
}

#[derive(Debug, Clone)]
pub struct PlannedHost {
    pub host: String,
    pub batches: Vec<Batch>,
}

/// Changes that reach the node together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// All of them succeed, or none of them stays.
    pub transaction: bool,
    pub changes: Vec<Change>,
    /// Daemons whose own change has to be confirmed first; if one of them is not, what is
    /// on the node stays. Empty for what waits for no daemon.
    pub follows: BTreeSet<String>,
    /// What a person calls the files of a follower, in the order of its changes.
    pub called: Vec<String>,
}

/// Why nothing can be planned for a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanProblem {
    pub host: String,
    pub task: String,
    pub refusal: Refusal,
}

/// Something to know that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub host: String,
    pub text: String,
    /// As declared, and unsafe.
    pub danger: bool,
}

impl Plan {
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.plays
            .iter()
            .flat_map(|play| &play.hosts)
            .flat_map(|host| &host.batches)
            .flat_map(|batch| &batch.changes)
    }

    /// How many changes a host is in for.
    #[must_use]
    pub fn count(&self, host: &str) -> usize {
        self.changes().filter(|change| change.host == host).count()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes().next().is_none()
    }

    /// Leaves the making of a CA out.
    pub(super) fn drop_authority(&mut self) {
        let is_made = |change: &Change| matches!(change.action, Action::Authority(_));
        for play in &mut self.plays {
            for host in &mut play.hosts {
                for batch in &mut host.batches {
                    batch.changes.retain(|change| !is_made(change));
                }
                host.batches.retain(|batch| !batch.changes.is_empty());
            }
            play.hosts.retain(|host| !host.batches.is_empty());
        }
    }

    /// Whether there is no CA yet, and this plan makes one.
    #[must_use]
    pub fn creates_authority(&self) -> bool {
        let mut changes = self.changes();
        changes.any(|change| matches!(change.action, Action::Authority(_)))
    }

    /// Whether the CA's key is needed, and so its passphrase.
    #[must_use]
    pub fn needs_authority_key(&self) -> bool {
        self.changes().any(|change| {
            matches!(
                change.action,
                Action::Authority(_) | Action::NextAuthority(_) | Action::Issue(_)
            )
        })
    }
}
