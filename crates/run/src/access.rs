//! `check-access`: checks whether a run from this machine could do its work.
//!
//! A schedule runs it inside its unit before installing. It changes nothing, except that it copies
//! the CA agent to the CA node, as any run does.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Exit, Run, RunError, World};
use crate::agent::Program;
use crate::passphrase;
use crate::session::close;
use base::event::{Event, HostRecap};
use node::facts::FactRequest;
use pki::Request;
use plan::{Authority, recorded_input};

impl Run<'_> {
    /// Checks everything that a run needs. Before the first deployment there is no CA to check;
    /// with `needs_authority` that is an error.
    ///
    /// # Errors If the journal, the CA or its passphrase is missing. Hosts that cannot be managed
    /// are reported as events and in the exit code.
    pub async fn check_access(&self, needs_authority: bool) -> Result<Exit, RunError> {
        let begun = Instant::now();
        self.announce();
        let program = self.program()?;
        self.journal.try_out()?;
        let world = self.unless(self.look(&program, BTreeMap::new())).await?;
        for host in self.hosts() {
            if world.facts.contains_key(&host.name) {
                let what = if host.as_root {
                    "connected, became root, facts read"
                } else {
                    "connected, facts read"
                };
                self.may(&host.name, what);
            }
        }
        self.ask_sudo(&world).await;
        let opened = self.open_authority(&world, &program, needs_authority).await;
        close(&world.nodes).await;
        opened.map_err(|error| match error {
            // The hint of every other command names this one.
            RunError::NotOpened {
                host,
                message,
                source,
                ..
            } => RunError::NotOpened {
                host,
                message,
                source,
                hint: Some(
                    "use the passphrase that was chosen when this CA was created".to_owned(),
                ),
            },
            other => other,
        })?;
        Ok(self.recap_access(&world, begun))
    }

    /// Warns of nodes whose sudo records its input.
    async fn ask_sudo(&self, world: &World) {
        let request = FactRequest {
            sudo: true,
            ..FactRequest::default()
        };
        let hosts = self.hosts().into_iter();
        let asked = hosts
            .filter(|host| host.as_root)
            .filter_map(|host| Some((&host.name, world.nodes.get(&host.name)?)))
            .map(async |(name, node)| {
                let facts = node.facts(true, &request).await.ok()?;
                Some((name, recorded_input(&facts)?))
            });
        for (host, refusal) in futures::future::join_all(asked).await.into_iter().flatten() {
            let hint = refusal.hint.unwrap_or_default();
            self.events.emit(Event::Warning {
                host: Some(host.clone()),
                text: format!("{}: {hint}", refusal.message),
            });
        }
    }

    fn may(&self, host: &str, what: &str) {
        self.events.emit(Event::Access {
            host: host.to_owned(),
            what: what.to_owned(),
        });
    }

    /// Takes the lock, opens the CA's key, and releases the lock.
    async fn open_authority(
        &self,
        world: &World,
        program: &Program,
        needs_authority: bool,
    ) -> Result<(), RunError> {
        let ca = self.inventory.ca();
        let Some(facts) = world.facts.get(&ca.name) else {
            // The cause has been reported.
            let text = "the lock, the key and the passphrase of the CA were not tested";
            self.warn(Some(&ca.name), text.to_owned());
            return Ok(());
        };
        let authority = Authority::read(ca, Some(facts));
        if let Some(problem) = &authority.problem {
            let hint = Some(problem.hint());
            return Err(self.refused("read the CA", problem.to_string(), hint));
        }
        // The agent would create the missing directory.
        if authority.certificate.is_none() {
            if needs_authority {
                let host = ca.name.clone();
                return Err(RunError::NoCertificate { host });
            }
            return self.try_new_passphrase(&ca.name).await;
        }
        let mut agent = self.unless(self.lock(world, program)).await??;
        self.may(&ca.name, "the CA's agent runs and holds the lock");
        let passphrase = self.unlock(&mut agent, false, &[]).await?;
        self.call(&mut agent, Request::OpenAuthority { passphrase })
            .await?;
        self.may(&ca.name, "the passphrase opens the CA's key");
        self.call(&mut agent, Request::Bye).await?;
        Ok(())
    }

    /// There is no key yet: the passphrase is one that may encrypt a new key.
    async fn try_new_passphrase(&self, ca: &str) -> Result<(), RunError> {
        if !passphrase::is_given(&self.options.passphrase) {
            let text = "there is no CA yet: the first deployment makes it, and asks for a passphrase on the terminal";
            self.may(ca, text);
            return Ok(());
        }
        self.may(ca, "there is no CA yet: the first deployment makes it");
        self.new_passphrase().await?;
        self.may(ca, "the passphrase may encrypt the key of a new CA");
        Ok(())
    }

    fn recap_access(&self, world: &World, begun: Instant) -> Exit {
        let hosts: Vec<HostRecap> = self
            .hosts()
            .into_iter()
            .map(|host| {
                let missing = world.missing.get(&host.name);
                let unreachable = missing == Some(&base::event::FailureKind::Unreachable);
                HostRecap {
                    host: host.name.clone(),
                    changed: 0,
                    proved: 0,
                    not_proved: 0,
                    failed: usize::from(missing.is_some() && !unreachable),
                    not_done: 0,
                    skipped: 0,
                    unreachable,
                    restarts: 0,
                    away_milliseconds: 0,
                    still_away: false,
                }
            })
            .collect();
        let failed = hosts.iter().any(|host| host.failed > 0);
        let unreachable = hosts.iter().any(|host| host.unreachable);
        self.events.emit(Event::Recap {
            hosts,
            milliseconds: begun.elapsed().as_millis(),
            next: None,
        });
        if failed {
            Exit::Failed
        } else if unreachable {
            Exit::Unreachable
        } else {
            Exit::Fine
        }
    }
}
