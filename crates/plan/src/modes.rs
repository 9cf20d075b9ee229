//! Notes what the modes of clients and daemons mean where that may surprise.

use super::Note;
use inventory::{Host, Inventory};

/// Clients that do not verify the daemon, and clients that are not accepted: both as declared.
pub(super) fn notes(inventory: &Inventory) -> Vec<Note> {
    let holders = inventory.clients().flat_map(Host::client_holders);
    holders
        .flat_map(|holder| [unchecked(holder), kept_out(holder, inventory)])
        .flatten()
        .collect()
}

/// The prefix of a text about an identity on the host.
fn whose(holder: &Host) -> String {
    match &holder.identity {
        Some(_) => format!("{}: ", holder.holder()),
        None => String::new(),
    }
}

fn unchecked(holder: &Host) -> Option<Note> {
    let mode = holder.settings.client_mode;
    (!mode.checks_daemon()).then(|| Note {
        danger: true,
        host: holder.name.clone(),
        text: format!(
            "{}WITH dtls_client_mode: {} DOCKER DOES NOT CHECK WHICH DAEMON ANSWERS: anyone on the network path can read and change everything; tlsverify{} checks it",
            whose(holder),
            mode.word(),
            if mode.shows_certificate() { "" } else { "-ca" }
        ),
    })
}

fn kept_out(holder: &Host, inventory: &Inventory) -> Option<Note> {
    const NAMED: usize = 5;
    let mode = holder.settings.client_mode;
    let daemons = inventory.daemons();
    let closed: Vec<&str> = daemons
        .filter(|daemon| !mode.is_let_in(daemon.settings.daemon_mode))
        .map(|daemon| daemon.name.as_str())
        .collect();
    if closed.is_empty() {
        return None;
    }
    let mut named = closed
        .iter()
        .take(NAMED)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if closed.len() > NAMED {
        named = format!("{named} and {} more", closed.len() - NAMED);
    }
    Some(Note {
        danger: false,
        host: holder.name.clone(),
        text: format!(
            "{}with dtls_client_mode: {} it shows no certificate, and {named} {} clients without one: it is rejected, as declared",
            whose(holder),
            mode.word(),
            if closed.len() == 1 {
                "rejects"
            } else {
                "reject"
            }
        ),
    })
}
