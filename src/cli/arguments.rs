//! Arguments that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::duration;
use super::selection::Selection;
use inventory::Environment;
use node::HostKeyChecking;
use plan::playbook::Allowed;
use run::Options;
use run::journal::{self, Journal};
use run::passphrase;
use run::session::Deadlines;

/// The sources of the CA's passphrase.
#[derive(Debug, Clone, Args)]
pub(crate) struct AuthorityKey {
    /// File with the CA's passphrase in its first line
    #[arg(long, value_name = "FILE", conflicts_with = "ca_passphrase_command")]
    ca_passphrase_file: Option<PathBuf>,
    /// Command, started without a shell, that prints the CA's passphrase
    #[arg(long, value_name = "COMMAND")]
    ca_passphrase_command: Option<String>,
}

/// Local files that a command line names.
#[derive(Debug, Default)]
pub(super) struct NamedFiles {
    pub(super) files: Vec<PathBuf>,
    pub(super) ssh_configs: Vec<PathBuf>,
}

impl NamedFiles {
    /// Files of `-e @FILE`, of `--ssh-config`, and others.
    pub(super) fn add<'a>(
        &mut self,
        extra_vars: &[String],
        ssh_config: Option<&PathBuf>,
        others: impl IntoIterator<Item = Option<&'a PathBuf>>,
    ) {
        let environment = Environment::of_process();
        let variables = extra_vars.iter().filter_map(|text| text.strip_prefix('@'));
        let variables = variables.filter_map(|file| environment.local_path(file));
        self.files.extend(variables);
        self.files.extend(others.into_iter().flatten().cloned());
        self.ssh_configs.extend(ssh_config.cloned());
    }
}

impl AuthorityKey {
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        self.ca_passphrase_file.as_ref()
    }

    pub(crate) fn source(&self) -> passphrase::Source {
        passphrase::Source {
            file: self.ca_passphrase_file.clone(),
            command: self.ca_passphrase_command.clone(),
        }
    }
}

/// Arguments of commands that take the CA's lock.
#[derive(Debug, Args)]
pub(super) struct Locking {
    /// How long to wait for the CA's lock: 90, 5m, 1h30m
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration::parse)]
    pub(super) wait: Duration,
    /// Do not write a journal
    #[arg(long)]
    pub(super) no_journal: bool,
    /// Static build of this program for the CA node's architecture
    #[arg(long, value_name = "FILE")]
    pub(super) agent_program: Option<PathBuf>,
}

/// Arguments of commands that support `--check`.
#[derive(Debug, Args)]
pub(super) struct Checking {
    /// Show what would change, and change nothing
    #[arg(short = 'C', long, visible_alias = "dry-run", overrides_with = "check")]
    pub(super) check: bool,
    /// With --check: exit with 3 if something would change
    #[arg(long, requires = "check")]
    pub(super) exit_code: bool,
}

/// The CA that may be trusted again.
#[derive(Debug, Default, Args)]
pub(super) struct Readmitting {
    /// Trust this replaced CA again, including its revoked certificates: its subject or
    /// SHA-256. Can be repeated
    #[arg(long, value_name = "NAME")]
    readmit_ca: Vec<String>,
}

impl Readmitting {
    pub(super) fn allowed(self) -> Allowed {
        Allowed {
            readmitted: self.readmit_ca,
            ..Allowed::default()
        }
    }
}

/// What every run takes that changes nodes.
// Independent flags of a command line: booleans fit best.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Args)]
pub(super) struct Changing {
    #[command(flatten)]
    pub(super) checking: Checking,
    /// Show the changes inside text files
    #[arg(short = 'D', long)]
    pub(super) diff: bool,
    /// Carry out the plan without asking. Nothing is asked either if standard input is not a terminal, except by `revoke`, which then needs this option
    #[arg(short, long)]
    pub(super) yes: bool,
    /// Restart daemons even if that stops running containers, without asking
    #[arg(long)]
    pub(super) allow_container_restart: bool,
    /// Stop after the first failure, regardless of `dtls_max_fail_percentage`
    #[arg(long)]
    pub(super) fail_fast: bool,
    #[command(flatten)]
    pub(super) locking: Locking,
}

// Independent flags of a command line: booleans fit best.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Default, Args)]
pub(super) struct Common {
    #[command(flatten)]
    pub(super) selection: Selection,
    /// A variable for all hosts: name=value, a YAML mapping, or @FILE
    #[arg(short = 'e', long = "extra-vars", value_name = "VARS")]
    pub(super) extra_vars: Vec<String>,
    /// Number of hosts to work on at the same time
    #[arg(short, long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) forks: u16,
    /// Time limit for reading facts (default 60s) and for each step of a change (default 5m).
    /// For connecting, set `ansible_timeout`
    #[arg(long, value_name = "DURATION", value_parser = duration::positive)]
    pub(super) timeout: Option<Duration>,
    /// An SSH configuration instead of ~/.ssh/config and the system's, such as
    /// `vagrant ssh-config` prints
    #[arg(long, value_name = "FILE")]
    pub(super) ssh_config: Option<PathBuf>,
    /// File with the host keys, instead of `~/.ssh/known_hosts`
    #[arg(long, value_name = "FILE")]
    pub(super) known_hosts: Option<PathBuf>,
    /// How to check host keys, regardless of `ssh_config`. An inventory cannot weaken this
    #[arg(long, value_name = "HOW", value_enum)]
    pub(super) host_key_checking: Option<HostKeys>,
    /// For an inventory that is not reviewed, such as one in a pull request. Allows only plans
    /// and lists: no connection to this machine, no file of this machine that the inventory
    /// names, and no text of a node in the output
    #[arg(
        long,
        conflicts_with_all = ["ask_pass", "ask_become_pass", "host_key_checking"]
    )]
    pub(super) untrusted: bool,
    /// Do not read `dtls-deploy.toml` beside the inventory
    #[arg(long)]
    pub(super) no_defaults: bool,
    /// Ask once for the SSH password. One in the inventory takes precedence
    #[arg(short = 'k', long)]
    pub(super) ask_pass: bool,
    /// Ask once for the sudo password. One in the inventory takes precedence
    #[arg(short = 'K', long)]
    pub(super) ask_become_pass: bool,
    /// How to report
    #[arg(long, value_enum, default_value_t = Output::Auto)]
    pub(super) output: Output,
    /// Print every connection and every step, without abbreviations
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    /// Print only errors and the result
    #[arg(short, long, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Print how long each host and phase took
    #[arg(long)]
    pub(super) timings: bool,
    /// Append the events of the run to this file as JSON lines (created with mode 0600)
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum HostKeys {
    /// The key has to be in a `known_hosts` file
    Yes,
    /// The key of a host that is in none is accepted, and recorded
    AcceptNew,
    /// Any key is accepted
    Off,
}

impl HostKeys {
    const fn checking(self) -> HostKeyChecking {
        match self {
            Self::Yes => HostKeyChecking::Strict,
            Self::AcceptNew => HostKeyChecking::AcceptNew,
            Self::Off => HostKeyChecking::Off,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Output {
    #[default]
    /// Live on a terminal, plain lines elsewhere
    Auto,
    /// Plain lines
    Plain,
    /// One JSON object a line
    Json,
}

impl Common {
    /// The options of a read-only run.
    pub(super) fn options(&self) -> Options {
        Options {
            forks: self.forks.into(),
            deadlines: self.deadlines(),
            ..Options::default()
        }
    }

    pub(super) fn named_files(&self, named: &mut NamedFiles) {
        let known_hosts = self.known_hosts.as_ref();
        named.add(&self.extra_vars, self.ssh_config.as_ref(), [known_hosts]);
    }

    /// How host keys are checked; none uses the SSH configuration.
    pub(super) fn checking(&self) -> Option<HostKeyChecking> {
        if self.untrusted {
            return Some(HostKeyChecking::Strict);
        }
        self.host_key_checking.map(HostKeys::checking)
    }

    pub(super) fn deadlines(&self) -> Deadlines {
        self.timeout
            .map_or_else(Deadlines::default, |deadline| Deadlines {
                facts: deadline,
                step: deadline,
            })
    }
}

impl Locking {
    pub(super) fn journal(&self) -> Journal {
        if self.no_journal {
            Journal::off()
        } else {
            Journal::kept_in(journal::directory(|name| std::env::var_os(name)))
        }
    }

    /// The options of a task that does not need the CA's key.
    pub(super) fn options(&self, common: &Common) -> Options {
        Options {
            agent_program: self.agent_program.clone(),
            wait_seconds: self.wait.as_secs(),
            ..common.options()
        }
    }
}

impl Checking {
    pub(super) fn options(&self, options: Options) -> Options {
        Options {
            check: self.check,
            exit_code: self.exit_code,
            ..options
        }
    }
}

impl Changing {
    pub(super) fn journal(&self) -> Journal {
        self.locking.journal()
    }

    /// The options of a run that does not need the CA's key.
    pub(super) fn options(&self, common: &Common) -> Options {
        Options {
            diff: self.diff,
            allow_container_restart: self.allow_container_restart,
            fail_fast: self.fail_fast,
            asks: !self.yes && run::can_ask(),
            ..self.checking.options(self.locking.options(common))
        }
    }
}
