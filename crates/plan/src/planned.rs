//! What a plan is: plays, hosts, batches of changes, and notes.
//!
//! Created by [`super::plan`]; its caller shows it, carries it out and verifies it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Change, LeftContext, NotFollowed, Refusal, Unnamed};
use docker::tls::DaemonMode;
use pki::{DeliveredLeaf, LeafName, Role};

/// Everything that will be done, in the playbook's order.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub plays: Vec<PlannedPlay>,
    /// Hosts that cannot be planned for, with the reason: they are skipped.
    pub problems: Vec<PlanProblem>,
    pub notes: Vec<Note>,
    /// What stays unchanged on clients because of a daemon; the notes mention it too.
    pub kept: Vec<NotFollowed>,
    /// Contexts for daemons that are not in the inventory any more, which stay.
    pub left_contexts: Vec<LeftContext>,
    /// The playbook ends with verification.
    pub verify: bool,
    /// Serial numbers of certificates to mark as revoked again.
    pub marks: Vec<String>,
    /// Clients that guards reject also after this run.
    pub unnamed: Vec<Unnamed>,
    /// Daemons whose mode is another one than the inventory's, and stays so in this run.
    pub modes: BTreeMap<String, DaemonMode>,
    /// Which CAs each holder will trust, in PEM, during a rollover.
    pub bundles: BTreeMap<(String, Role), String>,
    /// Delivered leaves that the CA does not know are delivered.
    pub arrived: Vec<DeliveredLeaf>,
    /// Leaves that `--force` renews, or should renew but cannot issue now.
    pub unrenewed: Vec<LeafName>,
    /// Why the CA must be replaced now, if this run does not do so.
    pub rollover_due: Option<String>,
    /// The present CA has expired, and this run replaces it.
    pub authority_expired: bool,
    /// The step of the rollover that this plan begins or continues.
    pub rollover_step: Option<u8>,
    /// A host was skipped because its last change is not confirmed: the run that made it may still
    /// be active.
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

/// Changes that are sent to the node together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// All of them succeed, or all are undone.
    pub transaction: bool,
    pub changes: Vec<Change>,
    /// Daemons whose own change must be confirmed first; if one is not, the node stays unchanged.
    /// Empty if it waits for no daemon.
    pub follows: BTreeSet<String>,
    /// The names of a follower's files for people, in the order of its changes.
    pub called: Vec<String>,
}

/// Why nothing can be planned for a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanProblem {
    pub host: String,
    pub task: String,
    pub refusal: Refusal,
}

/// A note: it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub host: String,
    pub text: String,
    /// Declared in the inventory, and unsafe.
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

    /// The number of changes on a host.
    #[must_use]
    pub fn count(&self, host: &str) -> usize {
        self.changes().filter(|change| change.host == host).count()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes().next().is_none()
    }

    /// Drops the creation of a CA.
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

    /// Whether there is no CA yet and this plan creates one.
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
