//! Steps that the operator defined: a command, a unit, a pause.

use std::time::{Duration, Instant};

use super::Stopped;
use crate::session::Node;
use base::event::{Failure, FailureKind};
use node::DialError;
use node::script::Script;
use node::transaction::Report;
use node::visible;
use plan::{Action, Awaited, Change};

/// Added to a step's own deadline for the connection.
const GRACE: Duration = Duration::from_secs(30);
const DIAL_DEADLINE: Duration = Duration::from_secs(5);
const DIAL_PAUSE: Duration = Duration::from_millis(500);

/// Carries out one step.
pub(super) async fn carry_out(
    node: &Node,
    as_root: bool,
    change: &Change,
) -> Result<(), Box<Stopped>> {
    let mut script = Script::default();
    let seconds = match &change.action {
        Action::Command { argv, seconds } => {
            let limit = seconds.to_string();
            let arguments: Vec<&str> = std::iter::once(limit.as_str())
                .chain(argv.iter().map(String::as_str))
                .collect();
            script.call("own_command", &arguments);
            *seconds
        }
        Action::Service {
            unit,
            verb,
            seconds,
        } => {
            script.call("own_service", &[&seconds.to_string(), verb.word(), unit]);
            *seconds
        }
        Action::Wait {
            awaited: Awaited::Path { path, present },
            seconds,
        } => {
            let wanted = if *present { "there" } else { "gone" };
            script.call("own_wait_path", &[&seconds.to_string(), wanted, path]);
            *seconds
        }
        Action::Wait {
            awaited: Awaited::Port { host, port, open },
            seconds,
        } => return port_is(node, change, host, *port, *open, *seconds).await,
        _ => return Ok(()),
    };
    let deadline = Duration::from_secs(seconds) + GRACE;
    let output = node
        .run(as_root, &script, deadline)
        .await
        .map_err(|error| Box::new(Stopped::in_change(&error, &node.name, &change.task)))?;
    let report = Report::parse(&output);
    if report.done && report.failed.is_none() {
        return Ok(());
    }
    let said = report
        .records
        .iter()
        .filter_map(|record| match record.as_slice() {
            [word, stream, line @ ..] if word == "said" => {
                Some(format!("{stream}: {}", visible(&line.join("\t"))))
            }
            _ => None,
        });
    let journal = report.journal.iter().map(|line| visible(line));
    let detail = said.chain(journal).collect();
    let message = report.failed.map_or_else(
        || "the script on the node ended without a report".to_owned(),
        |(_, message)| visible(&message),
    );
    Err(Box::new(failed(node, change, &message, detail).into()))
}

fn failed(node: &Node, change: &Change, message: &str, detail: Vec<String>) -> Failure {
    Failure {
        host: node.name.clone(),
        kind: FailureKind::Failed,
        step: change.task.clone(),
        message: format!("{}: {message}", change.subject),
        causes: Vec::new(),
        detail,
        hint: Some(
            "what comes after it on this host was not done; fix it and run again".to_owned(),
        ),
    }
}

/// Connects from the node until the port is in the wanted state.
async fn port_is(
    node: &Node,
    change: &Change,
    host: &str,
    port: u16,
    open: bool,
    seconds: u64,
) -> Result<(), Box<Stopped>> {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        let seen = match node.connection.dial(host, port, DIAL_DEADLINE).await {
            Ok(_) if open => return Ok(()),
            Ok(_) => "it still answers".to_owned(),
            Err(DialError::Refused { .. } | DialError::Timeout { .. }) if !open => return Ok(()),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= end {
            let message = format!("not after {seconds} seconds: {}", visible(&seen));
            return Err(Box::new(failed(node, change, &message, Vec::new()).into()));
        }
        tokio::time::sleep(DIAL_PAUSE).await;
    }
}
