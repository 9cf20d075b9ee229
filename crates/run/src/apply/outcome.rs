//! The outcome of a plan: of one host, and of all.

use std::collections::{BTreeMap, BTreeSet};

use super::Away;
use crate::session::NodeError;
use base::event::Failure;
use pki::DeliveredLeaf;

/// The outcome of all hosts.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Changes made, by host.
    pub changed: BTreeMap<String, usize>,
    /// What they changed, by host.
    pub done: BTreeMap<String, Vec<String>>,
    /// What was planned but not done, by host.
    pub not_done: BTreeMap<String, Vec<String>>,
    /// What was planned but not begun, because another host failed, by host.
    pub skipped: BTreeMap<String, Vec<String>>,
    /// Hosts on which a change failed.
    pub failed: BTreeSet<String>,
    /// Failed hosts whose connection was lost.
    pub unreachable: BTreeSet<String>,
    /// Leaves that were put in place: host, role, serial.
    pub placed: Vec<DeliveredLeaf>,
    /// Daemons that were restarted.
    pub away: BTreeMap<String, Away>,
}

impl Outcome {
    /// Adds the outcome of a later plan of the same run.
    pub(crate) fn absorb(&mut self, later: Self) {
        for (host, count) in later.changed {
            *self.changed.entry(host).or_default() += count;
        }
        for (host, done) in later.done {
            self.done.entry(host).or_default().extend(done);
        }
        for (host, not_done) in later.not_done {
            self.not_done.entry(host).or_default().extend(not_done);
        }
        for (host, skipped) in later.skipped {
            self.skipped.entry(host).or_default().extend(skipped);
        }
        self.failed.extend(later.failed);
        self.unreachable.extend(later.unreachable);
        self.placed.extend(later.placed);
        for (host, away) in later.away {
            self.away.entry(host).or_default().add(away);
        }
    }

    pub(super) fn add(&mut self, host: HostDone) {
        *self.changed.entry(host.name.clone()).or_default() += host.changed;
        self.placed.extend(host.placed);
        if host.away.restarts > 0 {
            let away = self.away.entry(host.name.clone()).or_default();
            away.add(host.away);
        }
        self.done
            .entry(host.name.clone())
            .or_default()
            .extend(host.done);
        if !host.not_done.is_empty() {
            let skips = host.held && !host.failed;
            let of = if skips {
                &mut self.skipped
            } else {
                &mut self.not_done
            };
            let not_done = of.entry(host.name.clone()).or_default();
            not_done.extend(host.not_done);
        }
        if host.unreachable {
            self.unreachable.insert(host.name.clone());
        }
        if host.failed {
            self.failed.insert(host.name);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct HostDone {
    pub(super) name: String,
    pub(super) changed: usize,
    pub(super) failed: bool,
    /// It was not begun, because other hosts had failed.
    pub(super) held: bool,
    pub(super) unreachable: bool,
    pub(super) done: Vec<String>,
    pub(super) not_done: Vec<String>,
    pub(super) placed: Vec<DeliveredLeaf>,
    pub(super) away: Away,
}

/// Why a host stops.
pub(super) struct Stopped {
    pub(super) failure: Failure,
    pub(super) unreachable: bool,
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            unreachable: false,
        }
    }
}

impl Stopped {
    pub(super) fn in_change(error: &NodeError, host: &str, step: &str) -> Self {
        Self {
            failure: error.failure_in_change(host, step),
            unreachable: error.is_gone(),
        }
    }
}
