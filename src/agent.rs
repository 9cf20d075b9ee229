//! The CA agent of a run: put on the CA node, started there, spoken to.
//!
//! The program that is pushed lies there under the SHA-256 of its bytes; the node
//! hashes the file as it arrives and before every later start, and runs nothing
//! else. On a CA that is this very machine it works in this process instead.

mod program;
mod push;

use std::time::Duration;

pub use program::{COMPANION, Program};
use push::push;

use crate::node::facts::NodeFacts;
use crate::node::script::quote;
use crate::node::{ExitFuture, ExitStatus, visible};
use crate::pki::{Agent, AgentClient, AgentError};
use crate::session::{Node, NodeError};

/// Exit code of the start command when the file is not the expected one.
const WRONG_FILE: u32 = 65;

/// A running agent.
pub struct RunningAgent {
    pub client: AgentClient,
    exit: Option<ExitFuture>,
}

impl std::fmt::Debug for RunningAgent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RunningAgent")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the CA node is {node}, and this program is built for {own}")]
    Architecture { node: String, own: &'static str },
    #[error("the agent is of version {0}, and this program of {own}", own = env!("CARGO_PKG_VERSION"))]
    Version(String),
    #[error("it could not be started, because its machine failed before: see above")]
    Unavailable,
    #[error("the CA agent could not be put on the CA node: {0}")]
    Push(String),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("{0}")]
    Agent(#[from] AgentError),
    #[error("the CA agent did not start ({status}): {said}")]
    Start { status: ExitStatus, said: String },
}

impl StartError {
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Architecture { .. } => Some(
                "name a static build for that machine with --agent-program FILE".to_owned(),
            ),
            Self::Version(_) => Some(format!(
                "install dtls-deploy and {COMPANION} of one release, or name the program with --agent-program FILE"
            )),
            // A shell's, of a file that it may not execute.
            Self::Start {
                status: ExitStatus::Code(126),
                ..
            } => Some(
                "the file system that holds it is mounted noexec: use another one, or ansible_become"
                    .to_owned(),
            ),
            Self::Start {
                status: ExitStatus::Code(WRONG_FILE),
                ..
            } => Some(
                "the file there was not the program that was put there, and has been removed: run again"
                    .to_owned(),
            ),
            Self::Start { .. } => Some(
                "a build that is not static may lack its libraries there: name a static one with --agent-program FILE"
                    .to_owned(),
            ),
            Self::Agent(error) => error.hint().map(str::to_owned),
            Self::Node(error) => error.hint(),
            Self::Push(_) | Self::Unavailable => None,
        }
    }
}

/// For a login shell of any family.
fn command(script: &str) -> String {
    format!("exec /bin/sh -c {}", quote(script))
}

/// Starts the agent on the CA node, pushing it first where it is missing.
///
/// # Errors
/// When it cannot be put there or does not start.
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
    /// Why it ended without an answer: its exit status and last words.
    pub async fn explain(&mut self, error: AgentError) -> StartError {
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
