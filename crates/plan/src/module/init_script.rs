//! Part of `systemd_override`: a daemon that an init script starts.
//!
//! It has no drop-in: daemon.json sets the listeners, and the script's environment file must not
//! set them as well.

use crate::Refusal;
use docker::tls::ConfigStyle;
use inventory::Host;
use node::facts::NodeFacts;

use crate::host::daemon_json;
use crate::host::init_script::path;

/// Prefixes of flags that set listeners or their TLS.
const OURS: [&str; 4] = ["-H", "--host", "--tls", "--config-file"];

/// Whether the daemon can reach its wanted state this way.
pub(super) fn check(host: &Host, facts: &NodeFacts) -> Result<(), Refusal> {
    let script = path(&host.settings.unit);
    if host.settings.config_style == ConfigStyle::Flags {
        return Err(Refusal::new(
            "dtls_config_style: flags needs a unit, and systemd is not running there",
        )
        .hint(format!(
            "set dtls_config_style: daemon_json for this host: the init script {script} has no place for flags of ours"
        )));
    }
    let unit = facts.unit.clone().unwrap_or_default();
    for path in &unit.environment_files {
        let found = facts.text(path).and_then(conflict);
        if let Some(line) = found {
            return Err(Refusal::new(format!(
                "{path} gives dockerd flags in line {line} that stand in {} from now on, and dockerd does not start with both",
                daemon_json::PATH
            ))
            .hint(format!(
                "take -H, --tls... and --config-file out of {path} on {}: where docker listens is set with dtls_listen",
                host.name
            )));
        }
    }
    Ok(())
}

/// The first line with one of these flags, counted from 1.
fn conflict(text: &str) -> Option<usize> {
    let is_ours = |word: &str| OURS.iter().any(|flag| word.starts_with(flag));
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .find(|(_, line)| {
            !line.starts_with('#')
                && line
                    .split(|character: char| {
                        character.is_whitespace() || "\"'=".contains(character)
                    })
                    .any(is_ours)
        })
        .map(|(line, _)| line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_daemon_json_gets_are_found_with_their_line() {
        let text = "# DOCKER_OPTS=\"-H x\"\nexport http_proxy=http://x\nDOCKER_OPTS=\"--dns 1.1.1.1 -H tcp://0.0.0.0:2375\"\n";
        assert_eq!(conflict(text), Some(3));
        for flag in [
            "-H=x",
            "-Hx",
            "--host x",
            "--tlsverify",
            "--tlscert=/x",
            "--config-file=/x",
        ] {
            let text = format!("DOCKER_OPTS={flag}");
            assert_eq!(conflict(&text), Some(1));
        }
        assert_eq!(conflict("DOCKER_OPTS='--label a=b --debug'\n"), None);
    }
}
