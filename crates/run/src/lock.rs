//! The CA agent of a run, its lock, and whether the CA has changed in between.

use std::collections::BTreeMap;
use std::time::Instant;

use time::OffsetDateTime;

use super::{Run, RunError, World, holder};
use crate::agent::{Program, RunningAgent, StartError};
use base::event::Phase;
use inventory::ConnectionKind;
use node::facts::NodeFacts;
use pki::{PROTOCOL, Request, Response};

impl Run<'_> {
    pub(super) fn ca_error(&self, source: StartError) -> RunError {
        RunError::Agent {
            host: self.inventory.ca().name.clone(),
            source,
        }
    }

    /// Starts the agent and takes the CA's lock.
    pub(super) async fn lock(
        &self,
        world: &World,
        program: &Program,
    ) -> Result<RunningAgent, RunError> {
        self.lock_after(world, program, None).await
    }

    /// Like [`Self::lock`], with a request before the lock is taken.
    pub(super) async fn lock_after(
        &self,
        world: &World,
        program: &Program,
        first: Option<Request>,
    ) -> Result<RunningAgent, RunError> {
        let ca = self.inventory.ca();
        let facts = self.ca_facts(world)?;
        let node = world.nodes.get(&ca.name);
        let node = node.ok_or_else(|| self.no_authority(world))?;
        // A passphrase is asked for and checked next.
        crate::passphrase::prepare();
        let is_local = ca.connection.kind == ConnectionKind::Local;
        let begun = Instant::now();
        let mut agent = crate::agent::start(node, facts, ca.as_root, is_local, program)
            .await
            .map_err(|error| self.ca_error(error))?;
        if let Some(first) = first {
            self.call(&mut agent, first).await?;
        }
        let hello = Request::Hello {
            protocol: PROTOCOL,
            directory: facts.expand(&ca.settings.ca_dir).into(),
            holder: self.id.clone(),
            wait_seconds: self.options.wait_seconds,
        };
        match self.call(&mut agent, hello).await? {
            Response::Held { holder, since } => Err(RunError::Locked(holder::said(
                &holder,
                since,
                &ca.name,
                OffsetDateTime::now_utc(),
            ))),
            Response::Hello { version, .. } if version != env!("CARGO_PKG_VERSION") => {
                Err(self.ca_error(StartError::Version(version)))
            }
            _ => {
                self.events.waited(&ca.name, Phase::Agent, begun);
                Ok(agent)
            }
        }
    }

    /// Whether the CA differs from the facts.
    pub(super) async fn moved_on(
        &self,
        agent: &mut RunningAgent,
        facts: &BTreeMap<String, NodeFacts>,
    ) -> Result<bool, RunError> {
        let ca = self.inventory.ca();
        let state = self.call(agent, Request::State {}).await?;
        let Response::State {
            ledger,
            certificate_pem,
            next_certificate_pem,
            ..
        } = state
        else {
            return Ok(true);
        };
        let path = format!("{}/{}", ca.settings.ca_dir, pki::LEDGER);
        let seen = facts.get(&ca.name).and_then(|facts| facts.text(&path));
        Ok(
            ledger.as_deref().unwrap_or_default() != seen.unwrap_or_default()
                || certificate_pem != self.ca_text(facts, "ca.pem")
                || next_certificate_pem != self.ca_text(facts, "next/ca.pem"),
        )
    }

    pub(super) async fn call(
        &self,
        agent: &mut RunningAgent,
        request: Request,
    ) -> Result<Response, RunError> {
        match agent.client.call(request).await {
            Ok(response) => Ok(response),
            Err(error) => {
                let error = agent.explain(error).await;
                Err(self.ca_error(error))
            }
        }
    }
}
