//! The systemd drop-in that makes dockerd listen on TLS.
//!
//! Format: systemd.unit(5), systemd.service(5).

mod command_line;
mod derive;
mod listeners;
mod loaded;
mod own;
mod shown;
pub mod socket;
mod syntax;

pub use command_line::command_line;
pub use derive::{derive, without_ours};
pub use listeners::{Listener, listeners};
pub use loaded::{Command, LOADED, as_file, says, says_joined};
pub use own::{is_own, is_unedited, remembered_hosts, without_exec_start};
pub use shown::shown;

use std::collections::BTreeMap;

use syntax::{logical_lines, plain, settings, split_words, unquote};

/// One file of the unit, in the order in which systemd applies them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFile {
    pub path: String,
    pub text: String,
}

/// What the drop-in must achieve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// `tcp://…` addresses, in the inventory's order.
    pub listen: Vec<String>,
    /// Keep the local socket for docker's users on the host.
    pub local_socket: bool,
    /// Flags that configure TLS, as words of the unit file; none if daemon.json does.
    pub tls: Vec<String>,
    /// The sockets in `hosts` of daemon.json, which is removed: the drop-in listens on them
    /// instead, and records them for restoring.
    pub from_settings: Vec<String>,
    pub own: OwnDropIn,
}

/// The origin of the drop-in at dtls-deploy's path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OwnDropIn {
    /// dtls-deploy wrote it from the unit's other files, and it is unchanged: it follows these
    /// files.
    Ours,
    /// dtls-deploy wrote it, and it was edited since: its ExecStart counts from now on.
    Edited,
    /// An operator may have written it: its ExecStart counts like any other.
    #[default]
    Unknown,
}

/// The derived drop-in, with notes for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropIn {
    pub text: String,
    /// The new command line, for the plan.
    pub exec_start: String,
    /// Plain-TCP listeners of the unit that it removes.
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

/// The listeners on a command line: the values of its `-H`.
#[must_use]
pub fn listens(line: &[String]) -> Vec<String> {
    let mut hosts = Vec::new();
    take_hosts(line, &mut hosts);
    hosts
}

/// The arguments that set neither listeners nor TLS. The prelude's `other_words` does the same on
/// the node.
#[must_use]
pub fn others(line: &[String]) -> Vec<String> {
    let rest = take_hosts(line, &mut Vec::new());
    // Another configuration file is refused elsewhere.
    take_tls(&rest, &mut Vec::new()).unwrap_or(rest)
}

/// Whether an address is a local socket. `-H 0.0.0.0:2375` and `-H :2375` are TCP too.
#[must_use]
pub fn is_local(host: &str) -> bool {
    host.starts_with("unix:") || host.starts_with("fd:")
}

fn with_scheme(host: &str) -> String {
    if host.contains("://") {
        host.to_owned()
    } else {
        format!("tcp://{host}")
    }
}

/// Removes the TLS flags: they are set again, or daemon.json sets them; dockerd does not start if
/// both do.
fn take_tls(words: &[String], taken: &mut Vec<String>) -> Result<Vec<String>, UnitError> {
    let mut rest = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let plain_word = plain(word);
        let (flag, value) = plain_word
            .split_once('=')
            .map_or((&*plain_word, None), |(flag, value)| (flag, Some(value)));
        match flag {
            "--tls" | "--tlsverify" => taken.push(plain_word),
            "--tlscacert" | "--tlscert" | "--tlskey" => {
                if value.is_none() {
                    words.next();
                }
                taken.push(plain_word);
            }
            "--config-file" => {
                let value = value.map(str::to_owned);
                let path = value.or_else(|| words.next().map(|word| plain(word)));
                let path = path.unwrap_or_default();
                if path != "/etc/docker/daemon.json" {
                    return Err(UnitError::OtherConfiguration(path));
                }
            }
            _ => rest.push(word.clone()),
        }
    }
    Ok(rest)
}

/// The variables in `Environment=` lines of the unit's files; those of environment files take
/// precedence.
#[must_use]
pub fn unit_environment(files: &[UnitFile]) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for file in files {
        for line in settings(&file.text, "[Service]", "Environment") {
            if line.is_empty() {
                variables.clear();
            }
            for word in split_words(&line) {
                if let Some((name, value)) = plain(&word).split_once('=') {
                    variables.insert(name.to_owned(), value.to_owned());
                }
            }
        }
    }
    variables
}

/// Whether a file of the unit sets the command.
#[must_use]
pub fn sets_exec_start(text: &str) -> bool {
    !exec_starts(text).is_empty()
}

/// The values of `ExecStart=` in the `[Service]` section, including resets.
fn exec_starts(text: &str) -> Vec<String> {
    settings(text, "[Service]", "ExecStart")
}

/// Moves the values of `-H` and `--host` from `words` to `hosts`; the rest is
/// returned in its order.
fn take_hosts(words: &[String], hosts: &mut Vec<String>) -> Vec<String> {
    let mut rest = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let plain_word = plain(word);
        if plain_word == "-H" || plain_word == "--host" {
            hosts.extend(words.next().map(|value| plain(value)));
        } else if let Some(value) = plain_word
            .strip_prefix("--host=")
            .or_else(|| plain_word.strip_prefix("-H="))
            .or_else(|| plain_word.strip_prefix("-H"))
        {
            hosts.push(value.to_owned());
        } else {
            rest.push(word.clone());
        }
    }
    rest
}

#[cfg(test)]
mod tests;
