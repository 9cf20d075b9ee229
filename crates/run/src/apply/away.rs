//! How long a restart made a daemon unavailable.

use super::Apply;
use crate::session::Node;
use inventory::Host;
use node::script::Script;
use node::transaction::{Outage, Report};

/// Restarts of one daemon in one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Away {
    pub restarts: usize,
    /// The sum of all times from a stop until the daemon was ready again, as the node's systemd
    /// reports them; unknown times are not included.
    pub milliseconds: u64,
    /// It is not back: its change and the undo failed, or its node went down with it.
    pub still: bool,
    /// The last outage that was counted.
    last: Option<Outage>,
}

impl Away {
    pub fn add(&mut self, other: Self) {
        self.restarts += other.restarts;
        self.milliseconds += other.milliseconds;
        self.still |= other.still;
        self.last = other.last.or(self.last);
    }

    /// Counts a restart, but none twice: a node that will undo a change by itself may not have
    /// begun, and the outage of a daemon that is still down grows with each query.
    fn count(&mut self, outage: Option<Outage>) {
        let milliseconds = |outage: Outage| outage.microseconds.div_ceil(1000);
        match (outage, self.last) {
            (Some(now), Some(last)) if now.since == last.since => {
                let longer = milliseconds(now).saturating_sub(milliseconds(last));
                self.milliseconds += longer;
            }
            (outage, _) => {
                self.restarts += 1;
                self.milliseconds += outage.map(milliseconds).unwrap_or_default();
            }
        }
        if let Some(outage) = outage {
            self.still = outage.still;
        }
        self.last = outage.or(self.last);
    }
}

impl Apply<'_> {
    /// Counts a daemon's last restart, as its node has `reported` it, or as a new query shows it.
    /// The next step detects a node that does not answer.
    pub(super) async fn count_away(
        &self,
        host: &Host,
        node: &Node,
        reported: Option<Outage>,
        away: &mut Away,
    ) {
        let facts = self.facts.get(&host.name);
        let unit = facts.and_then(|facts| facts.unit.as_ref());
        // A daemon that did not run was not stopped by this run.
        if unit.is_none_or(|unit| unit.active_state() != "active") {
            return;
        }
        let outage = if reported.is_some() {
            reported
        } else {
            let mut script = Script::default();
            script.call("fact_away", &[&host.settings.unit]);
            let answer = node.run(host.as_root, &script, node.deadlines.step).await;
            // Presumably down with its node.
            away.still = answer.is_err();
            answer.ok().and_then(|output| Report::parse(&output).away)
        };
        away.count(outage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage(milliseconds: u64, since: u64) -> Outage {
        Outage {
            microseconds: milliseconds * 1000,
            since,
            still: false,
        }
    }

    #[test]
    fn one_outage_is_counted_once() {
        let counted = |outages: &[Outage]| {
            let mut away = Away::default();
            for outage in outages {
                away.count(Some(*outage));
            }
            (away.restarts, away.milliseconds)
        };
        // The change, and its undo.
        assert_eq!(counted(&[outage(500, 1), outage(700, 9)]), (2, 1200));
        // The node will undo it by itself, but has not begun.
        assert_eq!(counted(&[outage(500, 1), outage(500, 1)]), (1, 500));
        assert_eq!(counted(&[outage(500, 1), outage(4000, 1)]), (1, 4000));
    }
}
