//! A daemon that an init script starts: presents the script as an equivalent unit file, so that
//! callers that need dockerd's command line do not have to know the difference.

use docker::unit::{UnitFile, parse_environment};
use inventory::Host;
use node::facts::{NodeFacts, UnitFact};

/// The init script that starts a unit of this name.
#[must_use]
pub fn path(unit: &str) -> String {
    format!(
        "/etc/init.d/{}",
        unit.strip_suffix(".service").unwrap_or(unit)
    )
}

/// The listeners in daemon.json; none if the unit sets them.
#[must_use]
pub fn listen(host: &Host, facts: &NodeFacts) -> Option<Vec<String>> {
    let listen = host.settings.listen.iter();
    (!facts.systemd).then(|| listen.map(|listen| listen.text.clone()).collect())
}

/// The script as a unit file; none if systemd starts the daemon.
pub(crate) fn unit_file(unit: &UnitFact, facts: &NodeFacts) -> Option<UnitFile> {
    let path = unit.script()?;
    let dockerd = facts.tools.get("dockerd");
    let dockerd = dockerd.map_or("/usr/sbin/dockerd", String::as_str);
    let only_a_shell_can_tell = unit
        .environment_files
        .iter()
        .filter_map(|path| parse_environment(facts.text(path)?).remove("DOCKER_OPTS"))
        .any(|value| value.contains(['$', '`']));
    // A specifier makes the command line unknown.
    let more = if only_a_shell_can_tell { " %N" } else { "" };
    // Debian's script also sets a pid file, which does not matter here.
    Some(UnitFile {
        path: path.to_owned(),
        text: format!("[Service]\nExecStart={dockerd} $DOCKER_OPTS{more}\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_names_its_script() {
        assert_eq!(path("docker.service"), "/etc/init.d/docker");
        assert_eq!(path("dockerd2"), "/etc/init.d/dockerd2");
    }
}
