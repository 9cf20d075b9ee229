//! For how long a restart has kept a daemon away from its clients.

use super::Apply;
use crate::session::Node;
use inventory::Host;
use node::script::Script;
use node::transaction::{Outage, Report};

/// Restarts of one daemon in one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Away {
    pub restarts: usize,
    /// From the beginning of each stop until the daemon was ready again, added
    /// up, as the node's systemd has it; what it does not know is not in it.
    pub milliseconds: u64,
    /// It is not back: its change failed, and so did the undo; or its node went down with it.
    pub still: bool,
    /// The outage that was counted last.
    last: Option<Outage>,
}

impl Away {
    pub fn add(&mut self, other: Self) {
        self.restarts += other.restarts;
        self.milliseconds += other.milliseconds;
        self.still |= other.still;
        self.last = other.last.or(self.last);
    }

    /// Counts a restart. One that was counted before is not another one: the node that undoes a
    /// change by itself may not have begun with it, and a daemon that has not come back is away
    /// for longer each time it is asked.
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
    /// A daemon's last restart, as its node has `reported` it, or else as it is
    /// asked now. A node that does not answer is found by what comes next.
    pub(super) async fn count_away(
        &self,
        host: &Host,
        node: &Node,
        reported: Option<Outage>,
        away: &mut Away,
    ) {
        let facts = self.facts.get(&host.name);
        let unit = facts.and_then(|facts| facts.unit.as_ref());
        // One that did not run was not away because of us.
        if unit.is_none_or(|unit| unit.active_state() != "active") {
            return;
        }
        let outage = if reported.is_some() {
            reported
        } else {
            let mut script = Script::default();
            script.call("fact_away", &[&host.settings.unit]);
            let answer = node.run(host.as_root, &script, node.deadlines.step).await;
            // Down with its node, as far as can be told.
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
        // The change, and its undoing.
        assert_eq!(counted(&[outage(500, 1), outage(700, 9)]), (2, 1200));
        // The node undoes it by itself, and has not begun with that.
        assert_eq!(counted(&[outage(500, 1), outage(500, 1)]), (1, 500));
        // It has not come back.
        assert_eq!(counted(&[outage(500, 1), outage(4000, 1)]), (1, 4000));
    }
}
