//! Part of `systemd_override`: compares what systemd has loaded with the readable files. A drop-in
//! that dtls-deploy cannot read still applies in systemd.

use crate::Refusal;
use crate::host::loaded_unit::{loaded_command, loaded_files, readable, unread, why};
use docker::unit::{says, says_joined, sets_exec_start};
use node::facts::{NodeFacts, UnitFact};

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Requires that the command is known that systemd will run with dtls-deploy's drop-in at
/// `own_path`.
pub(super) fn check(unit: &UnitFact, facts: &NodeFacts, own_path: &str) -> Result<(), Refusal> {
    let is_known = loaded_command(unit).is_some();
    // Systemd's own command includes earlier drop-ins, and dtls-deploy's ExecStart replaces it.
    let mut unread = unread(unit, facts).into_iter();
    let unseen = unread.find(|(path, _)| !is_known || name(path) >= name(own_path));
    if let Some((path, why)) = unseen {
        return Err(Refusal::new(format!(
            "{path} belongs to the unit, and dtls-deploy cannot read it: {why}"
        ))
        .hint(if unit.needs_reload() {
            "run systemctl daemon-reload on the node, so that systemd can say what the file sets; or put a regular file of root's in its place".to_owned()
        } else {
            format!("put a regular file of root's in its place, or remove it: its settings would be lost or win over those of {own_path}")
        }));
    }
    let unseen = unit
        .environment_files
        .iter()
        .find_map(|path| match why(facts, path) {
            _ if path.contains(['*', '?', '[']) => Some((path, "it is a pattern")),
            why => Some((path, why?)),
        });
    if let Some((path, why)) = unseen {
        return Err(Refusal::new(format!(
            "{path} has variables of the unit, and dtls-deploy cannot read it: {why}"
        ))
        .hint("name a regular file of root's in EnvironmentFile=, then run systemctl daemon-reload on the node"));
    }
    contradiction(unit, facts, own_path)
}

/// dtls-deploy's drop-in is loaded and has an ExecStart, but systemd runs another command.
fn contradiction(unit: &UnitFact, facts: &NodeFacts, own_path: &str) -> Result<(), Refusal> {
    let files = loaded_files(unit, &readable(unit, facts));
    let own_counts = files
        .iter()
        .any(|file| file.path == own_path && sets_exec_start(&file.text));
    let differs = match loaded_command(unit) {
        Some(command) => own_counts && !says(&files, &command),
        // Without the separate words, only the whole can be compared.
        None => unit
            .shown_command()
            .is_some_and(|shown| !unit.needs_reload() && !says_joined(&files, shown)),
    };
    if !differs {
        return Ok(());
    }
    Err(Refusal::new(
        "systemd has loaded another command than the unit's files give",
    )
    .hint("compare `systemctl show -p ExecStart docker.service` with `systemctl cat docker.service` on the node, and run systemctl daemon-reload there"))
}
