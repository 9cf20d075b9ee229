//! `~/.ssh/config`, asked through `ssh -G`.
//!
//! `Match exec` in the user's own configuration is evaluated by `ssh -G`, as
//! it is by every `ssh` that the user types. Host and user names come from the
//! inventory, so they are checked here before they get near a shell that such
//! a line may start (CVE-2023-51385). `ProxyCommand` is never run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long `ssh -G` may take; it may have to resolve names
/// (`CanonicalizeHostname`).
const DEADLINE: Duration = Duration::from_secs(10);

/// What OpenSSH would use for a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct HostConfig {
    pub hostname: Option<String>,
    pub user: Option<String>,
    pub port: Option<u16>,
    pub identity_files: Vec<String>,
    pub certificate_files: Vec<String>,
    pub identities_only: bool,
    pub identity_agent: Option<String>,
    pub proxy_jump: Option<String>,
    pub proxy_command: Option<String>,
    pub user_known_hosts: Vec<String>,
    pub global_known_hosts: Vec<String>,
    pub strict_host_key_checking: Option<String>,
    pub hash_known_hosts: bool,
    pub host_key_alias: Option<String>,
    pub connect_timeout: Option<Duration>,
    pub methods: Methods,
}

/// Authentication methods that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Methods {
    pub public_key: bool,
    pub password: bool,
    pub keyboard_interactive: bool,
}

impl Default for Methods {
    fn default() -> Self {
        Self {
            public_key: true,
            password: true,
            keyboard_interactive: true,
        }
    }
}

impl HostConfig {
    /// OpenSSH's defaults, for a machine without OpenSSH's client.
    pub(super) fn defaults() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            identity_files: owned(&["~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519"]),
            user_known_hosts: owned(&["~/.ssh/known_hosts", "~/.ssh/known_hosts2"]),
            global_known_hosts: owned(&["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"]),
            ..Self::default()
        }
    }

    /// Parses the output of `ssh -G`: one keyword and its value a line.
    pub(super) fn parse(text: &str) -> Self {
        let mut config = Self::default();
        for line in text.lines() {
            let Some((keyword, value)) = line.split_once(' ') else {
                continue;
            };
            let yes = !matches!(value, "no" | "false");
            let given = (value != "none" && !value.is_empty()).then(|| value.to_owned());
            match keyword {
                "hostname" => config.hostname = given,
                "user" => config.user = given,
                "port" => config.port = value.parse().ok(),
                "identityfile" => config.identity_files.extend(given),
                "certificatefile" => config.certificate_files.extend(given),
                "identitiesonly" => config.identities_only = yes,
                "identityagent" => config.identity_agent = Some(value.to_owned()),
                "proxyjump" => config.proxy_jump = given,
                "proxycommand" => config.proxy_command = given,
                "userknownhostsfile" => config.user_known_hosts = paths(value),
                "globalknownhostsfile" => config.global_known_hosts = paths(value),
                "stricthostkeychecking" => {
                    config.strict_host_key_checking = Some(value.to_owned());
                }
                "hashknownhosts" => config.hash_known_hosts = yes,
                "hostkeyalias" => config.host_key_alias = given,
                "connecttimeout" => {
                    config.connect_timeout = value.parse().ok().map(Duration::from_secs);
                }
                "pubkeyauthentication" => config.methods.public_key = yes,
                "passwordauthentication" => config.methods.password = yes,
                "kbdinteractiveauthentication" | "challengeresponseauthentication" => {
                    config.methods.keyboard_interactive = yes;
                }
                _ => {}
            }
        }
        config
    }
}

/// `ssh -G` prints several paths on one line and quotes none. A word that
/// begins neither with `/` nor with `~` continues the path before it.
fn paths(value: &str) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    for word in value.split(' ') {
        match paths.last_mut() {
            Some(last) if !word.starts_with(['/', '~']) => {
                last.push(' ');
                last.push_str(word);
            }
            _ if word == "none" || word.is_empty() => {}
            _ => paths.push(word.to_owned()),
        }
    }
    paths
}

/// Asks OpenSSH's client; its defaults where it is not installed.
///
/// `config_file` replaces the user's and the system's configuration.
pub(super) async fn ask(
    program: &Path,
    config_file: Option<&Path>,
    host: &str,
    user: Option<&str>,
    port: Option<u16>,
) -> Result<HostConfig, String> {
    let mut command = command(program, config_file);
    if let Some(user) = user {
        command.args(["-l", user]);
    }
    if let Some(port) = port {
        command.arg("-p").arg(port.to_string());
    }
    command.args(["--", host]);
    let output = match tokio::time::timeout(DEADLINE, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::debug!("no ssh client here: OpenSSH's defaults instead of ~/.ssh/config");
            return Ok(HostConfig::defaults());
        }
        Ok(Err(error)) => return Err(format!("`ssh -G {host}` could not be run: {error}")),
        Err(_) => return Err(format!("`ssh -G {host}` did not end within {DEADLINE:?}")),
    };
    if !output.status.success() {
        let places = wrong_lines(&String::from_utf8_lossy(&output.stderr));
        return Err(if places.is_empty() {
            format!("`ssh -G {host}` failed: {}", output.status)
        } else {
            format!("`ssh -G {host}` does not understand {places}")
        });
    }
    Ok(HostConfig::parse(&String::from_utf8_lossy(&output.stdout)))
}

/// The files and lines that `ssh` complains of. The rest of what it says holds
/// pieces of them, and a file that is no configuration may be anything.
fn wrong_lines(stderr: &str) -> String {
    let places = stderr.lines().filter_map(|line| {
        let (file, rest) = line
            .split_once(": line ")
            .or_else(|| line.split_once(" line "))?;
        let end = rest.find(|character: char| !character.is_ascii_digit());
        let number = rest.get(..end.unwrap_or(rest.len()))?;
        (!number.is_empty()).then(|| format!("{} line {number}", crate::visible(file)))
    });
    places.take(3).collect::<Vec<_>>().join(", ")
}

/// The files that OpenSSH's client reads, included ones too, whichever host they
/// are about; `None` when it does not say.
pub(super) async fn files_read(program: &Path, config_file: Option<&Path>) -> Option<Vec<PathBuf>> {
    const SAYS: &str = "Reading configuration data ";
    // `readconf.c` cuts a path there.
    const CUT: usize = 200;
    let mut command = command(program, config_file);
    command.args(["-v", "--", "localhost"]);
    let output = tokio::time::timeout(DEADLINE, command.output()).await;
    let output = output.ok()?.ok()?;
    let text = String::from_utf8(output.stderr).ok()?;
    let paths = text
        .lines()
        .filter_map(|line| Some(line.split_once(SAYS)?.1));
    let paths: Vec<&str> = paths.map(|path| path.trim_end_matches('\r')).collect();
    let is_whole = paths.iter().all(|path| path.len() < CUT);
    (output.status.success() && is_whole).then(|| paths.into_iter().map(PathBuf::from).collect())
}

fn command(program: &Path, config_file: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    command.arg("-G").stdin(Stdio::null()).kill_on_drop(true);
    if let Some(file) = config_file {
        command.arg("-F").arg(file);
    }
    command
}

/// Refuses names that could be taken for an option or would mean something to
/// a shell, with OpenSSH's own rules (`ssh.c`: `valid_hostname`, `valid_ruser`).
pub(super) fn check_names(host: &str, user: Option<&str>) -> Result<(), String> {
    let bad_host = |c: char| !(c.is_alphanumeric() || "._-:%".contains(c));
    if host.is_empty() || host.starts_with('-') || host.contains(bad_host) {
        return Err(format!(
            "\"{}\" is not a host name or address",
            crate::visible(host)
        ));
    }
    let bad_user =
        |c: char| c.is_control() || c.is_whitespace() || "'`\";&<>|(){}$\\@/".contains(c);
    match user {
        Some(user) if user.is_empty() || user.starts_with('-') || user.contains(bad_user) => {
            Err(format!("\"{}\" is not a user name", crate::visible(user)))
        }
        _ => Ok(()),
    }
}

/// Expands `~`, `${VARIABLE}` and the `%` tokens that make sense in a path
/// (`ssh_config(5)`, TOKENS). `None` when a variable is not set.
pub(super) fn expand(text: &str, tokens: &Tokens<'_>) -> Option<PathBuf> {
    let text = match text.strip_prefix("~/") {
        Some(rest) => format!("{}/{rest}", tokens.home.display()),
        None => text.to_owned(),
    };
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match (character, rest.peek()) {
            ('%', Some(token)) => {
                match token {
                    'd' => out.push_str(&tokens.home.to_string_lossy()),
                    'h' => out.push_str(tokens.hostname),
                    'n' => out.push_str(tokens.original),
                    'k' => out.push_str(tokens.known_as),
                    'r' => out.push_str(tokens.user),
                    'u' => out.push_str(tokens.local_user),
                    'p' => out.push_str(&tokens.port.to_string()),
                    'i' => out.push_str(&rustix::process::getuid().as_raw().to_string()),
                    '%' => out.push('%'),
                    _ => return None,
                }
                rest.next();
            }
            ('$', Some('{')) => {
                rest.next();
                let name: String = rest.by_ref().take_while(|c| *c != '}').collect();
                out.push_str(&std::env::var(name).ok()?);
            }
            _ => out.push(character),
        }
    }
    Some(PathBuf::from(out))
}

/// What [`expand`] puts in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens<'a> {
    pub home: &'a Path,
    pub local_user: &'a str,
    pub original: &'a str,
    pub hostname: &'a str,
    pub known_as: &'a str,
    pub user: &'a str,
    pub port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_ssh_g_is_understood() {
        let config = HostConfig::parse(
            "hostname real.example\nport 2200\nuser bob\nidentityfile ~/.ssh/a b\n\
             identityfile /x\nuserknownhostsfile /home/b/kh1 /tmp/k h2 ~/c\n\
             globalknownhostsfile none\nproxyjump u@b1:22,b2\nproxycommand none\n\
             stricthostkeychecking accept-new\nhashknownhosts yes\nconnecttimeout 7\n\
             identitiesonly no\nidentityagent none\npasswordauthentication no\n",
        );
        assert_eq!(config.hostname.as_deref(), Some("real.example"));
        assert_eq!(config.port, Some(2200));
        assert_eq!(config.identity_files, ["~/.ssh/a b", "/x"]);
        assert_eq!(config.user_known_hosts, ["/home/b/kh1", "/tmp/k h2", "~/c"]);
        assert!(config.global_known_hosts.is_empty());
        assert_eq!(config.proxy_jump.as_deref(), Some("u@b1:22,b2"));
        assert_eq!(config.proxy_command, None);
        assert_eq!(config.connect_timeout, Some(Duration::from_secs(7)));
        assert!(config.hash_known_hosts && !config.identities_only);
        assert!(!config.methods.password && config.methods.keyboard_interactive);
    }

    #[test]
    fn names_that_a_shell_would_obey_are_refused() {
        for host in [
            "-oProxyCommand=x",
            "a b",
            "a;b",
            "$(id)",
            "`id`",
            "",
            "a\nb",
            "a/b",
        ] {
            assert!(check_names(host, None).is_err(), "{host:?}");
        }
        for user in ["-l", "a b", "a;b", "$(id)", "a'b", "", "a\nb"] {
            assert!(check_names("node", Some(user)).is_err(), "{user:?}");
        }
        for host in [
            "node1",
            "10.0.0.1",
            "fe80::1%eth0",
            "xn--bcher-kva.example",
            "bücher.example",
        ] {
            assert_eq!(check_names(host, Some("DOMAIN_x.y-z")), Ok(()), "{host:?}");
        }
    }

    #[test]
    fn paths_are_expanded() {
        let tokens = Tokens {
            home: Path::new("/home/me"),
            local_user: "me",
            original: "web",
            hostname: "web.example",
            known_as: "web.example",
            user: "root",
            port: 22,
        };
        let path = expand("~/.ssh/%r@%h:%p-%n%%", &tokens);
        assert_eq!(
            path,
            Some(PathBuf::from("/home/me/.ssh/root@web.example:22-web%"))
        );
        assert_eq!(expand("/x/%q", &tokens), None);
        assert_eq!(expand("/x/${NOT_SET_ANYWHERE}", &tokens), None);
    }
}
