//! A rollover of the CA that was not finished.

use super::World;
use super::findings::{Findings, finding};
use base::event::{Severity, Topic};
use plan::{Rollover, UnderWay};

pub(super) fn check(findings: &mut Findings, world: &World<'_>) {
    let (authority, inventory) = (&world.authority, world.inventory);
    let rollover = Rollover::read(authority, inventory, &world.facts, world.now);
    if let Some(UnderWay { seen, command }) = UnderWay::read(authority, rollover.as_ref()) {
        let ca = &inventory.ca().name;
        findings.add(finding(Severity::Warning, Topic::Ca, ca, seen, command));
    }
}
