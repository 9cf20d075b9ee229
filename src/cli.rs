//! The command line: arguments in, one run out.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::history;
use plan::playbook::Allowed;
use run::Options;
use run::journal::{self, Journal};
use run::passphrase;

mod arguments;
mod authority;
mod candidates;
mod completions;
mod doctor;
mod duration;
mod env;
mod init;
mod limits;
mod man;
mod reports;
mod revoke;
mod rotate;
mod schedule;
mod schema;
mod selection;
mod start;
mod status;
mod untrusted;
mod version;

use arguments::{AuthorityKey, Changing, Common, NamedFiles, Readmitting};
use start::{Book, run};

/// Mutual TLS for Docker daemons over SSH: keys born on the CA node, files
/// delivered, daemons restarted, and the result proved.
#[derive(Debug, Parser)]
#[command(
    name = "dtls-deploy",
    version,
    long_version = version::LONG,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    deploy: Deploy,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Writes a first inventory from a few answers, or from its options
    Init(init::Arguments),
    /// Proves who is let in, and changes nothing
    Verify {
        /// Ansible inventory in YAML
        inventory: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Renews certificates that are due, and changes nothing else
    Rotate(Box<rotate::Arguments>),
    /// Keeps the holder of a certificate out: marks it, and replaces the CA
    Revoke(Box<revoke::Arguments>),
    /// Shows every certificate, on disk and as served, and changes nothing
    Status(Box<status::Arguments>),
    /// Finds what would keep a run from working and what commonly breaks, and
    /// changes nothing
    Doctor(Box<doctor::Arguments>),
    /// Takes nodes back to the files that their last change replaced
    Rollback {
        /// Ansible inventory in YAML
        inventory: PathBuf,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        change: Changing,
        #[command(flatten)]
        readmitting: Readmitting,
    },
    /// Takes everything away again: nodes as they were before, the CA stays
    Remove {
        /// Ansible inventory in YAML
        inventory: PathBuf,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        change: Changing,
    },
    /// Tries what a run needs, and changes nothing: SSH, sudo, the CA's lock and passphrase
    CheckAccess(CheckAccess),
    /// Runs that a systemd timer begins on this machine
    #[command(subcommand)]
    Schedule(schedule::Action),
    /// Takes a CA and certificates that were made elsewhere into the ledger;
    /// daemons and clients stay as they are
    Adopt(Box<authority::Adopt>),
    /// Backs the CA up, or puts it back
    #[command(subcommand)]
    Ca(Box<authority::Ca>),
    /// Prints what a shell has to evaluate to talk to a daemon: eval "$(dtls-deploy env …)"
    Env(env::Arguments),
    /// Lists the runs that changed something, or shows one
    History(history::Arguments),
    /// Prints the JSON Schema of inventories, for editors
    Schema,
    /// Prints what a shell needs to complete commands, hosts and tags
    Completions(completions::Arguments),
    /// Writes manual pages
    Man(man::Arguments),
    /// The CA's part of a run, on the CA node
    #[command(hide = true)]
    CaAgent,
}

// Flags of a command line are independent of each other: booleans say so best.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Args)]
struct Deploy {
    /// Ansible inventory in YAML
    #[arg(required = true)]
    inventory: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
    /// A playbook of your own instead of the shipped deploy.yaml
    playbook: Option<PathBuf>,
    #[command(flatten)]
    change: Changing,
    /// Make a new CA although hosts carry certificates of another one: clients and
    /// daemons that this run does not reach reject each other afterwards
    #[arg(long)]
    new_ca: bool,
    #[command(flatten)]
    readmitting: Readmitting,
    #[command(flatten)]
    authority: AuthorityKey,
}

#[derive(Debug, Args)]
struct CheckAccess {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    authority: AuthorityKey,
    /// How long to wait for another run that holds the CA's lock: 90, 5m, 1h30m
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration::parse)]
    wait: Duration,
    /// Static build of this program for the CA node's architecture
    #[arg(long, value_name = "FILE")]
    agent_program: Option<PathBuf>,
    /// Fail if there is no CA yet, as the runs of a schedule do
    #[arg(long)]
    needs_ca: bool,
}

impl CheckAccess {
    fn options(&self) -> Options {
        Options {
            passphrase: self.authority.source(),
            agent_program: self.agent_program.clone(),
            wait_seconds: self.wait.as_secs(),
            ..self.common.options()
        }
    }
}

impl Cli {
    /// Adds the files that a run of these arguments reads.
    fn named_files(&self, named: &mut NamedFiles) {
        match &self.command {
            Some(Command::Rotate(arguments)) => arguments.named_files(named),
            None => self.deploy.named_files(named),
            Some(_) => {}
        }
    }
}

impl Deploy {
    fn named_files(&self, named: &mut NamedFiles) {
        let (common, locking) = (&self.common, &self.change.locking);
        common.named_files(named);
        let files = [
            locking.agent_program.as_ref(),
            self.authority.file(),
            self.playbook.as_ref(),
        ];
        named.add(&[], None, files);
    }
}

/// Whether these words, the program's name first, are a command line; `--help`
/// is one, too. For the examples in the documents.
///
/// # Errors
/// What is wrong with them, as the program would say it.
pub fn check(words: &[String]) -> Result<(), String> {
    match Cli::try_parse_from(words) {
        Err(error) if error.use_stderr() => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    base::dumps::forbid();
    if let Err(error) = passphrase::take_from_environment() {
        eprintln!("Error: the passphrase cannot be taken out of the environment: {error}");
        return ExitCode::from(1);
    }
    completions::answer();
    limits::raise_open_files();
    let cli = Cli::parse();
    let exit = match (cli.command, cli.deploy) {
        (Some(Command::CaAgent), _) => return pki::agent_main(),
        (Some(Command::Schedule(action)), _) => return schedule::main(&action),
        (Some(Command::Init(arguments)), _) => init::main(arguments),
        (Some(Command::Env(arguments)), _) => env::main(&arguments),
        (Some(Command::History(arguments)), _) => history::main(&arguments),
        (Some(Command::Schema), _) => schema::main(),
        (Some(Command::Completions(arguments)), _) => completions::main(&arguments),
        (Some(Command::Man(arguments)), _) => man::main(&arguments),
        (Some(Command::CheckAccess(access)), _) => {
            let journal = Journal::kept_in(journal::directory(|name| std::env::var_os(name)));
            let options = access.options();
            let (inventory, common) = (&access.inventory, &access.common);
            let book = Book::Access {
                needs_authority: access.needs_ca,
            };
            run(inventory, common, &book, &options, &journal)
        }
        (Some(Command::Adopt(arguments)), _) => authority::adopt(*arguments),
        (Some(Command::Ca(command)), _) => authority::ca(*command),
        (Some(Command::Verify { inventory, common }), _) => {
            let book = Book::Shipped("verify");
            run(
                &inventory,
                &common,
                &book,
                &common.options(),
                &Journal::off(),
            )
        }
        (Some(Command::Rotate(arguments)), _) => rotate::main(*arguments),
        (Some(Command::Revoke(arguments)), _) => revoke::main(*arguments),
        (Some(Command::Status(arguments)), _) => status::main(&arguments),
        (Some(Command::Doctor(arguments)), _) => doctor::main(&arguments),
        (
            Some(Command::Rollback {
                inventory,
                common,
                change,
                readmitting,
            }),
            _,
        ) => run(
            &inventory,
            &common,
            &Book::Shipped("rollback"),
            &Options {
                allowed: readmitting.allowed(),
                ..change.options(&common)
            },
            &change.journal(),
        ),
        (
            Some(Command::Remove {
                inventory,
                common,
                change,
            }),
            _,
        ) => run(
            &inventory,
            &common,
            &Book::Shipped("remove"),
            &change.options(&common),
            &change.journal(),
        ),
        (None, deploy) => {
            let options = Options {
                passphrase: deploy.authority.source(),
                allowed: Allowed {
                    new_authority: deploy.new_ca,
                    ..deploy.readmitting.allowed()
                },
                ..deploy.change.options(&deploy.common)
            };
            let book = match deploy.playbook {
                Some(path) => Book::File(path),
                None => Book::Shipped("deploy"),
            };
            let inventory = deploy.inventory.unwrap_or_default();
            run(
                &inventory,
                &deploy.common,
                &book,
                &options,
                &deploy.change.journal(),
            )
        }
    };
    ExitCode::from(exit as u8)
}
