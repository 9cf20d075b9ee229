//! `daemon_json`: the five TLS settings in /etc/docker/daemon.json.

use super::shared::{Module, is_absent};
use super::{former_drop_in, systemd_override};
use crate::host::daemon_json::{DIRECTORY, LIVE_RESTORE_RECORD, NAME, PATH, tls_paths};
use crate::host::{guard, init_script, unit};
use crate::launch::listens_by_flag;
use crate::playbook::Task;
use crate::{Change, Content, Desired, Place, Planner, Refusal};
use docker::daemon_json::{
    DaemonJsonError, Listening, merge, merge_with_hosts, named_paths, without, without_tls,
};
use docker::live_restore::{has_live_restore, without_live_restore};
use docker::plugins::{with_plugin, without_plugin};
use docker::tls::ConfigStyle;
use docker::tls::TlsPaths;
use docker::unit::remembered_hosts;
use inventory::{Host, Inventory};
use node::facts::{FactRequest, File, NodeFacts};

#[derive(Debug)]
pub struct DaemonJson;

impl Module for DaemonJson {
    fn facts(&self, _: &Inventory, host: &Host, task: &Task, request: &mut FactRequest) {
        if is_absent(task) {
            request.content.insert(LIVE_RESTORE_RECORD.to_owned());
        }
        request.directories.insert(DIRECTORY.to_owned());
        request.content.insert(PATH.to_owned());
        request.content.insert(unit::path(host));
        request.content.insert(guard::drop_in_path(host));
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        let facts = planner.facts(&host.name)?;
        let paths = tls_paths(host, |path| facts.expand(path));
        let old = planner.bytes(host, PATH)?;
        let old = old.as_deref();
        let listen = init_script::listen(host, facts);
        if is_absent(task) {
            return absent(planner, host, task, old);
        }
        if let Some(who) = facts.regular(PATH).and_then(other_writer) {
            planner.danger(host, format!("{who} can write {PATH}, and can so become root on this host: chown root {PATH}; chmod go-w {PATH}"));
        }
        let mode = host.settings.daemon_mode;
        let merged = match (host.settings.config_style, &listen) {
            (ConfigStyle::DaemonJson, None) => merge(old, mode, &paths),
            (ConfigStyle::DaemonJson, Some(tcp)) => {
                let local_socket = host.settings.local_socket;
                let listening = Listening { tcp, local_socket };
                merge_with_hosts(old, mode, &paths, listening)
            }
            (ConfigStyle::Flags, _) => without_tls(old),
        }
        .map_err(|error| refuse(&error))?;
        let text = asked_plugins(planner, host, merged.text).map_err(|error| refuse(&error))?;
        let mut closed = Vec::new();
        if listen.is_some() {
            closed.extend(merged.hosts.iter().map(|host| format!("{host} is closed")));
        } else if !merged.hosts.is_empty() {
            planner.note(
                host,
                format!(
                    "\"hosts\" ({}) leaves daemon.json: the drop-in names its sockets, because both together keep dockerd from starting; its TCP addresses are closed",
                    merged.hosts.join(" ")
                ),
            );
        }
        let content = match old {
            None if text.is_empty() => return Ok(Vec::new()),
            Some(old) if text.is_empty() && !old.is_empty() => Content::Gone { prune: 0 },
            _ => Content::Text(text),
        };
        let mut change = planner.compare(host, task, desired(content))?;
        if let Some(change) = &mut change {
            change.reasons.append(&mut closed);
        }
        Ok(change.into_iter().collect())
    }
}

/// The settings with dtls-deploy's guard among the plugins if this run leaves it in place, and
/// without it if this run removes it: dockerd does not start with a plugin that does not answer.
fn asked_plugins(
    planner: &Planner<'_>,
    host: &Host,
    text: String,
) -> Result<String, DaemonJsonError> {
    let drop_in = guard::drop_in_path(host);
    let written = planner.written.get(&(host.name.clone(), drop_in));
    let is_there = planner
        .facts
        .get(&host.name)
        .is_some_and(|facts| guard::is_installed(host, facts));
    match written.map(|file| &file.content) {
        Some(Content::Gone { .. }) => {
            without_plugin(&text, guard::PLUGIN).map(Option::unwrap_or_default)
        }
        None if !is_there => Ok(text),
        _ => with_plugin(&text, guard::PLUGIN),
    }
}

/// Removes what deployments added, and restores what they removed.
fn absent(
    planner: &mut Planner<'_>,
    host: &Host,
    task: &Task,
    old: Option<&[u8]>,
) -> Result<Vec<Change>, Refusal> {
    let Some(old) = old else {
        return Ok(Vec::new());
    };
    let facts = planner.facts(&host.name)?;
    let own = facts.text(&unit::path(host));
    let own = own.or_else(|| former_drop_in::text(host, facts));
    let hosts = own.map(remembered_hosts).unwrap_or_default();
    let mut left = without_ours(host, facts, old, &hosts)?;
    let mut kept_out = None;
    if !hosts.is_empty() {
        let as_it_is = without_ours(host, facts, old, &[])?;
        let unit = systemd_override::remove(planner, host, task).unwrap_or_default();
        if as_it_is != left
            && let Some(place) = listens_by_flag(host, facts, &unit)
        {
            left = as_it_is;
            kept_out = Some(not_put_back(&hosts, &place));
        }
    }
    let goes = has_live_restore(Some(old)) && !has_live_restore(left.as_deref().map(str::as_bytes));
    let content = left.map_or(Content::Gone { prune: 0 }, Content::Text);
    let mut change = planner.compare(host, task, desired(content))?;
    if let Some(change) = change.as_mut().filter(|_| goes) {
        let text = "live-restore goes, too: a deployment has turned it on";
        change.reasons.push(text.to_owned());
    }
    if let Some(text) = kept_out {
        planner.note(host, text);
    }
    Ok(change.into_iter().collect())
}

/// Why `hosts` is not put back into daemon.json: dockerd could not start with it.
pub(super) fn not_put_back(hosts: &[String], place: &str) -> String {
    format!(
        "\"hosts\" ({}) is not put back into daemon.json: {place} says with -H where dockerd listens, and dockerd does not start with both",
        hosts.join(" ")
    )
}

/// What is left of the file without the settings of deployments, with these `hosts`; `None` if
/// nothing is.
fn without_ours(
    host: &Host,
    facts: &NodeFacts,
    old: &[u8],
    hosts: &[String],
) -> Result<Option<String>, Refusal> {
    let paths = tls_paths(host, |path| facts.expand(path));
    let paths = former_paths(facts, old, &paths).unwrap_or(paths);
    let listen = init_script::listen(host, facts).unwrap_or_default();
    let left = without(old, &paths, &listen, hosts).map_err(|error| refuse(&error))?;
    let record = facts.regular(LIVE_RESTORE_RECORD);
    let record = record.and_then(|file| file.content.as_deref());
    let left = match left {
        Some(left) if guard::is_installed(host, facts) => {
            without_plugin(&left, guard::PLUGIN).map_err(|error| refuse(&error))?
        }
        left => left,
    };
    match (left, record) {
        (Some(left), Some(before)) => {
            without_live_restore(&left, before).map_err(|error| refuse_record(&error))
        }
        (left, _) => Ok(left),
    }
}

/// The paths that a daemon was last confirmed with, if daemon.json names them and the inventory
/// names others.
fn former_paths(facts: &NodeFacts, text: &[u8], usual: &TlsPaths) -> Option<TlsPaths> {
    let named = named_paths(std::str::from_utf8(text).ok()?);
    let [ca, Some(certificate), Some(key)] = named else {
        return None;
    };
    let is_former = |path: &String| facts.claims.former.contains_key(path);
    if !is_former(&certificate) || !is_former(&key) {
        return None;
    }
    Some(TlsPaths {
        ca: ca.filter(is_former).unwrap_or_else(|| usual.ca.clone()),
        certificate,
        key,
    })
}

fn desired(content: Content) -> Desired {
    Desired::new(Place::DaemonJson, DIRECTORY, NAME, content)
}

/// The error with its line and column. The line itself may hold a secret.
pub(super) fn refuse(error: &DaemonJsonError) -> Refusal {
    Refusal::new(format!("{PATH} is not valid: {error}"))
        .hint(match error {
            DaemonJsonError::Syntax { .. } => {
                "fix the file on the node: one JSON object, with each key once. Releases of dockerd differ in what they make of anything else"
            }
            DaemonJsonError::NotAList => {
                "write a list of names of plugins, as in [\"dtls-deploy-guard\"]"
            }
            DaemonJsonError::NotText | DaemonJsonError::NotAnObject => {
                "put one JSON object into the file on the node, as UTF-8 text"
            }
        })
}

fn refuse_record(error: &DaemonJsonError) -> Refusal {
    Refusal::new(format!("{LIVE_RESTORE_RECORD} is not valid: {error}")).hint(format!(
        "write {{}} into it if {PATH} had no live-restore before the first deployment"
    ))
}

/// Who besides root can write a file of root's.
fn other_writer(file: &File) -> Option<String> {
    if file.mode & 0o002 != 0 {
        return Some("every account".to_owned());
    }
    (file.uid != 0).then(|| file.owner.clone())
}
