//! Certificates that were revoked but that some host still accepts. Pure.

use super::Diagnosis;
use super::findings::{Findings, finding};
use base::event::{Severity, Topic};
use plan::revoked;

pub(super) fn check(findings: &mut Findings, diagnosis: &Diagnosis<'_>) {
    let ca = &diagnosis.observed.inventory.ca().name;
    for (entry, revocation) in
        revoked::revoked(&diagnosis.observed.authority, diagnosis.observed.now)
    {
        let by = revoked::trusted_by(
            entry,
            diagnosis.observed.inventory,
            &diagnosis.observed.facts,
        );
        if by.is_empty() {
            continue;
        }
        let seen = format!(
            "{} was revoked on {}, and {} still accepts it",
            revoked::described(entry),
            revocation.at.date(),
            by.join(", ")
        );
        let inventory = diagnosis.observed.inventory;
        let accepting = || by.iter().map(String::as_str);
        let facts = &diagnosis.observed.facts;
        let advice = if revoked::is_for_restart(entry, inventory, facts, accepting()) {
            "dockerd does not ask its guard there: dtls-deploy INVENTORY restarts it"
        } else if revoked::is_for_guards(entry, inventory, accepting()) {
            "update the policy of the guard: dtls-deploy rotate INVENTORY"
        } else {
            "replace the CA that signed it: dtls-deploy rotate --ca INVENTORY"
        };
        findings.add(finding(Severity::Error, Topic::Ca, ca, seen, advice));
    }
}
