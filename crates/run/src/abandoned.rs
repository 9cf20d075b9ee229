//! The clients that `--abandon` names: former clients of the inventory, or holders outside of it.

use std::collections::BTreeSet;

use super::{Run, RunError, World};
use inventory::names::nearest;
use inventory::{Host, host_of};
use plan::playbook::Step;
use plan::playbook::Word;
use plan::{Authority, declared, outside_of};

impl Run<'_> {
    pub(super) fn refuse_unknown_abandoned(&self, world: &World) -> Result<(), RunError> {
        let ca = self.inventory.ca();
        let authority = Authority::read(ca, world.facts.get(&ca.name));
        if authority.problem.is_some() || !authority.knows_holders() {
            // The plan reports it, and nothing is abandoned.
            return Ok(());
        }
        self.warn_of_left_out(
            "--abandon leaves it out: after the rollover, daemons reject it, and it rejects them",
        );
        let declared = declared(self.inventory);
        let holders = authority.ledger.entries().iter();
        let holders = holders.filter(|of| !declared.contains(&(of.host.clone(), of.role)));
        let mut known: BTreeSet<&str> = holders
            .flat_map(|of| [of.host.as_str(), host_of(&of.host), of.serial.as_str()])
            .collect();
        known.extend(self.inventory.left_out.iter().map(String::as_str));
        let is_known = |name: &String| known.contains(name.as_str());
        let Some(name) = self.abandoned().into_iter().find(|name| !is_known(name)) else {
            return Ok(());
        };
        let outside = outside_of(&authority, self.inventory, time::OffsetDateTime::now_utc());
        let outside = outside.into_iter().map(|of| of.host);
        let clients = self.inventory.hosts.iter();
        let clients = clients.flat_map(|host| host.client_holders().map(Host::holder));
        let known: Vec<String> = outside.chain(clients).collect();
        let hint = match nearest(&name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None if known.is_empty() => {
                "leave out --abandon: there is no holder to abandon".to_owned()
            }
            None => format!("--abandon takes one of these: {}", known.join(", ")),
        };
        Err(RunError::local(
            "read --abandon",
            format!(
                "--abandon {name}: no client of the inventory and no other certificate holder has this name; nothing was changed"
            ),
            Some(hint),
        ))
    }

    /// Names the clients of the inventory that `--abandon` leaves out.
    pub(super) fn warn_of_left_out(&self, what: &str) {
        for name in &self.inventory.left_out {
            self.warn(
                Some(host_of(name)),
                format!(
                    "the client {name} is in the inventory, and {what}, until dtls-deploy deploy INVENTORY gives it a certificate of the new CA"
                ),
            );
        }
    }

    fn abandoned(&self) -> Vec<String> {
        let steps = self.playbook.plays.iter().flat_map(|play| &play.steps);
        let tasks = steps.flat_map(Step::tasks);
        let rollovers = tasks.filter(|task| task.module.word == Word::CaRollover);
        rollovers.flat_map(|task| task.list("abandon")).collect()
    }
}
