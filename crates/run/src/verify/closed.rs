//! Checks a daemon without TLS: its port is closed, and its local socket answers.

use futures::future::join_all;

use super::DEADLINE;
use super::daemon::local_socket;
use crate::session::Node;
use base::event::{Check, Proof, Verdict};
use inventory::Host;
use node::DialError;
use plan::host::address::DaemonAddress;

/// Tries each address from each of the nodes, and the local socket from the daemon's own.
pub async fn closed(
    daemon: &Host,
    own: &Node,
    from: &[&Node],
    addresses: &[DaemonAddress],
) -> Vec<Proof> {
    let ports = addresses
        .iter()
        .flat_map(|address| from.iter().map(move |node| port(daemon, node, address)));
    let mut proofs = join_all(ports).await;
    let (verdict, seen) = local_socket(own, daemon).await;
    proofs.push(Proof {
        from: daemon.name.clone(),
        to: daemon.name.clone(),
        check: Check::LocalSocket,
        verdict,
        seen,
    });
    proofs
}

async fn port(daemon: &Host, node: &Node, address: &DaemonAddress) -> Proof {
    let dialled = node.connection.dial(&address.host, address.port, DEADLINE);
    let (verdict, seen) = match dialled.await {
        Ok(_) => (
            Verdict::Failed,
            format!("something listens on {}", address.url()),
        ),
        Err(DialError::Refused { .. }) => (Verdict::Proved, "connection refused".to_owned()),
        // A firewall or a dead host does not show the state of the port.
        Err(error) => (Verdict::NotProved, error.to_string()),
    };
    Proof {
        from: node.name.clone(),
        to: daemon.name.clone(),
        check: Check::Closed,
        verdict,
        seen,
    }
}
