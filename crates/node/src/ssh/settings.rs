//! What a destination really is: [`Target`] and `~/.ssh/config` together.

use std::path::PathBuf;
use std::time::Duration;

use super::config::{self, HostConfig, Methods, Tokens};
use super::error::Endpoint;
use crate::{HostKeyChecking, Target};
use base::secret::Secret;

/// Who connects, from where, and what the command line says about host keys.
#[derive(Debug)]
pub(super) struct Operator {
    pub home: PathBuf,
    pub local_user: String,
    pub agent_socket: Option<PathBuf>,
    pub host_key_checking: Option<HostKeyChecking>,
    pub known_hosts_file: Option<PathBuf>,
    pub records_new_hosts: bool,
}

/// A private key to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub path: PathBuf,
    /// Named by the inventory: a problem with it is an error, not a remark.
    pub explicit: bool,
}

/// Everything needed to connect to one SSH server.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub endpoint: Endpoint,
    pub connect_timeout: Duration,
    pub identities: Vec<Identity>,
    pub identities_only: bool,
    pub certificate_files: Vec<PathBuf>,
    pub agent: Option<PathBuf>,
    pub password: Option<Secret>,
    pub methods: Methods,
    pub checking: HostKeyChecking,
    /// In order, the user's files before the system's.
    pub known_hosts: Vec<PathBuf>,
    /// Where new keys go: the first of the user's files.
    pub record_in: Option<PathBuf>,
    /// False for a run that changes nothing.
    pub records_new_hosts: bool,
    pub hash_known_hosts: bool,
    /// Names to look up in `known_hosts`: the first is authoritative; a second
    /// (the host without its port) only vouches, as in OpenSSH.
    pub known_names: Vec<String>,
    pub jump: Option<String>,
}

impl Settings {
    /// Merges; `target`'s values win.
    pub(super) fn new(
        target: &Target,
        config: &HostConfig,
        operator: &Operator,
    ) -> Result<Self, String> {
        let host = config
            .hostname
            .clone()
            .unwrap_or_else(|| target.address.clone());
        let user = target
            .user
            .clone()
            .or_else(|| config.user.clone())
            .unwrap_or_else(|| operator.local_user.clone());
        config::check_names(&host, Some(&user))?;
        let port = target.port.or(config.port).unwrap_or(22);
        let known_names = known_names(&host, port, config.host_key_alias.as_deref());
        let known_as = known_names.first().cloned().unwrap_or_default();
        let jump = jump(target, config)?;
        let tokens = Tokens {
            home: &operator.home,
            local_user: &operator.local_user,
            original: &target.address,
            hostname: &host,
            known_as: &known_as,
            user: &user,
            port,
        };
        let expand = |texts: &[String]| -> Vec<PathBuf> {
            texts
                .iter()
                .filter_map(|text| config::expand(text, &tokens))
                .collect()
        };
        let identities = identities(target, config, &tokens);
        let mut known_hosts = match &operator.known_hosts_file {
            Some(file) => vec![file.clone()],
            None if target.known_hosts_files.is_empty() => expand(&config.user_known_hosts),
            None => target.known_hosts_files.clone(),
        };
        let record_in = known_hosts.first().cloned();
        known_hosts.extend(expand(&config.global_known_hosts));
        let agent = agent(config.identity_agent.as_deref(), operator, &tokens);
        let has_password = target.password.is_some();
        Ok(Self {
            connect_timeout: target.connect_timeout,
            identities,
            identities_only: config.identities_only || !target.identity_files.is_empty(),
            certificate_files: expand(&config.certificate_files),
            agent,
            password: target.password.clone(),
            methods: Methods {
                password: config.methods.password || has_password,
                keyboard_interactive: config.methods.keyboard_interactive || has_password,
                ..config.methods
            },
            checking: operator
                .host_key_checking
                .or(target.host_key_checking)
                .unwrap_or_else(|| checking(config.strict_host_key_checking.as_deref())),
            known_hosts,
            record_in,
            records_new_hosts: operator.records_new_hosts,
            hash_known_hosts: config.hash_known_hosts,
            known_names,
            endpoint: Endpoint {
                name: target.name.clone(),
                user,
                host,
                port,
                known_as,
                via: jump.clone(),
            },
            jump,
        })
    }
}

/// The jump hosts, as text.
fn jump(target: &Target, config: &HostConfig) -> Result<Option<String>, String> {
    if let Some(jump) = target.proxy_jump.as_deref() {
        return Ok((jump != "none").then(|| jump.to_owned()));
    }
    match (&config.proxy_jump, &config.proxy_command) {
        (Some(jump), _) => Ok(Some(jump.clone())),
        (None, Some(_)) => Err(
            "its ProxyCommand in the SSH configuration is not supported; \
             use ProxyJump, which does the same without running a program"
                .to_owned(),
        ),
        (None, None) => Ok(None),
    }
}

/// The keys that the inventory names, or those of the configuration.
fn identities(target: &Target, config: &HostConfig, tokens: &Tokens<'_>) -> Vec<Identity> {
    if target.identity_files.is_empty() {
        let paths = config.identity_files.iter();
        let paths = paths.filter_map(|text| config::expand(text, tokens));
        let implicit = |path| Identity {
            path,
            explicit: false,
        };
        return paths.map(implicit).collect();
    }
    let explicit = |path: &PathBuf| Identity {
        path: config::expand(&path.to_string_lossy(), tokens).unwrap_or_else(|| path.clone()),
        explicit: true,
    };
    target.identity_files.iter().map(explicit).collect()
}

/// `ask` cannot be done in a run over many nodes, so it means strict.
fn checking(word: Option<&str>) -> HostKeyChecking {
    match word {
        Some("accept-new") => HostKeyChecking::AcceptNew,
        Some("no" | "off" | "false") => HostKeyChecking::Off,
        _ => HostKeyChecking::Strict,
    }
}

fn known_names(host: &str, port: u16, alias: Option<&str>) -> Vec<String> {
    let host = host.to_lowercase();
    match alias {
        Some(alias) => vec![alias.to_lowercase()],
        None if port == 22 => vec![host],
        None => vec![format!("[{host}]:{port}"), host],
    }
}

fn agent(word: Option<&str>, operator: &Operator, tokens: &Tokens<'_>) -> Option<PathBuf> {
    match word {
        None | Some("SSH_AUTH_SOCK") => operator.agent_socket.clone(),
        Some("none") => None,
        Some(word) => match word.strip_prefix('$') {
            Some(name) if !name.starts_with('{') => std::env::var_os(name).map(PathBuf::from),
            _ => config::expand(word, tokens),
        },
    }
}

/// One hop of a `ProxyJump` value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hop {
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u16>,
}

/// Splits `a,b,c` into the hops before the last (still as text) and the last,
/// the one that reaches the destination.
pub(super) fn last_hop(jump: &str) -> Result<(Option<&str>, Hop), String> {
    let (before, last) = match jump.rsplit_once(',') {
        Some((before, last)) => (Some(before), last),
        None => (None, jump),
    };
    Ok((before, hop(last.trim())?))
}

fn hop(text: &str) -> Result<Hop, String> {
    let wrong = || format!("\"{}\" is not a jump host", crate::visible(text));
    let text = text.strip_prefix("ssh://").unwrap_or(text);
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, text),
    };
    let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
        (host, port.strip_prefix(':'))
    } else if rest.matches(':').count() > 1 {
        (rest, None)
    } else {
        match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        }
    };
    let port = port.map(str::parse).transpose().map_err(|_| wrong())?;
    config::check_names(host, user.as_deref()).map_err(|_| wrong())?;
    Ok(Hop {
        user,
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_are_split_from_the_end() {
        let (before, last) = last_hop("a,bob@[fe80::1]:2200").expect("valid");
        assert_eq!(before, Some("a"));
        assert_eq!(
            (last.user.as_deref(), last.host.as_str(), last.port),
            (Some("bob"), "fe80::1", Some(2200))
        );
        assert_eq!(last_hop("ssh://b:22").expect("valid").1.port, Some(22));
        assert_eq!(last_hop("::1").expect("valid").1.host, "::1");
        for wrong in ["", "a,", "a:port", "-x", "a;b", "[::1", "u v@h"] {
            assert!(last_hop(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn known_hosts_are_asked_as_openssh_asks() {
        assert_eq!(known_names("Node", 22, None), ["node"]);
        assert_eq!(known_names("Node", 2200, None), ["[node]:2200", "node"]);
        assert_eq!(known_names("10.0.0.1", 2200, Some("Alias")), ["alias"]);
    }
}
