//! What the connections of one run share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::config::{self, HostConfig};
use super::connection::SshConnection;
use super::error::ConnectError;
use super::keys::{KeyFault, KeyFile};
use super::known_hosts::{KnownHosts, Unreadable};
use super::settings::Operator;
use super::shared_config::{self, Blocks, Kind};
use crate::{BoxFuture, HostKeyChecking};
use base::file;
use base::secret::Secret;

/// Connections being made at one time to one sshd. It starts to drop
/// unauthenticated connections at ten (`MaxStartups`).
const AT_ONCE: usize = 8;

/// `ssh -G` under way at one time.
const ASKED_AT_ONCE: usize = 8;

/// How long a jump host that failed is not tried again.
const JUMP_FAILURE_KEPT: Duration = Duration::from_secs(30);

/// In bytes.
const LARGEST_CONFIG: u64 = 4 << 20;

/// How often a passphrase may be mistyped.
const PASSPHRASE_TRIES: u32 = 3;

/// A question for the operator; the answer is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptRequest {
    /// The encrypted key file.
    pub path: PathBuf,
    /// Counted from 1; higher numbers mean that the last answer was wrong.
    pub attempt: u32,
}

/// Asks the operator; `None` means that there is no answer. Called on a thread
/// that may block, for one question at a time, while no connection is waiting
/// for the answer.
pub type Prompt = Arc<dyn Fn(&PromptRequest) -> Option<Secret> + Send + Sync>;

/// Host, user and port, as given to `ssh -G`.
type Question = (String, Option<String>, Option<u16>);

/// What hosts share: the kind, and user and port as given to `ssh -G`.
type SharedQuestion = (Kind, Option<String>, Option<u16>);

/// The host that was asked for, and the answer.
type SharedAnswer = Result<(String, Arc<HostConfig>), String>;

/// A file, and what it was like before it was read.
type Stamped = (Option<Stamp>, Arc<KnownHosts>);

type JumpResult = Result<Arc<SshConnection>, (Instant, Arc<ConnectError>)>;

/// Shared by all connections of a run.
pub struct SshContext {
    pub(super) operator: Operator,
    config_file: Option<PathBuf>,
    ssh_program: PathBuf,
    weakened: Mutex<BTreeMap<Weakened, BTreeSet<String>>>,
    prompt: Option<Prompt>,
    prompting: tokio::sync::Mutex<()>,
    configs: Cache<Question, Result<Arc<HostConfig>, String>>,
    shared: Cache<SharedQuestion, SharedAnswer>,
    /// None when every host has to be asked for.
    blocks: OnceCell<Option<Blocks>>,
    asking: Semaphore,
    known_hosts: Mutex<HashMap<PathBuf, Stamped>>,
    keys: Cache<PathBuf, Result<Arc<KeyFile>, KeyFault>>,
    jumps: Cache<String, JumpResult>,
    gates: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl std::fmt::Debug for SshContext {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SshContext")
            .field("operator", &self.operator)
            .field("config_file", &self.config_file)
            .finish_non_exhaustive()
    }
}

impl SshContext {
    /// This user's home, agent (`SSH_AUTH_SOCK`) and SSH configuration, and
    /// no one to ask.
    #[must_use]
    pub fn from_environment() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            operator: Operator {
                home: std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")),
                local_user: text("USER")
                    .or_else(|| text("LOGNAME"))
                    .unwrap_or_else(|| "root".to_owned()),
                agent_socket: text("SSH_AUTH_SOCK").map(PathBuf::from),
                host_key_checking: None,
                known_hosts_file: None,
                records_new_hosts: true,
            },
            config_file: None,
            ssh_program: PathBuf::from("ssh"),
            weakened: Mutex::default(),
            prompt: None,
            prompting: tokio::sync::Mutex::default(),
            configs: Cache::default(),
            shared: Cache::default(),
            blocks: OnceCell::new(),
            asking: Semaphore::new(ASKED_AT_ONCE),
            known_hosts: Mutex::default(),
            keys: Cache::default(),
            jumps: Cache::default(),
            gates: Mutex::default(),
        }
    }

    /// Whom to ask for the passphrases of key files.
    #[must_use]
    pub fn with_prompt(mut self, prompt: Prompt) -> Self {
        self.prompt = Some(prompt);
        self
    }

    /// How host keys are checked, jump hosts' included, whatever else says so.
    #[must_use]
    pub fn with_host_key_checking(mut self, checking: Option<HostKeyChecking>) -> Self {
        self.operator.host_key_checking = checking;
        self
    }

    /// A file in place of the user's `known_hosts` files, for jump hosts too.
    #[must_use]
    pub fn with_known_hosts(mut self, file: Option<PathBuf>) -> Self {
        self.operator.known_hosts_file = file;
        self
    }

    /// Nothing is written: keys of new hosts are not recorded.
    #[must_use]
    pub fn without_recording(mut self) -> Self {
        self.operator.records_new_hosts = false;
        self
    }

    /// The hosts whose keys were checked less than strictly since this was
    /// last asked, by what was done instead.
    #[must_use]
    pub fn take_weakened(&self) -> BTreeMap<Weakened, BTreeSet<String>> {
        let mut weakened = self.weakened.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *weakened)
    }

    /// Another agent's socket, or none.
    #[must_use]
    pub fn with_agent(mut self, socket: Option<PathBuf>) -> Self {
        self.operator.agent_socket = socket;
        self
    }

    /// A configuration file instead of the user's and the system's. It is the
    /// operator's choice, never an inventory's: it may contain `Match exec`.
    #[must_use]
    pub fn with_config_file(mut self, file: PathBuf) -> Self {
        self.config_file = Some(file);
        self
    }

    /// Another home directory, for `~` in paths of the configuration.
    #[must_use]
    pub fn with_home(mut self, home: PathBuf) -> Self {
        self.operator.home = home;
        self
    }

    /// Another `ssh` program for `ssh -G`; one that does not exist means
    /// OpenSSH's defaults.
    #[must_use]
    pub fn with_ssh_program(mut self, program: PathBuf) -> Self {
        self.ssh_program = program;
        self
    }

    /// Remembers what [`Self::take_weakened`] tells.
    pub(super) fn weaken(&self, how: Weakened, host: &str) {
        let mut weakened = self.weakened.lock().unwrap_or_else(PoisonError::into_inner);
        weakened.entry(how).or_default().insert(host.to_owned());
    }

    pub(super) fn can_ask(&self) -> bool {
        self.prompt.is_some()
    }

    /// What `ssh -G` says, asked once for all hosts that share an answer.
    pub(super) async fn config(
        &self,
        host: &str,
        user: Option<&str>,
        port: Option<u16>,
    ) -> Result<Arc<HostConfig>, String> {
        config::check_names(host, user)?;
        let owned = user.map(ToOwned::to_owned);
        let blocks = self.blocks.get_or_init(|| self.read_blocks()).await;
        let Some(kind) = blocks.as_ref().and_then(|blocks| blocks.kind(host)) else {
            let cell = self.configs.cell((host.to_owned(), owned, port));
            let ask = || self.ask(host, user, port);
            return cell.get_or_init(ask).await.clone();
        };
        let cell = self.shared.cell((kind, owned, port));
        let ask = || async {
            let answer = self.ask(host, user, port).await?;
            Ok((host.to_owned(), answer))
        };
        let (asked, answer) = cell.get_or_init(ask).await.clone()?;
        if asked == host {
            return Ok(answer);
        }
        Ok(Arc::new(shared_config::transfer(&answer, &asked, host)))
    }

    async fn ask(
        &self,
        host: &str,
        user: Option<&str>,
        port: Option<u16>,
    ) -> Result<Arc<HostConfig>, String> {
        let _permit = self.asking.acquire().await;
        let file = self.config_file.as_deref();
        let answer = config::ask(&self.ssh_program, file, host, user, port).await;
        answer.map(Arc::new)
    }

    async fn read_blocks(&self) -> Option<Blocks> {
        let file = self.config_file.as_deref();
        let files = config::files_read(&self.ssh_program, file).await?;
        let read = |path: &PathBuf| file::read_text(path, LARGEST_CONFIG).ok();
        let texts: Option<Vec<String>> = files.iter().map(read).collect();
        Blocks::read(&texts?)
    }

    /// `known_hosts` files, each read again only when it has changed: new hosts
    /// are recorded by connections of this run, too.
    pub(super) fn known_hosts(
        &self,
        paths: &[PathBuf],
    ) -> Result<Vec<Arc<KnownHosts>>, Unreadable> {
        let mut read = self
            .known_hosts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            // Before it is read: what is written meanwhile is seen next time.
            let stamp = Stamp::of(path);
            let file = match read.get(path) {
                Some((then, file)) if *then == stamp => Arc::clone(file),
                _ => Arc::new(KnownHosts::read(path)?),
            };
            read.insert(path.clone(), (stamp, Arc::clone(&file)));
            files.push(file);
        }
        Ok(files)
    }

    /// A key file, read once.
    pub(super) async fn key_file(&self, path: &Path) -> Result<Arc<KeyFile>, KeyFault> {
        let cell = self.keys.cell(path.to_owned());
        let read = || async { KeyFile::read(path).map(Arc::new) };
        cell.get_or_init(read).await.clone()
    }

    /// Asks for the passphrase of `file` until it fits or no one answers. Of
    /// many callers one asks, and the others find the key unlocked or given up.
    pub(super) async fn unlock(&self, file: &Arc<KeyFile>) {
        let _one_question = self.prompting.lock().await;
        let Some(prompt) = self.prompt.clone() else {
            file.give_up();
            return;
        };
        if !file.is_locked() || file.is_given_up() {
            return;
        }
        let asked = file.clone();
        let unlocked = tokio::task::spawn_blocking(move || {
            (1..=PASSPHRASE_TRIES).any(|attempt| {
                let request = PromptRequest {
                    path: asked.path.clone(),
                    attempt,
                };
                let Some(answer) = prompt(&request) else {
                    asked.give_up();
                    return true;
                };
                answer.expose_str().is_ok_and(|text| asked.unlock(text))
            })
        });
        if !unlocked.await.unwrap_or(false) {
            file.give_up();
        }
    }

    /// A permit to connect to `place`, an sshd.
    pub(super) async fn permit(&self, place: String) -> Option<OwnedSemaphorePermit> {
        let gate = {
            let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
            gates
                .entry(place)
                .or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE)))
                .clone()
        };
        gate.acquire_owned().await.ok()
    }

    /// The connection to a jump host, made once and shared; made again when it
    /// was lost, and a failure is remembered for half a minute, so that the
    /// nodes behind a dead bastion do not wait for it one after the other.
    pub(super) async fn jump<'a, F>(
        &'a self,
        key: &str,
        connect: F,
    ) -> Result<Arc<SshConnection>, Arc<ConnectError>>
    where
        F: Fn() -> BoxFuture<'a, Result<Arc<SshConnection>, ConnectError>>,
    {
        loop {
            let cell = self.jumps.cell(key.to_owned());
            let first = || async {
                let result = connect().await;
                result.map_err(|error| (Instant::now(), Arc::new(error)))
            };
            match cell.get_or_init(first).await {
                Ok(connection) if !connection.is_closed() => return Ok(connection.clone()),
                Err((when, error)) if when.elapsed() < JUMP_FAILURE_KEPT => {
                    return Err(error.clone());
                }
                _ => self.jumps.forget(key, &cell),
            }
        }
    }
}

/// What was done instead of a strict check of a host key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weakened {
    /// Any key is accepted.
    Off,
    /// The key of a host without a record is accepted.
    AcceptNew,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// `None` for a file that is not there.
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// Values that are made once, by the task that comes first.
struct Cache<K, V>(Mutex<HashMap<K, Arc<OnceCell<V>>>>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V> Cache<K, V> {
    fn cell(&self, key: K) -> Arc<OnceCell<V>> {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cells.entry(key).or_default().clone()
    }

    fn forget<Q>(&self, key: &Q, cell: &Arc<OnceCell<V>>)
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cells.get(key).is_some_and(|known| Arc::ptr_eq(known, cell)) {
            cells.remove(key);
        }
    }
}
