//! `live_restore`: containers keep running while their daemon restarts.
//!
//! A change of its own, made by a reload before any restart, so that it is in effect for the first
//! one. dockerd reads `live-restore` from daemon.json on SIGHUP
//! (docs.docker.com/engine/daemon/live-restore); a dockerd that starts without it shuts surviving
//! containers down.

use super::daemon_json::refuse;
use super::shared::Module;
use crate::host::{daemon_json, read, unit};
use crate::launch::command_line_of;
use crate::playbook::Task;
use crate::{Action, Change, Content, Desired, Place, Planner, Refusal};
use docker::flags::{Collision, collisions};
use docker::live_restore::with_live_restore;
use inventory::{Host, Inventory};
use node::facts::{FactRequest, NodeFacts, STATE};
use node::transaction::UnitReload;
use pki::sha256_hex;
use serde_json::{Map, Value};

/// The name of [`daemon_json::LIVE_RESTORE_RECORD`].
const RECORD_NAME: &str = "live-restore";

#[derive(Debug)]
pub struct LiveRestore;

impl Module for LiveRestore {
    fn facts(&self, _: &Inventory, host: &Host, _: &Task, request: &mut FactRequest) {
        if !host.settings.live_restore {
            return;
        }
        request.unit = Some(host.settings.unit.clone());
        request.engine = true;
        let directories = [daemon_json::DIRECTORY, STATE];
        request.directories.extend(directories.map(str::to_owned));
        // The record of the reload includes what else dockerd has read.
        let paths = daemon_json::tls_paths(host, str::to_owned);
        request.hashed.insert(paths.key);
        request.content.extend([
            daemon_json::PATH.to_owned(),
            read::RECORD.to_owned(),
            daemon_json::LIVE_RESTORE_RECORD.to_owned(),
            paths.ca,
            paths.certificate,
            format!(
                "{}/{}",
                unit::directory(&host.settings.unit),
                host.settings.dropin
            ),
        ]);
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        if !host.settings.live_restore {
            return Ok(Vec::new());
        }
        let facts = planner.facts(&host.name)?;
        let engine = facts.engine.clone().unwrap_or_default();
        if engine.swarm {
            return Err(Refusal::new(
                "the node is in a swarm, and a daemon with live-restore does not start there",
            )
            .hint("set dtls_live_restore: false for this host, or take it out of the swarm"));
        }
        if engine.unknown {
            return Err(Refusal::new(
                "whether the node is in a swarm could not be told: the data root of the running dockerd is not known or cannot be read",
            )
            .hint("start docker on the node, or set dtls_live_restore: false for this host"));
        }
        match engine.live_restore_flag {
            Some(true) => return Ok(Vec::new()),
            Some(false) => {
                return Err(Refusal::new(
                    "--live-restore=false is on dockerd's command line, and dockerd does not start with the setting in daemon.json too",
                )
                .hint("take it out of the unit or of its environment file, or set dtls_live_restore: false"));
            }
            None => {}
        }
        let old = planner.bytes(host, daemon_json::PATH)?;
        let wanted = with_live_restore(old.as_deref()).map_err(|error| refuse(&error))?;
        let mut changes = Vec::new();
        if let Some((text, before)) = &wanted {
            let record = Desired::new(
                Place::Kept,
                STATE,
                RECORD_NAME,
                Content::Text(before.clone()),
            )
            .exactly(0o600)
            .because(vec![
                "the earlier value, for `remove` and `rollback`".to_owned(),
            ]);
            changes.extend(planner.compare(host, task, record)?);
            let desired = Desired::new(
                Place::DaemonJson,
                daemon_json::DIRECTORY,
                daemon_json::NAME,
                Content::Text(text.clone()),
            )
            .because(vec!["live-restore is not set".to_owned()]);
            changes.extend(planner.compare(host, task, desired)?);
        }
        let active = facts
            .unit
            .as_ref()
            .is_some_and(|unit| unit.active_state() == "active");
        // A stopped daemon reads the file when it starts.
        let reason = if wanted.is_some() {
            "live-restore comes on before anything is restarted"
        } else {
            "live-restore is not known to be on"
        };
        if active && (wanted.is_some() || !read::has_read(daemon_json::PATH, facts)) {
            let text = wanted.as_ref().map(|(text, _)| text.as_bytes());
            reloads(host, facts, text.or(old.as_deref()).unwrap_or_default())?;
            changes.push(Change {
                host: host.name.clone(),
                task: task.name.clone(),
                subject: format!("reload of {}", host.settings.unit),
                reasons: vec![reason.to_owned()],
                diff: None,
                action: Action::Reload(UnitReload {
                    unit: host.settings.unit.clone(),
                    has_read: has_read_then(
                        host,
                        facts,
                        wanted.as_ref().map(|(text, _)| text.as_str()),
                    ),
                }),
            });
        }
        Ok(changes)
    }
}

/// Whether the running daemon can reload these settings: it rejects the whole file if one of them
/// is also a flag.
fn reloads(host: &Host, facts: &NodeFacts, text: &[u8]) -> Result<(), Refusal> {
    let running = facts.engine.iter().flat_map(|engine| &engine.command_line);
    let mut line: Vec<String> = running.cloned().collect();
    if line.is_empty() {
        line = command_line_of(host, facts, &[]).unwrap_or_default();
    }
    let settings: Map<String, Value> = serde_json::from_slice(text).unwrap_or_default();
    let found = collisions(line.get(1..).unwrap_or_default(), &settings);
    let Some(Collision { flag, key }) = found.first() else {
        return Ok(());
    };
    let (path, name) = (daemon_json::PATH, &host.name);
    Err(Refusal::new(format!(
        "dockerd would not reload {path} to turn live-restore on: \"{key}\" in it and {flag} on the command line of dockerd are the same setting"
    ))
    .hint(format!(
        "remove \"{key}\" from {path} on {name}: dockerd rejects a setting that is both a flag and in its file"
    )))
}

/// What the daemon has read after the reload, including daemon.json `text` if it is new. Known only
/// if it had read everything before, because a reload applies only a few settings of daemon.json.
/// If nothing else changes, the record keeps the next run from reloading again.
fn has_read_then(host: &Host, facts: &NodeFacts, text: Option<&str>) -> Option<String> {
    let reads = read::reads(host, facts);
    if !read::stale(&reads, facts).is_empty() {
        return None;
    }
    let lines = reads.iter().filter_map(|path| {
        let hash = match text {
            Some(text) if path == daemon_json::PATH => sha256_hex(text.as_bytes()),
            _ => facts.regular(path)?.sha256.clone(),
        };
        Some(format!("{hash}  {path}\n"))
    });
    Some(lines.collect())
}
