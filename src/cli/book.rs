//! What a command runs: a playbook, or a task for the CA.

use std::path::PathBuf;

use super::reports::Reports;
use base::event::ErrorKind;
use base::file::{self, FileFault};
use inventory::Inventory;
use plan::playbook::{self, Argument, Playbook, Renewals, Word};
use run::{Exit, Options, RevokeOptions, Task};

/// Maximum bytes.
const LARGEST_PLAYBOOK: u64 = 8 << 20;

pub(super) enum Book {
    /// No playbook: checks what the shipped deploy.yaml needs.
    Access {
        /// Whether a missing CA is a failure.
        needs_authority: bool,
    },
    Shipped(&'static str),
    /// The shipped rotate.yaml, as a part of deploy.yaml.
    Rotate(Renewals),
    File(PathBuf),
    /// A task for the CA alone; hosts and how to reach them are as with deploy.yaml.
    Authority(Task),
    /// The shipped rotate-ca.yaml, with the options of the command line.
    Rotation {
        begins: bool,
        destroys_old: bool,
        abandon: Vec<String>,
    },
    /// The same, started by marks in the ledger.
    Revoke {
        options: RevokeOptions,
        abandon: Vec<String>,
    },
}

impl Book {
    /// Whether it may change anything, including the local `known_hosts`.
    pub(super) fn changes(&self, options: &Options) -> bool {
        !options.check && !matches!(self, Self::Access { .. } | Self::Shipped("verify"))
    }
}

pub(super) fn load_playbook(
    book: &Book,
    inventory: &Inventory,
    reports: &Reports,
) -> Result<Playbook, Exit> {
    let shipped = |name: &str| {
        let text = playbook::SHIPPED
            .iter()
            .find(|(shipped, _)| *shipped == name)
            .map_or("", |(_, text)| *text);
        (name.to_owned(), text.to_owned())
    };
    let (name, text) = match book {
        Book::Access { .. } => ("check-access".to_owned(), shipped("deploy").1),
        Book::Authority(_) => shipped("deploy"),
        Book::Rotate(renewals) => {
            let deploy = load_playbook(&Book::Shipped("deploy"), inventory, reports)?;
            let rotate = load_playbook(&Book::Shipped("rotate"), inventory, reports)?;
            return Ok(rotate.as_part_of(deploy, *renewals));
        }
        Book::Shipped(name) => shipped(name),
        Book::Rotation { .. } => ("rotate --ca".to_owned(), shipped("rotate-ca").1),
        Book::Revoke { .. } => ("revoke".to_owned(), shipped("rotate-ca").1),
        Book::File(path) => match file::read_in_place(path, LARGEST_PLAYBOOK) {
            Ok(text) => (path.display().to_string(), text),
            Err(error) => {
                let message = format!("the playbook {} cannot be read", path.display());
                // A host or a group, as after `ansible` or `kubectl`.
                let is_word = path.extension().is_none() && path.components().count() == 1;
                let is_missing = matches!(error, FileFault::Missing);
                let hint = (is_word && is_missing).then(|| {
                    format!(
                        "the second word is a playbook; to select hosts: dtls-deploy INVENTORY --limit {}",
                        path.display()
                    )
                });
                let step = "read the playbook";
                reports.advise(ErrorKind::Playbook, step, message, &error, hint);
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
        prepare(&mut parsed, *begins, *destroys_old, abandon);
    }
    if let Book::Revoke { abandon, options } = book {
        prepare(&mut parsed, true, false, abandon);
        revoke(&mut parsed, &options.name);
    }
    Ok(parsed)
}

/// Names the revoked holder in the tasks of a rollover.
fn revoke(playbook: &mut Playbook, name: &str) {
    playbook.give(Word::CaRollover, "revoking", &Argument::word(name));
}

/// Applies the command line's options to the tasks of a rollover.
fn prepare(playbook: &mut Playbook, begins: bool, destroys_old: bool, abandon: &[String]) {
    if !begins {
        playbook.give(Word::CaRollover, "begin", &Argument::word("never"));
    }
    if destroys_old {
        playbook.give(Word::CaRollover, "old_key", &Argument::word("destroy"));
    }
    if !abandon.is_empty() {
        playbook.give(Word::CaRollover, "abandon", &Argument::words(abandon));
    }
}
