//! `command`: runs a program of the operator, an argv without a shell.

use super::shared::{DEFAULT_TIMEOUT, Module};
use crate::playbook::Task;
use crate::{Action, Change, Planner, Refusal};
use inventory::{Host, Inventory};
use node::facts::FactRequest;
use node::visible;

#[derive(Debug)]
pub struct Command;

impl Module for Command {
    fn facts(&self, _: &Inventory, _: &Host, task: &Task, request: &mut FactRequest) {
        if let Some(path) = task.argument("creates")
            && super::shared::check_absolute("creates", path).is_ok()
        {
            request.exists.insert(path.to_owned());
        }
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        let argv = task.list("argv");
        if argv.first().is_none_or(String::is_empty) {
            return Err(Refusal::new("the command has no program to start"));
        }
        if argv.iter().any(|argument| argument.contains('\0')) {
            return Err(Refusal::new("an argument of the command contains a NUL"));
        }
        let reason = match task.argument("creates") {
            None => "runs every time".to_owned(),
            Some(path) => {
                super::shared::check_absolute("creates", path)?;
                if planner.facts(&host.name)?.exists(path)? {
                    return Ok(Vec::new());
                }
                format!("{path} is missing")
            }
        };
        Ok(vec![Change {
            host: host.name.clone(),
            task: task.name.clone(),
            subject: visible(&argv.join(" ")),
            reasons: vec![reason],
            diff: None,
            action: Action::Command {
                argv,
                seconds: task.integer("timeout").unwrap_or(DEFAULT_TIMEOUT),
            },
        }])
    }
}
