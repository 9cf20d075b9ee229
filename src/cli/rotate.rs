//! `dtls-deploy rotate`: renews certificates that are due, and replaces the CA on request.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use super::Cli;
use super::arguments::{AuthorityKey, Changing, Common, NamedFiles};
use super::book::Book;
use super::start::run;
use plan::playbook::Renewals;
use run::{Exit, Options};

// Independent flags of a command line: booleans fit best.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    change: Changing,
    /// Renew all certificates, even if not due, and outside of maintenance windows
    #[arg(long, conflicts_with_all = ["ca", "destroy_old_ca"])]
    force: bool,
    /// Renew certificates of clients only; restarts nothing
    #[arg(long, conflicts_with_all = ["daemons_only", "tags", "ca", "destroy_old_ca"])]
    clients_only: bool,
    /// Only daemons
    #[arg(long, conflicts_with_all = ["tags", "ca", "destroy_old_ca"])]
    daemons_only: bool,
    /// Replace the CA step by step; no client is rejected meanwhile. After an interruption, run
    /// the same command again
    #[arg(long)]
    ca: bool,
    /// Remove the encrypted keys of retired CAs: after the rollover with --ca, otherwise now
    #[arg(long)]
    destroy_old_ca: bool,
    /// Continue without this certificate holder: a host outside the inventory, a client of the
    /// inventory (HOST or NAME@HOST), or one certificate by its serial number. Can be repeated
    #[arg(long, value_name = "NAME", requires = "ca")]
    abandon: Vec<String>,
    #[command(flatten)]
    authority: AuthorityKey,
}

impl Arguments {
    pub(super) fn named_files(&self, named: &mut NamedFiles) {
        self.common.named_files(named);
        let program = self.change.locking.agent_program.as_ref();
        named.add(&[], None, [program, self.authority.file()]);
    }
}

pub(super) fn main(mut arguments: Arguments) -> Exit {
    let is_rollover = arguments.ca || arguments.destroy_old_ca;
    if is_rollover && !arguments.common.selection.is_whole() {
        let text = "a rollover of the CA concerns every host and every task: --limit, --tags and --skip-tags cannot be used with it";
        return super::refuse(
            Cli::command().error(clap::error::ErrorKind::ArgumentConflict, text),
            "rotate",
        );
    }
    for (asked, tag) in [
        (arguments.clients_only, "clients"),
        (arguments.daemons_only, "daemons"),
    ] {
        if asked {
            arguments.common.selection.only(tag);
        }
    }
    let book = if is_rollover {
        Book::Rotation {
            begins: arguments.ca,
            destroys_old: arguments.destroy_old_ca,
            abandon: arguments.abandon,
        }
    } else if arguments.force {
        Book::Rotate(Renewals::Forced)
    } else {
        Book::Rotate(Renewals::Due)
    };
    let change = arguments.change.options(&arguments.common);
    let options = Options {
        passphrase: arguments.authority.source(),
        until_done: is_rollover,
        ..change
    };
    run(
        &arguments.inventory,
        &arguments.common,
        &book,
        &options,
        &arguments.change.journal(),
    )
}
