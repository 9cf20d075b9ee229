//! The systemd drop-in that makes dockerd listen on TLS.
//!
//! Comes in: the unit file, its drop-ins and environment files as the node has
//! them. Goes out: the text of our drop-in, whose `ExecStart` is the unit's own
//! with nothing but its `-H` arguments changed, so that it fits docker-ce,
//! Debian's docker.io and whatever an operator made of them.
//! `systemctl show -p ExecStart` is of no use for this: it joins argv without
//! quoting. Format: systemd.unit(5), systemd.service(5).

mod command_line;
mod listeners;
mod shown;
pub mod socket;
mod syntax;

pub use command_line::command_line;
pub use listeners::{Listener, listeners};
pub use shown::shown;

use std::collections::BTreeMap;

use syntax::{file_name, logical_lines, settings, split_words, unquote, variable_of};

/// What `systemctl edit` writes.
const OPERATORS_DROP_IN: &str = "override.conf";

/// One file of the unit, in the order in which systemd applies them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFile {
    pub path: String,
    pub text: String,
}

/// What the drop-in shall achieve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// `tcp://…` addresses, in the inventory's order.
    pub listen: Vec<String>,
    /// Keep the socket that local users of docker talk to.
    pub local_socket: bool,
    /// Flags that set TLS up, as words of the unit file; none where daemon.json
    /// does.
    pub tls: Vec<String>,
}

/// The derived drop-in, and what an operator should know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropIn {
    pub text: String,
    /// The new command line, for the plan.
    pub exec_start: String,
    /// Plain-TCP listeners that the unit had and that are gone now.
    pub closed: Vec<String>,
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("the unit has no ExecStart")]
    NoExecStart,
    #[error("the unit has {0} ExecStart lines; a daemon has one")]
    SeveralExecStarts(usize),
    #[error("ExecStart does not start dockerd but \"{0}\"")]
    NotDockerd(String),
    #[error("dockerd reads {0} there, not /etc/docker/daemon.json (--config-file)")]
    OtherConfiguration(String),
    #[error("dockerd's listener \"{0}\" comes from a variable that is not set in the unit's files")]
    UnknownListener(String),
    #[error(
        "{path} sorts after our drop-in and sets ExecStart again, so that ours would not count"
    )]
    Overridden { path: String },
}

impl UnitError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoExecStart | Self::SeveralExecStarts(_) => {
                "read `systemctl cat docker.service` on the node and leave exactly one ExecStart".to_owned()
            }
            Self::NotDockerd(_) => {
                "only units that run dockerd directly are supported: docker-ce, and docker.io of Debian and Ubuntu".to_owned()
            }
            Self::OtherConfiguration(_) => {
                "take --config-file out of the unit, and move its settings to /etc/docker/daemon.json".to_owned()
            }
            Self::UnknownListener(_) => {
                "write the address itself into the unit, or set the variable in its EnvironmentFile".to_owned()
            }
            Self::Overridden { path } => format!(
                "remove ExecStart from {path}, or set dtls_dropin to a name that sorts after it"
            ),
        }
    }
}

/// Derives our drop-in.
///
/// `files` are the unit file and its drop-ins in systemd's order, ours among
/// them at `own_path` where it exists already: its `ExecStart` counts like any
/// other (the `-H` arguments are replaced in any case), and everything else in
/// it is an operator's (`systemctl edit` writes to override.conf) and is kept.
/// Where the unit itself starts another dockerd than a drop-in of our own name,
/// docker has been installed from another package since, and the unit counts.
/// `environment` holds the variables of the unit's environment files.
///
/// # Errors
/// When the unit is not one whose command line can be taken over.
pub fn derive(
    files: &[UnitFile],
    own_path: &str,
    environment: &BTreeMap<String, String>,
    wanted: &Listening,
) -> Result<DropIn, UnitError> {
    let own_name = file_name(own_path);
    let mut words = split_words(&effective_command(files, own_name)?);
    let mut notes = Vec::new();
    if let Some(unit) = another_package(files, own_path, &words) {
        notes.push(format!(
            "the unit starts {} now, and the drop-in had {}: it follows the unit",
            unit.first().map_or("", String::as_str),
            words.first().map_or("", String::as_str),
        ));
        words = unit;
    }
    let Some((program, arguments)) = words.split_first() else {
        return Err(UnitError::NoExecStart);
    };
    // "@" makes the next word argv[0]: not a unit that is dockerd's own.
    let executable = program.trim_start_matches(['-', ':', '+', '!']);
    if executable.starts_with('@') || file_name(unquote(executable)) != "dockerd" {
        return Err(UnitError::NotDockerd(unquote(executable).to_owned()));
    }

    let mut hosts = Vec::new();
    let mut kept = Vec::new();
    let mut taken = Vec::new();
    for argument in arguments {
        match variable_of(argument).and_then(|name| Some((name, environment.get(name)?))) {
            Some((name, value)) => {
                // systemd splits $NAME into words, and ${NAME} not.
                let expanded = if unquote(argument).starts_with("${") {
                    vec![value.clone()]
                } else {
                    split_words(value)
                };
                let before = hosts.len();
                let rest = take_hosts(&expanded, &mut hosts);
                let rest = take_tls(&rest, &mut taken)?;
                if hosts.len() == before && rest.len() == expanded.len() {
                    kept.push(argument.clone());
                } else {
                    notes.push(format!(
                        "${name} names listeners of its own ({}): its other options were copied into the drop-in",
                        hosts.get(before..).unwrap_or_default().join(" ")
                    ));
                    // In a unit file % and $ have meanings of their own.
                    kept.extend(
                        rest.iter()
                            .map(|word| word.replace('%', "%%").replace('$', "$$")),
                    );
                }
            }
            None => kept.push(argument.clone()),
        }
    }
    let kept = take_hosts(&kept, &mut hosts);
    let kept = take_tls(&kept, &mut taken)?;
    if !taken.is_empty() && wanted.tls.is_empty() {
        notes.push(format!(
            "{} leave the unit's command line: TLS is set in daemon.json",
            taken.join(" ")
        ));
    }
    for host in &mut hosts {
        if let Some(name) = variable_of(host) {
            *host = environment
                .get(name)
                .ok_or_else(|| UnitError::UnknownListener(host.clone()))?
                .clone();
        }
    }

    let mut line = vec![program.clone()];
    if wanted.local_socket {
        let local: Vec<&String> = hosts.iter().filter(|host| is_local(host)).collect();
        if local.is_empty() {
            line.extend(["-H".to_owned(), "unix:///var/run/docker.sock".to_owned()]);
        }
        for host in local {
            line.extend(["-H".to_owned(), host.clone()]);
        }
    }
    for address in &wanted.listen {
        line.extend(["-H".to_owned(), address.clone()]);
    }
    line.extend(wanted.tls.iter().cloned());
    line.extend(kept);
    let exec_start = line.join(" ");

    // A drop-in of the same name in /run or /usr/lib would be hidden by ours.
    let own = files
        .iter()
        .find(|file| file.path == own_path)
        .or_else(|| files.iter().find(|file| file_name(&file.path) == own_name));
    let text = with_exec_start(own.map_or("", |file| &file.text), &exec_start);
    let closed = hosts
        .into_iter()
        .filter(|host| !is_local(host) && !wanted.listen.contains(&with_scheme(host)))
        .collect();
    Ok(DropIn {
        text,
        exec_start,
        closed,
        notes,
    })
}

/// The command line of the unit without our drop-in, where it starts another
/// dockerd than `words`, which is the one with it. override.conf is an
/// operator's, who may mean another dockerd.
fn another_package(files: &[UnitFile], own_path: &str, words: &[String]) -> Option<Vec<String>> {
    let own_name = file_name(own_path);
    if own_name == OPERATORS_DROP_IN {
        return None;
    }
    let others: Vec<UnitFile> = files
        .iter()
        .filter(|file| file.path != own_path)
        .cloned()
        .collect();
    let unit = split_words(&effective_command(&others, own_name).ok()?);
    let program = unit.first()?;
    (Some(program) != words.first() && file_name(program) == "dockerd").then_some(unit)
}

/// The one ExecStart that counts once every file is read.
fn effective_command(files: &[UnitFile], own_name: &str) -> Result<String, UnitError> {
    let mut commands: Vec<String> = Vec::new();
    for file in files {
        let starts = exec_starts(&file.text);
        let is_drop_in = file.path.contains(".service.d/");
        if !starts.is_empty() && is_drop_in && file_name(&file.path) > own_name {
            return Err(UnitError::Overridden {
                path: file.path.clone(),
            });
        }
        for start in starts {
            if start.is_empty() {
                commands.clear();
            } else {
                commands.push(start);
            }
        }
    }
    match commands.as_slice() {
        [] => Err(UnitError::NoExecStart),
        [command] => Ok(command.clone()),
        several => Err(UnitError::SeveralExecStarts(several.len())),
    }
}

/// The variables of an environment file, systemd.exec(5) `EnvironmentFile=`.
#[must_use]
pub fn parse_environment(text: &str) -> BTreeMap<String, String> {
    logical_lines(text)
        .into_iter()
        .filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            Some((name.trim().to_owned(), unquote(value.trim()).to_owned()))
        })
        .collect()
}

/// `-H 0.0.0.0:2375` and `-H :2375` are TCP, too.
fn is_local(host: &str) -> bool {
    host.starts_with("unix:") || host.starts_with("fd:")
}

fn with_scheme(host: &str) -> String {
    if host.contains("://") {
        host.to_owned()
    } else {
        format!("tcp://{host}")
    }
}

/// Takes the TLS flags out: ours come instead, or daemon.json has the settings,
/// and what is both a flag and in that file keeps dockerd from starting.
fn take_tls(words: &[String], taken: &mut Vec<String>) -> Result<Vec<String>, UnitError> {
    let mut rest = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let plain = unquote(word);
        let (flag, value) = plain
            .split_once('=')
            .map_or((plain, None), |(flag, value)| (flag, Some(value)));
        match flag {
            "--tls" | "--tlsverify" => taken.push(plain.to_owned()),
            "--tlscacert" | "--tlscert" | "--tlskey" => {
                taken.push(plain.to_owned());
                if value.is_none() {
                    words.next();
                }
            }
            "--config-file" => {
                let path = value.or_else(|| words.next().map(|word| unquote(word)));
                let path = path.unwrap_or_default();
                if path != "/etc/docker/daemon.json" {
                    return Err(UnitError::OtherConfiguration(path.to_owned()));
                }
            }
            _ => rest.push(word.clone()),
        }
    }
    Ok(rest)
}

/// The variables that `Environment=` lines of the unit's files set; those of
/// environment files count more.
#[must_use]
pub fn unit_environment(files: &[UnitFile]) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for file in files {
        for line in settings(&file.text, "[Service]", "Environment") {
            if line.is_empty() {
                variables.clear();
            }
            for word in split_words(&line) {
                if let Some((name, value)) = unquote(&word).split_once('=') {
                    variables.insert(name.to_owned(), unquote(value).to_owned());
                }
            }
        }
    }
    variables
}

/// The values of `ExecStart=` in the `[Service]` section, resets included.
fn exec_starts(text: &str) -> Vec<String> {
    settings(text, "[Service]", "ExecStart")
}

/// Moves the values of `-H` and `--host` from `words` to `hosts`; the rest is
/// returned in its order.
fn take_hosts(words: &[String], hosts: &mut Vec<String>) -> Vec<String> {
    let mut rest = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let plain = unquote(word);
        if plain == "-H" || plain == "--host" {
            hosts.extend(words.next().map(|value| unquote(value).to_owned()));
        } else if let Some(value) = plain
            .strip_prefix("--host=")
            .or_else(|| plain.strip_prefix("-H="))
            .or_else(|| plain.strip_prefix("-H"))
        {
            hosts.push(unquote(value).to_owned());
        } else {
            rest.push(word.clone());
        }
    }
    rest
}

/// A drop-in without its ExecStart: everything else in it is an operator's.
/// `None` when nothing is left but headings.
#[must_use]
pub fn without_exec_start(own: &str) -> Option<String> {
    let mut text = String::new();
    let mut in_service = false;
    let mut continued = false;
    for line in own.lines() {
        let trimmed = line.trim();
        if continued {
            continued = trimmed.ends_with('\\');
            continue;
        }
        if trimmed.starts_with('[') {
            in_service = trimmed == "[Service]";
        }
        let name = trimmed.split('=').next().unwrap_or_default().trim();
        if in_service && name == "ExecStart" && trimmed.contains('=') {
            continued = trimmed.ends_with('\\');
            continue;
        }
        text.push_str(line);
        text.push('\n');
    }
    let is_empty = text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim().starts_with('['));
    (!is_empty).then_some(text)
}

/// `own` with its ExecStart lines replaced by the reset and the new one.
fn with_exec_start(own: &str, exec_start: &str) -> String {
    let addition = format!("ExecStart=\nExecStart={exec_start}\n");
    let mut lines: Vec<String> = Vec::new();
    let mut in_service = false;
    let mut continued = false;
    let mut place = None;
    for line in own.lines() {
        let trimmed = line.trim();
        if continued {
            continued = trimmed.ends_with('\\');
            continue;
        }
        if trimmed.starts_with('[') {
            in_service = trimmed == "[Service]";
            lines.push(format!("{line}\n"));
            if in_service && place.is_none() {
                place = Some((lines.len(), false));
            }
            continue;
        }
        let is_exec_start = in_service
            && trimmed
                .split_once('=')
                .is_some_and(|(name, _)| name.trim() == "ExecStart");
        if is_exec_start {
            continued = trimmed.ends_with('\\');
            // Where the first one stood, rather than right below the heading.
            if !matches!(place, Some((_, true))) {
                place = Some((lines.len(), true));
            }
            continue;
        }
        lines.push(format!("{line}\n"));
    }
    match place {
        Some((at, _)) => lines.insert(at, addition),
        None => lines.push(format!("[Service]\n{addition}")),
    }
    lines.concat()
}

#[cfg(test)]
mod tests;
