//! The nodes of one run: connected once, spoken to through scripts.
//!
//! Comes in: the inventory's hosts and which of them act as root. Goes out:
//! [`Node`]s, on which facts are read, transactions run and ports dialled.
//! Called by [`crate::run`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;

use crate::event::{Event, Events, Failure, FailureKind};
use crate::inventory::{ConnectionKind, Host, HostKeyChecking as InventoryChecking};
use crate::node::facts::{FactRequest, NodeFacts};
use crate::node::script::{Script, shell_command};
use crate::node::{
    Connection, ConnectionError, HostKeyChecking, Limits, LocalConnection, SshContext, Target,
    connect, visible,
};

/// How long a node may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    pub facts: Duration,
    /// One step: files, a restart and perhaps its undoing.
    pub step: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            // Facts are a few files; anything that takes longer hangs.
            facts: Duration::from_secs(60),
            // docker may wait for its containers, twice if it is undone.
            step: Duration::from_secs(300),
        }
    }
}

/// Far above any set of certificates and unit files.
const MAX_OUTPUT: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connected node.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub connection: Arc<dyn Connection>,
    pub deadlines: Deadlines,
    /// Named in every script, so that what a run leaves behind names the run.
    run: String,
}

impl Node {
    /// Runs a script as root or as the login account; gives what it printed.
    ///
    /// # Errors
    /// When the connection fails or no script could be started. A script that
    /// reports a failure of its own is not an error here.
    pub async fn run(
        &self,
        privileged: bool,
        script: &Script,
        deadline: Duration,
    ) -> Result<Vec<u8>, NodeError> {
        let limits = Limits {
            deadline,
            max_output: MAX_OUTPUT,
        };
        let text = script.text(&self.run);
        let output = self
            .connection
            .run(shell_command(privileged), text.expose(), limits)
            .await?;
        // Every script's first words on success or failure are records.
        if output.stdout.is_empty() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(NodeError::from_stderr(
                said.trim(),
                &output.status.to_string(),
            ));
        }
        Ok(output.stdout)
    }

    /// Reads the facts.
    ///
    /// # Errors
    /// As [`Node::run`], or when what the node answered cannot be understood.
    pub async fn facts(
        &self,
        privileged: bool,
        request: &FactRequest,
    ) -> Result<NodeFacts, NodeError> {
        let output = self
            .run(privileged, &request.script(), self.deadlines.facts)
            .await?;
        Ok(NodeFacts::parse(&output)?)
    }
}

/// Why a node could not be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("sudo wants a password, or does not allow this account to run /bin/sh: {0}")]
    Sudo(String),
    #[error("no shell could be started ({status}): {said}")]
    Shell { status: String, said: String },
    #[error(transparent)]
    Facts(#[from] crate::node::facts::FactError),
}

impl NodeError {
    fn from_stderr(said: &str, status: &str) -> Self {
        let last: String = said.lines().last().unwrap_or("nothing was said").to_owned();
        let last = visible(&last);
        if said.contains("sudo:") || said.contains("sudoers") {
            Self::Sudo(last)
        } else {
            Self::Shell {
                status: status.to_owned(),
                said: last,
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Sudo(_) => Some(
                "allow it without a password (NOPASSWD) in sudoers, or log in as root".to_owned(),
            ),
            Self::Shell { .. } => Some("/bin/sh must be startable for this account".to_owned()),
            Self::Connection(_) => {
                Some("run again when it answers: the next run completes it".to_owned())
            }
            Self::Facts(_) => Some("look at what the node says above, and run again".to_owned()),
        }
    }

    /// Before a change: nothing is different on the node.
    #[must_use]
    pub fn failure(&self, host: &str, step: &str) -> Failure {
        Failure {
            host: host.to_owned(),
            kind: match self {
                Self::Connection(ConnectionError::Timeout { .. }) => FailureKind::TimedOut,
                Self::Connection(_) => FailureKind::Unreachable,
                _ => FailureKind::Refused,
            },
            step: step.to_owned(),
            message: self.to_string(),
            causes: causes(self),
            detail: Vec::new(),
            hint: match self {
                Self::Connection(ConnectionError::Timeout { .. }) => Some(format!(
                    "look at {host}: its load, its disks; --timeout SECONDS gives it longer"
                )),
                _ => self.hint(),
            },
        }
    }

    /// During a change: its script runs to its end on the node, whether
    /// anybody listens or not.
    #[must_use]
    pub fn failure_in_change(&self, host: &str, step: &str) -> Failure {
        let message = match self {
            Self::Connection(ConnectionError::Timeout { .. }) => {
                "the change was begun and did not end in time; what came of it is not known"
            }
            Self::Connection(
                ConnectionError::Closed { .. }
                | ConnectionError::NoExitStatus { .. }
                | ConnectionError::OutputTooLarge { .. },
            ) => "the connection was lost in the middle of a change; what came of it is not known",
            _ => return self.failure(host, step),
        };
        Failure {
            host: host.to_owned(),
            kind: FailureKind::Unknown,
            step: step.to_owned(),
            message: message.to_owned(),
            causes: std::iter::once(self.to_string())
                .chain(causes(self))
                .collect(),
            detail: Vec::new(),
            hint: Some(format!(
                "as long as {host} runs it finishes the change or puts back what was there; then run again: the next run looks at what it finds, completes it, and restarts the daemon where that is needed"
            )),
        }
    }

    /// Whether the node is gone, as opposed to slow or unwilling.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Connection(ConnectionError::Closed { .. }))
    }
}

/// The chain of causes below an error. One that only repeats the text above it
/// is left out.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> Vec<String> {
    let mut chain = Vec::new();
    let mut last = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if text != last {
            chain.push(visible(&text));
        }
        last = text;
        source = cause.source();
    }
    chain
}

fn target(host: &Host) -> Target {
    let connection = &host.connection;
    let options = &connection.ssh_options;
    let mut target = Target::new(&host.name, &connection.address);
    target.port = connection.port;
    target.user.clone_from(&connection.user);
    target.identity_files.clone_from(&connection.identity_files);
    target.password.clone_from(&connection.password);
    target.proxy_jump.clone_from(&options.proxy_jump);
    target
        .known_hosts_files
        .clone_from(&options.user_known_hosts_files);
    target.host_key_checking = options
        .strict_host_key_checking
        .map(|checking| match checking {
            InventoryChecking::Yes => HostKeyChecking::Strict,
            InventoryChecking::AcceptNew => HostKeyChecking::AcceptNew,
            InventoryChecking::Off => HostKeyChecking::Off,
        });
    target.connect_timeout = connection
        .timeout_seconds
        .map_or(CONNECT_TIMEOUT, Duration::from_secs);
    target
}

async fn open(host: &Host, context: &SshContext) -> Result<Arc<dyn Connection>, Box<Failure>> {
    if host.connection.kind == ConnectionKind::Local {
        return Ok(Arc::new(LocalConnection::new(&host.name)));
    }
    connect(&target(host), context).await.map_err(|error| {
        Box::new(Failure {
            host: host.name.clone(),
            kind: FailureKind::Unreachable,
            step: "connect".to_owned(),
            message: error.to_string(),
            causes: causes(&error),
            detail: Vec::new(),
            hint: error.hint(),
        })
    })
}

/// How [`gather`] goes about it.
#[derive(Debug, Clone, Copy)]
pub struct Gathering<'a> {
    pub context: &'a SshContext,
    /// The run's name.
    pub run: &'a str,
    /// Hosts at one time.
    pub forks: usize,
    pub deadlines: Deadlines,
    pub events: &'a Events,
}

/// What [`gather`] found.
#[derive(Debug, Default)]
pub struct Gathered {
    pub nodes: BTreeMap<String, Arc<Node>>,
    pub facts: BTreeMap<String, NodeFacts>,
    /// Why the others are missing.
    pub missing: BTreeMap<String, FailureKind>,
}

/// Connects to all hosts at once and reads the facts of each as soon as it is
/// there. Those that fail are reported and left out.
pub async fn gather(hosts: &[(&Host, FactRequest, bool)], how: Gathering<'_>) -> Gathered {
    let found: Vec<_> =
        futures::stream::iter(hosts.iter().map(|(host, request, privileged)| async move {
            let found = gather_one(host, request, *privileged, how).await;
            let found = found.map_err(|failure| {
                let kind = failure.kind;
                how.events.emit(Event::Failed(*failure));
                kind
            });
            (host.name.clone(), found)
        }))
        .buffer_unordered(how.forks)
        .collect()
        .await;
    let mut gathered = Gathered::default();
    for (name, found) in found {
        match found {
            Ok((node, facts)) => {
                gathered.facts.insert(name.clone(), facts);
                gathered.nodes.insert(name, node);
            }
            Err(kind) => {
                gathered.missing.insert(name, kind);
            }
        }
    }
    gathered
}

async fn gather_one(
    host: &Host,
    request: &FactRequest,
    privileged: bool,
    how: Gathering<'_>,
) -> Result<(Arc<Node>, NodeFacts), Box<Failure>> {
    let begun = Instant::now();
    let connection = open(host, how.context).await?;
    how.events.emit(Event::Connected {
        host: host.name.clone(),
        address: connection.description(),
        milliseconds: begun.elapsed().as_millis(),
    });
    let node = Arc::new(Node {
        name: host.name.clone(),
        connection,
        deadlines: how.deadlines,
        run: how.run.to_owned(),
    });
    let begun = Instant::now();
    let facts = node
        .facts(privileged, request)
        .await
        .map_err(|error| Box::new(error.failure(&host.name, "read facts")))?;
    how.events.emit(Event::Facts {
        host: host.name.clone(),
        milliseconds: begun.elapsed().as_millis(),
    });
    Ok((node, facts))
}
