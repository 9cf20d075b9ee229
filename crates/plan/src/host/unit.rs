//! The docker unit of one host: its files, its variables, and the path of dtls-deploy's drop-in.

use std::collections::BTreeMap;

use super::{init_script, loaded_unit};
use docker::unit::{UnitFile, parse_environment, unit_environment};
use inventory::Host;
use node::facts::{NodeFacts, UnitFact};

/// The directory of the administrator's drop-ins for the unit.
#[must_use]
pub fn directory(unit: &str) -> String {
    format!("/etc/systemd/system/{unit}.d")
}

/// The path of dtls-deploy's drop-in.
#[must_use]
pub fn path(host: &Host) -> String {
    format!(
        "{}/{}",
        directory(&host.settings.unit),
        host.settings.dropin
    )
}

/// The unit's files with their text: unit file, then drop-ins in systemd's order, then the part of
/// the command that only systemd knows.
#[must_use]
pub fn unit_files(facts: &NodeFacts) -> Vec<UnitFile> {
    let Some(unit) = &facts.unit else {
        return Vec::new();
    };
    if let Some(script) = init_script::unit_file(unit, facts) {
        return vec![script];
    }
    let mut files = loaded_unit::readable(unit, facts);
    files.extend(loaded_unit::command_beside(unit, &files));
    files
}

/// The variables that the unit's command line may use.
#[must_use]
pub fn environment(
    unit: &UnitFact,
    facts: &NodeFacts,
    files: &[UnitFile],
) -> BTreeMap<String, String> {
    let mut environment = loaded_unit::environment(unit).unwrap_or_else(|| unit_environment(files));
    for path in &unit.environment_files {
        environment.extend(parse_environment(facts.text(path).unwrap_or_default()));
    }
    environment
}
