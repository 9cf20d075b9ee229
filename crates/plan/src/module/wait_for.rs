//! `wait_for`: a pause between changes until a port or a path is as wanted.

use super::shared::{DEFAULT_TIMEOUT, Module};
use crate::playbook::Task;
use crate::{Action, Awaited, Change, Planner, Refusal};
use inventory::names::is_address;
use inventory::{Host, Inventory};
use node::facts::FactRequest;
use node::visible;

#[derive(Debug)]
pub struct WaitFor;

impl Module for WaitFor {
    fn facts(&self, _: &Inventory, _: &Host, _: &Task, _: &mut FactRequest) {}

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        let there = !matches!(task.argument("state"), Some("stopped" | "absent"));
        let awaited = match (task.integer("port"), task.argument("path")) {
            (Some(port), None) => {
                let name = task.argument("host").unwrap_or("127.0.0.1");
                if !is_address(name) {
                    let shown = visible(name);
                    return Err(Refusal::new(format!(
                        "host: {shown} is neither a host name nor an address"
                    )));
                }
                Awaited::Port {
                    host: name.to_owned(),
                    port: u16::try_from(port).unwrap_or(u16::MAX),
                    open: there,
                }
            }
            (None, Some(path)) => {
                super::shared::check_absolute("path", path)?;
                Awaited::Path {
                    path: planner.facts(&host.name)?.expand(path),
                    present: there,
                }
            }
            _ => {
                return Err(Refusal::new(
                    "wait_for needs a port or a path, and not both",
                ));
            }
        };
        if planner.earlier.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![Change {
            host: host.name.clone(),
            task: task.name.clone(),
            subject: visible(&awaited.to_string()),
            reasons: vec!["after what is changed before it".to_owned()],
            diff: None,
            action: Action::Wait {
                awaited,
                seconds: task.integer("timeout").unwrap_or(DEFAULT_TIMEOUT),
            },
        }])
    }
}
