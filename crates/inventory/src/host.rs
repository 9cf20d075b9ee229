//! The hosts of an inventory: how to reach them, and their roles.
//!
//! Plain data, built by [`super::load`]; everything that plans or connects reads it.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::kinds::{BecomeMethod, ConnectionKind, ShellType};
use super::ssh_options::SshOptions;
use super::variables::Settings;
use base::secret::Secret;
use pki::Role;

/// One machine of the inventory.
// Its roles are independent of each other.
#[allow(clippy::struct_excessive_bools)]
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
    /// The identity for which this value stands; none: the host itself.
    pub identity: Option<Identity>,
    /// The host as each of its identities sees it: the same machine, with the directory and the
    /// settings of that identity's certificate.
    pub identities: Vec<Host>,
    /// Whether dtls-deploy acts as root on this machine, for every role and in every command: see
    /// [`Host::needs_root`].
    pub as_root: bool,
    pub connection: Connection,
    pub settings: Settings,
    /// Every variable as YAML gave it, the operator's own included, passwords
    /// of `ansible_*` left out. Never a rendered template.
    pub variables: Map<String, Value>,
}

/// A person or job on a client host with its own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    /// The account that must own the files; none: the account that owns the directory.
    pub owner: Option<String>,
    /// Its files are removed.
    pub absent: bool,
}

/// Separates the name of an identity from its host's, which cannot contain it.
const AT: char = '@';

impl Host {
    /// The holder of the certificates: `node1`, or `alice@node1` for an identity. The ledger,
    /// requests to the CA and the CN of a client's certificate use this name.
    #[must_use]
    pub fn holder(&self) -> String {
        match &self.identity {
            Some(identity) => format!("{}{AT}{}", identity.name, self.name),
            None => self.name.clone(),
        }
    }

    /// The name in notes and refusals: "its client certificate", or "the client certificate of
    /// alice@node1".
    #[must_use]
    pub fn certificate_of(&self, role: Role) -> String {
        match &self.identity {
            Some(_) => format!("the {role} certificate of {}", self.holder()),
            None => format!("its {role} certificate"),
        }
    }

    /// It is in one of the groups ca, daemons and clients.
    #[must_use]
    pub fn has_role(&self) -> bool {
        self.is_ca || self.is_daemon || self.is_client
    }

    /// Its daemon must have a guard.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.is_daemon && self.settings.guard == Some(true)
    }

    /// It has its own certificate for daemons; false for a host that is no client.
    #[must_use]
    pub fn shows_certificate(&self) -> bool {
        self.is_client && !self.is_absent() && self.settings.client_mode.shows_certificate()
    }

    /// Those of [`Host::client_holders`] that have a certificate.
    pub fn certificate_holders(&self) -> impl Iterator<Item = &Host> {
        self.client_holders()
            .filter(|holder| holder.shows_certificate())
    }

    /// The users of daemons on this host: the host itself, if it is a client, and its identities.
    /// Their mode says whether they have a certificate.
    pub fn client_holders(&self) -> impl Iterator<Item = &Host> {
        let own = self.is_client.then_some(self);
        own.into_iter()
            .chain(self.identities.iter().filter(|of| !of.is_absent()))
    }

    /// The one rule of privilege: `ansible_become`, and where the inventory does not set it,
    /// the roles. A CA's directory and a daemon are root's; a client's files are those of the
    /// account that logs in, unless it has identities of other accounts. A machine in several
    /// roles has one privilege, and so one place for what it keeps of earlier changes.
    pub(super) fn needs_root(&self) -> bool {
        let by_role = || self.is_ca || self.is_daemon || self.acts_for_others();
        self.connection.r#become.unwrap_or_else(by_role)
    }

    /// Some of its identities belong to accounts other than the login account.
    #[must_use]
    pub fn acts_for_others(&self) -> bool {
        let login = self.connection.user.as_deref();
        self.identities.iter().any(|identity| {
            let in_home = identity.settings.client_dir.starts_with("~/");
            match identity.owner() {
                Some(owner) => Some(owner) != login,
                None => !in_home,
            }
        })
    }

    /// Its files are removed.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.identity
            .as_ref()
            .is_some_and(|identity| identity.absent)
    }

    /// The account that must own the files, if set.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.identity.as_ref()?.owner.as_deref()
    }

    /// The directory of the docker CLI's contexts for the account that uses the certificate,
    /// independent of the certificate's directory.
    #[must_use]
    pub fn cli_directory(&self) -> String {
        match self.owner() {
            Some(owner) => format!("~{owner}/.docker"),
            None => "~/.docker".to_owned(),
        }
    }
}

/// The name of the host in the name of a holder.
#[must_use]
pub fn host_of(holder: &str) -> &str {
    holder.split_once(AT).map_or(holder, |(_, host)| host)
}

/// The name of the identity in the name of a holder.
#[must_use]
pub fn identity_of(holder: &str) -> Option<&str> {
    holder.split_once(AT).map(|(name, _)| name)
}

/// How to reach a host, and how to become another account there.
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
    /// `ansible_become`; none: the host's roles decide.
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

#[cfg(test)]
mod tests {
    use super::{host_of, identity_of};

    #[test]
    fn a_holder_is_a_host_or_somebody_on_it() {
        assert_eq!((host_of("node1"), identity_of("node1")), ("node1", None));
        let holder = "alice@node1.example.com";
        assert_eq!(host_of(holder), "node1.example.com");
        assert_eq!(identity_of(holder), Some("alice"));
    }
}
