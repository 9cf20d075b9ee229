//! What dockerd reads, and whether the running dockerd has read the current files.

use std::collections::{BTreeMap, BTreeSet};

use super::daemon_json::{PATH, tls_paths};
use super::guard::PLUGIN;
use super::{socket, unit};
use inventory::Host;
use node::facts::{FileFact, NodeFacts};

/// Written on the node by a confirmed restart: the unit's InvocationID, then
/// lines as sha256sum prints them.
pub const RECORD: &str = "/var/lib/dtls-deploy/confirmed";

use base::event::Repeated;
/// Everything that determines how dockerd runs.
pub fn reads(host: &Host, facts: &NodeFacts) -> BTreeSet<String> {
    let paths = tls_paths(host, |path| facts.expand(path));
    let mut reads = BTreeSet::from([
        paths.ca,
        paths.certificate,
        paths.key,
        PATH.to_owned(),
        unit::path(host),
    ]);
    // Ports that systemd passes to it.
    let socket = socket::path(host);
    if facts.regular(&socket).is_some() {
        reads.insert(socket);
    }
    if let Some(unit) = &facts.unit {
        reads.extend(unit.fragment().map(str::to_owned));
        reads.extend(unit.all_drop_ins().into_iter().map(str::to_owned));
        reads.extend(unit.environment_files.iter().cloned());
    }
    // A file that cannot be read may have changed.
    let is_known = |path: &String| {
        !matches!(
            facts.file(path),
            Some(FileFact::Exposed | FileFact::Other | FileFact::Unreadable)
        )
    };
    reads.retain(is_known);
    reads
}

/// Whether the running daemon has read the current version of a file. Reloads by other programs go
/// unnoticed.
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
    facts
        .started_at()
        .is_some_and(|started| file.changed < started)
}

/// Like [`has_read`], but also true if another program has started the daemon since and the file is
/// the one that a confirmed restart read. Decides whether a restart is needed.
#[must_use]
pub(crate) fn runs_with(path: &str, facts: &NodeFacts) -> bool {
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

/// Why the running daemon has not read the current files.
pub fn stale(reads: &BTreeSet<String>, facts: &NodeFacts) -> Vec<String> {
    // It was made to read another bundle, and the file was put back.
    if facts.claims.foreign_authority {
        return vec!["dockerd has read another CA bundle".to_owned()];
    }
    // The file was put back after a reload without the plugin. One without it changes first.
    let names_guard = || facts.text(PATH).is_some_and(|text| text.contains(PLUGIN));
    if facts.claims.guard_not_asked && names_guard() {
        return vec!["dockerd does not ask its guard".to_owned()];
    }
    let unit = facts.unit.clone().unwrap_or_default();
    if unit.active_state() != "active" {
        return vec![format!("the unit is {}", unit.active_state())];
    }
    let record = facts.text(RECORD).map(parse_record).unwrap_or_default();
    // A file that was read and would no longer be read counts.
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
    // It was started since, for instance by a reboot. A daemon that started after the last change
    // of a file has read that file.
    let Some(started) = facts.started_at() else {
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
        reasons.push("systemd has not read the unit's files again".to_owned());
    }
    reasons
}

#[derive(Debug, Default)]
struct StartRecord {
    invocation: String,
    hashes: BTreeMap<String, String>,
}

fn parse_record(text: &str) -> StartRecord {
    let mut lines = text.lines();
    let invocation = lines.next().unwrap_or_default().to_owned();
    let hashes = lines
        .filter_map(|line| line.split_once("  "))
        .map(|(hash, path)| (path.to_owned(), hash.to_owned()))
        .collect();
    StartRecord { invocation, hashes }
}
