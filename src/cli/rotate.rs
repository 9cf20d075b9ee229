//! `dtls-deploy rotate`: renews certificates that are due.
//!
//! Comes in: the arguments. Goes out: a run of rotate.yaml. Called by the
//! command line.

use std::path::PathBuf;

use clap::Args;

use super::{Book, Changing, Common, run};
use crate::passphrase;
use crate::plan::Renewals;
use crate::run::{Exit, Options};

// Flags of a command line are independent of each other: booleans say so best.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Ansible inventory in YAML
    inventory: PathBuf,
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    change: Changing,
    /// Renew all, due or not, and also outside of maintenance windows
    #[arg(long)]
    force: bool,
    /// Only clients: nothing is restarted
    #[arg(long, conflicts_with_all = ["daemons_only", "tags"])]
    clients_only: bool,
    /// Only daemons
    #[arg(long, conflicts_with = "tags")]
    daemons_only: bool,
    /// File with the CA's passphrase in its first line
    #[arg(long, value_name = "FILE", conflicts_with = "ca_passphrase_command")]
    ca_passphrase_file: Option<PathBuf>,
    /// Command, started without a shell, that prints the CA's passphrase
    #[arg(long, value_name = "COMMAND")]
    ca_passphrase_command: Option<String>,
}

pub(super) fn main(mut arguments: Arguments) -> Exit {
    for (asked, tag) in [
        (arguments.clients_only, "clients"),
        (arguments.daemons_only, "daemons"),
    ] {
        if asked {
            arguments.common.selection.only(tag);
        }
    }
    let renewals = if arguments.force {
        Renewals::Forced
    } else {
        Renewals::Due
    };
    let options = Options {
        passphrase: passphrase::Source {
            file: arguments.ca_passphrase_file,
            command: arguments.ca_passphrase_command,
        },
        ..arguments.change.options(&arguments.common)
    };
    run(
        &arguments.inventory,
        &arguments.common,
        &Book::Rotate(renewals),
        &options,
        &arguments.change.journal(),
    )
}
