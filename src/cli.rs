//! The command line: arguments in, one run out.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::event::{ErrorKind, Event};
use crate::history;
use crate::interrupt::{self, Interrupt, Signals};
use time::UtcOffset;

use crate::inventory::{self, Environment, Inventory};
use crate::journal::{self, Journal};
use crate::node::SshContext;
use crate::passphrase;
use crate::plan::Renewals;
use crate::playbook::{self, Playbook};
use crate::run::{Exit, Options, Run, Task, run_id};
use crate::secret::Secret;
use crate::session::{Deadlines, Passwords};
use crate::terminal::Terminal;

mod authority;
mod duration;
mod reports;
mod rotate;
mod schedule;
mod selection;
mod status;

use reports::Reports;
use selection::Selection;

/// Mutual TLS for Docker daemons over SSH: keys born on the CA node, files
/// delivered, daemons restarted, and the result proved.
#[derive(Debug, Parser)]
#[command(
    name = "dtls-deploy",
    version,
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
    /// Proves who is let in, and changes nothing
    Verify {
        /// Ansible inventory in YAML
        inventory: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Renews certificates that are due, and changes nothing else
    Rotate(Box<rotate::Arguments>),
    /// Shows every certificate, on disk and as served, and changes nothing
    Status(Box<status::Arguments>),
    /// Takes nodes back to the files that their last change replaced
    Rollback {
        /// Ansible inventory in YAML
        inventory: PathBuf,
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        change: Changing,
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
    /// Lists the runs that changed something, or shows one
    History(history::Arguments),
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
}

impl CheckAccess {
    fn options(&self) -> Options {
        Options {
            check: false,
            until_done: false,
            exit_code: false,
            diff: false,
            allow_container_restart: false,
            fail_fast: false,
            forks: self.common.forks.into(),
            passphrase: self.authority.source(),
            passwords: Passwords::default(),
            agent_program: self.agent_program.clone(),
            wait_seconds: self.wait.as_secs(),
            deadlines: self.common.deadlines(),
        }
    }
}

/// Where the CA's passphrase comes from.
#[derive(Debug, Clone, Args)]
pub(crate) struct AuthorityKey {
    /// File with the CA's passphrase in its first line
    #[arg(long, value_name = "FILE", conflicts_with = "ca_passphrase_command")]
    ca_passphrase_file: Option<PathBuf>,
    /// Command, started without a shell, that prints the CA's passphrase
    #[arg(long, value_name = "COMMAND")]
    ca_passphrase_command: Option<String>,
}

impl AuthorityKey {
    pub(crate) fn source(&self) -> passphrase::Source {
        passphrase::Source {
            file: self.ca_passphrase_file.clone(),
            command: self.ca_passphrase_command.clone(),
        }
    }
}

/// What every run takes that changes nodes.
#[allow(clippy::struct_excessive_bools)] // as of `Common`
#[derive(Debug, Args)]
struct Changing {
    /// Show what would be done; change nothing
    #[arg(long)]
    check: bool,
    /// With --check: exit with 3 when something would change
    #[arg(long, requires = "check")]
    exit_code: bool,
    /// Show the changes inside text files
    #[arg(long)]
    diff: bool,
    /// Restart daemons although containers stop with them, without a question
    #[arg(long)]
    allow_container_restart: bool,
    /// After the first failure begin nothing more, whatever
    /// `dtls_max_fail_percentage` says
    #[arg(long)]
    fail_fast: bool,
    /// How long to wait for another run that holds the CA's lock: 90, 5m, 1h30m
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration::parse)]
    wait: Duration,
    /// Keep no journal, where there is no place for one
    #[arg(long)]
    no_journal: bool,
    /// Static build of this program for the CA node's architecture
    #[arg(long, value_name = "FILE")]
    agent_program: Option<PathBuf>,
}

// Flags of a command line are independent of each other: booleans say so best.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    selection: Selection,
    /// A variable for all hosts: name=value, a YAML mapping, or @FILE
    #[arg(short = 'e', long = "extra-vars", value_name = "VARS")]
    extra_vars: Vec<String>,
    /// Hosts worked on at one time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    forks: u16,
    /// How long a node may take to answer with its facts (default 60s), and
    /// for each step of a change (default 5m); for connecting there is
    /// `ansible_timeout`
    #[arg(long, value_name = "DURATION", value_parser = duration::positive)]
    timeout: Option<Duration>,
    /// Ask once for the password to log in with; the inventory's own counts first
    #[arg(short = 'k', long)]
    ask_pass: bool,
    /// Ask once for sudo's password; the inventory's own counts first
    #[arg(short = 'K', long)]
    ask_become_pass: bool,
    /// How to report
    #[arg(long, value_enum, default_value_t = Output::Auto)]
    output: Output,
    /// Say more: every connection and every step, nothing shortened
    #[arg(short, long)]
    verbose: bool,
    /// Say only what went wrong and how it ended
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Append the run's events as JSON lines to this file (made with mode 0600)
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Live on a terminal, plain lines elsewhere
    Auto,
    /// Plain lines
    Plain,
    /// One JSON object a line
    Json,
}

impl Common {
    fn deadlines(&self) -> Deadlines {
        self.timeout
            .map_or_else(Deadlines::default, |deadline| Deadlines {
                facts: deadline,
                step: deadline,
            })
    }
}

impl Changing {
    fn journal(&self) -> Journal {
        if self.no_journal {
            Journal::off()
        } else {
            Journal::kept_in(journal::directory(|name| std::env::var_os(name)))
        }
    }

    /// The options of a run that needs no key of the CA.
    fn options(&self, common: &Common) -> Options {
        Options {
            check: self.check,
            until_done: false,
            exit_code: self.exit_code,
            diff: self.diff,
            allow_container_restart: self.allow_container_restart,
            fail_fast: self.fail_fast,
            forks: common.forks.into(),
            passphrase: passphrase::Source::default(),
            passwords: Passwords::default(),
            agent_program: self.agent_program.clone(),
            wait_seconds: self.wait.as_secs(),
            deadlines: common.deadlines(),
        }
    }
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    if let Err(error) = passphrase::take_from_environment() {
        eprintln!("Error: the passphrase cannot be taken out of the environment: {error}");
        return ExitCode::from(1);
    }
    let cli = Cli::parse();
    let exit = match (cli.command, cli.deploy) {
        (Some(Command::CaAgent), _) => return agent(),
        (Some(Command::Schedule(action)), _) => return schedule::main(&action),
        (Some(Command::History(arguments)), _) => history::main(&arguments),
        (Some(Command::CheckAccess(access)), _) => {
            let journal = Journal::kept_in(journal::directory(|name| std::env::var_os(name)));
            let options = access.options();
            let (inventory, common) = (&access.inventory, &access.common);
            run(inventory, common, &Book::Access, &options, &journal)
        }
        (Some(Command::Adopt(arguments)), _) => authority::adopt(*arguments),
        (Some(Command::Ca(command)), _) => authority::ca(*command),
        (Some(Command::Verify { inventory, common }), _) => {
            let options = Options {
                check: false,
                until_done: false,
                exit_code: false,
                diff: false,
                allow_container_restart: false,
                fail_fast: false,
                forks: common.forks.into(),
                passphrase: passphrase::Source::default(),
                passwords: Passwords::default(),
                agent_program: None,
                wait_seconds: 0,
                deadlines: common.deadlines(),
            };
            let book = Book::Shipped("verify");
            run(&inventory, &common, &book, &options, &Journal::off())
        }
        (Some(Command::Rotate(arguments)), _) => rotate::main(*arguments),
        (Some(Command::Status(arguments)), _) => status::main(&arguments),
        (
            Some(Command::Rollback {
                inventory,
                common,
                change,
            }),
            _,
        ) => run(
            &inventory,
            &common,
            &Book::Shipped("rollback"),
            &change.options(&common),
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

fn agent() -> ExitCode {
    match crate::pki::serve(std::io::stdin(), std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ca-agent: {error}");
            ExitCode::from(1)
        }
    }
}

/// One question for all hosts, before any connection waits for the answer. As
/// in Ansible, sudo's password is the login's where nothing else is typed.
fn ask_passwords(common: &Common) -> std::io::Result<Passwords> {
    let ask = |question: &str| rpassword::prompt_password(question).map(Secret::from);
    let login = common.ask_pass.then(|| ask("SSH password: ")).transpose()?;
    let r#become = match (&login, common.ask_become_pass) {
        (_, false) => None,
        (None, true) => Some(ask("sudo password: ")?),
        (Some(login), true) => {
            let typed = ask("sudo password (empty: the SSH password): ")?;
            Some(if typed.is_empty() {
                login.clone()
            } else {
                typed
            })
        }
    };
    Ok(Passwords { login, r#become })
}

/// From now on signals ask for an end, and the second one is it.
fn listen(
    runtime: &tokio::runtime::Runtime,
    interrupt: &Interrupt,
    found: &Terminal,
    journal: &Journal,
    reports: &Reports,
) -> Result<(), Exit> {
    let signals = {
        let _guard = runtime.enter();
        Signals::catch()
    };
    let signals = signals.map_err(|error| {
        let message = "signals cannot be caught".to_owned();
        reports.error(ErrorKind::Internal, "start", message, &error);
        Exit::Internal
    })?;
    let (interrupt, events) = (interrupt.clone(), reports.all.clone());
    let (found, journal) = (found.clone(), journal.clone());
    runtime.spawn(async move {
        interrupt::listen(signals, interrupt, events).await;
        journal.finish();
        found.restore();
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(())
}

fn asked_passwords(common: &Common, reports: &Reports) -> Result<Passwords, Exit> {
    ask_passwords(common).map_err(|error| {
        let message = "a password is to be asked for, and the prompt failed: --ask-pass and --ask-become-pass need a terminal; an inventory can hold ansible_password and ansible_become_password".to_owned();
        reports.error(ErrorKind::Usage, "ask for passwords", message, &error);
        Exit::Usage
    })
}

/// Reads the inventory, and says what is wrong with it.
fn load_inventory(path: &Path, common: &Common, reports: &Reports) -> Result<Inventory, Exit> {
    let environment = Environment::of_process();
    match inventory::load(path, &common.extra_vars, &environment) {
        Ok(inventory) => {
            reports.problems(ErrorKind::Inventory, "the inventory", &inventory.warnings);
            Ok(inventory)
        }
        Err(errors) => {
            let what = format!("the inventory {}", errors.inventory);
            reports.problems(ErrorKind::Inventory, &what, &errors.problems);
            Err(Exit::Usage)
        }
    }
}

/// Keys under a passphrase are asked for where there is somebody to ask.
fn ssh_context() -> SshContext {
    SshContext::from_environment().with_prompt(Arc::new(|request| {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let question = format!("Passphrase of {}: ", request.path.display());
        rpassword::prompt_password(question).ok().map(Into::into)
    }))
}

enum Book {
    /// None: what the shipped deploy.yaml needs is tried.
    Access,
    Shipped(&'static str),
    /// The shipped rotate.yaml, as a part of deploy.yaml.
    Rotate(Renewals),
    File(PathBuf),
    /// Something is done with the CA alone; which hosts there are, and how they
    /// are looked at, is as with deploy.yaml.
    Authority(Task),
    /// The shipped rotate-ca.yaml, with what the command line asked for.
    Rotation {
        begins: bool,
        destroys_old: bool,
        abandon: Vec<String>,
    },
}

fn load_playbook(book: &Book, inventory: &Inventory, reports: &Reports) -> Result<Playbook, Exit> {
    let shipped = |name: &str| {
        let text = playbook::SHIPPED
            .iter()
            .find(|(shipped, _)| *shipped == name)
            .map_or("", |(_, text)| *text);
        (name.to_owned(), text.to_owned())
    };
    let (name, text) = match book {
        Book::Access => ("check-access".to_owned(), shipped("deploy").1),
        Book::Authority(_) => shipped("deploy"),
        Book::Rotate(renewals) => {
            let deploy = load_playbook(&Book::Shipped("deploy"), inventory, reports)?;
            let rotate = load_playbook(&Book::Shipped("rotate"), inventory, reports)?;
            return Ok(rotate.as_part_of(deploy, *renewals));
        }
        Book::Shipped(name) => shipped(name),
        Book::Rotation { .. } => shipped("rotate-ca"),
        Book::File(path) => match std::fs::read_to_string(path) {
            Ok(text) => (path.display().to_string(), text),
            Err(error) => {
                let message = format!("the playbook {} cannot be read", path.display());
                reports.error(ErrorKind::Playbook, "read the playbook", message, &error);
                return Err(Exit::Usage);
            }
        },
    };
    let mut parsed = playbook::parse_for(&name, &text, inventory).map_err(|problems| {
        let what = format!("the playbook {name}");
        reports.problems(ErrorKind::Playbook, &what, &problems);
        Exit::Usage
    })?;
    if let Book::Rotation {
        begins,
        destroys_old,
        abandon,
    } = book
    {
        rotate::prepare(&mut parsed, *begins, *destroys_old, abandon);
    }
    Ok(parsed)
}

fn run(path: &Path, common: &Common, book: &Book, options: &Options, journal: &Journal) -> Exit {
    // Threads that are not there yet cannot change it while it is read.
    let zone = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
    let reports = match Reports::new(common, journal) {
        Ok(reports) => reports,
        Err(exit) => return exit,
    };
    let inventory = match load_inventory(path, common, &reports) {
        Ok(inventory) => inventory,
        Err(exit) => return exit,
    };
    let mut playbook = match load_playbook(book, &inventory, &reports) {
        Ok(playbook) => playbook,
        Err(exit) => return exit,
    };
    if let Err(exit) = common.selection.apply(&mut playbook, &inventory, &reports) {
        return exit;
    }
    let events = reports.all.clone();
    let context = ssh_context();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let message = "the runtime cannot be started".to_owned();
            reports.error(ErrorKind::Internal, "start", message, &error);
            return Exit::Internal;
        }
    };
    let interrupt = Interrupt::default();
    let found = Terminal::remember();
    if let Err(exit) = listen(&runtime, &interrupt, &found, journal, &reports) {
        return exit;
    }
    let passwords = match asked_passwords(common, &reports) {
        Ok(passwords) => passwords,
        Err(exit) => return exit,
    };
    let options = &Options {
        passwords,
        ..options.clone()
    };
    let run = Run {
        id: run_id(time::OffsetDateTime::now_utc()),
        zone,
        inventory: &inventory,
        playbook: &playbook,
        options,
        context: &context,
        events: &events,
        journal,
        interrupt: &interrupt,
    };
    let result = runtime.block_on(async {
        match book {
            Book::Access => run.check_access().await,
            Book::Authority(task) => run.authority(task).await,
            Book::Shipped(_) | Book::File(_) | Book::Rotate(_) | Book::Rotation { .. } => {
                run.execute().await
            }
        }
    });
    // A prompt that nobody answers must not keep the program from ending.
    runtime.shutdown_background();
    found.restore();
    let exit = result.unwrap_or_else(|error| {
        events.emit(Event::Error(error.event()));
        error.exit()
    });
    journal.finish();
    exit
}
