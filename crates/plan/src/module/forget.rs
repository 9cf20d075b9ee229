//! `forget`: removes what a node keeps of earlier changes, including old keys.
//!
//! The last step of `remove`: nothing of dtls-deploy stays on the node.

use super::shared::Module;
use crate::host::generations::{OF_LOGIN, is_kept_for_login};
use crate::host::read::RECORD;
use crate::playbook::Task;
use crate::{Action, Change, Forget as Forgotten, Planner, Refusal};
use inventory::{Host, Inventory};
use node::facts::FactRequest;

#[derive(Debug)]
pub struct Forget;

impl Module for Forget {
    fn facts(&self, _: &Inventory, _: &Host, _: &Task, request: &mut FactRequest) {
        request.generations = true;
        request.exists.insert(OF_LOGIN.to_owned());
        request.content.insert(RECORD.to_owned());
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        let facts = planner.facts(&host.name)?;
        let of_login = is_kept_for_login(facts);
        if facts.generations.is_empty() && facts.regular(RECORD).is_none() && !of_login {
            return Ok(Vec::new());
        }
        Ok(vec![Change {
            host: host.name.clone(),
            task: task.name.clone(),
            subject: "generations of replaced files".to_owned(),
            reasons: vec!["to be removed: there is no rollback afterwards".to_owned()],
            diff: None,
            action: Action::Forget(Forgotten::Everything),
        }])
    }
}
