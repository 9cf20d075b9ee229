//! `ca`: the CA's key and certificate, on the CA node.

use super::shared::Module;
use crate::playbook::Task;
use crate::{Action, Authority, Change, Content, Desired, Place, Planner, Refusal};
use inventory::{Host, Inventory};
use node::facts::FactRequest;

#[derive(Debug)]
pub struct Ca;

const KEY_MODE: u32 = 0o400;
const CERTIFICATE_MODE: u32 = 0o444;

impl Module for Ca {
    fn facts(&self, inventory: &Inventory, host: &Host, _: &Task, request: &mut FactRequest) {
        if host.is_ca {
            Authority::request(inventory, request);
        }
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        planner.authority.usable()?;
        let settings = &host.settings;
        let facts = planner.facts(&host.name)?;
        facts.account_for(&settings.ca_dir)?;
        let directory = facts.expand(&settings.ca_dir);
        if planner.authority.certificate.is_none() {
            planner.refuse_lost_authority(&directory)?;
            planner.authority.planned = true;
            let subject = planner.unused_subject(&settings.ca_subject);
            subject.check().map_err(|error| {
                Refusal::new(format!("the CA's name: {error}"))
                    .hint("name it with dtls_ca_subject: {CN: NAME}")
            })?;
            return Ok(vec![Change {
                host: host.name.clone(),
                task: task.name.clone(),
                subject: format!("CA in {directory}"),
                reasons: vec!["none present".to_owned()],
                diff: None,
                action: Action::Authority(planner.authority_profile(host, subject)),
            }]);
        }
        planner.note_readable(host, &directory);
        planner.note_unlimited(host);
        let mut changes = Vec::new();
        for (name, mode) in [("ca-key.pem", KEY_MODE), ("ca.pem", CERTIFICATE_MODE)] {
            let desired = Desired::new(Place::Authority, directory.clone(), name, Content::Same)
                .exactly(mode);
            changes.extend(planner.compare(host, task, desired)?);
        }
        Ok(changes)
    }
}
