//! How dockerd starts once a plan is carried out.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{Action, Change, Content, Refusal};
use crate::host::address::{DaemonAddress, daemon_address};
use crate::host::read::runs_with;
use crate::host::{daemon_json, loaded_unit, unit};
use docker::daemon_json::{hosts, is_tls, mode_of, named_paths as settings_paths, tcp_hosts};
use docker::flags::{apart, collisions};
use docker::tls::TlsPaths;
use docker::tls::{self, DaemonMode};
use docker::unit::{
    LOADED, UnitFile, command_line, is_local, listeners, listens, others, sets_exec_start,
};
use inventory::Host;
use node::facts::NodeFacts;
use node::transaction::RunningChanges;
use node::validation::{Launch, Starts, TlsFile, Validation};

/// How dockerd validates its settings. None if its command line is unknown.
///
/// # Errors If dockerd would not start because the flags and daemon.json conflict.
pub fn validation(
    host: &Host,
    facts: &NodeFacts,
    planned: &[Change],
) -> Result<Option<Validation>, Refusal> {
    let text = text_of(daemon_json::PATH, facts, planned).unwrap_or_default();
    let mut settings: Map<String, Value> = if text.trim().is_empty() {
        Map::new()
    } else if let Ok(settings) = serde_json::from_str(text) {
        settings
    } else {
        // The task that writes it reports this.
        return Ok(None);
    };
    let Some(mut command_line) = command_line_of(host, facts, planned) else {
        return Ok(None);
    };
    let found = collisions(command_line.get(1..).unwrap_or_default(), &settings);
    if let Some(collision) = found.first() {
        let files = unit_files(host, facts, planned);
        let place = place(&collision.flag, &files, facts);
        return Err(Refusal::new(format!(
            "dockerd would not start: {} in {place} and \"{}\" in {} are the same setting",
            collision.flag,
            collision.key,
            daemon_json::PATH
        ))
        .hint("take one of the two out: dockerd refuses what is given both as a flag and in its file, even with the same value"));
    }
    // dockerd would read its own file instead of the copy.
    let elsewhere = |word: &String| word == "--config-file" || word.starts_with("--config-file=");
    if command_line.iter().any(elsewhere) {
        return Ok(None);
    }
    if has_no_setting_of_others(&command_line, &settings) {
        return Ok(None);
    }
    let paths = launched(host, facts, planned).paths;
    let paths = [paths.ca, paths.certificate, paths.key];
    let without_tls = starts(others(&command_line), without_tls(&settings));
    for (file, path) in TlsFile::ALL.into_iter().zip(&paths) {
        if let Some(value) = settings.get_mut(file.key())
            && value.as_str() == Some(path)
        {
            *value = Value::String(file.link());
        }
        for word in &mut command_line {
            let flag = format!("--{}=", file.key());
            if word.strip_prefix(&flag) == Some(path) {
                *word = flag + &file.link();
            }
        }
    }
    Ok(Some(Validation {
        works: works(host, facts).unwrap_or_else(|| Launch {
            command_line: command_line.first().cloned().into_iter().collect(),
            settings: "{}".to_owned(),
        }),
        planned: without_tls,
        staged: starts(command_line, settings),
        files: paths,
    }))
}

fn starts(command_line: Vec<String>, settings: Map<String, Value>) -> Starts {
    let launch = |command_line, settings| Launch {
        command_line,
        settings: Value::Object(settings).to_string(),
    };
    let (dry_line, dry_settings) = apart(&command_line, &settings);
    Starts {
        dry: launch(dry_line, dry_settings),
        launch: launch(command_line, settings),
    }
}

fn without_tls(settings: &Map<String, Value>) -> Map<String, Value> {
    let mut settings = settings.clone();
    settings.retain(|key, _| !is_tls(key));
    settings
}

/// The settings and flags of the running daemon, without TLS and its paths; none if it does not run
/// or has not read the current files.
fn works(host: &Host, facts: &NodeFacts) -> Option<Launch> {
    let settings = facts.text(daemon_json::PATH).unwrap_or_default();
    let settings = if settings.trim().is_empty() {
        Map::new()
    } else {
        serde_json::from_str(settings).ok()?
    };
    let unit = facts.unit.as_ref()?;
    let of_unit = unit.fragment().into_iter().chain(unit.all_drop_ins());
    let of_unit = of_unit.chain(unit.environment_files.iter().map(String::as_str));
    let mut read = of_unit
        .chain([daemon_json::PATH])
        .filter(|path| facts.regular(path).is_some());
    if unit.active_state() != "active"
        || unit.needs_reload()
        || !read.all(|path| runs_with(path, facts))
    {
        return None;
    }
    let line = command_line_of(host, facts, &[])?;
    Some(starts(others(&line), without_tls(&settings)).dry)
}

/// Whether daemon.json holds only dtls-deploy's settings, and the command line only listeners, TLS
/// and containerd's socket. Validation costs two starts of dockerd and could find nothing here: key
/// and certificate were compared, and the address was checked.
fn has_no_setting_of_others(command_line: &[String], settings: &Map<String, Value>) -> bool {
    let is_own = |(key, value): (&String, &Value)| match key.as_str() {
        "tls" | "tlsverify" => value.is_boolean(),
        "tlscacert" | "tlscert" | "tlskey" => value.is_string(),
        _ => false,
    };
    let others = others(command_line);
    let mut flags = others.iter().skip(1);
    settings.iter().all(is_own) && flags.all(|word| word.starts_with("--containerd="))
}

/// The file with a flag that sets dockerd's listeners once these changes are made; `hosts` in
/// daemon.json then prevents its start. None also if the command line is unknown.
#[must_use]
pub(crate) fn listens_by_flag(
    host: &Host,
    facts: &NodeFacts,
    planned: &[Change],
) -> Option<String> {
    let line = command_line_of(host, facts, planned)?;
    let settings = Map::from_iter([("hosts".to_owned(), Value::Null)]);
    let found = collisions(line.get(1..).unwrap_or_default(), &settings);
    let files = unit_files(host, facts, planned);
    Some(place(&found.first()?.flag, &files, facts))
}

/// What the restart may change in the running daemon, including edits that others made since it
/// started.
#[must_use]
pub fn changes(
    host: &Host,
    facts: &NodeFacts,
    planned: &[Change],
) -> (RunningChanges, Option<String>) {
    let Some(line) = command_line_of(host, facts, planned) else {
        let takes_local_sockets = !host.settings.local_socket;
        let changes = RunningChanges {
            takes_local_sockets,
            ..RunningChanges::default()
        };
        return (changes, None);
    };
    let text = text_of(daemon_json::PATH, facts, planned).unwrap_or_default();
    let mut listens = listens(&line);
    listens.extend(hosts(text));
    let mut changes = RunningChanges {
        takes_local_sockets: !listens.is_empty() && !listens.iter().any(|host| is_local(host)),
        ..RunningChanges::default()
    };
    let running = facts.engine.iter().flat_map(|engine| &engine.command_line);
    let running: Vec<String> = running.cloned().collect();
    let (old, new) = (others(&running), others(&line));
    // Only the running daemon shows what an init script passes besides DOCKER_OPTS.
    if !facts.systemd || running.is_empty() || old == new {
        return (changes, None);
    }
    changes.command_line = line;
    // Values may be secrets.
    let flags = |of: &[String], without: &[String]| {
        let gone = of.iter().filter(|word| !without.contains(word));
        let flags = gone.filter(|word| word.starts_with('-'));
        // -lVALUE, or --name=VALUE.
        let names = flags.filter_map(|word| match word.strip_prefix("--") {
            Some(_) => word.split('=').next(),
            None => word.get(..2),
        });
        names.collect::<Vec<&str>>().join(" ")
    };
    let (lost, gained) = (flags(&old, &new), flags(&new, &old));
    let mut text =
        "dockerd does not run with the command line that its unit gives: the restart brings that"
            .to_owned();
    for (word, flags) in [("without", lost), ("with", gained)] {
        if !flags.is_empty() {
            let _ = write!(text, ", {word} {flags}");
        }
    }
    (changes, Some(text))
}

/// Program and arguments as systemd will pass them; none if unknown.
#[must_use]
pub(crate) fn command_line_of(
    host: &Host,
    facts: &NodeFacts,
    planned: &[Change],
) -> Option<Vec<String>> {
    let files = unit_files(host, facts, planned);
    let unit = facts.unit.clone().unwrap_or_default();
    // Without dtls-deploy's drop-in, an unreadable file may set it.
    let own = unit::path(host);
    let own = files.iter().find(|file| file.path == own);
    if !own.is_some_and(|file| sets_exec_start(&file.text))
        && !files.iter().any(|file| file.path == LOADED)
        && !loaded_unit::unread(&unit, facts).is_empty()
    {
        return None;
    }
    let environment = unit::environment(&unit, facts, &files);
    command_line(&files, &environment)
}

/// A file after the planned changes.
#[must_use]
pub(crate) fn text_of<'a>(
    path: &str,
    facts: &'a NodeFacts,
    planned: &'a [Change],
) -> Option<&'a str> {
    let planned = planned
        .iter()
        .rev()
        .find_map(|change| match &change.action {
            Action::File(file) if file.path() == path => Some(&file.content),
            _ => None,
        });
    match planned {
        Some(Content::Text(text)) => Some(text),
        Some(Content::Kept { copy, .. }) => facts.text(copy),
        Some(Content::Gone { .. }) => None,
        _ => facts.text(path),
    }
}

/// The unit's files after the planned changes, in systemd's order: dtls-deploy's drop-in, and other
/// changes in its directory, for example a rollback to an earlier name of the drop-in.
#[must_use]
pub fn unit_files(host: &Host, facts: &NodeFacts, planned: &[Change]) -> Vec<UnitFile> {
    let mut files = unit::unit_files(facts);
    let directory = unit::directory(&host.settings.unit);
    let changed = planned.iter().filter_map(|change| match &change.action {
        Action::File(file) if file.directory == directory => Some(file.path()),
        _ => None,
    });
    let own = format!("{directory}/{}", host.settings.dropin);
    let paths: BTreeSet<String> = changed.chain([own]).collect();
    for path in paths {
        let text = text_of(&path, facts, planned);
        place_in(&mut files, path, text);
    }
    files
}

/// Inserts a drop-in at its place among the others, or removes it.
fn place_in(files: &mut Vec<UnitFile>, own: String, text: Option<&str>) {
    let Some(text) = text else {
        files.retain(|file| file.path != own);
        return;
    };
    let name = |path: &str| path.rsplit('/').next().map(str::to_owned);
    // It hides drop-ins of the same name in other directories.
    files.retain(|file| name(&file.path) != name(&own));
    let later = |file: &UnitFile| file.path.contains(".d/") && name(&file.path) > name(&own);
    let at = files.iter().position(later).unwrap_or(files.len());
    // It overrides what systemd has loaded.
    let loaded = files.iter().position(|file| file.path == LOADED);
    let at = at.max(loaded.map_or(0, |loaded| loaded + 1));
    let text = text.to_owned();
    files.insert(at, UnitFile { path: own, text });
}

/// What dockerd will read and where clients will reach it, according to the node's own files after
/// the change: after a rollback these differ from the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    pub mode: Option<DaemonMode>,
    pub paths: TlsPaths,
    pub address: DaemonAddress,
}

#[must_use]
pub fn launched(host: &Host, facts: &NodeFacts, planned: &[Change]) -> Launched {
    let settings = text_of(daemon_json::PATH, facts, planned).unwrap_or_default();
    let files = unit_files(host, facts, planned);
    let directory = unit::directory(&host.settings.unit);
    let own = format!("{directory}/{}", host.settings.dropin);
    // If the whole command line is unknown, for instance because of specifiers such as `%H`.
    let own_flags = || {
        let text = files.iter().find(|file| file.path == own);
        let words = text
            .map_or("", |file| file.text.as_str())
            .split_whitespace();
        words.map(str::to_owned).collect()
    };
    let arguments = command_line_of(host, facts, planned).unwrap_or_else(own_flags);
    let usual = daemon_json::tls_paths(host, |path| facts.expand(path));
    let [ca, certificate, key] = settings_paths(settings);
    let [flag_ca, flag_certificate, flag_key] = tls::named_paths(&arguments);
    let addresses = if facts.systemd {
        let (listeners, _) = listeners(&files, &facts.environment_texts());
        listeners.into_iter().map(|found| found.address).collect()
    } else {
        tcp_hosts(settings)
    };
    Launched {
        mode: mode_of(settings).or_else(|| tls::mode_of(&arguments)),
        paths: TlsPaths {
            ca: ca.or(flag_ca).unwrap_or(usual.ca),
            certificate: certificate
                .or(flag_certificate)
                .unwrap_or(usual.certificate),
            key: key.or(flag_key).unwrap_or(usual.key),
        },
        address: reached(host, &addresses),
    }
}

/// Where clients reach a daemon that listens on these addresses: the inventory's address, if it is
/// one of them.
fn reached(host: &Host, addresses: &[String]) -> DaemonAddress {
    let wanted = daemon_address(host);
    let mut found = addresses
        .iter()
        .filter_map(|address| DaemonAddress::listened(address, &host.connection.address));
    let first = found.next();
    match first {
        Some(first) if first != wanted && !found.any(|other| other == wanted) => first,
        _ => wanted,
    }
}

/// The file that sets a flag; an operator's takes precedence over dtls-deploy's.
fn place(flag: &str, files: &[UnitFile], facts: &NodeFacts) -> String {
    let unit = facts.unit.clone().unwrap_or_default();
    let environment = unit
        .environment_files
        .iter()
        .filter(|path| facts.text(path).is_some_and(|text| text.contains(flag)))
        .map(String::as_str);
    let found = environment
        .chain(
            files
                .iter()
                .rev()
                .filter(|file| file.text.contains(flag))
                .map(|file| file.path.as_str()),
        )
        .next();
    found.map_or_else(|| "the unit".to_owned(), str::to_owned)
}

/// Where dockerd listens once these changes are made on its host, without local sockets.
#[must_use]
pub(crate) fn listened(host: &Host, facts: &NodeFacts, planned: &[Change]) -> Vec<String> {
    let files = unit_files(host, facts, planned);
    let (found, _) = listeners(&files, &facts.environment_texts());
    let mut found: Vec<String> = found.into_iter().map(|one| one.address).collect();
    let settings = text_of(daemon_json::PATH, facts, planned);
    found.extend(tcp_hosts(settings.unwrap_or_default()));
    found
}

/// Whether dockerd listens where the inventory says once these changes are made on its host.
#[must_use]
pub fn listens_as_declared(host: &Host, facts: &NodeFacts, planned: &[Change]) -> bool {
    let declared = host.settings.listen.first();
    let found = listened(host, facts, planned);
    declared.is_none_or(|declared| found.contains(&declared.text))
}

/// Whether the daemon in its current state would speak TLS.
#[must_use]
pub(crate) fn serves_tls(host: &Host, facts: &NodeFacts) -> bool {
    mode_now(host, facts).is_some()
}

/// Which clients the daemon in its current state accepts; `None` if it does not speak TLS.
#[must_use]
pub fn mode_now(host: &Host, facts: &NodeFacts) -> Option<tls::DaemonMode> {
    let settings = facts.text(daemon_json::PATH).and_then(mode_of);
    let flags = || tls::mode_of(&command_line_of(host, facts, &[])?);
    settings.or_else(flags)
}
