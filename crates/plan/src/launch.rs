//! How dockerd will be started once a plan is carried out.

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

/// What dockerd will be asked. None if its command line is not known.
///
/// # Errors
/// When dockerd would not start with both the flags and daemon.json.
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
        // Said by the task that writes it.
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
    // Its own file would be read instead of the copy.
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

/// The settings and flags of the running daemon without TLS and the places that it uses; none
/// where it has not read what is there now, or does not run.
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

/// Whether daemon.json holds only what dtls-deploy writes, and the command line nothing but
/// listeners, TLS and containerd's socket. Asking dockerd costs two of its starts, and it has
/// nothing to find then: key and certificate were compared, and the address was checked.
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

/// The file in which a flag says where dockerd listens once these changes are made; `hosts` in
/// daemon.json keeps it from starting then. None also where the command line cannot be told.
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

/// What the restart may change of the running daemon, and what else it brings with it: what
/// someone has changed since the daemon was started.
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
    // What an init script passes besides DOCKER_OPTS only the running daemon shows.
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

/// Program and arguments as systemd will pass them; none where that cannot be
/// told.
#[must_use]
pub(crate) fn command_line_of(
    host: &Host,
    facts: &NodeFacts,
    planned: &[Change],
) -> Option<Vec<String>> {
    let files = unit_files(host, facts, planned);
    let unit = facts.unit.clone().unwrap_or_default();
    // Without ours a file that cannot be read may set it.
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

/// A file as it will be.
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

/// The unit's files as they will be, in systemd's order: our drop-in, and what else is changed in
/// its directory, by going back to a time when ours had another name.
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

/// Puts a drop-in in its place among the others, or takes it away.
fn place_in(files: &mut Vec<UnitFile>, own: String, text: Option<&str>) {
    let Some(text) = text else {
        files.retain(|file| file.path != own);
        return;
    };
    let name = |path: &str| path.rsplit('/').next().map(str::to_owned);
    // It hides those of the same name in other directories.
    files.retain(|file| name(&file.path) != name(&own));
    let later = |file: &UnitFile| file.path.contains(".d/") && name(&file.path) > name(&own);
    let at = files.iter().position(later).unwrap_or(files.len());
    // It has the last word over what systemd has loaded.
    let loaded = files.iter().position(|file| file.path == LOADED);
    let at = at.max(loaded.map_or(0, |loaded| loaded + 1));
    let text = text.to_owned();
    files.insert(at, UnitFile { path: own, text });
}

/// What dockerd will read and where it will be reached, by the node's own files as they will be:
/// going back, they say something else than the inventory.
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
    // Where the command line as a whole cannot be told: one with specifiers such as `%H`.
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

/// Where clients reach a daemon that listens on these addresses: as the inventory says, where
/// that is one of them.
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

/// The file that a flag stands in, an operator's rather than our own.
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

/// Where dockerd listens once these changes are made on its host, local sockets left out.
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

/// Whether the daemon as it is now would speak TLS.
#[must_use]
pub(crate) fn serves_tls(host: &Host, facts: &NodeFacts) -> bool {
    mode_now(host, facts).is_some()
}

/// Which clients the daemon as it is now accepts; `None` where it does not speak TLS.
#[must_use]
pub fn mode_now(host: &Host, facts: &NodeFacts) -> Option<tls::DaemonMode> {
    let settings = facts.text(daemon_json::PATH).and_then(mode_of);
    let flags = || tls::mode_of(&command_line_of(host, facts, &[])?);
    settings.or_else(flags)
}
