//! `restart`: the docker unit, when what it has read is not what is there.
//!
//! dockerd reads certificates, key and CA only when it starts (moby#23936). A
//! confirmed restart leaves a record of the hashes of all it read; need for a
//! restart follows from that record and the facts, never from the memory of
//! one run, so that a run that died in between is made good by the next.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Module, Parameter, launch, socket_override};
use crate::docker::daemon_json::{mode_of, tcp_hosts};
use crate::docker::tls::{self, DaemonMode};
use crate::docker::unit::{listeners, socket::ports};
use crate::event::Repeated;
use crate::inventory::{Host, Inventory};
use crate::module::{daemon_json, systemd_override};
use crate::node::facts::{FactRequest, FileFact, NodeFacts, UnitFact};
use crate::plan::{
    Action, Change, Containers, Content, DaemonAddress, Forget, Note, OWNER, Planner, Refusal,
    Restart as RestartAction, Served, is_swarm_manager,
};
use crate::playbook::Task;

/// Written on the node by a confirmed restart: the unit's InvocationID, then
/// lines as sha256sum prints them.
pub const RECORD: &str = "/var/lib/dtls-deploy/confirmed";

#[derive(Debug)]
pub struct Restart;

const BECAUSE: Parameter = Parameter {
    name: "because",
    kind: Kind::Choice(&["anything", "changes"]),
    required: false,
    summary: "changes: only when the tasks before it change what dockerd reads; anything, which is what counts when not set: also when the running daemon has not read what is there",
};

impl Module for Restart {
    fn name(&self) -> &'static str {
        "restart"
    }

    fn summary(&self) -> &'static str {
        "daemon-reload and restart of the docker unit, or of its init script, when what dockerd read has changed"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[BECAUSE]
    }

    fn is_reversible(&self) -> bool {
        true
    }

    fn facts(&self, _: &Inventory, host: &Host, _: &Task, request: &mut FactRequest) {
        request.unit = Some(host.settings.unit.clone());
        request.engine = true;
        request.content.insert(RECORD.to_owned());
        request.content.insert(OWNER.to_owned());
        request.content.insert(daemon_json::PATH.to_owned());
        request.content.insert(socket_override::path(host));
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        // An expired CA is being replaced: a restart with its certificate would
        // fail its check. The step with the next CA's restarts the daemon.
        if planner.rolls_over && planner.rollover.is_none() && planner.authority_expired() {
            return Ok(Vec::new());
        }
        let facts = planner.facts(&host.name)?;
        let mut reads = reads(host, facts);
        let socket = socket_override::path(host);
        let is_socket =
            |change: &Change| matches!(&change.action, Action::File(file) if file.path() == socket);
        if planner.earlier.iter().any(is_socket) {
            reads.insert(socket.clone());
        }
        if goes_back(&planner.earlier) {
            reads.extend(restored(host, facts, &planner.earlier));
        }
        let mut reasons: Vec<String> = Vec::new();
        // What the daemon is told by a reload needs no restart.
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
                validation,
                stops,
                swarm_manager,
                changes,
            }),
        }])
    }
}

/// What becomes of a file; the last word counts: daemon.json can change twice.
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

/// Whether dockerd listens where the inventory says once these changes are made on its host.
#[must_use]
pub fn listens_as_declared(host: &Host, facts: &NodeFacts, planned: &[Change]) -> bool {
    let unit = facts.unit.clone().unwrap_or_default();
    let environment: Vec<(&str, &str)> = unit
        .environment_files
        .iter()
        .filter_map(|path| Some((path.as_str(), facts.text(path)?)))
        .collect();
    let files = launch::unit_files(host, facts, planned);
    let (found, _) = listeners(&files, &environment);
    let mut found: Vec<String> = found.into_iter().map(|one| one.address).collect();
    let settings = launch::text_of(daemon_json::PATH, facts, planned);
    found.extend(tcp_hosts(settings.unwrap_or_default()));
    let declared = host.settings.listen.first();
    declared.is_none_or(|declared| found.contains(&declared.text))
}

/// A daemon that will not speak TLS must not be left with a port that it did:
/// everybody who reaches it would be root. Going back to a time when it had one
/// is what was asked for, and is said.
fn open_ports(
    planner: &Planner<'_>,
    host: &Host,
    facts: &NodeFacts,
) -> Result<Option<Note>, Refusal> {
    let unit = facts.unit.clone().unwrap_or_default();
    let environment: Vec<(&str, &str)> = unit
        .environment_files
        .iter()
        .filter_map(|path| Some((path.as_str(), facts.text(path)?)))
        .collect();
    let files = launch::unit_files(host, facts, &planner.earlier);
    let (listeners, _) = listeners(&files, &environment);
    let mut open: Vec<(String, String)> = listeners
        .into_iter()
        .map(|listener| (listener.address, listener.path))
        .collect();
    let text = launch::text_of(daemon_json::PATH, facts, &planner.earlier).unwrap_or_default();
    let hosts = tcp_hosts(text).into_iter();
    open.extend(hosts.map(|host| (host, daemon_json::PATH.to_owned())));
    let own = socket_override::path(host);
    let ours_goes = matches!(change_of(planner, &own), Some(Content::Gone { .. }));
    let mut socket = socket_override::files(facts);
    socket.retain(|file| !(ours_goes && file.path == own));
    let ports = ports(&socket).into_iter();
    open.extend(ports.map(|port| (port.stream, port.path)));
    // The unit may give the same one twice.
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
        "without TLS docker would listen on {listed} in plain: everybody who reaches it would be root on this host"
    );
    // With systemd, `hosts` stands there only where it stood before the first deployment.
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

/// Going back to a daemon that asks for no client certificate, where the inventory says otherwise:
/// what it declares itself every plan says.
fn opened(host: &Host, mode: DaemonMode, address: &DaemonAddress) -> Option<Note> {
    let is_news = mode == DaemonMode::Tls && host.settings.daemon_mode != mode;
    is_news.then(|| {
        let text = format!(
            "docker would listen on {} without asking for a client certificate: every client that reaches it would be root on this host",
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

/// What the daemon serves with the files as they will be.
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

/// What dockerd reads of the files that are put back, and of those that go, beside what the
/// inventory names.
fn restored(host: &Host, facts: &NodeFacts, planned: &[Change]) -> BTreeSet<String> {
    let directory = systemd_override::directory(&host.settings.unit);
    let units = planned.iter().filter_map(|change| match &change.action {
        Action::File(file) if file.directory == directory => Some(file.path()),
        _ => None,
    });
    let paths = launch::launched(host, facts, planned).paths;
    units
        .chain([paths.ca, paths.certificate, paths.key])
        .collect()
}

/// Whether the files are those of a generation.
fn goes_back(planned: &[Change]) -> bool {
    planned.iter().any(|change| match &change.action {
        Action::File(file) => matches!(file.content, Content::Kept { .. }),
        Action::Forget(forget) => matches!(forget, Forget::Generation(_)),
        _ => false,
    })
}

/// Whether the daemon as it is now would speak TLS.
#[must_use]
pub fn serves_tls(host: &Host, facts: &NodeFacts) -> bool {
    mode_now(host, facts).is_some()
}

/// Whom the daemon as it is now would let in; `None` where it does not speak TLS.
#[must_use]
pub fn mode_now(host: &Host, facts: &NodeFacts) -> Option<tls::DaemonMode> {
    let settings = facts.text(daemon_json::PATH).and_then(mode_of);
    let flags = || tls::mode_of(&launch::command_line_of(host, facts, &[])?);
    settings.or_else(flags)
}

/// Everything that decides how dockerd runs.
pub(super) fn reads(host: &Host, facts: &NodeFacts) -> BTreeSet<String> {
    let paths = daemon_json::tls_paths(host, |path| facts.expand(path));
    let own = format!(
        "{}/{}",
        systemd_override::directory(&host.settings.unit),
        host.settings.dropin
    );
    let mut reads = BTreeSet::from([
        paths.ca,
        paths.certificate,
        paths.key,
        daemon_json::PATH.to_owned(),
        own,
    ]);
    // Ports that systemd hands over.
    let socket = socket_override::path(host);
    if facts.regular(&socket).is_some() {
        reads.insert(socket);
    }
    if let Some(unit) = &facts.unit {
        reads.extend(unit.fragment().map(str::to_owned));
        reads.extend(unit.all_drop_ins().into_iter().map(str::to_owned));
        reads.extend(unit.environment_files.iter().cloned());
    }
    // Whether a file has changed is not known of one that cannot be read.
    let is_known = |path: &String| {
        !matches!(
            facts.file(path),
            Some(FileFact::Exposed | FileFact::Other | FileFact::Unreadable)
        )
    };
    reads.retain(is_known);
    reads
}

/// Whether the running daemon has read a file as it is now. A reload by
/// somebody else is not known of.
#[must_use]
pub fn has_read(path: &str, facts: &NodeFacts) -> bool {
    let Some(file) = facts.regular(path) else {
        return false;
    };
    let Some(unit) = facts
        .unit
        .as_ref()
        .filter(|unit| unit.active_state() == "active")
    else {
        return false;
    };
    let record = facts.text(RECORD).map(parse_record).unwrap_or_default();
    if record.invocation == unit.invocation() {
        return record.hashes.get(path) == Some(&file.sha256);
    }
    started_at(facts).is_some_and(|started| file.changed < started)
}

/// As [`has_read`], and also where somebody else has started the daemon since
/// and the file is what a confirmed restart has read: what counts for a restart.
#[must_use]
pub fn runs_with(path: &str, facts: &NodeFacts) -> bool {
    let is_active = facts
        .unit
        .as_ref()
        .is_some_and(|unit| unit.active_state() == "active");
    let record = facts.text(RECORD).map(parse_record).unwrap_or_default();
    let is_recorded = facts
        .regular(path)
        .is_some_and(|file| record.hashes.get(path) == Some(&file.sha256));
    is_active && (is_recorded || has_read(path, facts))
}

/// Why the running daemon is not one that has read what is there now.
pub(super) fn stale(reads: &BTreeSet<String>, facts: &NodeFacts) -> Vec<String> {
    // Somebody had it read another bundle, and put the file back.
    if facts.claims.foreign_authority {
        return vec!["dockerd has read another CA bundle".to_owned()];
    }
    let unit = facts.unit.clone().unwrap_or_default();
    if unit.active_state() != "active" {
        return vec![format!("the unit is {}", unit.active_state())];
    }
    let record = facts.text(RECORD).map(parse_record).unwrap_or_default();
    // A file that was read and is no longer among those that would be counts.
    let differing: Vec<String> = reads
        .iter()
        .chain(record.hashes.keys().filter(|path| !reads.contains(*path)))
        .filter(|path| {
            let now = facts.regular(path).map(|file| file.sha256.as_str());
            record.hashes.get(path.as_str()).map(String::as_str) != now
        })
        .map(|path| Repeated::DiffersFromRead.of(path))
        .collect();
    if record.invocation == unit.invocation() || differing.is_empty() {
        return differing;
    }
    // Somebody else has started it since, a reboot perhaps. A daemon that
    // started after the last change of a file has read that file.
    let Some(started) = started_at(facts) else {
        return vec!["when dockerd was started is not known".to_owned()];
    };
    let mut reasons: Vec<String> = reads
        .iter()
        .filter(|path| {
            facts
                .regular(path)
                .is_some_and(|file| file.changed >= started)
        })
        .map(|path| Repeated::ChangedSinceStart.of(path))
        .collect();
    if unit.needs_reload() && reasons.is_empty() {
        reasons.push("systemd has not read the unit's files anew".to_owned());
    }
    reasons
}

/// Start of the daemon in seconds since the epoch, rounded down.
fn started_at(facts: &NodeFacts) -> Option<i64> {
    let ago = facts.uptime? - facts.unit.as_ref()?.started()?;
    // In some containers uptime and systemd's clock are not the same machine's.
    if ago < 0.0 {
        return None;
    }
    #[allow(clippy::cast_possible_truncation)] // seconds since boot
    Some(facts.clock - ago.ceil() as i64)
}

#[derive(Debug, Default)]
struct Record {
    invocation: String,
    hashes: BTreeMap<String, String>,
}

fn parse_record(text: &str) -> Record {
    let mut lines = text.lines();
    let invocation = lines.next().unwrap_or_default().to_owned();
    let hashes = lines
        .filter_map(|line| line.split_once("  "))
        .map(|(hash, path)| (path.to_owned(), hash.to_owned()))
        .collect();
    Record { invocation, hashes }
}
