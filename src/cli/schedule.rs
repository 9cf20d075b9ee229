//! `dtls-deploy schedule ...`: parses arguments and calls
//! [`crate::schedule`].

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser as _, Subcommand};
use clap_complete::engine::ArgValueCompleter;

use super::arguments::{AuthorityKey, NamedFiles};
use super::selection::pattern;
use super::{Cli, candidates, duration, reports};
use crate::schedule::{self, Reads, Recorded, Request, ScheduleError};
use inventory::{self, Environment};
use run::Exit;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Test everything inside a unit, then install units and timer
    Install(Box<Install>),
    /// Show the next and the last run, how that ended, and where the log is
    Status {
        /// Name or inventory of the schedule. Default: all schedules
        schedule: Option<String>,
    },
    /// Start a run and show its log; the exit code is that of the run
    RunNow {
        /// Name or inventory of the schedule
        schedule: String,
    },
    /// Remove timer, units and passphrase
    Remove {
        /// Name or inventory of the schedule
        schedule: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Install {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    /// When to run, as in systemd.time(7): daily, weekly, Mon *-*-* 03:00
    #[arg(long, value_name = "WHEN", default_value = "daily")]
    on_calendar: String,
    /// Longest random delay
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    randomized_delay: Duration,
    /// Account on this machine whose SSH key and configuration are used
    #[arg(long, value_name = "NAME", default_value = "root")]
    user: String,
    /// Shell command to run as the same account after a failed run
    #[arg(long, value_name = "COMMAND")]
    on_failure: Option<String>,
    /// Name of the schedule. Default: that of the inventory
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How long a run waits for the CA's lock
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration::parse)]
    wait: Duration,
    /// Only these hosts and groups
    #[arg(short, long, value_name = "PATTERN", value_parser = pattern, add = ArgValueCompleter::new(candidates::hosts))]
    limit: Option<String>,
    /// A variable for all hosts. Put secrets in @FILE, because all accounts can read the unit
    #[arg(short = 'e', long = "extra-vars", value_name = "VARS")]
    extra_vars: Vec<String>,
    /// An SSH configuration instead of ~/.ssh/config and the system's
    #[arg(long, value_name = "FILE")]
    ssh_config: Option<PathBuf>,
    /// Static build of this program for the CA node's architecture
    #[arg(long, value_name = "FILE")]
    agent_program: Option<PathBuf>,
    #[command(flatten)]
    authority: AuthorityKey,
    /// Further arguments for each run, after --
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Install {
    /// Arguments of every command in the units. Their working directory is another one.
    fn common(&self) -> std::io::Result<Vec<String>> {
        let absolute = |path: &str| -> std::io::Result<String> {
            Ok(std::path::absolute(path)?.display().to_string())
        };
        let mut words = Vec::new();
        for variables in &self.extra_vars {
            words.push("--extra-vars".to_owned());
            words.push(match variables.strip_prefix('@') {
                Some(file) => format!("@{}", absolute(file)?),
                None => variables.clone(),
            });
        }
        for (option, file) in [
            ("--ssh-config", &self.ssh_config),
            ("--agent-program", &self.agent_program),
        ] {
            if let Some(file) = file {
                words.push(option.to_owned());
                words.push(absolute(&file.display().to_string())?);
            }
        }
        Ok(words)
    }

    /// The files that the arguments name, including those for each run; none if these are invalid,
    /// with an error printed.
    fn named(&self) -> Option<NamedFiles> {
        let mut named = NamedFiles::default();
        named.add(
            &self.extra_vars,
            self.ssh_config.as_ref(),
            [self.agent_program.as_ref()],
        );
        let words = schedule::run_words("dtls-deploy", "inventory");
        let words = words.iter().chain(&self.arguments);
        match Cli::try_parse_from(words) {
            Ok(cli) => cli.named_files(&mut named),
            Err(error) => {
                let _ = error.print();
                return None;
            }
        }
        Some(named)
    }

    fn act(&self) -> Result<u8, ScheduleError> {
        let Some(named) = self.named() else {
            return Ok(Exit::Usage as u8);
        };
        let recorded = Arc::new(Recorded::default());
        let environment = Environment {
            files: recorded.clone(),
            ..Environment::of_process()
        };
        let inventory = match inventory::load(&self.inventory, &self.extra_vars, &environment) {
            Ok(inventory) => inventory,
            Err(errors) => {
                let what = format!("the inventory {}", errors.inventory);
                reports::show_problems(&what, &errors.problems);
                return Ok(Exit::Usage as u8);
            }
        };
        let common = self.common().map_err(|reason| ScheduleError::File {
            path: self.inventory.clone(),
            reason,
        })?;
        let request = Request {
            inventory: &inventory,
            path: &self.inventory,
            name: match &self.name {
                Some(name) => name.clone(),
                None => schedule::name_of(&self.inventory)?,
            },
            user: self.user.clone(),
            on_calendar: self.on_calendar.clone(),
            randomized_delay: self.randomized_delay.as_secs(),
            on_failure: self.on_failure.clone(),
            wait: self.wait.as_secs(),
            common,
            limit: self.limit.clone(),
            more: self.arguments.clone(),
            passphrase: self.authority.source(),
            reads: Reads::of(&recorded, &inventory)
                .and(named.files)
                .and_ssh_configs(named.ssh_configs),
        };
        schedule::install(&request, &mut say)
    }
}

fn say(line: &str) {
    base::output::print(&format!("{line}\n"));
}

pub(super) fn main(action: &Action) -> ExitCode {
    let done = match action {
        Action::Install(install) => install.act(),
        Action::Status { schedule } => schedule::status(schedule.as_deref(), &mut say).map(|()| 0),
        Action::RunNow { schedule } => schedule::run_now(schedule, &mut say),
        Action::Remove { schedule } => schedule::remove(schedule, &mut say).map(|()| 0),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let hint = error.hint().map(|hint| format!("Hint: {hint}\n"));
            let hint = hint.unwrap_or_default();
            base::output::error(&format!("Error: {error}\n{hint}"));
            ExitCode::from(error.exit() as u8)
        }
    }
}
