//! The CA's agent, started while the facts of other hosts are still read.
//!
//! Comes in: the CA node's facts, as soon as they are there. Goes out: a
//! [`World`] with an agent that waits for its first request. Only where the run
//! is going to need it in any case, because there is no CA yet: a run that
//! changes nothing starts no agent. It holds no lock and has seen no directory;
//! where it is not asked for anything it ends with its connection.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Run, World};
use crate::agent::{Program, RunningAgent, StartError};
use crate::event::Phase;
use crate::inventory::ConnectionKind;
use crate::node::facts::NodeFacts;
use crate::session::{Awaited, Node};

/// What became of it, until it is taken.
#[derive(Debug, Default)]
pub(super) struct Early(Mutex<Option<Result<RunningAgent, StartError>>>);

impl Early {
    /// The agent, or why it did not start; none where it was not tried.
    pub(super) fn take(&self) -> Option<Result<RunningAgent, StartError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Run<'_> {
    /// The first look of a run at its hosts.
    pub(super) async fn look_at_first(&self, program: &Program) -> World {
        let ca = self.inventory.ca();
        let (awaited, seen) = Awaited::new(&ca.name);
        let looking = async {
            let world = self
                .look_while(program, BTreeMap::new(), Some(&awaited))
                .await;
            awaited.close();
            world
        };
        let starting = async {
            let (node, facts) = seen.await.ok()?;
            if self.options.check || !self.begins_authority(&facts) {
                return None;
            }
            let begun = Instant::now();
            let agent = self.start_agent(&node, &facts, program).await;
            self.events.waited(&ca.name, Phase::Agent, begun);
            Some(agent)
        };
        let (mut world, agent) = tokio::join!(looking, starting);
        world.agent = Early(Mutex::new(agent));
        world
    }

    /// There is no CA, and the playbook makes one.
    fn begins_authority(&self, facts: &NodeFacts) -> bool {
        let ca = self.inventory.ca();
        let certificate = format!("{}/ca.pem", ca.settings.ca_dir);
        let mut plays = self.playbook.plays.iter();
        facts.text(&certificate).is_none()
            && plays.any(|play| {
                play.includes(ca) && play.tasks(ca).any(|task| task.module.name() == "ca")
            })
    }

    pub(super) async fn start_agent(
        &self,
        node: &Node,
        facts: &NodeFacts,
        program: &Program,
    ) -> Result<RunningAgent, StartError> {
        let ca = self.inventory.ca();
        let is_local = ca.connection.kind == ConnectionKind::Local;
        crate::agent::start(node, facts, self.is_privileged(ca), is_local, program).await
    }
}
