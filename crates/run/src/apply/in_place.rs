//! Tells when everything that a check depends on is in place.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// One for each plan that is carried out.
#[derive(Debug, Default)]
pub struct InPlace {
    /// Hosts that have not finished.
    awaited: Arc<AtomicUsize>,
    reached: Arc<watch::Sender<bool>>,
    withdrawn: AtomicBool,
    hosts: Mutex<Hosts>,
}

#[derive(Debug, Default)]
struct Hosts {
    /// Hosts whose changes in some play are complete.
    changed: BTreeSet<String>,
    /// Hosts whose changes in some play are incomplete.
    left: BTreeSet<String>,
    /// Daemons that were restarted and seen to serve what they should.
    restarted: BTreeSet<String>,
    /// Daemons whose restart was confirmed without a client's certificate.
    unshown: BTreeSet<String>,
    /// The outcome of their change is unknown.
    unknown: BTreeSet<String>,
}

/// A host that is waited for; it has arrived when this is dropped.
#[derive(Debug)]
pub(super) struct Arrival {
    awaited: Arc<AtomicUsize>,
    reached: Arc<watch::Sender<bool>>,
}

impl InPlace {
    /// These are the last hosts to wait for.
    pub(super) fn expect(&self, hosts: usize) -> Vec<Arrival> {
        self.awaited.store(hosts, Ordering::SeqCst);
        let arrival = || Arrival {
            awaited: Arc::clone(&self.awaited),
            reached: Arc::clone(&self.reached),
        };
        std::iter::repeat_with(arrival).take(hosts).collect()
    }

    /// Records whether a play's changes are complete on a host.
    pub(super) fn played(&self, host: &str, is_done: bool) {
        let mut hosts = self.hosts();
        let of = if is_done {
            &mut hosts.changed
        } else {
            &mut hosts.left
        };
        of.insert(host.to_owned());
    }

    /// Whether all its planned changes are complete, in the plays that have begun.
    #[must_use]
    pub(crate) fn has_changed(&self, host: &str) -> bool {
        let hosts = self.hosts();
        hosts.changed.contains(host) && !hosts.left.contains(host)
    }

    /// No client certificate could be presented to the restarted daemon.
    pub(super) fn not_shown(&self, host: &str) {
        self.hosts().unshown.insert(host.to_owned());
    }

    /// Daemons whose restart was confirmed without a client's certificate.
    pub(super) fn unshown(&self) -> Vec<String> {
        self.hosts().unshown.iter().cloned().collect()
    }

    /// The outcome of its change is unknown.
    pub(super) fn lost(&self, host: &str) {
        self.hosts().unknown.insert(host.to_owned());
    }

    /// Whether the outcome of its change is unknown.
    #[must_use]
    pub fn is_lost(&self, host: &str) -> bool {
        self.hosts().unknown.contains(host)
    }

    /// The daemon of a host was restarted and serves what it should.
    pub(super) fn restarted(&self, host: &str) {
        self.hosts().restarted.insert(host.to_owned());
    }

    /// Whether its daemon was restarted and has not gone back since.
    #[must_use]
    pub(crate) fn has_restarted(&self, host: &str) -> bool {
        self.hosts().restarted.contains(host)
    }

    fn hosts(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host that had arrived has gone back to its previous state.
    pub(super) fn withdraw(&self, host: &str) {
        self.hosts().restarted.remove(host);
        self.withdrawn.store(true, Ordering::SeqCst);
    }

    /// What is not in place now will not be.
    pub(super) fn end(&self) {
        self.reached.send_replace(true);
    }

    /// Whether earlier observations are no longer valid.
    #[must_use]
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::SeqCst)
    }

    /// Waits until everything is in place, or the plan has been carried out.
    pub async fn reached(&self) {
        let mut reached = self.reached.subscribe();
        // The sender lives as long as `self`.
        let _ = reached.wait_for(|reached| *reached).await;
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if self.awaited.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.reached.send_replace(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn it_is_reached_when_the_last_has_arrived() {
        let in_place = InPlace::default();
        let mut arrivals = in_place.expect(3);
        assert_eq!(in_place.reached().now_or_never(), None);
        arrivals.pop();
        arrivals.pop();
        assert_eq!(in_place.reached().now_or_never(), None);
        arrivals.pop();
        assert_eq!(in_place.reached().now_or_never(), Some(()));
    }

    /// Certificates are issued for a daemon in a play before the one that changes it.
    #[test]
    fn a_daemon_whose_change_failed_is_as_it_was_whatever_its_other_plays_did() {
        let in_place = InPlace::default();
        in_place.played("undone", true);
        in_place.played("undone", false);
        assert!(!in_place.has_restarted("undone") && !in_place.has_changed("undone"));
        in_place.restarted("withdrawn");
        assert!(in_place.has_restarted("withdrawn"));
        in_place.withdraw("withdrawn");
        assert!(!in_place.has_restarted("withdrawn") && in_place.is_withdrawn());
        // Its client failed, and its daemon did not.
        in_place.restarted("both");
        in_place.played("both", true);
        in_place.played("both", false);
        assert!(in_place.has_restarted("both") && !in_place.has_changed("both"));
    }

    #[test]
    fn a_plan_without_hosts_is_reached_at_its_end() {
        let in_place = InPlace::default();
        assert!(in_place.expect(0).is_empty());
        assert_eq!(in_place.reached().now_or_never(), None);
        in_place.end();
        assert_eq!(in_place.reached().now_or_never(), Some(()));
    }
}
