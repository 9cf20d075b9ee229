//! `systemd_override`: the drop-in that makes the unit listen on TLS.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Module, Parameter, STATE, is_absent};
use crate::docker::unit::{
    Listening, UnitFile, derive, parse_environment, unit_environment, without_exec_start,
};
use crate::inventory::{Host, Inventory};
use crate::node::facts::{FactRequest, NodeFacts};
use crate::plan::{Change, Content, Desired, FileMode, Mode, Planner, Refusal};
use crate::playbook::Task;

#[derive(Debug)]
pub struct SystemdOverride;

/// Directory of the unit's drop-ins that an administrator makes.
#[must_use]
pub fn directory(unit: &str) -> String {
    format!("/etc/systemd/system/{unit}.d")
}

/// The unit's own files with their text: unit file, then drop-ins in systemd's
/// order.
fn unit_files(facts: &NodeFacts) -> Vec<UnitFile> {
    let Some(unit) = &facts.unit else {
        return Vec::new();
    };
    unit.fragment()
        .into_iter()
        .chain(unit.all_drop_ins())
        .filter_map(|path| {
            Some(UnitFile {
                path: path.to_owned(),
                text: facts.text(path)?.to_owned(),
            })
        })
        .collect()
}

impl Module for SystemdOverride {
    fn name(&self) -> &'static str {
        "systemd_override"
    }

    fn summary(&self) -> &'static str {
        "a drop-in for the docker unit whose ExecStart listens where the inventory says"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[STATE]
    }

    fn is_reversible(&self) -> bool {
        true
    }

    fn facts(&self, _: &Inventory, host: &Host, _: &Task, request: &mut FactRequest) {
        let unit = &host.settings.unit;
        let directory = directory(unit);
        request.unit = Some(unit.clone());
        request
            .content
            .insert(format!("{directory}/{}", host.settings.dropin));
        request.directories.insert(directory);
        for listen in &host.settings.listen {
            if listen.host.parse::<IpAddr>().is_err() {
                request.names.insert(listen.host.clone());
            }
        }
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        let facts = planner.facts(&host.name)?;
        let unit_name = &host.settings.unit;
        if is_absent(task) {
            return remove(planner, host, task);
        }
        if !facts.systemd {
            return Err(Refusal::new("systemd is not running there")
                .hint("nodes with another init system are not supported yet"));
        }
        let unit = facts.unit.clone().unwrap_or_default();
        if !unit.is_loaded() {
            return Err(no_unit(facts, unit_name));
        }
        if unit.invocation().is_empty() && unit.active_state() == "active" {
            return Err(Refusal::new("its systemd is older than version 232")
                .hint("whether a restart has happened cannot be told there; upgrade the node"));
        }
        check_listeners(host, facts)?;
        let directory = directory(unit_name);
        let own_path = format!("{directory}/{}", host.settings.dropin);
        let mut files = unit_files(facts);
        // Written but not read by systemd yet: a run that died before the reload.
        if !files.iter().any(|file| file.path == own_path)
            && let Some(text) = facts.text(&own_path)
        {
            files.push(UnitFile {
                path: own_path.clone(),
                text: text.to_owned(),
            });
        }
        let mut environment: BTreeMap<String, String> = unit_environment(&files);
        for path in &unit.environment_files {
            environment.extend(parse_environment(facts.text(path).unwrap_or_default()));
        }
        let listening = Listening {
            listen: host
                .settings
                .listen
                .iter()
                .map(|listen| listen.text.clone())
                .collect(),
            local_socket: host.settings.local_socket,
        };
        let drop_in = derive(&files, &own_path, &environment, &listening)
            .map_err(|error| Refusal::new(error.to_string()).hint(error.hint()))?;
        let mut reasons = Vec::new();
        for closed in &drop_in.closed {
            reasons.push(format!("{closed} is closed"));
        }
        for note in &drop_in.notes {
            planner.note(host, note.clone());
        }
        let desired = Desired {
            directory,
            directory_mode: Mode::IfMissing(0o755),
            name: host.settings.dropin.clone(),
            mode: FileMode::IfMissing(0o644),
            content: Content::Text(drop_in.text),
            reasons: Vec::new(),
        };
        let mut change = planner.compare(host, task, desired)?;
        if let Some(change) = &mut change {
            change.reasons.append(&mut reasons);
        }
        Ok(change.into_iter().collect())
    }
}

/// Our ExecStart goes, and the drop-in with it where it held nothing else.
fn remove(planner: &Planner<'_>, host: &Host, task: &Task) -> Result<Vec<Change>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let directory = directory(&host.settings.unit);
    let path = format!("{directory}/{}", host.settings.dropin);
    let Some(text) = facts.text(&path) else {
        return Ok(Vec::new());
    };
    let left = without_exec_start(text);
    let desired = Desired {
        directory,
        directory_mode: Mode::IfMissing(0o755),
        name: host.settings.dropin.clone(),
        mode: FileMode::IfMissing(0o644),
        content: left.map_or(Content::Gone { prune: 1 }, Content::Text),
        reasons: Vec::new(),
    };
    Ok(planner.compare(host, task, desired)?.into_iter().collect())
}

/// A name has to lead to an address of the node that others can reach. Debian
/// writes `127.0.1.1 HOSTNAME` into /etc/hosts: dockerd would listen there, and
/// nobody but the node itself would reach it.
fn check_listeners(host: &Host, facts: &NodeFacts) -> Result<(), Refusal> {
    for listen in &host.settings.listen {
        let Some(addresses) = facts.resolved.get(&listen.host) else {
            continue;
        };
        let hint = format!(
            "mend {} in /etc/hosts of the node, or name an address in dtls_listen",
            listen.host
        );
        if addresses.is_empty() {
            return Err(Refusal::new(format!(
                "{} in dtls_listen has no address on the node",
                listen.host
            ))
            .hint(hint));
        }
        let is_loopback = |text: &String| {
            text.parse()
                .is_ok_and(|address: IpAddr| address.is_loopback())
        };
        if listen.host != "localhost" && addresses.iter().any(is_loopback) {
            return Err(Refusal::new(format!(
                "{} in dtls_listen is {} on the node, where no other machine reaches it",
                listen.host,
                addresses.join(" ")
            ))
            .hint(hint));
        }
    }
    Ok(())
}

fn no_unit(facts: &NodeFacts, unit: &str) -> Refusal {
    let refusal = Refusal::new(format!("there is no unit {unit}"));
    match facts.tools.get("docker") {
        Some(path) if path.starts_with("/snap/") => refusal.hint(
            "docker is installed as a snap, whose daemon reads its settings elsewhere: install docker-ce or docker.io instead",
        ),
        Some(_) => refusal.hint(
            "docker's CLI is there, but no daemon of the system; a rootless daemon is not supported",
        ),
        None => refusal.hint("install docker-ce or docker.io on this node first"),
    }
}
