//! The CA agent of a run: put on the CA node, started there, spoken to.
//!
//! The program that is pushed lies there under the SHA-256 of its bytes; the node
//! hashes the file as it arrives and before every later start, and runs nothing
//! else. On a CA that is this very machine it works in this process instead.

mod program;

use std::time::Duration;

pub use program::{COMPANION, Program};

use crate::node::facts::NodeFacts;
use crate::node::script::quote;
use crate::node::{ExitFuture, Limits, visible};
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
    Start { status: String, said: String },
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
            Self::Start { status, .. } if status == "exit code 126" => Some(
                "the file system that holds it is mounted noexec: use another one, or ansible_become"
                    .to_owned(),
            ),
            Self::Start { status, .. } if *status == format!("exit code {WRONG_FILE}") => Some(
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

async fn push(
    node: &Node,
    privileged: bool,
    directory: &str,
    program: &Program,
) -> Result<(), StartError> {
    let bytes = program
        .bytes()
        .map_err(|error| StartError::Push(format!("this program cannot be read: {error}")))?;
    let script = format!(
        // A transfer that breaks off is an end of file to cat.
        "echo began; umask 077; d={directory}; n=\"$d/.new.$$\"; mkdir -p \"$d\" && chmod 700 \"$d\" && cat >\"$n\" && chmod 700 \"$n\" && h=$(sha256sum \"$n\") && [ \"${{h%% *}}\" = {name} ] || {{ rm -f \"$n\"; echo 'it did not arrive whole' >&2; exit {WRONG_FILE}; }}; find \"$d\" -type f -mtime +30 -exec rm -f {{}} + && mv -f \"$n\" \"$d/{name}\"",
        directory = quote(directory),
        name = program.sha256,
    );
    let limits = Limits {
        deadline: Duration::from_secs(120),
        max_output: 65_536,
    };
    let output = node
        .execute(privileged, &command(&script), &bytes, limits)
        .await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(StartError::Push(visible(said.trim())))
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
    let is_there = facts.regular(&path).is_some();
    let path = quote(&path);
    let script = if is_there {
        format!(
            "f={path}; h=$(sha256sum \"$f\") && [ \"${{h%% *}}\" = {sha} ] || {{ rm -f \"$f\"; exit {WRONG_FILE}; }}; exec \"$f\" ca-agent",
            sha = program.sha256,
        )
    } else {
        let directory = facts.expand(Program::directory(privileged));
        push(node, privileged, &directory, program).await?;
        // Hashed there a moment ago, in a directory that nobody else writes.
        format!("exec {path} ca-agent")
    };
    let process = node.open(privileged, &command(&script)).await?;
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
                status: status.to_string(),
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
