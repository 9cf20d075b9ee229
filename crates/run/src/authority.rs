//! Runs that concern only the CA: adopt, back up, restore.
//!
//! This file has what they share: the passphrase, a request to the CA node, the recap.

use std::time::Instant;

use super::{AdoptOptions, BackupOptions, Exit, RestoreOptions, Run, RunError, World};
use crate::agent::Program;
use crate::passphrase::{self, PassphraseError, Strength};
use base::event::{Event, FailureKind, HostRecap};
use base::secret::Secret;
use inventory::Host;
use node::facts::NodeFacts;

/// The task of such a run.
#[derive(Debug, Clone)]
pub enum Task {
    Adopt(AdoptOptions),
    Backup(BackupOptions),
    Restore(RestoreOptions),
}

impl Run<'_> {
    /// Carries it out.
    ///
    /// # Errors If it ends before the CA was changed, or if the agent refuses.
    pub async fn authority(&self, task: &Task) -> Result<Exit, RunError> {
        match task {
            Task::Adopt(options) => self.adopt(options).await,
            Task::Backup(options) => self.back_up(options).await,
            Task::Restore(options) => self.restore(options).await,
        }
    }

    /// Emits the first event, and reads the binary for the CA node.
    pub(super) fn begin_task(&self, name: &str, hosts: &[&Host]) -> Result<Program, RunError> {
        self.announce_as(name, hosts);
        self.program()
    }

    /// A refusal about the CA node.
    pub(super) fn refused(
        &self,
        step: &'static str,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> RunError {
        RunError::Refused {
            host: Some(self.inventory.ca().name.clone()),
            step,
            message: message.into(),
            hint,
        }
    }

    pub(super) fn ca_facts<'w>(&self, world: &'w World) -> Result<&'w NodeFacts, RunError> {
        let facts = world.facts.get(&self.inventory.ca().name);
        facts.ok_or_else(|| self.no_authority(world))
    }

    pub(super) fn no_authority(&self, world: &World) -> RunError {
        let ca = &self.inventory.ca().name;
        let kind = world.missing.get(ca).copied();
        RunError::NoAuthority {
            host: ca.clone(),
            kind: kind.unwrap_or(FailureKind::Unreachable),
        }
    }

    /// A passphrase that will encrypt the CA's key.
    pub(super) async fn new_passphrase(&self) -> Result<Secret, RunError> {
        let source = self.options.passphrase.clone();
        let found = self.ask(move || passphrase::obtain(&source, true)).await?;
        self.warn_of_weakness(&found).await?;
        Ok(found)
    }

    /// A weak passphrase still opens a key or backup that it encrypts; every run warns of it.
    pub(super) async fn warn_of_weakness(&self, passphrase: &Secret) -> Result<(), RunError> {
        let judged = passphrase.clone();
        let judging = tokio::task::spawn_blocking(move || passphrase::strength(&judged));
        let guesses = match self.unless(judging).await? {
            Ok(Strength::TooWeak) => "10^8",
            Ok(Strength::Weak) => "10^10",
            Ok(Strength::Fine) | Err(_) => return Ok(()),
        };
        self.warn(Some(&self.inventory.ca().name), format!(
            "the passphrase given for the CA key is easy to guess (fewer than {guesses} guesses). If it opens the key, change it on the CA node with openssl pkcs8 -topk8, or begin with a new CA"
        ));
        Ok(())
    }

    /// A prompt blocks its thread, and must not delay an interruption.
    pub(super) async fn ask<F>(&self, question: F) -> Result<Secret, RunError>
    where
        F: FnOnce() -> Result<Secret, PassphraseError> + Send + 'static,
    {
        let asking = tokio::task::spawn_blocking(question);
        let answer = self.unless(asking).await?.map_err(RunError::Prompt)?;
        // A signal also ends the prompt; either may be noticed first.
        answer.map_err(|error| match error {
            PassphraseError::Prompt(cause)
                if cause.kind() == std::io::ErrorKind::Interrupted || self.interrupt.is_asked() =>
            {
                RunError::Interrupted
            }
            error => error.into(),
        })
    }

    /// Emits the last event: the number of changes on the CA node, and the hosts that were missing.
    pub(super) fn end_task(
        &self,
        hosts: &[&Host],
        world: &World,
        changed: usize,
        begun: Instant,
    ) -> Exit {
        let missing = |host: &Host| world.missing.get(&host.name);
        let made = if self.options.check { 0 } else { changed };
        let recaps = hosts.iter().map(|host| HostRecap {
            host: host.name.clone(),
            changed: if host.is_ca { made } else { 0 },
            failed: missing(host).map_or(0, |kind| usize::from(*kind != FailureKind::Unreachable)),
            unreachable: missing(host) == Some(&FailureKind::Unreachable),
            ..HostRecap::default()
        });
        let recaps: Vec<HostRecap> = recaps.collect();
        let failed = recaps.iter().any(|host| host.failed > 0);
        let unreachable = recaps.iter().any(|host| host.unreachable);
        self.events.emit(Event::Recap {
            hosts: recaps,
            milliseconds: begun.elapsed().as_millis(),
            next: None,
        });
        if failed {
            Exit::Failed
        } else if unreachable {
            Exit::Unreachable
        } else if self.options.check && self.options.exit_code && changed > 0 {
            Exit::ChangesNeeded
        } else {
            Exit::Fine
        }
    }
}
