//! `ansible_ssh_common_args` and `ansible_ssh_extra_args`: text in, the few
//! options that have a meaning here out, anything else refused by name.
//!
//! They are words for the `ssh` command, which never runs here: an inventory
//! cannot name a command or a configuration file, and cannot weaken the check
//! of host keys. The meaning of each option is that of `ssh_config(5)`; those
//! that only tune a connection, Ansible's own defaults among them, are ignored.

use std::path::PathBuf;

use crate::yaml::source::quoted;

/// What the SSH arguments of a host ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshOptions {
    /// `user@host:port`, several separated by commas, as after `-J`.
    pub proxy_jump: Option<String>,
    /// Host keys have to be on record, whatever `~/.ssh/config` says.
    pub strict_host_key_checking: bool,
    pub port: Option<u16>,
    /// Whole paths.
    pub identity_files: Vec<PathBuf>,
    /// Only the keys named here are tried, not every key of the agent.
    pub identities_only: Option<bool>,
}

/// The options before paths are made whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WrittenOptions {
    pub(super) proxy_jump: Option<String>,
    pub(super) strict_host_key_checking: bool,
    pub(super) port: Option<u16>,
    pub(super) identity_files: Vec<String>,
    pub(super) identities_only: Option<bool>,
}

/// What is wrong with the arguments, and what would be right.
pub(super) type Refusal = (String, Option<String>);

/// Why what would weaken the check of host keys has no effect, and what has.
pub(super) const NOT_WEAKENED: &str = "an inventory cannot weaken the check of host keys: use --host-key-checking, or StrictHostKeyChecking in ~/.ssh/config";

/// The same of the files that host keys are looked up in.
const NOT_VOUCHED: &str = "an inventory does not vouch for host keys: use --known-hosts, or UserKnownHostsFile in ~/.ssh/config";

/// Flags without a value that change nothing here.
const FLAGS_WITHOUT_MEANING: [char; 3] = ['C', 'q', 'v'];

/// Options that change nothing here, whatever their value.
const OPTIONS_WITHOUT_MEANING: [&str; 9] = [
    "batchmode",
    "compression",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "loglevel",
    "serveralivecountmax",
    "serveraliveinterval",
    "tcpkeepalive",
];

/// Arguments as they were read.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) options: WrittenOptions,
    pub(super) refusals: Vec<Refusal>,
    /// What has no effect, though it is meant to have one.
    pub(super) warnings: Vec<Refusal>,
}

/// Reads the arguments: what is understood, and all that is wrong with them.
pub fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let Some(words) = shlex::split(text) else {
        let message = "a quote in the SSH arguments is not closed".to_owned();
        parsed.refusals.push((message, None));
        return parsed;
    };
    let Parsed {
        options,
        refusals,
        warnings,
    } = &mut parsed;
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let Some(word) = without_meaningless_flags(&word) else {
            continue;
        };
        let Some((flag, attached)) = flag(&word) else {
            let help = Some("only options belong here: -o Name=value, -J, -p, -i".to_owned());
            refusals.push((format!("{} is not an SSH option", quoted(&word)), help));
            continue;
        };
        if !"oJpiFlWwLRDEScbmQeBIO".contains(flag) {
            refusals.push(refused_flag(flag));
            continue;
        }
        let value = if attached.is_empty() {
            words.next()
        } else {
            Some(attached.to_owned())
        };
        let Some(value) = value else {
            refusals.push((format!("the SSH option `-{flag}` needs a value"), None));
            continue;
        };
        let result = match flag {
            'o' => match split_option(&value) {
                Some((name, value)) => options.set(&name, &value, warnings),
                None => Err((
                    format!("`-o {value}` lacks a value"),
                    Some("write -o Name=value".to_owned()),
                )),
            },
            'J' => options.set("ProxyJump", &value, warnings),
            'p' => options.set("Port", &value, warnings),
            'i' => options.set("IdentityFile", &value, warnings),
            _ => Err(refused_flag(flag)),
        };
        refusals.extend(result.err());
    }
    parsed
}

/// Nothing is left of `-C`, and of `-Cp22` there is `-p22`.
fn without_meaningless_flags(word: &str) -> Option<String> {
    match word.strip_prefix('-') {
        Some(rest) if rest.starts_with(FLAGS_WITHOUT_MEANING) => {
            let rest = rest.trim_start_matches(FLAGS_WITHOUT_MEANING);
            (!rest.is_empty()).then(|| format!("-{rest}"))
        }
        _ => Some(word.to_owned()),
    }
}

fn flag(word: &str) -> Option<(char, &str)> {
    let rest = word.strip_prefix('-')?;
    let flag = rest.chars().next()?;
    (flag != '-').then(|| (flag, rest.get(flag.len_utf8()..).unwrap_or("")))
}

/// `Name=value`, `Name value` and `Name = value` are all ssh's.
fn split_option(text: &str) -> Option<(String, String)> {
    let text = text.trim();
    let end = text.find(['=', ' ', '\t'])?;
    let (name, rest) = text.split_at_checked(end)?;
    let value = rest.trim_start();
    let value = value.strip_prefix('=').unwrap_or(value).trim();
    (!value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

fn refused_flag(flag: char) -> Refusal {
    let help = match flag {
        'F' => "a configuration file is never taken from an inventory: ~/.ssh/config is read",
        'l' => "name the account with ansible_user",
        'A' => "the agent is never forwarded: remove it",
        'W' | 'L' | 'R' | 'D' => "forwarding has no place here; a jump host is -J user@host:port",
        _ => "understood here: -o, -J, -p, -i",
    };
    (
        format!(
            "the SSH option `-{}` is not understood here",
            flag.escape_debug()
        ),
        Some(help.to_owned()),
    )
}

impl WrittenOptions {
    /// Sets one option; as in ssh, the first value of an option counts.
    fn set(&mut self, name: &str, value: &str, warnings: &mut Vec<Refusal>) -> Result<(), Refusal> {
        if value.chars().any(char::is_control) {
            return Err((
                format!("a control character in the SSH option {}", quoted(name)),
                None,
            ));
        }
        match name.to_ascii_lowercase().as_str() {
            "proxyjump" => {
                check_jump(value)?;
                self.proxy_jump.get_or_insert_with(|| value.to_owned());
            }
            "userknownhostsfile" => {
                warnings.push((
                    format!("UserKnownHostsFile={} has no effect", quoted(value)),
                    Some(NOT_VOUCHED.to_owned()),
                ));
            }
            "stricthostkeychecking" => match value.to_ascii_lowercase().as_str() {
                "yes" | "true" => self.strict_host_key_checking = true,
                "accept-new" | "no" | "off" | "false" => warnings.push((
                    format!("StrictHostKeyChecking={value} has no effect"),
                    Some(NOT_WEAKENED.to_owned()),
                )),
                _ => {
                    return Err((
                        format!("StrictHostKeyChecking cannot be {}", quoted(value)),
                        Some("an inventory can ask for yes, and for nothing else".to_owned()),
                    ));
                }
            },
            "port" => {
                let port = value
                    .parse::<u16>()
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or_else(|| {
                        (
                            format!("{} is not a port", quoted(value)),
                            Some("a number from 1 to 65535".to_owned()),
                        )
                    })?;
                self.port.get_or_insert(port);
            }
            "identityfile" => {
                let file = value.trim_matches('"');
                check_path(file)?;
                self.identity_files.push(file.to_owned());
            }
            "identitiesonly" => {
                let only = crate::yaml::scalar::boolean(value).ok_or_else(|| {
                    (
                        format!("IdentitiesOnly cannot be {}", quoted(value)),
                        Some("yes or no".to_owned()),
                    )
                })?;
                self.identities_only.get_or_insert(only);
            }
            name if OPTIONS_WITHOUT_MEANING.contains(&name) => {}
            _ => return Err(refused_option(name)),
        }
        Ok(())
    }

    /// Leaves jump host and port; tells whether there was anything else.
    pub(super) fn keep_route_alone(&mut self) -> bool {
        let kept = Self {
            proxy_jump: self.proxy_jump.take(),
            port: self.port,
            ..Self::default()
        };
        let before = std::mem::replace(self, kept);
        !before.identity_files.is_empty() || before.identities_only.is_some()
    }

    /// What `other` says where this says nothing.
    pub(super) fn or(mut self, other: Self) -> Self {
        self.identity_files.extend(other.identity_files);
        Self {
            proxy_jump: self.proxy_jump.or(other.proxy_jump),
            strict_host_key_checking: self.strict_host_key_checking
                || other.strict_host_key_checking,
            port: self.port.or(other.port),
            identity_files: self.identity_files,
            identities_only: self.identities_only.or(other.identities_only),
        }
    }
}

fn refused_option(name: &str) -> Refusal {
    let help = match name.to_ascii_lowercase().as_str() {
        "proxycommand" => {
            "a command from an inventory is never run: name the jump host with ProxyJump"
        }
        "user" => "name the account with ansible_user",
        "hostname" => "name the address with ansible_host",
        "connecttimeout" => "give the seconds with ansible_ssh_timeout",
        "localcommand"
        | "permitlocalcommand"
        | "knownhostscommand"
        | "pkcs11provider"
        | "securitykeyprovider"
        | "match"
        | "include" => "an inventory never runs a command or reads a configuration file",
        _ => {
            "understood here: ProxyJump, StrictHostKeyChecking, Port, \
              IdentityFile, IdentitiesOnly; anything else belongs in ~/.ssh/config"
        }
    };
    (
        format!("the SSH option {} is not understood here", quoted(name)),
        Some(help.to_owned()),
    )
}

fn check_path(path: &str) -> Result<(), Refusal> {
    if path.contains('%') || path.contains("${") {
        return Err((
            format!(
                "{} has a placeholder that only ssh would fill in",
                quoted(path)
            ),
            Some("write the path out".to_owned()),
        ));
    }
    Ok(())
}

fn check_jump(value: &str) -> Result<(), Refusal> {
    let wrong = || {
        (
            format!("{} is not a jump host", quoted(value)),
            Some("write user@host:port, several separated by commas".to_owned()),
        )
    };
    for hop in value.split(',') {
        let hop = hop.strip_prefix("ssh://").unwrap_or(hop);
        let (user, place) = match hop.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, hop),
        };
        let (host, port) = super::names::split_port(place).ok_or_else(wrong)?;
        let user_fits = user.is_none_or(super::names::is_account);
        if !user_fits || !super::names::is_address(host) || port == Some(0) {
            return Err(wrong());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{WrittenOptions, parse};

    #[test]
    fn every_spelling_is_understood() {
        let expected = WrittenOptions {
            proxy_jump: Some("ops@bastion:2222,inner".to_owned()),
            strict_host_key_checking: true,
            port: Some(2200),
            identity_files: vec!["~/.ssh/one".to_owned(), "two".to_owned()],
            identities_only: Some(true),
        };
        for text in [
            "-J ops@bastion:2222,inner -oStrictHostKeyChecking=yes -p 2200 -i ~/.ssh/one -i two -o IdentitiesOnly=yes",
            "-o 'ProxyJump ops@bastion:2222,inner' -o StrictHostKeyChecking=YES -Cp2200 -p 22 -i~/.ssh/one -oIdentityFile=two -oIdentitiesOnly=true",
        ] {
            let parsed = parse(text);
            assert_eq!(parsed.options, expected, "{text}");
            assert!(
                parsed.refusals.is_empty() && parsed.warnings.is_empty(),
                "{text}"
            );
        }
    }

    #[test]
    fn the_first_value_counts_and_keys_add_up() {
        let common = parse("-p 1 -i a").options;
        let extra = parse("-p 2 -i b -J hop").options;
        let both = common.or(extra);
        assert_eq!(both.port, Some(1));
        assert_eq!(both.identity_files, ["a", "b"]);
        assert_eq!(both.proxy_jump.as_deref(), Some("hop"));
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        for (text, named) in [
            ("-o ProxyCommand='nc %h %p'", "ProxyCommand"),
            ("-F /tmp/evil", "-F"),
            ("-o LocalCommand=id", "LocalCommand"),
            ("-A", "-A"),
            ("-E /tmp/log", "-E"),
            ("host", "host"),
            ("--", "--"),
            ("-", "-"),
            ("-o Port", "Port"),
            ("-o Port=70000", "70000"),
            ("-p 0", "0"),
            ("-p", "-p"),
            ("-J 'a b'", "a b"),
            ("-J -oProxyCommand=x", "-oProxyCommand=x"),
            ("-o StrictHostKeyChecking=ask", "ask"),
            ("-i %d/key", "%d/key"),
            ("-i 'a\u{7}b'", "IdentityFile"),
            ("-o 'x", "quote"),
        ] {
            let refusals = parse(text).refusals;
            assert!(refusals[0].0.contains(named), "{text}: {refusals:?}");
        }
        assert_eq!(parse("-A -F x -o User=me -p 5").refusals.len(), 3);
    }

    #[test]
    fn what_ansible_sets_by_itself_changes_nothing() {
        for text in [
            "-C -o ControlMaster=auto -o ControlPersist=60s",
            "-Cqv -o ControlPath=/tmp/%h -o ServerAliveInterval=30 -oLogLevel=ERROR",
        ] {
            let parsed = parse(text);
            assert_eq!(parsed.options, WrittenOptions::default(), "{text}");
            assert!(
                parsed.refusals.is_empty() && parsed.warnings.is_empty(),
                "{text}"
            );
        }
    }

    #[test]
    fn nothing_weakens_the_check_of_host_keys() {
        for text in [
            "-o StrictHostKeyChecking=no",
            "-o StrictHostKeyChecking=accept-new",
            "-oStrictHostKeyChecking=OFF",
            "-o UserKnownHostsFile=/dev/null",
            "-o UserKnownHostsFile=none",
            "-o 'userknownhostsfile = /etc/a ~/.ssh/authorized_keys'",
        ] {
            let parsed = parse(text);
            assert!(!parsed.options.strict_host_key_checking, "{text}");
            assert_eq!(
                (parsed.warnings.len(), parsed.refusals.len()),
                (1, 0),
                "{text}"
            );
        }
    }
}
