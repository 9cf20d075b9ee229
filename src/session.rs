//! The nodes of one run: connected once, spoken to through scripts.
//!
//! Comes in: the inventory's hosts and which of them act as root. Goes out:
//! [`Node`]s, on which facts are read, transactions run and ports dialled.
//! Called by [`crate::run`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;

use crate::event::{Event, Events, Failure, FailureKind};
use crate::inventory::{ConnectionKind, Host, HostKeyChecking as InventoryChecking};
use crate::node::facts::{FactRequest, NodeFacts};
use crate::node::script::{SHELL_COMMAND, Script};
use crate::node::{
    Become, BecomeError, Connection, ConnectionError, HostKeyChecking, Limits, LocalConnection,
    Output, Process, SshContext, SudoPassword, Target, connect, visible,
};
use crate::secret::Secret;

/// Facts are a few files; anything that takes longer hangs.
const FACTS_DEADLINE: Duration = Duration::from_secs(60);
/// A restart of docker may wait for its containers, twice if it is undone.
pub const CHANGE_DEADLINE: Duration = Duration::from_secs(300);
/// Far above any set of certificates and unit files.
const MAX_OUTPUT: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connected node.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub connection: Arc<dyn Connection>,
    r#become: Become,
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
            .execute(privileged, SHELL_COMMAND, text.expose(), limits)
            .await?;
        // Every script's first words on success or failure are records.
        if output.stdout.is_empty() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(NodeError::Shell {
                status: output.status.to_string(),
                said: visible(said.trim().lines().last().unwrap_or("nothing was said")),
            });
        }
        Ok(output.stdout)
    }

    /// Runs a shell command, which prints something first if it is
    /// `privileged`: see [`Become::run`].
    ///
    /// # Errors
    /// When it could not be started, or its connection was lost.
    pub async fn execute(
        &self,
        privileged: bool,
        command: &str,
        stdin: &[u8],
        limits: Limits,
    ) -> Result<Output, NodeError> {
        let connection = &*self.connection;
        Ok(if privileged {
            self.r#become
                .run(connection, command, stdin, limits)
                .await?
        } else {
            connection.run(command, stdin, limits).await?
        })
    }

    /// Starts a shell command for good.
    ///
    /// # Errors
    /// When it could not be started.
    pub async fn open(&self, privileged: bool, command: &str) -> Result<Process, NodeError> {
        Ok(if privileged {
            self.r#become.open(&*self.connection, command).await?
        } else {
            self.connection.open(command).await?
        })
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
            .run(privileged, &request.script(), FACTS_DEADLINE)
            .await?;
        Ok(NodeFacts::parse(&output)?)
    }
}

/// Why a node could not be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error(transparent)]
    Become(BecomeError),
    #[error("no shell could be started ({status}): {said}")]
    Shell { status: String, said: String },
    #[error(transparent)]
    Facts(#[from] crate::node::facts::FactError),
}

impl From<BecomeError> for NodeError {
    fn from(error: BecomeError) -> Self {
        match error {
            BecomeError::Connection(error) => Self::Connection(error),
            error => Self::Become(error),
        }
    }
}

impl NodeError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Become(error) => error.hint(),
            Self::Shell { .. } => Some("/bin/sh must be startable for this account".to_owned()),
            Self::Connection(_) | Self::Facts(_) => None,
        }
    }

    #[must_use]
    pub fn failure(&self, host: &str, step: &str) -> Failure {
        Failure {
            host: host.to_owned(),
            kind: match self {
                Self::Connection(_) => FailureKind::Unreachable,
                _ => FailureKind::Refused,
            },
            step: step.to_owned(),
            message: self.to_string(),
            detail: Vec::new(),
            hint: self.hint(),
        }
    }
}

/// What the operator was asked for, for all hosts that have nothing of their
/// own in the inventory.
#[derive(Debug, Clone, Default)]
pub struct Passwords {
    /// To log in with.
    pub login: Option<Secret>,
    /// For sudo.
    pub r#become: Option<Secret>,
}

fn target(host: &Host, passwords: &Passwords) -> Target {
    let connection = &host.connection;
    let options = &connection.ssh_options;
    let mut target = Target::new(&host.name, &connection.address);
    target.port = connection.port;
    target.user.clone_from(&connection.user);
    target.identity_files.clone_from(&connection.identity_files);
    target.password = connection
        .password
        .clone()
        .or_else(|| passwords.login.clone());
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

async fn open(
    host: &Host,
    passwords: &Passwords,
    context: &SshContext,
) -> Result<Arc<dyn Connection>, Box<Failure>> {
    if host.connection.kind == ConnectionKind::Local {
        return Ok(Arc::new(LocalConnection::new(&host.name)));
    }
    connect(&target(host, passwords), context)
        .await
        .map_err(|error| {
            let mut detail = Vec::new();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                detail.push(cause.to_string());
                source = cause.source();
            }
            Box::new(Failure {
                host: host.name.clone(),
                kind: FailureKind::Unreachable,
                step: "connect".to_owned(),
                message: error.to_string(),
                detail,
                hint: error.hint(),
            })
        })
}

/// Each host's password for sudo; hosts with the same one share it.
fn sudo_passwords<'a>(
    hosts: impl Iterator<Item = &'a Host>,
    passwords: &Passwords,
) -> BTreeMap<String, Arc<SudoPassword>> {
    let mut different: Vec<Arc<SudoPassword>> = Vec::new();
    let mut shared = BTreeMap::new();
    for host in hosts {
        let own = host.connection.become_password.as_ref();
        let Some(secret) = own.or(passwords.r#become.as_ref()) else {
            continue;
        };
        let known = different.iter().find(|known| known.secret() == secret);
        let password =
            known.map_or_else(|| Arc::new(SudoPassword::new(secret.clone())), Arc::clone);
        if known.is_none() {
            different.push(Arc::clone(&password));
        }
        shared.insert(host.name.clone(), password);
    }
    shared
}

/// What came of one host.
enum Gathered {
    Known(Arc<Node>, Box<NodeFacts>),
    Refused(String),
    Unreachable,
}

/// Connects to all hosts at once and reads the facts of each as soon as it is
/// there. Those that fail are reported and left out.
///
/// The third part names those that were reached and did not do as told: sudo
/// refused, or the facts cannot be understood.
pub async fn gather(
    hosts: &[(&Host, FactRequest, bool)],
    context: &SshContext,
    passwords: &Passwords,
    run: &str,
    forks: usize,
    events: &Events,
) -> (
    BTreeMap<String, Arc<Node>>,
    BTreeMap<String, NodeFacts>,
    BTreeSet<String>,
) {
    let shared = &sudo_passwords(hosts.iter().map(|(host, ..)| *host), passwords);
    let gathered: Vec<_> =
        futures::stream::iter(hosts.iter().map(|(host, request, privileged)| async move {
            let begun = Instant::now();
            let connection = match open(host, passwords, context).await {
                Ok(connection) => connection,
                Err(failure) => {
                    events.emit(Event::Failed(*failure));
                    return Gathered::Unreachable;
                }
            };
            events.emit(Event::Connected {
                host: host.name.clone(),
                address: connection.description(),
                milliseconds: begun.elapsed().as_millis(),
            });
            let node = Arc::new(Node {
                name: host.name.clone(),
                connection,
                r#become: Become::new(shared.get(&host.name).cloned()),
                run: run.to_owned(),
            });
            let begun = Instant::now();
            match node.facts(*privileged, request).await {
                Ok(facts) => {
                    events.emit(Event::Facts {
                        host: host.name.clone(),
                        milliseconds: begun.elapsed().as_millis(),
                    });
                    Gathered::Known(node, Box::new(facts))
                }
                Err(error) => {
                    let failure = error.failure(&host.name, "read facts");
                    let refused = failure.kind == FailureKind::Refused;
                    events.emit(Event::Failed(failure));
                    if refused {
                        Gathered::Refused(host.name.clone())
                    } else {
                        Gathered::Unreachable
                    }
                }
            }
        }))
        .buffer_unordered(forks)
        .collect()
        .await;
    let mut nodes = BTreeMap::new();
    let mut facts = BTreeMap::new();
    let mut refused = BTreeSet::new();
    for one in gathered {
        match one {
            Gathered::Known(node, fact) => {
                facts.insert(node.name.clone(), *fact);
                nodes.insert(node.name.clone(), node);
            }
            Gathered::Refused(name) => {
                refused.insert(name);
            }
            Gathered::Unreachable => {}
        }
    }
    (nodes, facts, refused)
}
