//! The command line: parses arguments and starts one run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::history;
use plan::playbook::Allowed;
use run::journal::{self, Journal};
use run::passphrase;
use run::{Exit, Options};

mod arguments;
mod audit;
mod authority;
mod book;
mod candidates;
mod completions;
mod defaults;
mod doctor;
mod duration;
mod env;
mod help;
mod init;
mod limits;
mod man;
mod overview;
pub mod reference;
mod refusal;
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
mod words;

use arguments::{AuthorityKey, Changing, Common, NamedFiles, Readmitting};
use book::Book;
use refusal::refuse;
use start::run;

/// Mutual TLS for Docker daemons over SSH: issue, deliver, restart, check.
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
    /// Bring all hosts to the state that the inventory describes
    ///
    /// `dtls-deploy INVENTORY` does the same.
    Deploy(Box<Deploy>),
    /// Show what `deploy` would change, down to the lines of files
    ///
    /// Changes nothing. The same as `deploy --check --diff`.
    Plan(Box<Deploy>),
    /// Write an inventory from your answers or from options
    Init(init::Arguments),
    /// Check which clients each daemon accepts and rejects
    ///
    /// Changes nothing.
    Verify {
        /// Ansible inventory in YAML
        inventory: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Renew certificates that are due
    Rotate(Box<rotate::Arguments>),
    /// Reject a certificate: by guards, or by replacing the CA
    ///
    /// Marks the certificate as revoked. If every daemon has a guard, the guards reject it from then
    /// on; otherwise the CA is replaced. `--undo` removes the mark.
    Revoke(Box<revoke::Arguments>),
    /// Show every certificate, on disk and as served
    ///
    /// Changes nothing.
    Status(Box<status::Arguments>),
    /// Find what is broken or would stop a run
    ///
    /// Changes nothing.
    Doctor(Box<doctor::Arguments>),
    /// List requests to the daemons, from the logs of their guards
    ///
    /// Changes nothing.
    Audit(Box<audit::Arguments>),
    /// Undo the last run
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
    /// Remove TLS, keys and settings from the hosts; the CA stays
    Remove {
        /// Ansible inventory in YAML
        inventory: PathBuf,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        change: Changing,
    },
    /// Test SSH, sudo, the CA's lock and passphrase
    ///
    /// Changes nothing.
    CheckAccess(CheckAccess),
    /// Run at fixed times with a systemd timer
    #[command(subcommand)]
    Schedule(schedule::Action),
    /// Take over an existing CA and its certificates
    ///
    /// They are added to the ledger of the CA node; daemons and clients stay as they are.
    Adopt(Box<authority::Adopt>),
    /// Back up or restore the CA
    #[command(subcommand)]
    Ca(Box<authority::Ca>),
    /// Print shell code that points docker to a daemon
    ///
    /// For `eval "$(dtls-deploy env …)"`.
    Env(env::Arguments),
    /// List the runs that changed something, or show one
    History(history::Arguments),
    /// Print the JSON Schema of inventories, for editors
    Schema,
    /// Print shell code that completes commands, hosts and tags
    Completions(completions::Arguments),
    /// Write manual pages
    Man(man::Arguments),
    /// The CA's part of a run, on the CA node
    #[command(hide = true)]
    CaAgent,
}

// Independent flags of a command line: booleans fit best.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Args)]
struct Deploy {
    /// Ansible inventory in YAML
    #[arg(required = true)]
    inventory: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
    /// Playbook to run instead of the built-in deploy.yaml
    playbook: Option<PathBuf>,
    #[command(flatten)]
    change: Changing,
    /// Create a new CA although hosts have certificates of another one. Clients and daemons
    /// that this run does not reach will reject each other
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
    /// How long to wait for the CA's lock: 90, 5m, 1h30m
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration::parse)]
    wait: Duration,
    /// Static build of this program for the CA node's architecture
    #[arg(long, value_name = "FILE")]
    agent_program: Option<PathBuf>,
    /// Fail if there is no CA yet
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
    /// Adds the files that a run with these arguments reads.
    fn named_files(&self, named: &mut NamedFiles) {
        match &self.command {
            Some(Command::Rotate(arguments)) => arguments.named_files(named),
            Some(Command::Deploy(deploy) | Command::Plan(deploy)) => deploy.named_files(named),
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

    fn main(self) -> Exit {
        let options = Options {
            passphrase: self.authority.source(),
            allowed: Allowed {
                new_authority: self.new_ca,
                ..self.readmitting.allowed()
            },
            ..self.change.options(&self.common)
        };
        let book = self.playbook.map_or(Book::Shipped("deploy"), Book::File);
        let inventory = self.inventory.unwrap_or_default();
        let journal = self.change.locking.journal();
        run(&inventory, &self.common, &book, &options, &journal)
    }

    /// `plan`: shows everything and changes nothing.
    fn only_shown(mut self) -> Self {
        self.change.checking.check = true;
        self.change.diff = true;
        self
    }
}

/// Whether these words, the program's name first, are a valid command line, including `--help`. For
/// the examples in the documents.
pub fn check(words: &[String]) -> Result<(), String> {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    let words = words::understood(&Cli::command(), &words, None, &|_| false)
        .map_err(|error| error.to_string())?;
    match Cli::try_parse_from(words) {
        Err(error) if error.use_stderr() => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let exit = run_words();
    let Some(fault) = base::output::fault() else {
        return exit;
    };
    base::output::error(&format!("Error: {fault}\n"));
    if exit == ExitCode::SUCCESS {
        ExitCode::from(Exit::Internal as u8)
    } else {
        exit
    }
}

fn run_words() -> ExitCode {
    base::dumps::forbid();
    if let Err(error) = passphrase::take_from_environment() {
        base::output::error(&format!(
            "Error: the passphrase cannot be taken out of the environment: {error}\n"
        ));
        return ExitCode::from(1);
    }
    completions::answer();
    limits::raise_open_files();
    let words: Vec<OsString> = std::env::args_os().collect();
    if words.len() < 2 {
        base::output::error(&overview::text());
        return ExitCode::from(Exit::Usage as u8);
    }
    let words = match complete(&words) {
        Ok(words) => words,
        Err(error) => {
            base::output::error(&format!("Error: {error}\n"));
            return ExitCode::from(Exit::Usage as u8);
        }
    };
    let program = Cli::command();
    let command = refusal::named(&program, words.iter().skip(1).map(|word| word.to_str()));
    let program = help::complete(program).override_help(overview::text());
    let matches = program.try_get_matches_from(words);
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli.main(),
        Err(error) => ExitCode::from(refuse(error, &command) as u8),
    }
}

/// The words in the form that clap parses, completed from the environment and `dtls-deploy.toml`.
fn complete(words: &[OsString]) -> Result<Vec<OsString>, Box<dyn std::error::Error>> {
    let named = std::env::var_os("DTLS_INVENTORY");
    let words = words::understood(&Cli::command(), words, named, &Path::exists)?;
    Ok(defaults::added(&Cli::command(), words)?)
}

impl Cli {
    fn main(self) -> ExitCode {
        let exit = match (self.command, self.deploy) {
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
            (Some(Command::Audit(arguments)), _) => audit::main(*arguments),
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
            (Some(Command::Deploy(deploy)), _) => deploy.main(),
            (Some(Command::Plan(deploy)), _) => deploy.only_shown().main(),
            (None, deploy) => deploy.main(),
        };
        ExitCode::from(exit as u8)
    }
}
