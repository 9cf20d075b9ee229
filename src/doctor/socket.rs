//! Whether daemons answer on the socket of local users, and ask their guards.

use futures::future::join_all;

use super::Diagnosis;
use super::findings::{Findings, finding};
use base::event::{Severity, Topic, Verdict};
use inventory::Host;
use plan::host::guard;
use plan::{Action, Change};
use run::verify::local;

pub(super) async fn check(findings: &mut Findings, diagnosis: &Diagnosis<'_>) {
    let listed = diagnosis.playbook.limited(diagnosis.observed.inventory);
    let asked = listed.daemons().filter_map(|daemon| {
        let node = diagnosis.observed.nodes.get(&daemon.name)?;
        let facts = diagnosis.observed.facts.get(&daemon.name)?;
        let runs = facts.unit.as_ref()?.active_state() == "active";
        let is_asked = runs && diagnosis.is_deployed(daemon);
        let is_asked = is_asked || (runs && daemon.settings.local_socket);
        let is_guarded = guard::is_expected(daemon, Some(facts));
        is_asked.then_some(async move { (daemon, facts, local(node, daemon, is_guarded).await) })
    });
    for (daemon, facts, (socket, guard)) in join_all(asked).await {
        let (name, unit) = (&daemon.name, &daemon.settings.unit);
        let guard = guard.filter(|_| diagnosis.is_deployed(daemon));
        let is_guard_broken = guard
            .as_ref()
            .is_some_and(|(verdict, _)| *verdict == Verdict::Failed);
        match guard {
            Some((Verdict::Proved, _)) => findings.fine(
                name,
                Topic::Guard,
                "dockerd asks its guard, which answers".to_owned(),
            ),
            Some((Verdict::Failed, seen)) => {
                let seen = format!("it has a guard, which does not work: {seen}");
                let advice = "systemctl restart dtls-deploy-guard.socket dtls-deploy-guard.path on that host";
                let is_fix =
                    |change: &Change| matches!(change.action, Action::File(_) | Action::Restart(_));
                let fix = diagnosis.deploy_fixes(name, is_fix);
                let found = finding(Severity::Error, Topic::Guard, name, seen, advice);
                findings.add_with_fix(found, fix);
            }
            _ => {}
        }
        match socket {
            Some((Verdict::Proved, seen)) => {
                findings.fine(
                    name,
                    Topic::Docker,
                    format!("the local socket answers ({seen})"),
                );
            }
            // A daemon whose guard does not answer rejects every request.
            Some((Verdict::Failed, seen)) if !is_guard_broken => {
                let seen = format!("{unit} runs, and does not answer on its local socket: {seen}");
                let advice = facts.restart_command(unit);
                findings.add(finding(Severity::Error, Topic::Docker, name, seen, advice));
            }
            // The node has no tool to try it.
            _ => {}
        }
    }
    roles(findings, diagnosis);
}

/// What each client and each identity may do, where a guard holds it to that.
fn roles(findings: &mut Findings, diagnosis: &Diagnosis<'_>) {
    if !diagnosis.observed.inventory.daemons().any(Host::is_guarded) {
        return;
    }
    let listed = diagnosis.playbook.limited(diagnosis.observed.inventory);
    for holder in listed.clients().flat_map(Host::certificate_holders) {
        let what = format!("{} has the role {}", holder.holder(), holder.settings.role);
        findings.fine(&holder.name, Topic::Guard, what);
    }
}
