//! The CLI's environment in a login shell's profile.
//!
//! Everything outside the block is the user's. Variables: docs.docker.com/reference/cli/docker,
//! "Environment variables".

/// The variables of a shell for the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// `DOCKER_HOST`, `tcp://node3:2376` for instance.
    pub host: String,
    /// `DOCKER_CERT_PATH`, if it differs from the CLI's default.
    pub certificate_path: Option<String>,
    /// `DOCKER_TLS_VERIFY`, or `DOCKER_TLS`, with which the CLI verifies nothing.
    pub checks_daemon: bool,
}

/// Every variable that is set here.
const VARIABLES: [&str; 4] = [
    "DOCKER_HOST",
    "DOCKER_TLS_VERIFY",
    "DOCKER_TLS",
    "DOCKER_CERT_PATH",
];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    #[error("the managed block that begins in line {0} has no end")]
    NoEnd(usize),
    #[error("the managed block ends in line {0} without a beginning")]
    NoBeginning(usize),
}

fn markers(inventory: &str) -> (String, String) {
    (
        format!("# BEGIN dtls-deploy {inventory}"),
        format!("# END dtls-deploy {inventory}"),
    )
}

/// The profile with the block for `inventory` set, or removed for `None`.
pub fn with_block(
    profile: &str,
    inventory: &str,
    environment: Option<&Environment>,
) -> Result<String, ProfileError> {
    let (begin, end) = markers(inventory);
    let mut text = String::new();
    let mut opened = None;
    let mut placed = false;
    let block = environment.map(|environment| block(&begin, &end, environment));
    for (index, line) in profile.lines().enumerate() {
        if line == begin {
            if let Some(first) = opened {
                return Err(ProfileError::NoEnd(first));
            }
            opened = Some(index + 1);
        } else if line == end {
            if opened.take().is_none() {
                return Err(ProfileError::NoBeginning(index + 1));
            }
            if let Some(block) = block.as_deref().filter(|_| !placed) {
                text.push_str(block);
                placed = true;
            }
        } else if opened.is_none() {
            text.push_str(line);
            text.push('\n');
        }
    }
    if let Some(first) = opened {
        return Err(ProfileError::NoEnd(first));
    }
    if let Some(block) = block.filter(|_| !placed) {
        text.push_str(&block);
    }
    Ok(text)
}

/// The inventories with a block in a profile, in order: the last one takes effect.
#[must_use]
pub fn inventories(profile: &str) -> Vec<&str> {
    let (prefix, _) = markers("");
    let begins = profile
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix));
    begins.collect()
}

/// The settings in the block of `inventory`; `None` if it has no endpoint.
#[must_use]
pub fn found(profile: &str, inventory: &str) -> Option<Environment> {
    let (begin, end) = markers(inventory);
    let mut lines = profile.lines().skip_while(|line| *line != begin);
    lines.next()?;
    let mut found = Environment {
        host: String::new(),
        certificate_path: None,
        checks_daemon: false,
    };
    for line in lines.take_while(|line| *line != end) {
        let words = line.strip_prefix("export ").and_then(shlex::split);
        let set = words.and_then(|words| words.into_iter().next());
        match set.as_deref().and_then(|set| set.split_once('=')) {
            Some(("DOCKER_HOST", value)) => value.clone_into(&mut found.host),
            Some(("DOCKER_CERT_PATH", value)) => found.certificate_path = Some(value.to_owned()),
            Some(("DOCKER_TLS_VERIFY", _)) => found.checks_daemon = true,
            _ => {}
        }
    }
    (!found.host.is_empty()).then_some(found)
}

/// The settings in the marked blocks of a profile, of any inventory: everything else in the file is
/// its owner's, and may be a secret.
#[must_use]
pub fn own_lines(profile: &str) -> String {
    let mut in_block = false;
    let mut text = String::new();
    for line in profile.lines() {
        let ends = line.starts_with("# END dtls-deploy ");
        in_block |= line.starts_with("# BEGIN dtls-deploy ");
        let is_ours = line.starts_with("# BEGIN ") || ends || is_setting(line);
        if in_block && is_ours {
            text.push_str(line);
            text.push('\n');
        }
        in_block &= !ends;
    }
    text
}

/// A line that [`block`] writes between its markers.
fn is_setting(line: &str) -> bool {
    let Some((verb, rest)) = line.split_once(' ') else {
        return false;
    };
    let name = rest.split('=').next().unwrap_or_default();
    ["export", "unset"].contains(&verb) && VARIABLES.contains(&name)
}

fn block(begin: &str, end: &str, environment: &Environment) -> String {
    use base::shell::quote;
    let mut lines = vec![
        begin.to_owned(),
        format!("export DOCKER_HOST={}", plain_or_quoted(&environment.host)),
    ];
    if environment.checks_daemon {
        lines.push("export DOCKER_TLS_VERIFY=1".to_owned());
    } else {
        // Any value means yes, and it takes precedence over the other variable.
        lines.push("unset DOCKER_TLS_VERIFY".to_owned());
        lines.push("export DOCKER_TLS=1".to_owned());
    }
    if let Some(path) = &environment.certificate_path {
        lines.push(format!("export DOCKER_CERT_PATH={}", quote(path)));
    }
    lines.push(end.to_owned());
    lines.join("\n") + "\n"
}

/// The shell that [`lines`] writes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// bash, zsh and everything else that reads `export NAME=value`.
    Posix,
    Fish,
}

/// Lines that set the CLI's variables in a shell, or unset them for `None`.
#[must_use]
pub fn lines(shell: Shell, environment: Option<&Environment>) -> String {
    let Some(environment) = environment else {
        return VARIABLES.map(|name| taken_away(shell, name)).concat();
    };
    let set = |name: &str, value: &str| match shell {
        Shell::Posix => format!("export {name}={value}\n"),
        Shell::Fish => format!("set -gx {name} {value}\n"),
    };
    let mut text = set("DOCKER_HOST", &word(shell, &environment.host));
    if environment.checks_daemon {
        text.push_str(&set("DOCKER_TLS_VERIFY", "1"));
    } else {
        // It may be set in this shell, and takes precedence over the other variable.
        text.push_str(&taken_away(shell, "DOCKER_TLS_VERIFY"));
        text.push_str(&set("DOCKER_TLS", "1"));
    }
    if let Some(path) = &environment.certificate_path {
        text.push_str(&set("DOCKER_CERT_PATH", &word(shell, path)));
    }
    text
}

fn taken_away(shell: Shell, name: &str) -> String {
    match shell {
        Shell::Posix => format!("unset {name}\n"),
        Shell::Fish => format!("set -e {name}\n"),
    }
}

/// One word of a shell; a leading `~/` becomes the home of the account that reads it.
fn word(shell: Shell, text: &str) -> String {
    if let Some(rest) = text.strip_prefix("~/") {
        return format!("\"$HOME\"/{}", word(shell, rest));
    }
    match shell {
        Shell::Posix => plain_or_quoted(text),
        // fish: only these two are special in single quotes.
        Shell::Fish if plain_or_quoted(text) != text => {
            format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
        }
        Shell::Fish => text.to_owned(),
    }
}

/// A person reads this file: quotes only where a shell needs them.
fn plain_or_quoted(text: &str) -> String {
    let plain = text
        .chars()
        .all(|character| character.is_ascii_alphanumeric() || "-._:/[]".contains(character));
    if plain {
        text.to_owned()
    } else {
        base::shell::quote(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment {
            host: "tcp://node3:2376".to_owned(),
            certificate_path: None,
            checks_daemon: true,
        }
    }

    const BLOCK: &str = "# BEGIN dtls-deploy lab\nexport DOCKER_HOST=tcp://node3:2376\nexport DOCKER_TLS_VERIFY=1\n# END dtls-deploy lab\n";

    #[test]
    fn the_block_is_added_once_and_everything_else_kept() {
        let once = with_block("umask 022\n", "lab", Some(&environment())).unwrap();
        assert_eq!(once, format!("umask 022\n{BLOCK}"));
        assert_eq!(
            with_block(&once, "lab", Some(&environment())),
            Ok(once.clone())
        );
        assert_eq!(with_block(&once, "lab", None), Ok("umask 022\n".to_owned()));
    }

    #[test]
    fn blocks_of_two_inventories_stand_side_by_side() {
        let one = with_block("", "lab", Some(&environment())).unwrap();
        let two = with_block(&one, "prod", Some(&environment())).unwrap();
        assert_eq!(with_block(&two, "prod", None), Ok(one));
        assert_eq!(inventories(&two), ["lab", "prod"]);
    }

    #[test]
    fn a_shell_gets_its_own_words() {
        let environment = Environment {
            certificate_path: Some("~/.docker/it's \\ mine".to_owned()),
            ..environment()
        };
        assert_eq!(
            lines(Shell::Posix, Some(&environment)),
            "export DOCKER_HOST=tcp://node3:2376\nexport DOCKER_TLS_VERIFY=1\nexport DOCKER_CERT_PATH=\"$HOME\"/'.docker/it'\\''s \\ mine'\n"
        );
        assert_eq!(
            lines(Shell::Fish, Some(&environment)),
            "set -gx DOCKER_HOST tcp://node3:2376\nset -gx DOCKER_TLS_VERIFY 1\nset -gx DOCKER_CERT_PATH \"$HOME\"/'.docker/it\\'s \\\\ mine'\n"
        );
        assert_eq!(
            lines(Shell::Fish, None),
            "set -e DOCKER_HOST\nset -e DOCKER_TLS_VERIFY\nset -e DOCKER_TLS\nset -e DOCKER_CERT_PATH\n"
        );
    }

    #[test]
    fn what_a_block_sets_is_read_back() {
        for checks_daemon in [true, false] {
            for path in [None, Some("/home/it's mine/.docker"), Some("/plain")] {
                let written = Environment {
                    host: "tcp://[2001:db8::1]:2376".to_owned(),
                    certificate_path: path.map(str::to_owned),
                    checks_daemon,
                };
                let profile = with_block("x=1\n", "lab", Some(&written)).unwrap();
                assert_eq!(found(&profile, "lab"), Some(written));
                assert_eq!(found(&profile, "prod"), None);
            }
        }
    }

    #[test]
    fn a_client_that_checks_nothing_is_not_told_to_verify() {
        let environment = Environment {
            checks_daemon: false,
            ..environment()
        };
        let said =
            "export DOCKER_HOST=tcp://node3:2376\nunset DOCKER_TLS_VERIFY\nexport DOCKER_TLS=1\n";
        assert_eq!(lines(Shell::Posix, Some(&environment)), said);
        assert_eq!(
            with_block("", "lab", Some(&environment)).unwrap(),
            format!("# BEGIN dtls-deploy lab\n{said}# END dtls-deploy lab\n")
        );
        assert_eq!(
            lines(Shell::Fish, Some(&environment)),
            "set -gx DOCKER_HOST tcp://node3:2376\nset -e DOCKER_TLS_VERIFY\nset -gx DOCKER_TLS 1\n"
        );
    }

    #[test]
    fn only_what_is_set_in_a_block_is_shown() {
        let within = BLOCK.replace("# END", "export AWS_SECRET_ACCESS_KEY=canary\n# END");
        let profile = format!(
            "export DOCKER_HOST=tcp://u:canary@x\n{within}# END dtls-deploy lab\nTOKEN=canary\n"
        );
        assert_eq!(own_lines(&profile), BLOCK);
    }

    #[test]
    fn a_block_that_is_not_whole_is_refused() {
        assert_eq!(
            with_block("x\n# BEGIN dtls-deploy lab\ny\n", "lab", None),
            Err(ProfileError::NoEnd(2))
        );
        assert_eq!(
            with_block("# END dtls-deploy lab\n", "lab", None),
            Err(ProfileError::NoBeginning(1))
        );
    }
}
