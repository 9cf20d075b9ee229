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
    ) -> BTreeMap<String, Vec<String>> {
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
                let clients = all_forbid(others.take(PROBE_CLIENTS), daemon).await?;
                Some((daemon.name.clone(), clients))
            });
        let found = futures::future::join_all(asked).await;
        found.into_iter().flatten().collect()
    }
}

/// The clients, if there are any and every sshd forbids forwarding.
async fn all_forbid<'a>(
    clients: impl Iterator<Item = &'a Arc<Node>>,
    daemon: &Host,
) -> Option<Vec<String>> {
    let address = daemon_address(daemon);
    let (host, port) = (address.host.as_str(), address.port);
    let mut asked: FuturesUnordered<_> = clients
        .map(|node| async move {
            let answer = node.connection.dial(host, port, DEADLINE).await;
            (
                node.name.clone(),
                matches!(answer, Err(DialError::Forbidden { .. })),
            )
        })
        .collect();
    let mut forbidden = Vec::new();
    while let Some((name, is_forbidden)) = asked.next().await {
        if !is_forbidden {
            return None;
        }
        forbidden.push(name);
    }
    forbidden.sort_unstable();
    (!forbidden.is_empty()).then_some(forbidden)
}
