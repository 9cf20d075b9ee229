//! `systemd_override`: the drop-in that makes the unit listen on TLS.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::former_drop_in::{self, left_of};
use super::shared::{Module, is_absent};
use super::{init_script, loaded_unit, socket_override};
use crate::host::loaded_unit::unread;
use crate::host::unit::{directory, environment, unit_files};
use crate::host::{daemon_json, read};
use crate::playbook::Task;
use crate::{Change, Content, Desired, OWNER, Place, Planner, Refusal, RefusalKind};
use docker::daemon_json::{hosts, is_local};
use docker::tls::{self, ConfigStyle};
use docker::unit::{
    LOADED, Listening, OwnDropIn, UnitFile, command_line, derive, is_own, is_unedited, others,
    sets_exec_start,
};
use inventory::{Host, Inventory};
use node::facts::{FactRequest, NodeFacts, UnitFact};

/// The client of a Docker installed from snap, which is not supported.
const SNAP: &str = "/snap/bin/docker";
const SNAP_STATE: &str = "/var/snap/docker";
/// Written by dockerd-rootless-setuptool.sh.
const ROOTLESS_UNIT: &str = "~/.config/systemd/user/docker.service";

#[derive(Debug)]
pub struct SystemdOverride;

impl Module for SystemdOverride {
    fn facts(&self, _: &Inventory, host: &Host, _: &Task, request: &mut FactRequest) {
        let unit = &host.settings.unit;
        let directory = directory(unit);
        request.unit = Some(unit.clone());
        let own = format!("{directory}/{}", host.settings.dropin);
        request.drop_in = Some(own.clone());
        request.content.insert(own);
        request.content.insert(OWNER.to_owned());
        let default = former_drop_in::usual(host);
        request.content.insert(default);
        request.content.insert(daemon_json::PATH.to_owned());
        request.content.insert(read::RECORD.to_owned());
        request.directories.insert(directory);
        for listen in &host.settings.listen {
            if listen.host.parse::<IpAddr>().is_err() {
                request.names.insert(listen.host.clone());
            }
            request.ports.insert(listen.port);
        }
        socket_override::facts(host, request);
        for path in [SNAP, SNAP_STATE, ROOTLESS_UNIT] {
            request.exists.insert(path.to_owned());
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
        let unit = facts.unit.clone().unwrap_or_default();
        if !facts.systemd && unit.is_loaded() {
            init_script::check(host, facts)?;
            return Ok(Vec::new());
        }
        // Debian's /etc/init.d/docker stays when the package is removed, and systemd generates a
        // unit from it.
        let is_script = unit
            .fragment()
            .is_some_and(|path| path.starts_with("/run/systemd/generator"));
        if !unit.is_loaded() || is_script {
            return Err(no_unit(facts, &unit, unit_name));
        }
        if unit.invocation().is_empty() && unit.active_state() == "active" {
            return Err(Refusal::new("its systemd is older than version 232")
                .hint("whether a restart has happened cannot be told there; upgrade the node"));
        }
        let directory = directory(unit_name);
        let own_path = format!("{directory}/{}", host.settings.dropin);
        loaded_unit::check(&unit, facts, &own_path)?;
        check_followed(&unit, facts, &directory)?;
        let mut files = former_drop_in::renamed(unit_files(facts), host, facts);
        // Written, but not loaded by systemd yet: a run died before the reload.
        if !files.iter().any(|file| file.path == own_path)
            && let Some(text) = facts.text(&own_path)
        {
            files.push(UnitFile {
                path: own_path.clone(),
                text: text.to_owned(),
            });
        }
        let environment = environment(&unit, facts, &files);
        let listening = Listening {
            listen: host
                .settings
                .listen
                .iter()
                .map(|listen| listen.text.clone())
                .collect(),
            local_socket: host.settings.local_socket,
            tls: match host.settings.config_style {
                ConfigStyle::DaemonJson => Vec::new(),
                ConfigStyle::Flags => {
                    let paths = daemon_json::tls_paths(host, |path| facts.expand(path));
                    tls::flags(host.settings.daemon_mode, &paths)
                }
            },
            own: own_drop_in(&files, &own_path, facts),
            from_settings: hosts(facts.text(daemon_json::PATH).unwrap_or_default())
                .into_iter()
                .filter(|host| is_local(host))
                .collect(),
        };
        let drop_in = derive(&files, &own_path, &environment, &listening)
            .map_err(|error| Refusal::new(error.to_string()).hint(error.hint()))?;
        if listening.own != OwnDropIn::Ours
            && let Some(path) = without_effect(&files, &own_path, &environment)
            && !(is_operators(&files, &own_path) && unit.fragment() == Some(&path))
        {
            planner.note(
                host,
                format!("ExecStart in {path} has no effect: {own_path} sets another one, which dtls-deploy keeps because an operator may have written it. Put the flags there, or remove that file and run again"),
            );
        }
        let mut reasons = Vec::new();
        for closed in &drop_in.closed {
            reasons.push(format!("{closed} is closed"));
        }
        for note in &drop_in.notes {
            planner.note(host, note.clone());
        }
        let desired = Desired::new(
            Place::DropIn,
            directory,
            host.settings.dropin.clone(),
            Content::Text(drop_in.text),
        );
        let mut change = planner.compare(host, task, desired)?;
        if let Some(change) = &mut change {
            change.reasons.append(&mut reasons);
        }
        let socket = socket_override::plan(planner, host, task)?;
        let former = former_drop_in::remove(planner, host, task, true)?;
        Ok(change.into_iter().chain(former).chain(socket).collect())
    }
}

/// Refuses a drop-in directory that is a link, unless systemd has read a file in it: it does not
/// follow every link, for example not a relative one (systemd 252).
fn check_followed(unit: &UnitFact, facts: &NodeFacts, directory: &str) -> Result<(), Refusal> {
    let way = facts.directories.get(directory);
    let is_link = way.is_some_and(|way| way.iter().any(|one| one.link && one.path == directory));
    let inside = format!("{directory}/");
    let is_followed = || unit.drop_ins().iter().any(|path| path.starts_with(&inside));
    if !is_link || is_followed() {
        return Ok(());
    }
    Err(Refusal::new(format!(
        "{directory} is a link, and systemd reads no file in it: dockerd would not start with a drop-in there"
    ))
    .hint(format!(
        "replace the link by a directory with the same files, then run systemctl daemon-reload: {directory}"
    )))
}

/// Whether dtls-deploy wrote the drop-in, from files with known text, and whether it is unchanged.
fn own_drop_in(files: &[UnitFile], own_path: &str, facts: &NodeFacts) -> OwnDropIn {
    let is_ours = |file: &&UnitFile| file.path == own_path && is_own(&file.text);
    let Some(own) = files.iter().find(is_ours) else {
        return OwnDropIn::Unknown;
    };
    let unit = facts.unit.clone().unwrap_or_default();
    let is_whole = files.iter().all(|file| file.path != LOADED) && unread(&unit, facts).is_empty();
    match (is_unedited(&own.text), is_whole) {
        (false, _) => OwnDropIn::Edited,
        (true, true) => OwnDropIn::Ours,
        (true, false) => OwnDropIn::Unknown,
    }
}

/// Whether an operator wrote the drop-in. It replaces the unit's command for a reason.
fn is_operators(files: &[UnitFile], own_path: &str) -> bool {
    let mut files = files.iter();
    files.any(|file| file.path == own_path && !is_own(&file.text))
}

/// The file whose command dtls-deploy's drop-in would replace, if that command starts dockerd in
/// another way.
fn without_effect(
    files: &[UnitFile],
    own_path: &str,
    environment: &BTreeMap<String, String>,
) -> Option<String> {
    let own = files.iter().find(|file| file.path == own_path)?;
    if !sets_exec_start(&own.text) {
        return None;
    }
    let (without, path): (Vec<UnitFile>, _) = {
        let rest = files.iter().filter(|file| file.path != own_path);
        let rest: Vec<UnitFile> = rest.cloned().collect();
        let last = rest.iter().rev().find(|file| sets_exec_start(&file.text))?;
        let path = last.path.clone();
        (rest, path)
    };
    let line = |files: &[UnitFile]| command_line(files, environment).map(|line| others(&line));
    (line(files)? != line(&without)?).then_some(path)
}

/// Removes dtls-deploy's ExecStart, and the drop-in if nothing else is in it.
pub(super) fn remove(
    planner: &Planner<'_>,
    host: &Host,
    task: &Task,
) -> Result<Vec<Change>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let directory = directory(&host.settings.unit);
    let path = format!("{directory}/{}", host.settings.dropin);
    let socket = socket_override::remove(planner, host, task)?;
    let former = former_drop_in::remove(planner, host, task, false)?;
    let Some(text) = facts.text(&path) else {
        return Ok(former.into_iter().chain(socket).collect());
    };
    let left = left_of(facts, &path, text);
    let desired = Desired::new(
        Place::DropIn,
        directory,
        host.settings.dropin.clone(),
        left.map_or(Content::Gone { prune: 1 }, Content::Text),
    );
    let change = planner.compare(host, task, desired)?;
    Ok(change.into_iter().chain(former).chain(socket).collect())
}

/// Why there is no unit to override: names the unsupported installation.
fn no_unit(facts: &NodeFacts, unit: &UnitFact, name: &str) -> Refusal {
    let is_there = |path| facts.exists(path).unwrap_or(false);
    let cli = facts.tools.get("docker");
    if unit.is_masked() {
        return Refusal::new(format!("the unit {name} is masked")).hint(format!(
            "to run Docker on this node: systemctl unmask {name}; else take the node out of the daemons"
        ));
    }
    let script = crate::host::init_script::path(name);
    let refusal = |what: &str| {
        let seen = if facts.systemd {
            format!("there is no unit {name}: {what}")
        } else {
            format!("systemd is not running there, and there is no init script {script}: {what}")
        };
        Refusal::of(RefusalKind::NoDocker, seen)
    };
    if is_there(SNAP) || is_there(SNAP_STATE) || cli.is_some_and(|path| path.starts_with("/snap/"))
    {
        return refusal("docker is installed as a snap, which is not supported").hint(
            "the snap's daemon has its settings below /var/snap/docker and may not read /etc/docker: snap remove docker, then install docker-ce or docker.io",
        );
    }
    if is_there(ROOTLESS_UNIT) || facts.tools.contains_key("dockerd-rootless.sh") {
        return refusal("docker is rootless there, which is not supported").hint(
            "a rootless daemon is a user's own, in a network of its own: install docker-ce or docker.io as a daemon of the system, or take the node out of the daemons",
        );
    }
    if !facts.systemd && facts.tools.contains_key("dockerd") {
        return refusal("what starts dockerd is not known").hint(format!(
            "start it with an init script, and name that in dtls_unit: {script} is what {name} stands for"
        ));
    }
    match cli {
        Some(_) => refusal("docker's CLI is installed without the daemon")
            .hint("install docker-ce or docker.io on this node first"),
        None => refusal("docker is not installed")
            .hint("install docker-ce or docker.io on this node first"),
    }
}
