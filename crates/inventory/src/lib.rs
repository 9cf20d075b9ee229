//! Reads Ansible's YAML inventories into hosts with typed settings.
//!
//! ```text
//! inventory.yaml ──> yaml ──> groups ──┐
//! group_vars/, host_vars/ ──> files ───┼─> definitions ──> resolve ──> checks ──> Inventory
//! -e ─────────────────────> extra ─────┘   (each value     (one set   (all hosts
//!                                           checked once)   a host)    together)
//! ```
//!
//! `main` calls [`load`] before anything else; plans, connections and templates read the
//! [`Inventory`]. All errors are collected and returned together, with their places. Nothing here
//! connects, writes or runs anything.

mod agreement;
mod assigned;
mod batch_values;
mod certificate_values;
mod checks;
mod connection;
mod convert;
mod daemon_values;
mod definitions;
mod environment;
mod errors;
mod extra;
mod files;
mod generic;
mod groups;
mod guard_checks;
mod guard_values;
mod host;
mod identities;
mod identity_checks;
mod identity_values;
mod kinds;
pub mod names;
mod other_variables;
mod path_values;
mod ranges;
mod reach;
mod read_groups;
mod resolve;
mod schema;
mod ssh_options;
mod system_directories;
mod values;
mod variables;
mod window_values;
pub mod yaml;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use crate::yaml::problem::{Problem, in_one_style, render};
pub use batch_values::BatchSize;
pub use batch_values::{SIZE as BATCH_SIZE, sizes_in};
pub use certificate_values::Listen;
pub use daemon_values::VerifyScope;
pub use environment::{DiskFiles, Environment, Files as FileAccess, MemoryFiles, Place};
pub use errors::InventoryErrors;
pub use extra::repeated;
pub use host::{Connection, Host, Identity, host_of, identity_of};
pub use identity_values::WrittenIdentity;
pub use kinds::{BecomeMethod, ConnectionKind, ShellType};
pub use path_values::Files;
pub use schema::schema;
pub use ssh_options::SshOptions;
pub use system_directories::system_directory;
pub use values::{ClientEnv, RenewBefore};
pub use variables::{ReadBy, Settings, Variable, table as variable_table};
pub use window_values::MaintenanceWindow;

use crate::yaml::problems::Problems;
use convert::Context;

/// The hosts of one run and their settings.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// As it was named.
    pub path: PathBuf,
    /// The file's name without its extension.
    pub name: String,
    /// Every host, in the order in which the file names them; those without
    /// a role too.
    pub hosts: Vec<Host>,
    /// Warnings: doubtful, but not errors.
    pub warnings: Vec<Problem>,
    /// The clients and identities that this run leaves out.
    pub left_out: BTreeSet<String>,
    ca: Host,
}

impl Inventory {
    /// Leaves a client out of this run: a host with all its identities, or one identity as
    /// NAME@HOST.
    pub fn leave_out(&mut self, name: &str) {
        for host in &mut self.hosts {
            let before = (host.is_client, host.identities.len());
            if host.name == name {
                host.is_client = false;
                host.identities.clear();
            }
            host.identities.retain(|identity| identity.holder() != name);
            if before != (host.is_client, host.identities.len()) {
                self.left_out.insert(name.to_owned());
            }
        }
    }

    /// The one host that keeps the certificate authority.
    #[must_use]
    pub fn ca(&self) -> &Host {
        &self.ca
    }

    /// The hosts whose Docker daemons are protected; at least one.
    pub fn daemons(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.is_daemon)
    }

    /// The hosts that are given client certificates; at least one.
    pub fn clients(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.is_client)
    }

    #[must_use]
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// The host, or the host as an identity sees it, that holds the certificates of this name: see
    /// [`Host::holder`].
    #[must_use]
    pub fn holder(&self, name: &str) -> Option<&Host> {
        let host = self.host(host_of(name))?;
        if identity_of(name).is_none() {
            return Some(host);
        }
        host.identities.iter().find(|of| of.holder() == name)
    }

    /// The hosts of a group and of the groups in it, `all` included.
    #[must_use]
    pub fn group(&self, name: &str) -> Vec<&Host> {
        let inside = |host: &&Host| name == "all" || host.groups.iter().any(|group| group == name);
        self.hosts.iter().filter(inside).collect()
    }
}

/// Reads an inventory with all files next to it.
///
/// `extra_vars` are the arguments of `-e`: `name=value`, a JSON or YAML mapping, or `@FILE`.
/// Relative paths start from `environment.directory`.
///
/// # Errors All errors of the inventory together.
pub fn load(
    path: &Path,
    extra_vars: &[String],
    environment: &Environment,
) -> Result<Inventory, InventoryErrors> {
    let mut problems = Problems::default();
    let hosts = read(
        path,
        extra_vars,
        &mut Context {
            problems: &mut problems,
            environment,
        },
    );
    let failed = problems.has_errors();
    let problems = problems.finish();
    let ca = hosts.iter().find(|host| host.is_ca).cloned();
    match ca {
        Some(ca) if !failed => Ok(Inventory {
            path: path.to_owned(),
            name: path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default(),
            hosts,
            warnings: problems,
            left_out: BTreeSet::new(),
            ca,
        }),
        _ => Err(InventoryErrors {
            inventory: path.display().to_string(),
            problems,
        }),
    }
}

fn read(path: &Path, extra_vars: &[String], context: &mut Context) -> Vec<Host> {
    let root = files::read_inventory(path, context);
    let extra = extra::read(extra_vars, context);
    let Some(root) = root else {
        return Vec::new();
    };
    let groups = groups::Groups::read(&root, context);
    let resolved = resolve::hosts(path, &groups, &extra, context);
    checks::all(root.span, &groups, &resolved, context);
    resolved.into_iter().map(|resolved| resolved.host).collect()
}
