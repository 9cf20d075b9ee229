//! `certificate`: a leaf for the host, issued on the CA node where the one it
//! has will not do.

use super::{Kind, Module, Parameter, ROLE, role_of};
use crate::inventory::{Host, Inventory};
use crate::node::facts::FactRequest;
use crate::pki::Role;
use crate::plan::{Action, Change, LeafDecision, Planner, Refusal, leaf_location};
use crate::playbook::Task;

#[derive(Debug)]
pub struct Certificate;

const BECAUSE: Parameter = Parameter {
    name: "because",
    kind: Kind::Choice(&["anything", "age"]),
    required: false,
    summary: "age: only a renewal of a certificate that is due, of a daemon's inside `dtls_maintenance_window`; anything, which is what counts when not set: also when there is none, or one that does not fit",
};

impl Module for Certificate {
    fn name(&self) -> &'static str {
        "certificate"
    }

    fn summary(&self) -> &'static str {
        "a certificate for the host, issued by the CA when none fits or the present one is due"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[ROLE, BECAUSE]
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
        let decision = if task.argument("because") == Some("age") {
            planner.decide_renewal(host, role)?
        } else {
            Some(planner.decide_leaf(host, role)?)
        };
        let (reasons, action) = match decision {
            None | Some(LeafDecision::Keep { .. }) => return Ok(Vec::new()),
            Some(LeafDecision::Fetch { reasons, .. }) => (
                reasons,
                Action::Fetch {
                    host: host.name.clone(),
                    role,
                },
            ),
            Some(LeafDecision::Issue { reasons, request }) => (reasons, Action::Issue(*request)),
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
