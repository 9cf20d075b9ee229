//! For how long a restart has kept a daemon away from its clients.
//!
//! Comes in: a node whose docker was restarted. Goes out: [`Away`], for the recap.
//! Called by apply after each restart, whatever came of it.

use super::Apply;
use crate::inventory::Host;
use crate::node::script::Script;
use crate::node::transaction::Report;
use crate::session::Node;

/// Restarts of one daemon in one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Away {
    pub restarts: usize,
    /// From the beginning of each stop until the daemon was ready again, added
    /// up, as the node's systemd has it; what it does not know is not in it.
    pub milliseconds: u64,
    /// It is not back: its change failed, and so did the undo.
    pub still: bool,
}

impl Away {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.restarts += other.restarts;
        self.milliseconds += other.milliseconds;
        self.still |= other.still;
    }
}

impl Apply<'_> {
    /// A daemon's last restart, as its node has `reported` it, or else as it is
    /// asked now. A node that does not answer is found by what comes next.
    pub(super) async fn count_away(
        &self,
        host: &Host,
        node: &Node,
        reported: Option<u64>,
        away: &mut Away,
    ) {
        let facts = self.facts.get(&host.name);
        let unit = facts.and_then(|facts| facts.unit.as_ref());
        // One that did not run was not away because of us.
        if unit.is_none_or(|unit| unit.active_state() != "active") {
            return;
        }
        let microseconds = if reported.is_some() {
            reported
        } else {
            let mut script = Script::default();
            script.call("fact_away", &[&host.settings.unit]);
            let answer = node.run(host.as_root, &script, node.deadlines.step).await;
            answer.ok().and_then(|output| Report::parse(&output).away)
        };
        away.add(Away {
            restarts: 1,
            milliseconds: microseconds.unwrap_or_default().div_ceil(1000),
            still: false,
        });
    }
}
