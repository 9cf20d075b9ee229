//! An unfinished rollover of the CA.

use super::Diagnosis;
use super::findings::{Findings, finding};
use base::event::{Severity, Topic};
use plan::{Rollover, UnderWay};

pub(super) fn check(findings: &mut Findings, diagnosis: &Diagnosis<'_>) {
    let (authority, inventory) = (&diagnosis.observed.authority, diagnosis.observed.inventory);
    let rollover = Rollover::read(
        authority,
        inventory,
        &diagnosis.observed.facts,
        diagnosis.observed.now,
    );
    if let Some(UnderWay { seen, command }) = UnderWay::read(authority, rollover.as_ref()) {
        let ca = &inventory.ca().name;
        findings.add(finding(Severity::Warning, Topic::Ca, ca, seen, command));
    }
}
