//! Turns a batch of changes into a transaction.
//!
//! Carries out nothing.

use std::sync::Arc;

use base::event::Failure;
use base::secret::Secret;
use inventory::Host;
use node::facts::NodeFacts;
use node::script::Script;
use node::transaction::{Bytes, Keep, StagedFile, Transaction, UnitRestart};
use pki::{Certificate, DeliveredLeaf};
use plan::host::daemon_json;
use plan::host::generations::is_kept_for_login;
use plan::host::guard::is_part;
use plan::{Action, Batch, Content, FileChange, Forget, LeafPart, Served};

use super::Materials;

/// What one batch does on the node.
pub(super) struct Composed {
    pub transaction: Transaction,
    /// What interrupted runs left; removed first.
    pub sweeps: Script,
    /// Leaves that are in place once it has succeeded.
    pub placed: Vec<DeliveredLeaf>,
    /// What a restarted daemon must serve.
    pub serves: Served,
}

/// Composes a batch; `sequence` distinguishes a run's transactions on a node.
///
/// # Errors If there is no content for one of the files.
pub(super) fn compose(
    host: &Host,
    facts: Option<&NodeFacts>,
    batch: &Batch,
    sequence: u32,
    materials: &Materials,
) -> Result<Composed, Box<Failure>> {
    let mut transaction = Transaction {
        keep: Some(Keep {
            generations: host.settings.keep_generations,
            is_new: true,
            expires: expires(facts, batch),
        }),
        sequence,
        ..Transaction::default()
    };
    let mut sweeps = Script::default();
    let mut placed = Vec::new();
    let mut serves = Served::Issued(host.settings.daemon_mode);
    for change in &batch.changes {
        match &change.action {
                Action::File(file) => {
                    if let Content::Leaf {
                        holder,
                        role,
                        part: LeafPart::Key,
                    } = &file.content
                        && let Some(leaf) = materials.leaves.get(&(holder.clone(), *role))
                    {
                        placed.push(DeliveredLeaf {
                            host: holder.clone(),
                            role: *role,
                            serial: leaf.serial.clone(),
                            replaces: Vec::new(),
                        });
                    }
                    transaction.guard |= is_part(&file.path());
                    transaction
                        .files
                        .push(staged(facts, file, materials).ok_or_else(|| {
                            Box::new(materials.missing(&host.name, change, file))
                        })?);
                }
                Action::Restart(restart) => {
                    transaction.restart = Some(UnitRestart {
                        unit: restart.unit.clone(),
                        reads: restart.reads.clone(),
                        confirm_within: host.settings.confirm_within,
                        owner: None,
                        changes: restart.changes.clone(),
                    });
                    transaction.validation = restart.validation.as_deref().cloned();
                    serves = restart.serves.clone();
                }
                Action::Forget(Forget::Generation(kept)) => {
                    transaction.back_to.push(kept.clone());
                    // The state before a rollback is not kept: another rollback goes further back.
                    if let Some(keep) = &mut transaction.keep {
                        keep.is_new = false;
                    }
                }
                Action::Forget(Forget::Everything) => {
                    transaction.forget = true;
                    transaction.keep = None;
                    if facts.is_some_and(is_kept_for_login) {
                        sweeps.call("forget_as_login", &[]);
                    }
                }
                Action::Reload(reload) => {
                    transaction.reload = Some(reload.clone());
                }
                Action::Sweep { directory, account } => {
                    let mut sweep = Script::default();
                    sweep.call("sweep", &[directory]);
                    sweeps.in_account(account, &sweep, " || exit 71");
                }
                // The only change in its batch, outside of transactions.
                Action::Command { .. } | Action::Service { .. } | Action::Wait { .. }
                // Done on the CA node before any play.
                | Action::Authority(_)
                | Action::NextAuthority(_)
                | Action::Promote
                | Action::EndRollover { .. }
                | Action::Issue(_)
                | Action::Fetch { .. } => {}
            }
    }
    Ok(Composed {
        transaction,
        sweeps,
        placed,
        serves,
    })
}

/// When the first certificate that this batch replaces expires, in seconds since the epoch; 0 if it
/// replaces none.
fn expires(facts: Option<&NodeFacts>, batch: &Batch) -> i64 {
    let replaced = batch.changes.iter().filter_map(|change| {
        let Action::File(file) = &change.action else {
            return None;
        };
        let old = facts?.regular(&file.path())?;
        let certificate = Certificate::from_pem(old.content.as_deref()?).ok()?;
        Some(certificate.not_after().unix_timestamp())
    });
    replaced.min().unwrap_or(0)
}

fn staged(
    facts: Option<&NodeFacts>,
    file: &FileChange,
    materials: &Materials,
) -> Option<StagedFile> {
    let bytes = match &file.content {
        Content::Text(text) | Content::Certificates(text) => {
            Bytes::Given(Secret::from(text.clone()))
        }
        Content::Program(program) => Bytes::Program(Arc::clone(&program.bytes)),
        Content::Same => Bytes::CopyOf(file.path()),
        Content::Copy { from } => Bytes::CopyOf(from.clone()),
        Content::Authority => Bytes::Given(Secret::from(materials.authority_pem.clone()?)),
        Content::Leaf { holder, role, part } => {
            Bytes::Given(materials.bytes(holder, *role, *part)?)
        }
        Content::Kept {
            copy,
            keeper,
            sha256,
        } => Bytes::Kept {
            path: copy.clone(),
            keeper: keeper.clone(),
            sha256: sha256.clone(),
        },
        Content::Gone { prune } => Bytes::Gone { prune: *prune },
    };
    Some(StagedFile {
        directory: file.directory.clone(),
        directory_mode: file.directory_mode,
        missing_from: facts.and_then(|facts| facts.missing_from(&file.directory)),
        name: file.name.clone(),
        mode: file.mode,
        account: file.account.clone(),
        before: file.before.clone(),
        keeps_owner: file.path() == daemon_json::PATH,
        bytes,
    })
}
