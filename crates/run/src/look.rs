//! Shared by all read-only commands that connect to nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use time::OffsetDateTime;

use crate::session::{Deadlines, Gathered, Gathering, Node, Passwords, close, gather};
use crate::{Exit, run_id};
use base::event::{Event, Events, FailureKind, SCHEMA};
use inventory::{Host, Inventory};
use node::SshContext;
use node::facts::{FactRequest, NodeFacts};
use plan::Authority;
use plan::host::client::context_names;
use plan::orchestrator;
use plan::playbook::Playbook;
use plan::{Marks, guards_elsewhere, leave_out_shared, left_contexts, policies_in};

/// The options from the command line.
#[derive(Debug)]
pub struct Look<'a> {
    pub run: String,
    pub inventory: &'a Inventory,
    /// The hosts to check, limited by `--limit`.
    pub playbook: &'a Playbook,
    pub context: &'a SshContext,
    pub passwords: &'a Passwords,
    pub deadlines: Deadlines,
    /// Maximum number of hosts at a time.
    pub forks: usize,
    pub events: &'a Events,
}

impl<'a> Look<'a> {
    /// A name for it, like the name of a run.
    #[must_use]
    pub fn new_name() -> String {
        run_id(OffsetDateTime::now_utc())
    }

    /// Emits the first event; `command` is its name.
    pub fn announce(&self, command: &str) {
        self.announce_for(command, &self.hosts());
    }

    /// The same of a command that checks only these hosts.
    pub fn announce_for(&self, command: &str, hosts: &[&Host]) {
        announce(
            self.events,
            &self.run,
            self.inventory,
            command,
            hosts,
            false,
        );
    }

    /// The CA, and every host that the limit selects.
    #[must_use]
    pub fn hosts(&self) -> Vec<&'a Host> {
        hosts(self.inventory, self.playbook)
    }

    /// Connects to these hosts and gathers what `request` adds to the playbook's facts; sends
    /// progress to `events`.
    pub async fn gather(
        &self,
        hosts: &[&Host],
        request: impl Fn(&Host, &mut FactRequest),
        events: &Events,
    ) -> Gathered {
        let wanted: Vec<(&Host, FactRequest)> = hosts
            .iter()
            .map(|host| {
                let mut wanted = FactRequest::default();
                orchestrator::request(self.playbook, self.inventory, host, &mut wanted);
                request(host, &mut wanted);
                (*host, wanted)
            })
            .collect();
        let how = self.gathering(events);
        let mut gathered = gather(&wanted, how).await;
        leave_out_shared(&mut gathered.facts);
        add_policies(self.playbook, self.inventory, &mut gathered.facts, how).await;
        let Gathered { nodes, facts, .. } = &mut gathered;
        add_left_contexts(self.playbook, self.inventory, nodes, facts).await;
        gathered
    }

    /// Connections to these hosts, and only what they are asked for here.
    pub async fn gather_only(&self, wanted: &[(&Host, FactRequest)]) -> Gathered {
        gather(wanted, self.gathering(self.events)).await
    }

    fn gathering<'b>(&'b self, events: &'b Events) -> Gathering<'b> {
        Gathering {
            context: self.context,
            passwords: self.passwords,
            run: &self.run,
            forks: self.forks,
            deadlines: self.deadlines,
            events,
        }
    }

    /// What was gathered, with the CA's state as `read` finds it.
    #[must_use]
    pub fn observation(
        &self,
        gathered: Gathered,
        read: fn(&Host, Option<&NodeFacts>) -> Authority,
    ) -> Observation<'a> {
        let ca = self.inventory.ca();
        let authority = read(ca, gathered.facts.get(&ca.name));
        let missing = gathered.kinds();
        let now = OffsetDateTime::now_utc();
        Observation {
            missing,
            nodes: gathered.nodes,
            ..Observation::of_facts(self.inventory, gathered.facts, authority, now)
        }
    }
}

/// What there is on the nodes of an inventory, as far as they answered.
#[derive(Debug)]
pub struct Observation<'a> {
    pub inventory: &'a Inventory,
    pub nodes: BTreeMap<String, Arc<Node>>,
    pub facts: BTreeMap<String, NodeFacts>,
    pub missing: BTreeMap<String, FailureKind>,
    pub authority: Authority,
    pub now: OffsetDateTime,
}

impl<'a> Observation<'a> {
    /// Of facts that are there already, without connections.
    #[must_use]
    pub fn of_facts(
        inventory: &'a Inventory,
        facts: BTreeMap<String, NodeFacts>,
        mut authority: Authority,
        now: OffsetDateTime,
    ) -> Self {
        Marks::read(inventory, &authority.ledger, &facts, now).restore(&mut authority.ledger, now);
        Self {
            inventory,
            nodes: BTreeMap::new(),
            facts,
            missing: BTreeMap::new(),
            authority,
            now,
        }
    }

    /// The exit code: what could not be checked counts more than what was seen.
    #[must_use]
    pub fn exit_or(&self, seen: Exit) -> Exit {
        let mut missing = self.missing.values();
        if missing.any(|kind| *kind != FailureKind::Unreachable) {
            Exit::Failed
        } else if !self.missing.is_empty() {
            Exit::Unreachable
        } else {
            seen
        }
    }
}

/// Emits the first event; `name` is the command.
pub(crate) fn announce(
    events: &Events,
    run: &str,
    inventory: &Inventory,
    name: &str,
    hosts: &[&Host],
    check: bool,
) {
    events.emit(Event::Run {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        run: run.to_owned(),
        inventory: inventory.path.display().to_string(),
        playbook: name.to_owned(),
        hosts: hosts.iter().map(|host| host.name.clone()).collect(),
        contexts: context_names(inventory),
        check,
    });
}

/// Adds what clients keep for daemons that are not in the inventory any more: the CA's facts name
/// them. It stays unknown where a node does not answer again.
pub(crate) async fn add_left_contexts(
    playbook: &Playbook,
    inventory: &Inventory,
    nodes: &BTreeMap<String, Arc<Node>>,
    facts: &mut BTreeMap<String, NodeFacts>,
) {
    let asked = left_contexts(playbook, inventory, facts, OffsetDateTime::now_utc());
    let reading = asked.iter().filter_map(|(host, request)| {
        let node = nodes.get(&host.name)?;
        Some(async move { (&host.name, node.facts_of(host, request).await) })
    });
    for (host, read) in join_all(reading).await {
        if let (Some(known), Ok(more)) = (facts.get_mut(host), read) {
            known.add_files(more);
        }
    }
}

/// The CA, and every host that some play of the playbook runs on.
#[must_use]
pub fn hosts<'a>(inventory: &'a Inventory, playbook: &Playbook) -> Vec<&'a Host> {
    let hosts = inventory.hosts.iter();
    hosts
        .filter(|host| host.is_ca || playbook.plays.iter().any(|play| play.includes(host)))
        .collect()
}

/// Adds the policies of guards outside of the run that decide about its clients. A daemon that does
/// not answer is left out: the run is not about it.
pub(crate) async fn add_policies(
    playbook: &Playbook,
    inventory: &Inventory,
    facts: &mut BTreeMap<String, NodeFacts>,
    how: Gathering<'_>,
) {
    let hosts = guards_elsewhere(playbook, inventory);
    let Some(ca) = facts.get_mut(&inventory.ca().name) else {
        return;
    };
    if hosts.is_empty() {
        return;
    }
    let (events, _) = Events::aside();
    let how = Gathering {
        events: &events,
        ..how
    };
    let gathered = gather(&hosts, how).await;
    close(&gathered.nodes).await;
    ca.claims.policies = policies_in(inventory, &gathered.facts);
}
