//! Checks whether at least one client can test what a restarted daemon serves.
//!
//! Otherwise its restart could not be confirmed and would be undone: the plan is made without that
//! daemon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use super::Run;
use crate::apply::PROBE_CLIENTS;
use crate::session::Node;
use inventory::Host;
use node::DialError;
use node::facts::Unheard;
use plan::host::address::daemon_address;
use plan::{Action, Plan, Served};

/// sshd answers at once whether it forwards.
const DEADLINE: Duration = Duration::from_secs(2);

impl Run<'_> {
    /// Daemons that the plan restarts and that no client can test, with the clients that were
    /// tried.
    pub(super) async fn unheard(
        &self,
        plan: &Plan,
        nodes: &BTreeMap<String, Arc<Node>>,
    ) -> BTreeMap<String, BTreeMap<String, Unheard>> {
        let restarts = |daemon: &&Host| {
            plan.changes().any(|change| {
                change.host == daemon.name
                    && matches!(&change.action, Action::Restart(restart) if restart.serves != Served::Socket)
            })
        };
        let asked = self
            .inventory
            .daemons()
            .filter(restarts)
            .map(|daemon| async move {
                let clients = self.inventory.clients();
                let others = clients.filter(|client| client.name != daemon.name);
                let others = others.filter_map(|client| nodes.get(&client.name));
                let clients = none_can(others.take(PROBE_CLIENTS), daemon).await?;
                Some((daemon.name.clone(), clients))
            });
        let found = futures::future::join_all(asked).await;
        found.into_iter().flatten().collect()
    }
}

/// The clients, if there are any and none of them can open a connection, whether or not the daemon
/// runs.
async fn none_can<'a>(
    clients: impl Iterator<Item = &'a Arc<Node>>,
    daemon: &Host,
) -> Option<BTreeMap<String, Unheard>> {
    let address = daemon_address(daemon);
    let (host, port) = (address.host.as_str(), address.port);
    let mut asked: FuturesUnordered<_> = clients
        .map(|node| async move {
            let why = match node.connection.dial(host, port, DEADLINE).await {
                Err(DialError::Forbidden { .. }) => Some(Unheard::Forbidden),
                Err(DialError::NameNotResolved { .. }) => Some(Unheard::NotResolved),
                _ => None,
            };
            (node.name.clone(), why)
        })
        .collect();
    let mut unheard = BTreeMap::new();
    while let Some((name, why)) = asked.next().await {
        unheard.insert(name, why?);
    }
    (!unheard.is_empty()).then_some(unheard)
}
