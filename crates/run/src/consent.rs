//! Asks for consent to the plan, and to stopping containers, before anything changes.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};

use super::RunError;
use plan::playbook::after;
use plan::{Action, Plan, STEPS};

/// Running containers that the plan's restarts stop, by host, in the plan's order; `None` for an
/// unknown number.
pub(super) fn stopping(plan: &Plan) -> Vec<(&str, Option<usize>)> {
    plan.changes()
        .filter_map(|change| match &change.action {
            Action::Restart(restart) if restart.stops != Some(0) => {
                Some((change.host.as_str(), restart.stops))
            }
            _ => None,
        })
        .collect()
}

/// "3 containers on node3 and 1 on node4".
pub(super) fn described(stopping: &[(&str, Option<usize>)]) -> String {
    const NAMED: usize = 4;
    let mut parts: Vec<String> = stopping
        .iter()
        .take(NAMED)
        .enumerate()
        .map(|(index, (host, count))| match (index, count) {
            (0, Some(1)) => format!("1 container on {host}"),
            (0, Some(count)) => format!("{count} containers on {host}"),
            (0, None) => format!("an unknown number of containers on {host}"),
            (_, Some(count)) => format!("{count} on {host}"),
            (_, None) => format!("an unknown number on {host}"),
        })
        .collect();
    let rest = stopping.get(NAMED..).unwrap_or_default();
    if !rest.is_empty() {
        let count: Option<usize> = rest.iter().map(|(_, count)| *count).sum();
        let count = count.map_or_else(|| "an unknown number".to_owned(), |count| count.to_string());
        parts.push(format!("{count} on {} other hosts", rest.len()));
    }
    match parts.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => parts.concat(),
    }
}

/// The hosts that a plan changes: with `--quiet`, the question is all that is shown of it.
fn changed(plan: &Plan) -> String {
    const NAMED: usize = 6;
    let mut hosts: Vec<&str> = plan.changes().map(|change| change.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    match hosts.as_slice() {
        many if many.len() > NAMED => format!("{} hosts", many.len()),
        [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        one => one.concat(),
    }
}

/// Whether a user can be asked, wherever the output goes.
#[must_use]
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks; anything but yes means no. Blocks its thread until there is an answer.
pub(super) fn question(text: &str) -> std::io::Result<bool> {
    // Standard output may be redirected to a program.
    let stderr = std::io::stderr();
    // A line that is full would break inside of the brackets.
    let gap = if text.chars().count() > 60 { "\n" } else { " " };
    let text = format!("{text}{gap}Go on? [y/N] ");
    if stderr.is_terminal() {
        stderr.lock().write_all(text.as_bytes())?;
    } else {
        let mut terminal = File::options().write(true).open("/dev/tty")?;
        terminal.write_all(text.as_bytes())?;
    }
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    let answer = answer.trim().to_ascii_lowercase();
    Ok(matches!(answer.as_str(), "y" | "yes"))
}

impl super::Run<'_> {
    /// Ends the run at once if containers would stop and no user can agree.
    pub(super) fn refuse_unasked(&self, plan: &Plan) -> Result<(), RunError> {
        let stopping = stopping(plan);
        if stopping.is_empty() || self.options.allow_container_restart || can_ask() {
            return Ok(());
        }
        Err(RunError::ContainersRunning {
            what: described(&stopping),
            asked: false,
            goes_back: after(self.playbook).is_some(),
        })
    }

    /// Whether this run continues with further steps of a rollover, which are planned later.
    pub(super) fn has_more_steps(&self, plan: &Plan) -> bool {
        let last = STEPS.len() - 1;
        self.options.until_done
            && plan
                .rollover_step
                .is_some_and(|step| usize::from(step) < last)
    }

    /// Asks once for all hosts, on a terminal: whether to carry out the plan, and whether
    /// containers may stop.
    pub(super) async fn consent(&self, plan: &Plan, is_first: bool) -> Result<(), RunError> {
        self.refuse_unasked(plan)?;
        let stopping = if self.options.allow_container_restart {
            Vec::new()
        } else {
            stopping(plan)
        };
        if stopping.is_empty() && !(self.options.asks && is_first) {
            return Ok(());
        }
        let stops = (!stopping.is_empty()).then(|| described(&stopping));
        let about = if let Some(what) = &stops {
            format!("Restarting docker stops {what}.")
        } else {
            let more = if self.has_more_steps(plan) {
                ", then take the steps that follow"
            } else {
                ""
            };
            format!("Make these changes to {}{more}.", changed(plan))
        };
        // A prompt blocks its thread, and must not delay an interruption.
        let asking = tokio::task::spawn_blocking(move || question(&about));
        match self.unless(asking).await?.map_err(RunError::Prompt)? {
            Ok(true) => Ok(()),
            Err(_) if self.interrupt.is_asked() => Err(RunError::Interrupted),
            Ok(false) | Err(_) => {
                Err(
                    stops.map_or(RunError::Declined, |what| RunError::ContainersRunning {
                        what,
                        asked: true,
                        goes_back: after(self.playbook).is_some(),
                    }),
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn hosts_are_named_and_many_are_counted() {
        let described = |hosts: &[(&'static str, usize)]| {
            let hosts = hosts.iter().map(|(host, count)| (*host, Some(*count)));
            super::described(&hosts.collect::<Vec<_>>())
        };
        assert_eq!(
            super::described(&[("node3", None), ("node4", None)]),
            "an unknown number of containers on node3 and an unknown number on node4"
        );
        assert_eq!(described(&[("node3", 1)]), "1 container on node3");
        assert_eq!(
            described(&[("node3", 3), ("node4", 1)]),
            "3 containers on node3 and 1 on node4"
        );
        assert_eq!(
            described(&[("a", 3), ("b", 1), ("c", 2)]),
            "3 containers on a, 1 on b and 2 on c"
        );
        assert_eq!(
            described(&[("a", 3), ("b", 1), ("c", 2), ("d", 1), ("e", 4), ("f", 5)]),
            "3 containers on a, 1 on b, 2 on c, 1 on d and 9 on 2 other hosts"
        );
    }
}
