//! The CA agent of a run: copies it to the CA node, starts it and talks to it.
//!
//! The copy is named after the SHA-256 of its bytes; the node hashes the file on arrival and before
//! every later start, and runs nothing else. If the CA is on the controller itself, the agent runs
//! in this process instead.

mod error;
mod program;
mod push;

use std::time::Duration;

pub use error::StartError;
use error::WRONG_FILE;
pub use program::{COMPANION, Program};
use push::{command, push};

use crate::session::Node;
use base::shell::quote;
use node::facts::NodeFacts;
use node::{ExitFuture, visible};
use pki::{Agent, AgentClient, AgentError};

pub struct RunningAgent {
    pub client: AgentClient,
    exit: Option<ExitFuture>,
}

impl std::fmt::Debug for RunningAgent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RunningAgent")
    }
}

/// Starts the agent on the CA node, and copies it there first if it is missing.
pub async fn start(
    node: &Node,
    facts: &NodeFacts,
    privileged: bool,
    is_local: bool,
    program: &Program,
) -> Result<RunningAgent, StartError> {
    if is_local && (!privileged || facts.account == "root" && rustix::process::geteuid().is_root())
    {
        return Ok(RunningAgent {
            client: AgentClient::local(Agent::new()),
            exit: None,
        });
    }
    if facts.machine != std::env::consts::ARCH {
        return Err(StartError::Architecture {
            node: facts.machine.clone(),
            own: std::env::consts::ARCH,
        });
    }
    let path = facts.expand(&program.path(privileged));
    let process = if facts.regular(&path).is_some() {
        let script = format!(
            "f={path}; h=$(sha256sum \"$f\") && [ \"${{h%% *}}\" = {sha} ] || {{ rm -f \"$f\"; exit {WRONG_FILE}; }}; exec \"$f\" ca-agent",
            path = quote(&path),
            sha = program.sha256,
        );
        node.open(privileged, &command(&script)).await?
    } else {
        let directory = facts.expand(Program::directory(privileged));
        push(node, privileged, &directory, program).await?
    };
    Ok(RunningAgent {
        client: AgentClient::remote(process.stdout, process.stdin),
        exit: Some(process.exit),
    })
}

impl RunningAgent {
    /// Why it ended without an answer: its exit status and last output.
    pub(crate) async fn explain(&mut self, error: AgentError) -> StartError {
        let gone = matches!(error, AgentError::Closed | AgentError::Io(_));
        let Some(exit) = self.exit.take().filter(|_| gone) else {
            return StartError::Agent(error);
        };
        match tokio::time::timeout(Duration::from_secs(5), exit).await {
            Ok(Ok((status, stderr))) if !status.success() => StartError::Start {
                status,
                said: visible(
                    String::from_utf8_lossy(&stderr)
                        .trim()
                        .lines()
                        .last()
                        .unwrap_or("nothing was said"),
                ),
            },
            _ => StartError::Agent(error),
        }
    }
}
