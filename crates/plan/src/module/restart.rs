//! `restart`: restarts the docker unit if it has not read the current files.
//!
//! dockerd reads certificates, key and CA only when it starts (moby#23936). A confirmed restart
//! records the hashes of all files it read; only this record and the facts decide whether a restart
//! is needed, so that the next run completes one that died in between.

use std::collections::BTreeSet;

use super::daemon_json::refuse;
use super::shared::Module;
use crate::host::address::DaemonAddress;
use crate::host::read::{RECORD, reads, stale};
use crate::host::{daemon_json, guard, socket, unit};
use crate::launch;
use crate::playbook::Task;
use crate::{
    Action, Change, Containers, Content, Forget, Note, OWNER, Planner, Refusal,
    Restart as RestartAction, Served, is_swarm_manager,
};
use base::event::Repeated;
use docker::daemon_json::{readable, tcp_hosts};
use docker::tls::DaemonMode;
use docker::unit::{listeners, socket::ports};
use inventory::{Host, Inventory};
use node::facts::{FactRequest, NodeFacts, UnitFact};

#[derive(Debug)]
pub struct Restart;

impl Module for Restart {
    fn facts(&self, _: &Inventory, host: &Host, _: &Task, request: &mut FactRequest) {
        request.unit = Some(host.settings.unit.clone());
        request.engine = true;
        request.content.insert(RECORD.to_owned());
        request.content.insert(OWNER.to_owned());
        request.content.insert(daemon_json::PATH.to_owned());
        request.content.insert(socket::path(host));
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        // An expired CA is being replaced: a restart with its certificate would fail verification.
        // The step that delivers the next CA's certificate restarts the daemon.
        if planner.rolls_over && planner.rollover.is_none() && planner.authority_expired() {
            return Ok(Vec::new());
        }
        let facts = planner.facts(&host.name)?;
        readable_settings(planner, facts)?;
        let mut reads = reads(host, facts);
        for path in [socket::path(host), guard::drop_in_path(host)] {
            let is_written = |change: &Change| matches!(&change.action, Action::File(file) if file.path() == path && !matches!(file.content, Content::Gone { .. }));
            if planner.earlier.iter().any(is_written) {
                reads.insert(path);
            }
        }
        if goes_back(&planner.earlier) {
            reads.extend(restored(host, facts, &planner.earlier));
        }
        let mut reasons: Vec<String> = Vec::new();
        // What the daemon reads on reload needs no restart.
        let reload = planner
            .earlier
            .iter()
            .rposition(|change| matches!(change.action, Action::Reload(_)));
        for (index, change) in planner.earlier.iter().enumerate() {
            if let Action::File(file) = &change.action
                && file.path() == daemon_json::PATH
                && reload.is_some_and(|reload| index < reload)
            {
                continue;
            }
            if let Action::File(file) = &change.action
                && reads.contains(&file.path())
                && file.content != Content::Same
            {
                reasons.push(Repeated::Changes.of(&change.subject));
            }
        }
        if reasons.is_empty() && task.argument("because") != Some("changes") {
            reasons = stale(&reads, facts);
        }
        if reasons.is_empty() {
            return Ok(Vec::new());
        }
        let state = facts.unit.as_ref().map_or("", UnitFact::active_state);
        let is_down = format!("the unit is {state}");
        if matches!(state, "inactive" | "failed") && !reasons.contains(&is_down) {
            reasons.push(is_down);
        }
        let serves = served(planner, host, facts)?;
        let open = match &serves {
            Served::Socket => open_ports(planner, host, facts)?,
            Served::Kept { mode, address, .. } => opened(host, *mode, address),
            Served::Issued(_) => None,
        };
        let validation = launch::validation(host, facts, &planner.earlier)?;
        let (mut changes, others) = launch::changes(host, facts, &planner.earlier);
        let containers = Containers::when_restarted(planner, host)?;
        reasons.extend(containers.said());
        changes.keeps_containers = matches!(containers, Containers::GoOn(_));
        let (stops, swarm_manager) = (
            containers.stopped(),
            facts.engine.as_ref().is_some_and(is_swarm_manager),
        );
        let script = facts.unit.as_ref().and_then(UnitFact::script);
        let subject = script.unwrap_or(&host.settings.unit).to_owned();
        planner.notes.extend(open);
        if let Some(others) = others {
            planner.note(host, others);
        }
        planner.note_closed_window(host);
        Ok(vec![Change {
            host: host.name.clone(),
            task: task.name.clone(),
            subject,
            reasons,
            diff: None,
            action: Action::Restart(RestartAction {
                unit: host.settings.unit.clone(),
                reads,
                serves,
                validation: validation.map(Box::new),
                stops,
                swarm_manager,
                changes,
            }),
        }])
    }
}

/// The last planned change of a file: daemon.json can change twice.
fn change_of<'a>(planner: &'a Planner<'_>, path: &str) -> Option<&'a Content> {
    let changes = planner.earlier.iter().rev();
    changes
        .filter_map(|change| match &change.action {
            Action::File(file) => Some(file),
            _ => None,
        })
        .find(|file| file.path() == path)
        .map(|file| &file.content)
}

/// Requires that the future daemon.json is readable: dockerd would not start with a broken one, and
/// its listeners would be unknown.
fn readable_settings(planner: &Planner<'_>, facts: &NodeFacts) -> Result<(), Refusal> {
    let found = match change_of(planner, daemon_json::PATH) {
        Some(Content::Text(text)) => readable(Some(text.as_bytes())),
        Some(Content::Gone { .. }) => Ok(()),
        Some(Content::Kept { copy, .. }) => {
            let copy = facts.regular(copy);
            readable(copy.and_then(|file| file.content.as_deref()))
        }
        _ => daemon_json::check(facts),
    };
    found.map_err(|error| refuse(&error))
}

/// Refuses to leave a port open on a daemon that will no longer speak TLS: every client that
/// reaches it would be root. A rollback to a time with such a port is allowed and reported.
fn open_ports(
    planner: &Planner<'_>,
    host: &Host,
    facts: &NodeFacts,
) -> Result<Option<Note>, Refusal> {
    let files = launch::unit_files(host, facts, &planner.earlier);
    let (listeners, _) = listeners(&files, &facts.environment_texts());
    let mut open: Vec<(String, String)> = listeners
        .into_iter()
        .map(|listener| (listener.address, listener.path))
        .collect();
    let text = launch::text_of(daemon_json::PATH, facts, &planner.earlier).unwrap_or_default();
    let hosts = tcp_hosts(text).into_iter();
    open.extend(hosts.map(|host| (host, daemon_json::PATH.to_owned())));
    let own = socket::path(host);
    let ours_goes = matches!(change_of(planner, &own), Some(Content::Gone { .. }));
    let mut socket = socket::files(facts);
    socket.retain(|file| !(ours_goes && file.path == own));
    let ports = ports(&socket).into_iter();
    open.extend(ports.map(|port| (port.stream, port.path)));
    // The unit may give the same address twice.
    let mut named = BTreeSet::new();
    open.retain(|one| named.insert(one.clone()));
    let Some((_, path)) = open.first() else {
        return Ok(None);
    };
    let listed = open
        .iter()
        .map(|(address, path)| format!("{address} ({path})"));
    let listed = listed.collect::<Vec<_>>().join(", ");
    let text = format!(
        "without TLS docker would listen on {listed} without TLS: anyone who can connect would be root on this host"
    );
    // With systemd, daemon.json has `hosts` only if it had it before the first deployment.
    let is_restored = |(_, path): &(String, String)| facts.systemd && path == daemon_json::PATH;
    if host.settings.anyone_can_connect
        || goes_back(&planner.earlier)
        || open.iter().all(is_restored)
    {
        return Ok(Some(danger(host, text)));
    }
    Err(Refusal::new(text).hint(format!(
        "take it out of {path} on the node first, or stop docker there; dtls_i_understand_anyone_can_connect: true if it is meant"
    )))
}

/// Notes a rollback to a daemon that requires no client certificate although the inventory requires
/// one. Every plan reports what the inventory itself declares.
fn opened(host: &Host, mode: DaemonMode, address: &DaemonAddress) -> Option<Note> {
    let is_news = mode == DaemonMode::Tls && host.settings.daemon_mode != mode;
    is_news.then(|| {
        let text = format!(
            "docker would listen on {} without asking for a client certificate: anyone who can connect would be root on this host",
            address.url()
        );
        danger(host, text)
    })
}

fn danger(host: &Host, text: String) -> Note {
    Note {
        host: host.name.clone(),
        text,
        danger: true,
    }
}

/// What the daemon serves after the change.
fn served(planner: &Planner<'_>, host: &Host, facts: &NodeFacts) -> Result<Served, Refusal> {
    let launched = launch::launched(host, facts, &planner.earlier);
    let Some(mode) = launched.mode else {
        return Ok(Served::Socket);
    };
    let kept = |path: &str| {
        let from = match change_of(planner, path) {
            Some(Content::Kept { copy, .. }) => copy,
            Some(Content::Gone { .. }) => return None,
            _ => path,
        };
        facts.regular(from)?.content.clone()
    };
    if !goes_back(&planner.earlier) {
        return Ok(Served::Issued(mode));
    }
    let paths = launched.paths;
    let unknown = |path: &str| {
        Refusal::new(format!(
            "docker would read {path} then, and what is in it is not known"
        ))
        .hint("deploy again instead")
    };
    let authorities = match (mode, kept(&paths.ca)) {
        (_, Some(authorities)) => authorities,
        (DaemonMode::Tls, None) => Vec::new(),
        (DaemonMode::TlsVerify, None) => return Err(unknown(&paths.ca)),
    };
    Ok(Served::Kept {
        mode,
        certificate: kept(&paths.certificate).ok_or_else(|| unknown(&paths.certificate))?,
        authorities,
        address: launched.address,
    })
}

/// The restored and removed files that dockerd reads, in addition to those that the inventory
/// names.
fn restored(host: &Host, facts: &NodeFacts, planned: &[Change]) -> BTreeSet<String> {
    let directory = unit::directory(&host.settings.unit);
    let units = planned.iter().filter_map(|change| match &change.action {
        Action::File(file) if file.directory == directory => Some(file.path()),
        _ => None,
    });
    let paths = launch::launched(host, facts, planned).paths;
    units
        .chain([paths.ca, paths.certificate, paths.key])
        .collect()
}

/// Whether the change restores a generation.
fn goes_back(planned: &[Change]) -> bool {
    planned.iter().any(|change| match &change.action {
        Action::File(file) => matches!(file.content, Content::Kept { .. }),
        Action::Forget(forget) => matches!(forget, Forget::Generation(_)),
        _ => false,
    })
}
