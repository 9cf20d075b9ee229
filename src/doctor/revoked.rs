//! Certificates that were revoked, and that some host accepts all the same. Pure.

use super::World;
use super::findings::{Findings, finding};
use base::event::{Severity, Topic};
use plan::revoked;

pub(super) fn check(findings: &mut Findings, world: &World<'_>) {
    let ca = &world.inventory.ca().name;
    for (entry, revocation) in revoked::revoked(&world.authority, world.now) {
        let by = revoked::trusted_by(entry, world.inventory, &world.facts);
        if by.is_empty() {
            continue;
        }
        let seen = format!(
            "{} was revoked on {}, and {} still accepts it",
            revoked::described(entry),
            revocation.at.date(),
            by.join(", ")
        );
        let advice = "replace the CA that signed it: dtls-deploy rotate --ca INVENTORY";
        findings.add(finding(Severity::Error, Topic::Ca, ca, seen, advice));
    }
}
