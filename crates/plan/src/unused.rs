//! A new CA that would issue no certificate.

use super::{Plan, Planner, leaves_of};
use crate::playbook::Playbook;
use inventory::Host;

impl Planner<'_> {
    pub(crate) fn drop_unused_authority(
        &mut self,
        playbook: &Playbook,
        plan: &mut Plan,
        given_up: &[String],
    ) {
        let in_run = |host: &Host| playbook.plays.iter().any(|play| play.includes(host));
        let mut holders = leaves_of(self.inventory).into_iter();
        let is_used = holders.any(|(host, _)| {
            in_run(host) && self.facts.contains_key(&host.name) && !given_up.contains(&host.name)
        });
        if is_used || !plan.creates_authority() {
            return;
        }
        plan.drop_authority();
        let text = "the CA is not made: every daemon and every client of this run was refused or could not be reached";
        self.note(self.inventory.ca(), text);
    }
}
