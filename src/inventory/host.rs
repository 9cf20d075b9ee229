//! What comes out of an inventory: hosts, how to reach them, what they are for.
//!
//! Plain data, built by [`super::load`]; everything that plans or connects
//! reads it.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::ssh_options::SshOptions;
use super::variables::Settings;
use crate::secret::Secret;

/// One machine of the inventory.
#[derive(Debug, Clone)]
pub struct Host {
    /// `inventory_hostname`: safe as a file name and as a host name.
    pub name: String,
    /// Every group it is in, parents included, `all` left out, sorted:
    /// Ansible's `group_names`.
    pub groups: Vec<String>,
    /// It keeps the certificate authority.
    pub is_ca: bool,
    /// It runs a Docker daemon to protect.
    pub is_daemon: bool,
    /// It is given a client certificate.
    pub is_client: bool,
    pub connection: Connection,
    pub settings: Settings,
    /// Every variable as YAML gave it, the operator's own included, passwords
    /// of `ansible_*` left out. Never a rendered template.
    pub variables: Map<String, Value>,
}

/// How to reach a host and how to become somebody else there.
#[derive(Debug, Clone)]
pub struct Connection {
    pub kind: ConnectionKind,
    /// `ansible_host`, or the host's name.
    pub address: String,
    /// `ansible_port`, or the port in the SSH arguments; none leaves it to
    /// `~/.ssh/config` and then to 22.
    pub port: Option<u16>,
    /// `ansible_user`; none leaves it to `~/.ssh/config` and then to the
    /// account that runs the program.
    pub user: Option<String>,
    /// Private keys to try, whole paths of files that exist.
    pub identity_files: Vec<PathBuf>,
    pub password: Option<Secret>,
    /// `ansible_become`; none: the play decides.
    pub r#become: Option<bool>,
    /// Whom to become: `root` unless said otherwise.
    pub become_user: String,
    pub become_method: BecomeMethod,
    pub become_password: Option<Secret>,
    pub ssh_options: SshOptions,
    /// Seconds a connection attempt may take.
    pub timeout_seconds: Option<u64>,
    pub shell: ShellType,
}

/// What carries commands to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionKind {
    Ssh,
    /// This very machine, without SSH.
    Local,
}

/// The shell that commands are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShellType {
    #[default]
    Sh,
}

/// How another account is taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BecomeMethod {
    #[default]
    Sudo,
}
