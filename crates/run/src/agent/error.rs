//! Why the agent did not start, and what to do about it.

use super::program::COMPANION;
use crate::session::NodeError;
use node::ExitStatus;
use pki::AgentError;

/// Exit code of the start command when the file is not the expected one.
pub(super) const WRONG_FILE: u32 = 65;

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
            // The shell's exit code for a file that it may not execute.
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
            // The dynamic loader's, and the shell's where there is no loader.
            Self::Start {
                status: ExitStatus::Code(127),
                ..
            } => Some(
                "a build that is not static may lack its libraries there: name a static one with --agent-program FILE"
                    .to_owned(),
            ),
            Self::Agent(error) => error.hint().map(str::to_owned),
            Self::Node(error) => error.hint(),
            Self::Start { .. } | Self::Push(_) | Self::Unavailable => None,
        }
    }
}
