//! The nodes of one run: connected once, driven by scripts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use time::OffsetDateTime;

use base::event::{Event, Events, Failure, FailureKind, Phase};
use base::secret::Secret;
use inventory::{ConnectionKind, Host};
use node::facts::{FactError, FactRequest, NodeFacts};
use node::script::{SHELL_COMMAND, Script};
use node::{
    ANSWER_DEADLINE, Become, BecomeError, Connection, ConnectionError, ExitStatus, HostKeyChecking,
    Limits, LocalConnection, Marker, Output, Process, SshContext, SudoPassword, Target, Weakened,
    command_line, connect, visible,
};
use plan::host::in_use::facts_elsewhere;

/// Time limits for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    pub facts: Duration,
    /// One step: files, a restart and possibly its undo.
    pub step: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            // Facts are a few files; a longer wait means that the node hangs.
            facts: Duration::from_secs(60),
            // docker may wait for its containers, twice if the change is undone.
            step: Duration::from_secs(300),
        }
    }
}

/// Maximum bytes of output: far above any set of certificates and unit files.
const MAX_OUTPUT: usize = 32 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Closes every connection; a stuck one does not delay the others.
pub async fn close(nodes: &BTreeMap<String, Arc<Node>>) {
    let closing = nodes.values().map(|node| node.connection.close());
    futures::future::join_all(closing).await;
}

/// A connected node.
#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub connection: Arc<dyn Connection>,
    pub deadlines: Deadlines,
    r#become: Become,
    /// Named in every script, so that leftovers name the run.
    run: String,
}

impl Node {
    /// Runs a script as root or as the login account; returns its output.
    ///
    /// # Errors If the connection fails or no script could be started. A script that reports a
    /// failure itself is not an error here.
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
        // A script begins its output with a record, on success and on failure.
        if output.stdout.is_empty() {
            return Err(NodeError::shell(&output.status, &output.stderr));
        }
        Ok(output.stdout)
    }

    /// Runs a shell command.
    pub async fn execute(
        &self,
        privileged: bool,
        command: &str,
        stdin: &[u8],
        limits: Limits,
    ) -> Result<Output, NodeError> {
        let connection = &*self.connection;
        if privileged {
            let output = self.r#become.run(connection, command, stdin, limits);
            return Ok(output.await?);
        }
        let marker = Marker::new()?;
        let line = command_line(&marker.before(command));
        let mut output = connection.run(&line, stdin, limits).await?;
        if marker.cut(&mut output) {
            Ok(output)
        } else {
            Err(NodeError::shell(&output.status, &output.stderr))
        }
    }

    /// Starts a long-running shell command.
    pub async fn open(&self, privileged: bool, command: &str) -> Result<Process, NodeError> {
        if privileged {
            return Ok(self.r#become.open(&*self.connection, command).await?);
        }
        let marker = Marker::new()?;
        let line = command_line(&marker.before(command));
        let process = self.connection.open(&line).await?;
        match marker.skip(process, ANSWER_DEADLINE).await {
            Ok(process) => Ok(process),
            Err(process) => {
                drop(process.stdin);
                let exit = tokio::time::timeout(ANSWER_DEADLINE, process.exit).await;
                let (status, stderr) = exit.map_err(|_| ConnectionError::Timeout {
                    node: self.connection.description(),
                    after: ANSWER_DEADLINE,
                })??;
                Err(NodeError::shell(&status, &stderr))
            }
        }
    }

    /// Reads the facts.
    ///
    /// # Errors Like [`Node::run`], or if the node's answer cannot be parsed.
    pub async fn facts(
        &self,
        privileged: bool,
        request: &FactRequest,
    ) -> Result<NodeFacts, NodeError> {
        let begun = OffsetDateTime::now_utc().unix_timestamp();
        let script = request.script();
        let ask = || self.run(privileged, &script, self.deadlines.facts);
        let facts = NodeFacts::parse(&ask().await?, request);
        let mut facts = match facts {
            // Retries once: a file or directory may have changed in between.
            Err(FactError::Changed(_) | FactError::Failed(_)) => {
                NodeFacts::parse(&ask().await?, request)?
            }
            facts => facts?,
        };
        facts.claims.reached = self.connection.address();
        facts.compare_clock(begun, OffsetDateTime::now_utc().unix_timestamp());
        Ok(facts)
    }

    /// The facts of a host, including files that its daemon reads elsewhere than the inventory
    /// says.
    pub async fn facts_of(
        &self,
        host: &Host,
        request: &FactRequest,
    ) -> Result<NodeFacts, NodeError> {
        let mut facts = self.facts(host.as_root, request).await?;
        if let Some(request) = facts_elsewhere(host, &facts)
            && let Ok(more) = self.facts(host.as_root, &request).await
        {
            facts.files.extend(more.files);
        }
        Ok(facts)
    }
}

/// Why a node did not answer.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error(transparent)]
    Become(BecomeError),
    #[error("no shell could be started ({status}): {said}")]
    Shell { status: String, said: String },
    #[error(transparent)]
    Facts(#[from] node::facts::FactError),
}

impl From<BecomeError> for NodeError {
    fn from(error: BecomeError) -> Self {
        match error {
            BecomeError::Connection(error) => Self::Connection(error),
            BecomeError::NotBegun { status, stderr } => Self::shell(&status, &stderr),
            error => Self::Become(error),
        }
    }
}

impl NodeError {
    /// The requested command has not begun.
    fn shell(status: &ExitStatus, stderr: &[u8]) -> Self {
        let said = String::from_utf8_lossy(stderr);
        Self::Shell {
            status: status.to_string(),
            said: visible(said.trim().lines().last().unwrap_or("nothing was said")),
        }
    }

    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Become(error) => error.hint(),
            // cmd.exe's and PowerShell's message about an unknown command.
            Self::Shell { said, .. } if said.contains("is not recognized") => Some(
                r"it looks like Windows: only Linux hosts are managed; set its docker up by hand, in C:\ProgramData\Docker\config\daemon.json"
                    .to_owned(),
            ),
            Self::Shell { .. } => Some(
                "/bin/sh must be startable for this account, and what its login shell reads at its start must not end it: ~/.bashrc, ~/.zshenv, ~/.config/fish/config.fish, ~/.tcshrc or ~/.cshrc, and their like in /etc"
                    .to_owned(),
            ),
            Self::Connection(_) => {
                Some("run again when it answers: the next run completes it".to_owned())
            }
            Self::Facts(_) => Some("look at what the node says above, and run again".to_owned()),
        }
    }

    /// No facts of the host could be read.
    #[must_use]
    pub fn missing(&self, host: &str) -> Missing {
        Missing {
            barrier: match self {
                Self::Connection(_) => Barrier::Connection,
                Self::Become(_) => Barrier::Become,
                Self::Shell { .. } | Self::Facts(_) => Barrier::Answer,
            },
            failure: self.failure(host, "read facts"),
        }
    }

    /// Before a change: the node is unchanged.
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
                    "look at {host}: its load, its disks; --timeout DURATION gives it longer"
                )),
                _ => self.hint(),
            },
        }
    }

    /// During a change: its script continues to its end on the node without the connection.
    #[must_use]
    pub(crate) fn failure_in_change(&self, host: &str, step: &str) -> Failure {
        let message = match self {
            Self::Connection(ConnectionError::Timeout { .. }) => {
                "the change was begun and did not end in time; its outcome is not known"
            }
            Self::Connection(
                ConnectionError::Closed { .. }
                | ConnectionError::NoExitStatus { .. }
                | ConnectionError::OutputTooLarge { .. },
            ) => "the connection was lost in the middle of a change; its outcome is not known",
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
                "as long as {host} runs it finishes the change or puts back what was there; then run again: the next run checks what is there, completes it, and restarts the daemon where that is needed"
            )),
        }
    }

    /// Whether the node is unreachable, as opposed to slow or failing.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Connection(ConnectionError::Closed { .. }))
    }
}

/// The causes of an error. A cause that only repeats the text above it is left out.
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

/// Passwords that the operator typed, for all hosts without one in the inventory.
#[derive(Debug, Clone, Default)]
pub struct Passwords {
    /// For the login.
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
    target.host_key_checking = options
        .strict_host_key_checking
        .then_some(HostKeyChecking::Strict);
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
    let target = target(host, passwords);
    connect(&target, context).await.map_err(|error| {
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

/// Each host's password for sudo; hosts with the same password share it.
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

/// Options of [`gather`].
#[derive(Debug, Clone, Copy)]
pub struct Gathering<'a> {
    pub context: &'a SshContext,
    pub passwords: &'a Passwords,
    /// The name of the run.
    pub run: &'a str,
    /// Maximum number of hosts at a time.
    pub forks: usize,
    pub deadlines: Deadlines,
    pub events: &'a Events,
}

/// The result of [`gather`].
#[derive(Debug, Default)]
pub struct Gathered {
    pub nodes: BTreeMap<String, Arc<Node>>,
    pub facts: BTreeMap<String, NodeFacts>,
    /// Why the other hosts are missing.
    pub missing: BTreeMap<String, Missing>,
}

/// Why there are no facts of a host.
#[derive(Debug)]
pub struct Missing {
    pub barrier: Barrier,
    pub failure: Failure,
}

/// How far the connection to a host without facts got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    /// It is not reachable, or the connection breaks.
    Connection,
    /// No command can be started as root.
    Become,
    /// There is no shell, or its answer cannot be parsed.
    Answer,
}

impl Gathered {
    /// How far each missing host got.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<String, FailureKind> {
        let missing = self.missing.iter();
        missing
            .map(|(host, missing)| (host.clone(), missing.failure.kind))
            .collect()
    }
}

/// Connects to all hosts at once and reads the facts of each as soon as it is connected. Failed
/// hosts are reported and left out.
pub async fn gather(hosts: &[(&Host, FactRequest)], how: Gathering<'_>) -> Gathered {
    let shared = &sudo_passwords(hosts.iter().map(|(host, ..)| *host), how.passwords);
    let mut found = futures::stream::iter(hosts.iter().map(|(host, request)| async move {
        let password = shared.get(&host.name).cloned();
        let found = gather_one(host, request, password, how).await;
        if let Err(missing) = &found {
            how.events.emit(Event::Failed(missing.failure.clone()));
        }
        (host.name.clone(), found)
    }))
    .buffer_unordered(how.forks);
    let mut gathered = Gathered::default();
    while let Some((name, found)) = found.next().await {
        match found {
            Ok((node, facts)) => {
                gathered.facts.insert(name.clone(), facts);
                gathered.nodes.insert(name, node);
            }
            Err(missing) => {
                gathered.missing.insert(name, *missing);
            }
        }
    }
    warn_of_weakened(how);
    gathered
}

/// Warns about hosts whose keys were not checked as strictly as possible.
fn warn_of_weakened(how: Gathering<'_>) {
    for (what, hosts) in how.context.take_weakened() {
        let hosts: Vec<String> = hosts.iter().map(|host| visible(host)).collect();
        let hosts = hosts.join(", ");
        how.events.emit(match what {
            Weakened::Off => Event::Danger {
                host: None,
                text: format!(
                    "the check of host keys is off: anyone who answers in place of {hosts} is accepted"
                ),
            },
            Weakened::AcceptNew => Event::Warning {
                host: None,
                text: format!("the check of host keys accepts new hosts (accept-new): {hosts}"),
            },
        });
    }
}

async fn gather_one(
    host: &Host,
    request: &FactRequest,
    password: Option<Arc<SudoPassword>>,
    how: Gathering<'_>,
) -> Result<(Arc<Node>, NodeFacts), Box<Missing>> {
    let begun = Instant::now();
    let connection = open(host, how.passwords, how.context).await;
    let connection = connection.map_err(|failure| Missing {
        barrier: Barrier::Connection,
        failure: *failure,
    })?;
    let took = begun.elapsed();
    how.events.emit(Event::Connected {
        host: host.name.clone(),
        address: connection.description(),
        milliseconds: took.as_millis(),
    });
    if let Some(login) = connection.login_took() {
        let connect = took.saturating_sub(login);
        for (phase, took) in [(Phase::Connect, connect), (Phase::Auth, login)] {
            how.events.emit(Event::Waited {
                host: host.name.clone(),
                phase,
                milliseconds: took.as_millis(),
            });
        }
    }
    let r#become = if connection.is_verified() {
        Become::new(password)
    } else {
        Become::without_password()
    };
    let node = Arc::new(Node {
        name: host.name.clone(),
        connection,
        deadlines: how.deadlines,
        r#become,
        run: how.run.to_owned(),
    });
    let begun = Instant::now();
    let facts = node
        .facts_of(host, request)
        .await
        .map_err(|error| error.missing(&host.name))?;
    how.events.emit(Event::Facts {
        host: host.name.clone(),
        milliseconds: begun.elapsed().as_millis(),
    });
    how.events.waited(&host.name, Phase::Facts, begun);
    Ok((node, facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_of_windows_is_told_from_a_broken_one() {
        let hint = |said: &str| {
            let error = NodeError::Shell {
                status: "exit code 1".to_owned(),
                said: said.to_owned(),
            };
            error.hint().unwrap()
        };
        for said in [
            "'exec' is not recognized as an internal or external command,",
            "exec : The term 'exec' is not recognized as the name of a cmdlet",
        ] {
            assert!(hint(said).contains(r"C:\ProgramData\Docker\config\daemon.json"));
        }
        assert!(hint("/bin/sh: Permission denied").contains("/bin/sh"));
    }
}
