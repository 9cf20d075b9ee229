//! Notes what the modes of clients and daemons mean where that may surprise.

use std::collections::BTreeMap;

use super::launch::mode_now;
use super::{Note, Planner};
use crate::host::daemon_json::PATH;
use docker::tls::DaemonMode;
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

impl Planner<'_> {
    /// Daemons whose `dtls_daemon_mode` is not deployed yet, with the deployed mode.
    pub(super) fn modes(&self) -> BTreeMap<String, DaemonMode> {
        let daemons = self.inventory.daemons();
        let modes = daemons.filter_map(|daemon| {
            let facts = self.facts.get(&daemon.name)?;
            // Not every run asks for them.
            facts.file(PATH).and(facts.unit.as_ref())?;
            let mode = mode_now(daemon, facts)?;
            (mode != daemon.settings.daemon_mode).then(|| (daemon.name.clone(), mode))
        });
        modes.collect()
    }
}

/// Notes that these modes stay until a deployment.
pub(super) fn not_deployed(modes: &BTreeMap<String, DaemonMode>) -> impl Iterator<Item = Note> {
    modes.iter().map(|(host, mode)| {
        let accepts = match mode {
            DaemonMode::TlsVerify => "only clients with a certificate",
            DaemonMode::Tls => "clients without a certificate",
        };
        Note {
            danger: *mode == DaemonMode::Tls,
            host: host.clone(),
            text: format!(
                "its dtls_daemon_mode is not deployed yet: it still accepts {accepts}, and is checked for that; deploy changes it"
            ),
        }
    })
}
