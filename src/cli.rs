//! The command line: arguments in, one run out.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::event::{Events, Renderer};
use crate::inventory::{self, Environment, Problem};
use crate::node::SshContext;
use crate::passphrase;
use crate::playbook::{self, Playbook};
use crate::report::{self, Style};
use crate::run::{Exit, Options, Run, run_id};
use crate::secret::Secret;
use crate::session::Passwords;

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
    /// The CA's part of a run, on the CA node
    #[command(hide = true)]
    CaAgent,
}

#[derive(Debug, Args)]
struct Deploy {
    /// Ansible inventory in YAML
    #[arg(required = true)]
    inventory: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
    /// A playbook of your own instead of the shipped deploy.yaml
    playbook: Option<PathBuf>,
    /// Show what would be done; change nothing
    #[arg(long)]
    check: bool,
    /// With --check: exit with 3 when something would change
    #[arg(long, requires = "check")]
    exit_code: bool,
    /// Show the changes inside text files
    #[arg(long)]
    diff: bool,
    /// File with the CA's passphrase in its first line
    #[arg(long, value_name = "FILE", conflicts_with = "ca_passphrase_command")]
    ca_passphrase_file: Option<PathBuf>,
    /// Command, started without a shell, that prints the CA's passphrase
    #[arg(long, value_name = "COMMAND")]
    ca_passphrase_command: Option<String>,
    /// Seconds to wait for another run that holds the CA's lock
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    /// Static build of this program for the CA node's architecture
    #[arg(long, value_name = "FILE")]
    agent_program: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Common {
    /// A variable for all hosts: name=value, a YAML mapping, or @FILE
    #[arg(short = 'e', long = "extra-vars", value_name = "VARS")]
    extra_vars: Vec<String>,
    /// Hosts worked on at one time
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    forks: u16,
    /// Ask once for the password to log in with; the inventory's own counts first
    #[arg(short = 'k', long)]
    ask_pass: bool,
    /// Ask once for sudo's password; the inventory's own counts first
    #[arg(short = 'K', long)]
    ask_become_pass: bool,
    /// How to report
    #[arg(long, value_enum, default_value_t = Output::Auto)]
    output: Output,
    /// Say more
    #[arg(short, long)]
    verbose: bool,
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
        (Some(Command::Verify { inventory, common }), _) => {
            let options = Options {
                check: false,
                exit_code: false,
                diff: false,
                forks: common.forks.into(),
                passphrase: passphrase::Source::default(),
                passwords: Passwords::default(),
                agent_program: None,
                wait_seconds: 0,
            };
            run(&inventory, &common, &Book::Shipped("verify"), &options)
        }
        (None, deploy) => {
            let options = Options {
                check: deploy.check,
                exit_code: deploy.exit_code,
                diff: deploy.diff,
                forks: deploy.common.forks.into(),
                passphrase: passphrase::Source {
                    file: deploy.ca_passphrase_file,
                    command: deploy.ca_passphrase_command,
                },
                passwords: Passwords::default(),
                agent_program: deploy.agent_program,
                wait_seconds: deploy.wait,
            };
            let book = match deploy.playbook {
                Some(path) => Book::File(path),
                None => Book::Shipped("deploy"),
            };
            let inventory = deploy.inventory.unwrap_or_default();
            run(&inventory, &deploy.common, &book, &options)
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

enum Book {
    Shipped(&'static str),
    File(PathBuf),
}

fn problem_report(what: &str, problems: &[Problem]) {
    let errors = problems.iter().filter(|problem| !problem.warning).count();
    let handler = miette::MietteHandlerOpts::new().build();
    for problem in problems {
        eprintln!("{:?}", Shown(&handler, problem));
    }
    if errors > 0 {
        eprintln!(
            "{errors} error{} in {what}; nothing was touched",
            if errors == 1 { "" } else { "s" }
        );
    }
}

struct Shown<'a>(&'a miette::MietteHandler, &'a Problem);

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        miette::ReportHandler::debug(self.0, self.1, formatter)
    }
}

fn load_playbook(book: &Book) -> Result<Playbook, Exit> {
    let (name, text) = match book {
        Book::Shipped(name) => {
            let text = playbook::SHIPPED
                .iter()
                .find(|(shipped, _)| shipped == name)
                .map_or("", |(_, text)| *text);
            ((*name).to_owned(), text.to_owned())
        }
        Book::File(path) => match std::fs::read_to_string(path) {
            Ok(text) => (path.display().to_string(), text),
            Err(error) => {
                eprintln!(
                    "Error: the playbook {} cannot be read: {error}",
                    path.display()
                );
                return Err(Exit::Usage);
            }
        },
    };
    playbook::parse(&name, &text).map_err(|problems| {
        problem_report(&format!("the playbook {name}"), &problems);
        Exit::Usage
    })
}

fn run(path: &Path, common: &Common, book: &Book, options: &Options) -> Exit {
    let environment = Environment::of_process();
    let inventory = match inventory::load(path, &common.extra_vars, &environment) {
        Ok(inventory) => inventory,
        Err(errors) => {
            let what = format!("the inventory {}", errors.inventory);
            problem_report(&what, &errors.problems);
            return Exit::Usage;
        }
    };
    problem_report("the inventory", &inventory.warnings);
    let playbook = match load_playbook(book) {
        Ok(playbook) => playbook,
        Err(exit) => return exit,
    };
    let passwords = match ask_passwords(common) {
        Ok(passwords) => passwords,
        Err(error) => {
            eprintln!("Error: a password is to be asked for, and the prompt failed: {error}");
            eprintln!(
                "Hint: --ask-pass and --ask-become-pass need a terminal; an inventory can hold ansible_password and ansible_become_password"
            );
            return Exit::Usage;
        }
    };
    let options = &Options {
        passwords,
        ..options.clone()
    };
    let terminal = std::io::stdout().is_terminal();
    let style = Style {
        colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        verbose: common.verbose,
        diff: options.diff,
    };
    let renderer: Box<dyn Renderer> = match common.output {
        Output::Json => Box::new(report::json::Json),
        Output::Auto if terminal => Box::new(report::live::Live::new(style)),
        Output::Auto | Output::Plain => Box::new(report::plain::plain(style)),
    };
    let events = Events::new(renderer);
    let context = SshContext::from_environment().with_prompt(Arc::new(|request| {
        if !std::io::stdin().is_terminal() {
            return None;
        }
        let question = format!("Passphrase of {}: ", request.path.display());
        rpassword::prompt_password(question).ok().map(Into::into)
    }));
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Error: the runtime cannot be started: {error}");
            return Exit::Failed;
        }
    };
    let run = Run {
        id: run_id(time::OffsetDateTime::now_utc()),
        inventory: &inventory,
        playbook: &playbook,
        options,
        context: &context,
        events: &events,
    };
    let result = runtime.block_on(run.execute());
    // A prompt that nobody answers must not keep the program from ending.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("Error: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("Hint: {hint}");
            }
            error.exit()
        }
    }
}
