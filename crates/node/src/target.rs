//! Where a node is and how to log in there.
//!
//! A value given here wins over `~/.ssh/config`.

use std::path::PathBuf;
use std::time::Duration;

use base::secret::Secret;

/// What to do with a host key that no `known_hosts` file vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostKeyChecking {
    /// Only recorded keys are accepted.
    #[default]
    Strict,
    /// The key of a host without any record is accepted and recorded, and no
    /// password is given to it this time; a host with a record of whatever
    /// algorithm is treated as in `Strict`.
    AcceptNew,
    /// Every key is accepted, except revoked ones. A password is only given to
    /// a host whose key is on record.
    Off,
}

/// One SSH destination.
#[derive(Debug, Clone)]
pub struct Target {
    /// The inventory's name of the node, for messages only.
    pub name: String,
    /// Name or address to connect to; also the name that `~/.ssh/config` and
    /// `known_hosts` are asked for, as with `ssh ADDRESS`.
    pub address: String,
    /// TCP port; the configuration's, or 22, where absent.
    pub port: Option<u16>,
    /// Account; the configuration's, or the local user's name, where absent.
    pub user: Option<String>,
    /// Private keys (or public ones whose private half the agent holds). When
    /// given, nothing else is tried, and a file that cannot be used is an error.
    pub identity_files: Vec<PathBuf>,
    /// For the methods `password` and `keyboard-interactive`.
    pub password: Option<Secret>,
    /// `[user@]host[:port]`, several separated by commas; `none` for no jump.
    /// Jump hosts take everything else from `~/.ssh/config`, as with `ssh -J`.
    pub proxy_jump: Option<String>,
    /// Instead of the user's `known_hosts` files; empty for the usual ones.
    pub known_hosts_files: Vec<PathBuf>,
    /// `None` for what the configuration says, [`HostKeyChecking::Strict`]
    /// where it says nothing or `ask`.
    pub host_key_checking: Option<HostKeyChecking>,
    /// For name resolution, TCP, and the key exchange, retries included.
    /// Authentication has thirty seconds of its own, prompts not counted.
    pub connect_timeout: Duration,
}

impl Target {
    /// A target with nothing but a name and an address, and ten seconds to
    /// connect.
    #[must_use]
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            address: address.into(),
            port: None,
            user: None,
            identity_files: Vec::new(),
            password: None,
            proxy_jump: None,
            known_hosts_files: Vec::new(),
            host_key_checking: None,
            connect_timeout: Duration::from_secs(10),
        }
    }
}
