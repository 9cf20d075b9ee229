//! `adopt`, `ca backup` and `ca restore`: their arguments.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::arguments::{AuthorityKey, Checking, Common, Locking, Readmitting};
use super::book::Book;
use super::start::run;
use run::{AdoptOptions, BackupOptions, Exit, Options, RestoreOptions, Task};

#[derive(Debug, Args)]
pub struct Adopt {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    checking: Checking,
    /// Accepted as by other commands: `adopt` asks no question
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    locking: Locking,
    #[command(flatten)]
    passphrase: AuthorityKey,
    /// The CA's certificate on this machine, where it is not in `dtls_ca_dir` yet
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    ca_cert: Option<PathBuf>,
    /// The CA's key on this machine; the file stays as it is
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    ca_key: Option<PathBuf>,
    /// Rebuild a damaged ledger from what is readable and from the certificates on the nodes
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
pub struct Backup {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    locking: Locking,
    /// The file to write, with mode 0600
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// File with the backup's own passphrase in its first line
    #[arg(long = "backup-passphrase-file", value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    checking: Checking,
    #[command(flatten)]
    locking: Locking,
    #[command(flatten)]
    passphrase: AuthorityKey,
    #[command(flatten)]
    readmitting: Readmitting,
    /// The file that `ca backup` wrote
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// File with the backup's own passphrase in its first line
    #[arg(long = "backup-passphrase-file", value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

pub(super) fn adopt(arguments: Adopt) -> Exit {
    let (common, locking) = (&arguments.common, &arguments.locking);
    let options = Options {
        passphrase: arguments.passphrase.source(),
        ..arguments.checking.options(locking.options(common))
    };
    let task = Task::Adopt(AdoptOptions {
        files: arguments.ca_cert.zip(arguments.ca_key),
        rebuild_ledger: arguments.rebuild_ledger,
    });
    begin(&arguments.inventory, common, locking, &options, task)
}

pub(super) fn ca(command: Ca) -> Exit {
    match command {
        Ca::Backup(arguments) => backup(arguments),
        Ca::Restore(arguments) => restore(arguments),
    }
}

fn backup(arguments: Backup) -> Exit {
    let (common, locking) = (&arguments.common, &arguments.locking);
    let task = Task::Backup(BackupOptions {
        to: arguments.to,
        passphrase_file: arguments.passphrase_file,
        force: arguments.force,
    });
    let options = locking.options(common);
    begin(&arguments.inventory, common, locking, &options, task)
}

fn restore(arguments: Restore) -> Exit {
    let (common, locking) = (&arguments.common, &arguments.locking);
    let options = Options {
        passphrase: arguments.passphrase.source(),
        allowed: arguments.readmitting.allowed(),
        ..arguments.checking.options(locking.options(common))
    };
    let task = Task::Restore(RestoreOptions {
        from: arguments.from,
        passphrase_file: arguments.passphrase_file,
    });
    begin(&arguments.inventory, common, locking, &options, task)
}

fn begin(path: &Path, common: &Common, locking: &Locking, options: &Options, task: Task) -> Exit {
    let book = Book::Authority(task);
    run(path, common, &book, options, &locking.journal())
}
