//! Changes of earlier runs that are not confirmed yet.

use super::{PlanProblem, Planner, Refusal};
use crate::playbook::{Play, Step};
use inventory::Host;
use node::facts::NodeFacts;

/// While the node may still undo a change on its own, no plan can be made from its files.
pub fn unsettled(planner: &Planner<'_>, play: &Play, host: &Host) -> Result<(), PlanProblem> {
    let Some(facts) = planner.facts.get(&host.name) else {
        return Ok(());
    };
    let changes = play
        .steps
        .iter()
        .any(|step| matches!(step, Step::Transaction { .. }));
    // Verification only watches while another run is active.
    let writes = play.tasks(host).any(|task| !task.module.is_proof);
    if let Some(run) = facts.undo_failed.first()
        && (changes || (writes && facts.working.contains_key(run)))
    {
        let script = format!("/var/lib/dtls-deploy/armed/{run}/rollback.sh");
        return Err(PlanProblem {
            host: host.name.clone(),
            task: "look at what is there".to_owned(),
            refusal: Refusal::new(format!(
                "the change of the run {run} failed, and its old files could not be put back"
            ))
            .hint(by_hand(host, Some(facts), Some(&script))),
        });
    }
    // A running script blocks every other run, even if nothing is armed.
    let armed = facts.armed.first().filter(|_| changes);
    let working = facts.working.keys().next().filter(|_| writes);
    match armed.or(working) {
        Some(run) => Err(PlanProblem {
            host: host.name.clone(),
            task: "look at what is there".to_owned(),
            refusal: Refusal::new(format!(
                "the change of the run {run} is not settled there yet"
            ))
            .hint(format!(
                "the node keeps or undoes it by itself, within {} s at most: run again then",
                u64::from(host.settings.confirm_within) + 180
            )),
        }),
        None => Ok(()),
    }
}

/// What to do on a node whose old files could not be restored; `script` is the node's own, which
/// tries again.
#[must_use]
pub fn by_hand(host: &Host, facts: Option<&NodeFacts>, script: Option<&str>) -> String {
    let unknown = NodeFacts::default();
    let look = facts.unwrap_or(&unknown).look_command(&host.settings.unit);
    let host = &host.name;
    match script {
        Some(script) => format!(
            "look at {host} now: {look}; fix what prevents it, then put the old files back with: sudo sh {script}"
        ),
        None => format!("look at {host} now: {look}"),
    }
}
