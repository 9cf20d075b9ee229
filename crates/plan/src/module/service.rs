//! `service`: brings a systemd unit of the operator to a state.

use super::shared::{DEFAULT_TIMEOUT, Module};
use crate::playbook::Task;
use crate::{Action, Change, Planner, Refusal, ServiceVerb};
use inventory::{Host, Inventory};
use node::facts::FactRequest;

#[derive(Debug)]
pub struct Service;

/// `nginx` means `nginx.service`, as in systemctl.
fn unit_of(task: &Task) -> Option<String> {
    const TYPES: [&str; 5] = ["service", "socket", "timer", "target", "path"];
    let name = task.argument("name")?;
    let is_whole = name
        .rsplit_once('.')
        .is_some_and(|(_, suffix)| TYPES.contains(&suffix));
    let allowed =
        |character: char| character.is_ascii_alphanumeric() || ":-_.\\@".contains(character);
    let valid = !name.starts_with('-') && !name.is_empty() && name.chars().all(allowed);
    valid.then(|| {
        if is_whole {
            name.to_owned()
        } else {
            format!("{name}.service")
        }
    })
}

impl Module for Service {
    fn facts(&self, _: &Inventory, _: &Host, task: &Task, request: &mut FactRequest) {
        request.services.extend(unit_of(task));
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        let Some(unit) = unit_of(task) else {
            return Err(Refusal::new(format!(
                "{} is not the name of a unit",
                node::visible(task.argument("name").unwrap_or_default())
            )));
        };
        let facts = planner.facts(&host.name)?;
        if !facts.systemd {
            return Err(Refusal::new("systemd is not running there")
                .hint("use `command` with what starts services on this node"));
        }
        let service = facts.services.get(&unit).ok_or_else(|| {
            Refusal::new(format!("nothing was asked about {unit}"))
                .hint("the name of a unit may use the inventory's variables, but no facts")
        })?;
        if !service.is_loaded() {
            return Err(Refusal::new(format!("there is no unit {unit}"))
                .hint("install it before: facts are read before anything is changed"));
        }
        let state = service.active_state();
        let is_active = ["active", "reloading", "activating"].contains(&state);
        let (verb, reason) = match task.argument("state") {
            Some("started") if is_active => return Ok(Vec::new()),
            Some("stopped") if !is_active => return Ok(Vec::new()),
            Some("started") => (ServiceVerb::Start, format!("the unit is {state}")),
            Some("stopped") => (ServiceVerb::Stop, format!("the unit is {state}")),
            Some("reloaded") => (ServiceVerb::Reload, "reloads every time".to_owned()),
            _ => (ServiceVerb::Restart, "restarts every time".to_owned()),
        };
        Ok(vec![Change {
            host: host.name.clone(),
            task: task.name.clone(),
            subject: format!("{} {unit}", verb.word()),
            reasons: vec![reason],
            diff: None,
            action: Action::Service {
                unit,
                verb,
                seconds: task.integer("timeout").unwrap_or(DEFAULT_TIMEOUT),
            },
        }])
    }
}
