//! `command`: a step of the operator's own, an argv without a shell.

use super::{DEFAULT_TIMEOUT, Kind, Module, Parameter, timeout};
use crate::inventory::{Host, Inventory};
use crate::node::facts::FactRequest;
use crate::node::visible;
use crate::plan::{Action, Change, Planner, Refusal};
use crate::playbook::Task;

#[derive(Debug)]
pub struct Command;

impl Module for Command {
    fn name(&self) -> &'static str {
        "command"
    }

    fn summary(&self) -> &'static str {
        "a program with its arguments, started without a shell; always a change unless `creates` exists"
    }

    fn runs_programs(&self) -> bool {
        true
    }

    fn parameters(&self) -> &'static [Parameter] {
        const PARAMETERS: &[Parameter] = &[
            Parameter {
                name: "argv",
                kind: Kind::TextList,
                required: true,
                summary: "the program and each of its arguments; no shell sees them",
            },
            Parameter {
                name: "creates",
                kind: Kind::Text,
                required: false,
                summary: "a path; where it exists the command is not run",
            },
            timeout("how long the command may take; 300 when not given"),
        ];
        PARAMETERS
    }

    fn facts(&self, _: &Inventory, _: &Host, task: &Task, request: &mut FactRequest) {
        if let Some(path) = task.argument("creates")
            && super::check_absolute("creates", path).is_ok()
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
                super::check_absolute("creates", path)?;
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
