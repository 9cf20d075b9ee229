//! The order of hosts: batches, and when no further batch begins.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use inventory::{BatchSize, Host, Inventory};
use node::facts::NodeFacts;
use pki::{Certificate, Role};
use plan::host::leaf::location as leaf_location;
use plan::playbook::Play;
use plan::{Action, PlannedHost, PlannedPlay};

/// The hosts of a play, batch by batch.
///
/// If a play restarts daemons, `dtls_serial` counts only the hosts that restart; the others are in
/// the first batch. A play's own `serial` counts all of its hosts. Two swarm managers never restart
/// in the same batch.
#[must_use]
pub fn batches<'a>(
    planned: &'a PlannedPlay,
    play: Option<&Play>,
    inventory: &Inventory,
) -> Vec<Vec<&'a PlannedHost>> {
    let own = play.and_then(|play| play.serial.as_deref());
    let run_wide = inventory.daemons().next();
    let run_wide = run_wide.map(|host| host.settings.serial.as_slice());
    let hosts = planned.hosts.iter().map(|host| {
        let restart = restart(host);
        Candidate {
            host,
            counts: own.is_some() || restart.is_some(),
            manager: restart.is_some_and(|restart| restart.swarm_manager),
        }
    });
    in_batches(hosts.collect(), own.or(run_wide).unwrap_or_default())
}

/// The percentage of a batch that may fail in this play.
#[must_use]
pub fn max_fail_percentage(play: Option<&Play>, inventory: &Inventory) -> u8 {
    let run_wide = inventory.daemons().next();
    let run_wide = run_wide.map_or(0, |host| host.settings.max_fail_percentage);
    play.and_then(|play| play.max_fail_percentage)
        .unwrap_or(run_wide)
}

/// Whether this many failures in a batch stop the run. Strictly more than the percentage, as in
/// Ansible.
#[must_use]
pub(crate) fn is_too_many(failed: usize, of: usize, max_fail_percentage: u8) -> bool {
    failed.saturating_mul(100) > of.saturating_mul(max_fail_percentage.into())
}

/// Whether the failure of a host stops what comes after it. The failure of a client does not, if
/// its certificate is still valid and the client was not to get another CA: daemons keep accepting
/// it, and it keeps accepting them. An account on one client must not be able to stop the renewal
/// of every daemon.
#[must_use]
pub(crate) fn holds_back(host: &Host, planned: &PlannedHost, facts: &NodeFacts) -> bool {
    if host.is_ca || host.is_daemon || !host.is_client {
        return true;
    }
    let (directory, files) = leaf_location(host, Role::Client);
    let authority = facts.expand(&format!("{directory}/{}", files.ca));
    // What follows a daemon comes after it.
    let first = planned
        .batches
        .iter()
        .filter(|batch| batch.follows.is_empty());
    let changes = first.flat_map(|batch| &batch.changes);
    let learns = changes
        .filter_map(|change| match &change.action {
            Action::File(file) => Some(file),
            _ => None,
        })
        .any(|file| file.path() == authority);
    let valid = facts
        .regular(&format!("{directory}/{}", files.cert))
        .and_then(|file| Certificate::from_pem(file.content.as_deref()?).ok())
        .is_some_and(|certificate| certificate.not_after().unix_timestamp() > facts.clock);
    learns || !valid
}

/// The change planned for a host's daemon.
#[must_use]
pub fn restart(host: &PlannedHost) -> Option<&plan::Restart> {
    host.batches
        .iter()
        .flat_map(|batch| &batch.changes)
        .find_map(|change| match &change.action {
            Action::Restart(restart) => Some(restart),
            _ => None,
        })
}

struct Candidate<'a, T> {
    host: &'a T,
    /// It counts towards the size of a batch.
    counts: bool,
    manager: bool,
}

fn in_batches<'a, T>(hosts: Vec<Candidate<'a, T>>, serial: &[BatchSize]) -> Vec<Vec<&'a T>> {
    let (counted, others): (Vec<_>, Vec<_>) = hosts.into_iter().partition(|host| host.counts);
    let all = counted.len();
    let mut left: VecDeque<Candidate<'a, T>> = counted.into();
    let mut batches = vec![others.into_iter().map(|host| host.host).collect::<Vec<_>>()];
    let mut sizes = serial.iter().copied();
    let mut last = BatchSize::Percent(100);
    while !left.is_empty() {
        last = sizes.next().unwrap_or(last);
        let mut batch = Vec::new();
        let mut later = VecDeque::new();
        let mut has_manager = false;
        while let Some(next) = left.pop_front() {
            if batch.len() >= last.of(all) || (next.manager && has_manager) {
                later.push_back(next);
            } else {
                has_manager |= next.manager;
                batch.push(next.host);
            }
        }
        left = later;
        batches.push(batch);
    }
    // Hosts that do not count are in the first batch.
    if batches.len() > 1 {
        let others = batches.remove(0);
        if let Some(first) = batches.first_mut() {
            first.splice(0..0, others);
        }
    }
    batches.retain(|batch| !batch.is_empty());
    batches
}

/// Closed once nothing new may begin; names the hosts whose failure closed it.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<BTreeSet<String>>);

impl Gate {
    pub(super) fn close<'a>(&self, failed: impl IntoIterator<Item = &'a str>) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.extend(failed.into_iter().map(str::to_owned));
    }

    pub(super) fn is_closed(&self) -> bool {
        !self.closed_by().is_empty()
    }

    pub(super) fn closed_by(&self) -> Vec<String> {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::BatchSize::{Hosts, Percent};
    use super::*;

    /// `m` is a manager that restarts, `w` another host that restarts, `-` one that does not;
    /// batches are shown as positions.
    fn taken(hosts: &str, serial: &[BatchSize]) -> Vec<Vec<usize>> {
        let places: Vec<(usize, char)> = hosts.chars().enumerate().collect();
        let candidates = places.iter().map(|host| Candidate {
            host,
            counts: host.1 != '-',
            manager: host.1 == 'm',
        });
        in_batches(candidates.collect(), serial)
            .into_iter()
            .map(|batch| batch.into_iter().map(|(place, _)| *place).collect())
            .collect()
    }

    fn default_sizes(hosts: usize) -> Vec<usize> {
        let serial = [Hosts(1), Percent(10), Percent(25), Percent(100)];
        taken(&"w".repeat(hosts), &serial)
            .iter()
            .map(Vec::len)
            .collect()
    }

    #[test]
    fn first_one_then_a_tenth_then_a_quarter_then_the_rest() {
        assert_eq!(default_sizes(1), [1]);
        assert_eq!(default_sizes(2), [1, 1]);
        assert_eq!(default_sizes(5), [1, 1, 1, 2]);
        assert_eq!(default_sizes(40), [1, 4, 10, 25]);
        assert_eq!(default_sizes(0), [0; 0]);
    }

    #[test]
    fn the_last_size_repeats() {
        assert_eq!(
            taken("wwwww", &[Hosts(2)]),
            [vec![0, 1], vec![2, 3], vec![4]]
        );
        assert_eq!(
            taken("wwwww", &[Hosts(1), Percent(40)]),
            [vec![0], vec![1, 2], vec![3, 4]]
        );
        assert_eq!(taken("ww", &[]), [[0, 1]]);
        assert_eq!(taken("ww", &[Hosts(9)]), [[0, 1]]);
    }

    #[test]
    fn hosts_without_a_restart_go_with_the_first_batch() {
        assert_eq!(taken("w-w-", &[Hosts(1)]), [vec![1, 3, 0], vec![2]]);
        assert_eq!(taken("---", &[Hosts(1)]), [[0, 1, 2]]);
    }

    #[test]
    fn one_manager_at_a_time() {
        assert_eq!(
            taken("mmmww", &[Percent(100)]),
            [vec![0, 3, 4], vec![1], vec![2]]
        );
        assert_eq!(
            taken("mwmwmw", &[Hosts(1), Hosts(3)]),
            [vec![0], vec![1, 2, 3], vec![4, 5]]
        );
        assert_eq!(taken("mm", &[Hosts(2)]), [[0], [1]]);
    }

    #[test]
    fn failures_stop_above_the_percentage_and_not_at_it() {
        assert!(is_too_many(1, 10, 0));
        assert!(!is_too_many(0, 10, 0));
        assert!(!is_too_many(3, 10, 30));
        assert!(is_too_many(4, 10, 30));
        assert!(!is_too_many(10, 10, 100));
        assert!(!is_too_many(0, 0, 0));
    }
}
