//! `adopt`, `ca backup` and `ca restore`: their arguments.
//!
//! Comes in: the command line. Goes out: what the run shall do with the CA.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Book, Changing, Common, run};
use crate::passphrase;
use crate::run::{AdoptOptions, BackupOptions, Exit, Options, RestoreOptions, Task};

/// Where the passphrase of the CA's key is.
#[derive(Debug, Args)]
pub struct CaPassphrase {
    /// File with the CA's passphrase in its first line
    #[arg(long, value_name = "FILE", conflicts_with = "ca_passphrase_command")]
    ca_passphrase_file: Option<PathBuf>,
    /// Command, started without a shell, that prints the CA's passphrase
    #[arg(long, value_name = "COMMAND")]
    ca_passphrase_command: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    mut_arg("diff", |argument| argument.hide(true)),
    mut_arg("allow_container_restart", |argument| argument.hide(true)),
    mut_arg("fail_fast", |argument| argument.hide(true))
)]
pub struct Adopt {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    change: Changing,
    #[command(flatten)]
    passphrase: CaPassphrase,
    /// The CA's certificate on this machine, where it is not in `dtls_ca_dir` yet
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    ca_cert: Option<PathBuf>,
    /// The CA's key on this machine; the file stays as it is
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    ca_key: Option<PathBuf>,
    /// Set a damaged ledger aside, keep what can be read of it, and find the
    /// rest on the nodes
    #[arg(long)]
    rebuild_ledger: bool,
}

#[derive(Debug, Subcommand)]
pub enum Ca {
    /// Writes the CA, its key and its ledger into one encrypted file
    Backup(Backup),
    /// Puts a backup back onto a CA node that has no CA
    Restore(Restore),
}

#[derive(Debug, Args)]
#[command(
    mut_arg("check", |argument| argument.hide(true)),
    mut_arg("exit_code", |argument| argument.hide(true)),
    mut_arg("diff", |argument| argument.hide(true)),
    mut_arg("allow_container_restart", |argument| argument.hide(true)),
    mut_arg("fail_fast", |argument| argument.hide(true))
)]
pub struct Backup {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    change: Changing,
    /// The file to write, with mode 0600
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// File with the backup's own passphrase in its first line
    #[arg(long = "backup-passphrase-file", value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
#[command(
    mut_arg("diff", |argument| argument.hide(true)),
    mut_arg("allow_container_restart", |argument| argument.hide(true)),
    mut_arg("fail_fast", |argument| argument.hide(true))
)]
pub struct Restore {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    change: Changing,
    #[command(flatten)]
    passphrase: CaPassphrase,
    /// The file that `ca backup` wrote
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// File with the backup's own passphrase in its first line
    #[arg(long = "backup-passphrase-file", value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

pub(super) fn adopt(arguments: Adopt) -> Exit {
    let Adopt {
        inventory,
        common,
        change,
        passphrase,
        ca_cert,
        ca_key,
        rebuild_ledger,
    } = arguments;
    let task = Task::Adopt(AdoptOptions {
        files: ca_cert.zip(ca_key),
        rebuild_ledger,
    });
    carry_out(&inventory, &common, &change, Some(passphrase), task)
}

pub(super) fn ca(command: Ca) -> Exit {
    match command {
        Ca::Backup(Backup {
            inventory,
            common,
            change,
            to,
            passphrase_file,
            force,
        }) => {
            let task = Task::Backup(BackupOptions {
                to,
                passphrase_file,
                force,
            });
            carry_out(&inventory, &common, &change, None, task)
        }
        Ca::Restore(Restore {
            inventory,
            common,
            change,
            passphrase,
            from,
            passphrase_file,
        }) => {
            let task = Task::Restore(RestoreOptions {
                from,
                passphrase_file,
            });
            carry_out(&inventory, &common, &change, Some(passphrase), task)
        }
    }
}

fn carry_out(
    inventory: &Path,
    common: &Common,
    change: &Changing,
    passphrase: Option<CaPassphrase>,
    task: Task,
) -> Exit {
    let source = passphrase.map_or_else(passphrase::Source::default, |given| passphrase::Source {
        file: given.ca_passphrase_file,
        command: given.ca_passphrase_command,
    });
    let options = Options {
        passphrase: source,
        ..change.options(common)
    };
    run(
        inventory,
        common,
        &Book::Authority(task),
        &options,
        &change.journal(),
    )
}
