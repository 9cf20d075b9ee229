//! What earlier deployments left: of roles that hosts do not have any more, and for daemons that are
//! not in the inventory any more. Pure.

use super::Diagnosis;
use super::findings::{Findings, finding};
use base::event::{Severity, Topic};
use plan::former_roles;

pub(super) fn check(findings: &mut Findings, diagnosis: &Diagnosis<'_>) {
    let observed = &diagnosis.observed;
    let (inventory, authority) = (observed.inventory, &observed.authority);
    for former in former_roles(inventory, authority, &observed.facts, observed.now) {
        let (seen, advice) = (former.described(), former.removal());
        findings.add(finding(
            Severity::Warning,
            Topic::Drift,
            &former.host,
            seen,
            advice,
        ));
    }
    for left in &diagnosis.examined.plan.left_contexts {
        let (seen, advice) = (left.described(), left.removal());
        findings.add(finding(
            Severity::Warning,
            Topic::Files,
            &left.host,
            seen,
            advice,
        ));
    }
}
