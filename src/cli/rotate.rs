//! `rotate`: certificates are replaced before their time, here the CA's own.
//!
//! Comes in: the arguments. Goes out: the playbook to run, with what was asked
//! for in its tasks, and the options of the run. Called by the command line.

use std::path::PathBuf;

use clap::Args;

use super::{Book, Changing, Common};
use crate::passphrase;
use crate::playbook::{Argument, Playbook};
use crate::run::Options;

/// What `rotate` takes.
// Flags of a command line are independent of each other: booleans say so best.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Args)]
pub struct Rotate {
    /// Ansible inventory in YAML
    pub inventory: PathBuf,
    /// Replace the CA by a new one, step by step; no client is rejected
    /// meanwhile. Interrupted, the same command goes on
    #[arg(long)]
    ca: bool,
    /// Remove the encrypted keys of retired CAs: with --ca once the rollover is
    /// over, without it now
    #[arg(long)]
    destroy_old_ca: bool,
    /// A host outside the inventory whose certificate of the old CA may stop
    /// working; can be given several times
    #[arg(long, value_name = "NAME", requires = "ca")]
    abandon: Vec<String>,
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub change: Changing,
    /// File with the CA's passphrase in its first line
    #[arg(long, value_name = "FILE", conflicts_with = "ca_passphrase_command")]
    ca_passphrase_file: Option<PathBuf>,
    /// Command, started without a shell, that prints the CA's passphrase
    #[arg(long, value_name = "COMMAND")]
    ca_passphrase_command: Option<String>,
}

impl Rotate {
    /// What cannot be done as it was asked for.
    ///
    /// # Errors
    /// With the text for the operator.
    pub fn check(&self) -> Result<(), &'static str> {
        if !self.ca && !self.destroy_old_ca {
            return Err(
                "rotate replaces the CA, and only with --ca; certificates of daemons and clients are renewed by dtls-deploy INVENTORY in the last third of their time",
            );
        }
        if !self.common.selection.is_whole() {
            return Err(
                "a rollover of the CA concerns every host and every task: --limit, --tags and --skip-tags cannot be used with it",
            );
        }
        Ok(())
    }

    pub(super) fn book(&self) -> Book {
        Book::Rotation {
            begins: self.ca,
            destroys_old: self.destroy_old_ca,
            abandon: self.abandon.clone(),
        }
    }

    /// The options of its run.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            passphrase: passphrase::Source {
                file: self.ca_passphrase_file.clone(),
                command: self.ca_passphrase_command.clone(),
            },
            until_done: true,
            ..self.change.options(&self.common)
        }
    }
}

/// Says in the tasks of a rollover what the command line asked for.
pub(super) fn prepare(
    playbook: &mut Playbook,
    begins: bool,
    destroys_old: bool,
    abandon: &[String],
) {
    const MODULE: &str = "ca_rollover";
    if !begins {
        playbook.give(MODULE, "begin", &Argument::word("never"));
    }
    if destroys_old {
        playbook.give(MODULE, "old_key", &Argument::word("destroy"));
    }
    if !abandon.is_empty() {
        playbook.give(MODULE, "abandon", &Argument::words(abandon));
    }
}
