//! The CA agent of a run: put on the CA node, started there, spoken to.
//!
//! The program pushes itself, as the static build it is, under the SHA-256 of
//! its bytes; the node hashes the file as it arrives and before every later
//! start, and runs nothing else. On a CA that is this very machine it works in this process instead.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;

use crate::node::facts::NodeFacts;
use crate::node::script::quote;
use crate::node::{ExitFuture, Limits, visible};
use crate::pki::{Agent, AgentClient, AgentError};
use crate::session::{Node, NodeError};

/// Exit code of the start command when the file is not the expected one.
const WRONG_FILE: u32 = 65;

/// The program that is pushed. Its bytes are read when they are: most runs find
/// it on the CA node.
#[derive(Debug, Clone)]
pub struct Program {
    /// Open from the start: when it is needed, connections may have taken all
    /// the descriptors there are.
    file: Arc<File>,
    pub sha256: String,
}

impl Program {
    /// Reads a program, this one by default.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: Option<PathBuf>) -> std::io::Result<Self> {
        let file = path.unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
        let mut opened = File::open(file)?;
        let mut digest = digest::Context::new(&digest::SHA256);
        let mut piece = vec![0; 256 * 1024];
        loop {
            let count = opened.read(&mut piece)?;
            let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else {
                break;
            };
            digest.update(read);
        }
        let sha256 = crate::hex(digest.finish().as_ref());
        Ok(Self {
            file: Arc::new(opened),
            sha256,
        })
    }

    fn bytes(&self) -> std::io::Result<Vec<u8>> {
        let mut file = &*self.file;
        file.rewind()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Where it is kept on the CA node; only the account that runs it writes
    /// there.
    #[must_use]
    pub fn directory(privileged: bool) -> &'static str {
        if privileged {
            "/var/lib/dtls-deploy/bin"
        } else {
            "~/.local/share/dtls-deploy/bin"
        }
    }

    /// The file's path as facts are asked for it.
    #[must_use]
    pub fn path(&self, privileged: bool) -> String {
        format!("{}/{}", Self::directory(privileged), self.sha256)
    }
}

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
