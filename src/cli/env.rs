//! `dtls-deploy env`: prints shell code that sets up docker for a daemon.
//!
//! Connects to no node.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::arguments::Common;
use super::reports::Reports;
use super::start::load_inventory;
use base::event::ErrorKind;
use docker::environment::{Environment, Shell, lines};
use inventory::{Host, Inventory};
use plan::host::address::daemon_address;
use run::Exit;
use run::journal::Journal;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    /// The client whose files to use. Optional if there is only one
    client: Option<String>,
    /// The daemon to talk to, instead of the client's `dtls_default_daemon`
    #[arg(long, value_name = "NAME")]
    daemon: Option<String>,
    /// The shell to print for. Default: the one in SHELL
    #[arg(long, value_enum)]
    shell: Option<ShellName>,
    /// Print code that unsets the variables
    #[arg(long)]
    unset: bool,
    /// A variable for all hosts: name=value, a YAML mapping, or @FILE
    #[arg(short = 'e', long = "extra-vars", value_name = "VARS")]
    extra_vars: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShellName {
    Bash,
    Zsh,
    Fish,
}

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
enum EnvError {
    #[error("there are {0} clients: say which one ({1})")]
    SeveralClients(usize, String),
    #[error(
        "there are {0} daemons: say which one with --daemon, or with dtls_default_daemon in the inventory ({1})"
    )]
    SeveralDaemons(usize, String),
    #[error("{0} is not in the group {1}, which has: {2}")]
    Unknown(String, &'static str, String),
}

pub(super) fn main(arguments: &Arguments) -> Exit {
    print(arguments).unwrap_or_else(|exit| exit)
}

fn print(arguments: &Arguments) -> Result<Exit, Exit> {
    let common = Common {
        extra_vars: arguments.extra_vars.clone(),
        ..Common::default()
    };
    let reports = Reports::new(&arguments.inventory, &common, &Journal::off())?;
    let inventory = load_inventory(&arguments.inventory, &common, &reports)?;
    let environment = environment(&inventory, arguments).map_err(|error| {
        let message = "there is no environment to print".to_owned();
        let step = "choose client and daemon";
        reports.error(ErrorKind::Usage, step, message, &error);
        Exit::Usage
    })?;
    let environment = (!arguments.unset).then_some(&environment);
    base::output::print(&lines(shell(arguments.shell), environment));
    Ok(Exit::Fine)
}

fn shell(asked: Option<ShellName>) -> Shell {
    let is_fish = match asked {
        Some(name) => name == ShellName::Fish,
        None => std::env::var("SHELL").is_ok_and(|shell| shell.ends_with("/fish")),
    };
    if is_fish { Shell::Fish } else { Shell::Posix }
}

fn environment(inventory: &Inventory, arguments: &Arguments) -> Result<Environment, EnvError> {
    let clients: Vec<&Host> = inventory.clients().collect();
    let client = choose(&clients, arguments.client.as_deref(), "clients")?
        .ok_or_else(|| EnvError::SeveralClients(clients.len(), names(&clients)))?;
    let daemons: Vec<&Host> = inventory.daemons().collect();
    let wanted = arguments.daemon.as_ref();
    let wanted = wanted.or(client.settings.default_daemon.as_ref());
    let daemon = choose(&daemons, wanted.map(String::as_str), "daemons")?
        .ok_or_else(|| EnvError::SeveralDaemons(daemons.len(), names(&daemons)))?;
    // Set explicitly: this shell may already have another directory.
    Ok(Environment {
        host: daemon_address(daemon).url(),
        certificate_path: Some(client.settings.client_dir.clone()),
        checks_daemon: client.settings.client_mode.checks_daemon(),
    })
}

/// The host of that name, or the only one.
fn choose<'a>(
    hosts: &[&'a Host],
    name: Option<&str>,
    group: &'static str,
) -> Result<Option<&'a Host>, EnvError> {
    match (name, hosts) {
        (Some(name), _) => match hosts.iter().find(|host| host.name == name) {
            Some(host) => Ok(Some(host)),
            None => Err(EnvError::Unknown(name.to_owned(), group, names(hosts))),
        },
        (None, [host]) => Ok(Some(host)),
        (None, _) => Ok(None),
    }
}

fn names(hosts: &[&Host]) -> String {
    let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    names.join(", ")
}
