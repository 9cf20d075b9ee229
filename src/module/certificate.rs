//! `certificate`: a leaf for the host, issued on the CA node where the one it
//! has will not do.

use super::{Module, Parameter, ROLE, role_of};
use crate::inventory::{Host, Inventory};
use crate::node::facts::FactRequest;
use crate::pki::Role;
use crate::plan::{Action, Change, LeafDecision, Planner, Refusal, leaf_location};
use crate::playbook::Task;

#[derive(Debug)]
pub struct Certificate;

impl Module for Certificate {
    fn name(&self) -> &'static str {
        "certificate"
    }

    fn summary(&self) -> &'static str {
        "a certificate for the host, issued by the CA when none fits or the present one is due"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[ROLE]
    }

    fn facts(&self, _: &Inventory, host: &Host, task: &Task, request: &mut FactRequest) {
        if let Some(role) = role_of(task, host) {
            let (directory, files) = leaf_location(host, role);
            request
                .content
                .insert(format!("{directory}/{}", files.cert));
            request.hashed.insert(format!("{directory}/{}", files.key));
        }
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        let Some(role) = role_of(task, host) else {
            return Ok(Vec::new());
        };
        let subject = match role {
            Role::Daemon => format!("daemon certificate for {}", host.name),
            Role::Client => format!("client certificate for {}", host.name),
        };
        let (reasons, action) = match planner.decide_leaf(host, role)? {
            LeafDecision::Keep { .. } => return Ok(Vec::new()),
            LeafDecision::Fetch { reasons, .. } => (
                reasons,
                Action::Fetch {
                    host: host.name.clone(),
                    role,
                },
            ),
            LeafDecision::Issue { reasons, request } => (reasons, Action::Issue(*request)),
        };
        Ok(vec![Change {
            host: host.name.clone(),
            task: task.name.clone(),
            subject,
            reasons,
            diff: None,
            action,
        }])
    }
}
