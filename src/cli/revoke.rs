//! `dtls-deploy revoke`: rejects the holder of a certificate.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use super::Cli;
use super::arguments::{AuthorityKey, Changing, Common};
use super::book::Book;
use super::start::run;
use run::{Exit, Options, RevokeOptions};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    /// A host (all its current certificates), even one that is no longer in the inventory, or
    /// the serial of one certificate in hexadecimal
    name: String,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    change: Changing,
    /// Reason to record in the ledger and show in `status`
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only mark the certificate. Replace the CA later with `rotate --ca` or a schedule
    #[arg(long)]
    mark_only: bool,
    /// Take a revocation back: daemons accept the certificates again. Refused if the CA that signed
    /// them has been replaced
    #[arg(long, conflicts_with_all = ["reason", "mark_only", "abandon", "cut_sessions"])]
    undo: bool,
    /// Also restart Docker on every daemon, one after the other, to end sessions that are open
    /// (exec, attach, logs). Running containers go on with live-restore only
    #[arg(long, conflicts_with = "mark_only")]
    cut_sessions: bool,
    /// Continue without this certificate holder, too: a host outside the inventory, a client of
    /// the inventory (HOST or NAME@HOST), or one certificate by its serial number. Can be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "mark_only")]
    abandon: Vec<String>,
    #[command(flatten)]
    authority: AuthorityKey,
}

pub(super) fn main(arguments: Arguments) -> Exit {
    if !arguments.common.selection.is_whole() {
        let text = "revoking concerns every host and every task: --limit, --tags and --skip-tags cannot be used with it";
        return super::refuse(
            Cli::command().error(clap::error::ErrorKind::ArgumentConflict, text),
            "revoke",
        );
    }
    let book = Book::Revoke {
        options: RevokeOptions {
            name: arguments.name,
            reason: arguments.reason,
            yes: arguments.change.yes,
            mark_only: arguments.mark_only,
            undo: arguments.undo,
            cut_sessions: arguments.cut_sessions,
        },
        abandon: arguments.abandon,
    };
    let options = Options {
        passphrase: arguments.authority.source(),
        // It asks its own question.
        asks: false,
        ..arguments.change.options(&arguments.common)
    };
    run(
        &arguments.inventory,
        &arguments.common,
        &book,
        &options,
        &arguments.change.journal(),
    )
}
