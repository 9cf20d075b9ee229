//! Whether daemons answer on the socket that local users have.

use futures::future::join_all;

use super::World;
use super::findings::{Findings, finding};
use base::event::{Severity, Topic, Verdict};
use run::verify::local_socket;

pub(super) async fn check(findings: &mut Findings, world: &World<'_>) {
    let listed = world.playbook.limited(world.inventory);
    let asked = listed.daemons().filter_map(|daemon| {
        let node = world.nodes.get(&daemon.name)?;
        let facts = world.facts.get(&daemon.name)?;
        let runs = facts.unit.as_ref()?.active_state() == "active";
        (runs && daemon.settings.local_socket)
            .then_some(async move { (daemon, facts, local_socket(node, daemon).await) })
    });
    for (daemon, facts, (verdict, seen)) in join_all(asked).await {
        let (name, unit) = (&daemon.name, &daemon.settings.unit);
        match verdict {
            Verdict::Proved => {
                findings.fine(
                    name,
                    Topic::Docker,
                    format!("the local socket answers ({seen})"),
                );
            }
            Verdict::Failed => {
                let seen = format!("{unit} runs, and does not answer on its local socket: {seen}");
                let advice = facts.restart_command(unit);
                findings.add(finding(Severity::Error, Topic::Docker, name, seen, advice));
            }
            // There is nothing on the node to ask it with.
            Verdict::NotProved | Verdict::Unreachable | Verdict::NotReached => {}
        }
    }
}
