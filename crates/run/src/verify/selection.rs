//! Selects which clients are tried with which daemons.
//!
//! All pairs are clients times daemons; if that is a lot and not requested, a selection in which
//! every client and every daemon takes part. Pure.

use std::collections::BTreeSet;

use inventory::VerifyScope;

/// Up to this many pairs, all are tried by default.
const FEW: usize = 100;

/// A client to try from.
#[derive(Debug, Clone, Copy)]
pub(super) struct From {
    pub scope: Option<VerifyScope>,
    /// The daemon in its profile, or the first one.
    pub own: usize,
}

/// A client and a daemon, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    pub daemon: usize,
    pub client: usize,
    /// Also tries rejections by the daemon, from that client.
    pub refusals: bool,
}

/// The pairs to try, daemon by daemon.
pub(super) fn select(clients: &[From], daemons: usize) -> Vec<Pair> {
    if daemons == 0 {
        return Vec::new();
    }
    let unsaid = if clients.len().saturating_mul(daemons) <= FEW {
        VerifyScope::Full
    } else {
        VerifyScope::Sample
    };
    let of = |scope| {
        let all = clients.iter().enumerate();
        all.filter(move |(_, client)| client.scope.unwrap_or(unsaid) == scope)
    };
    let mut pairs = Vec::new();
    for (client, _) in of(VerifyScope::Full) {
        pairs.extend((0..daemons).map(|daemon| Pair {
            daemon,
            client,
            refusals: true,
        }));
    }
    pairs.extend(of(VerifyScope::Own).map(|(client, from)| Pair {
        daemon: from.own,
        client,
        refusals: false,
    }));
    let sampled: Vec<usize> = of(VerifyScope::Sample).map(|(client, _)| client).collect();
    // Pairs both lists, repeating the shorter one: every entry takes part, and no pair occurs
    // twice.
    let turns = if sampled.is_empty() {
        0
    } else {
        sampled.len().max(daemons)
    };
    let again = sampled.iter().cycle().take(turns).enumerate();
    pairs.extend(again.map(|(turn, client)| Pair {
        daemon: turn % daemons,
        client: *client,
        refusals: turn < daemons,
    }));
    pairs.sort_unstable();
    pairs
}

/// The daemons whose rejections are tried.
pub(super) fn refusing(pairs: &[Pair]) -> BTreeSet<usize> {
    let refusals = pairs.iter().filter(|pair| pair.refusals);
    refusals.map(|pair| pair.daemon).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(count: usize, scope: Option<VerifyScope>) -> Vec<From> {
        vec![From { scope, own: 0 }; count]
    }

    #[test]
    fn few_are_all_tried_and_many_are_when_asked() {
        for (scope, count, daemons) in [
            (None, 10, 10),
            (None, 100, 1),
            (Some(VerifyScope::Full), 30, 40),
        ] {
            let pairs = select(&clients(count, scope), daemons);
            assert_eq!(pairs.len(), count * daemons);
            assert!(pairs.iter().all(|pair| pair.refusals));
        }
        assert_eq!(select(&clients(3, None), 0), []);
        assert_eq!(select(&[], 5), []);
    }

    #[test]
    fn of_many_nobody_is_left_out_and_nothing_is_tried_twice() {
        for (count, daemons) in [(1000, 1), (101, 1), (11, 10), (1, 500), (7, 300), (60, 40)] {
            let pairs = select(&clients(count, None), daemons);
            assert_eq!(pairs.len(), count.max(daemons), "{count} × {daemons}");
            let different: BTreeSet<_> = pairs.iter().map(|p| (p.client, p.daemon)).collect();
            assert_eq!(different.len(), pairs.len());
            let seen: BTreeSet<usize> = pairs.iter().map(|pair| pair.client).collect();
            assert_eq!(seen.len(), count);
            for daemon in 0..daemons {
                let of: Vec<_> = pairs.iter().filter(|pair| pair.daemon == daemon).collect();
                assert!(!of.is_empty());
                assert_eq!(of.iter().filter(|pair| pair.refusals).count(), 1);
            }
        }
    }

    #[test]
    fn a_client_is_tried_as_it_says() {
        let mut all = clients(2, Some(VerifyScope::Sample));
        all.push(From {
            scope: Some(VerifyScope::Own),
            own: 2,
        });
        all.push(From {
            scope: Some(VerifyScope::Full),
            own: 0,
        });
        let of = |client| {
            let pairs = select(&all, 3);
            let own = pairs.into_iter().filter(|pair| pair.client == client);
            own.map(|pair| (pair.daemon, pair.refusals))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(0), [(0, true), (2, true)]);
        assert_eq!(of(1), [(1, true)]);
        assert_eq!(of(2), [(2, false)]);
        assert_eq!(of(3), [(0, true), (1, true), (2, true)]);
    }
}
