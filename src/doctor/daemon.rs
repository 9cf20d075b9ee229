//! The daemon's unit and its daemon.json: what keeps dockerd from running as
//! deployed, or lets in more than those who hold a certificate.
//!
//! Comes in: facts of a daemon's node. Goes out: findings. What deploy itself
//! refuses (a syntax error, a drop-in that overrides ours) is said by
//! [`super::deploy`]. Pure; called by [`super`].

use serde_json::{Map, Value};

use super::World;
use super::findings::{Findings, finding};
use crate::docker::unit::command_line;
use crate::event::{Severity, Topic};
use crate::inventory::Host;
use crate::module::{daemon_json, systemd_override};
use crate::node::facts::{NodeFacts, UnitFact};
use crate::plan::Action;

/// daemon.json as dockerd would read it; empty where it cannot.
pub(super) struct Settings(Map<String, Value>);

impl Settings {
    pub(super) fn read(facts: &NodeFacts) -> Self {
        let text = facts.text(daemon_json::PATH).unwrap_or_default();
        Self(serde_json::from_str(text).unwrap_or_default())
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }

    pub(super) fn speaks_tls(&self) -> bool {
        self.flag("tls") == Some(true) || self.flag("tlsverify") == Some(true)
    }

    /// `tls` alone turns `tlsverify` on.
    fn verifies(&self) -> bool {
        self.flag("tlsverify")
            .unwrap_or(self.flag("tls") == Some(true))
    }

    /// The TCP addresses of `hosts`.
    pub(super) fn hosts(&self) -> Vec<String> {
        let hosts = self.0.get("hosts").and_then(Value::as_array);
        let hosts = hosts.into_iter().flatten().filter_map(Value::as_str);
        hosts
            .filter(|host| !host.starts_with("unix:") && !host.starts_with("fd:"))
            .map(str::to_owned)
            .collect()
    }
}

pub(super) fn check(findings: &mut Findings, world: &World<'_>, host: &Host, facts: &NodeFacts) {
    let unit = facts.unit.clone().unwrap_or_default();
    json(findings, world, host, facts, &unit);
    if unit.is_loaded() {
        state(findings, world, host, &unit);
    }
}

fn json(
    findings: &mut Findings,
    world: &World<'_>,
    host: &Host,
    facts: &NodeFacts,
    unit: &UnitFact,
) {
    let name = &host.name;
    let settings = Settings::read(facts);
    let files = systemd_override::unit_files(facts);
    let environment = systemd_override::environment(unit, facts, &files);
    let line = command_line(&files, &environment).unwrap_or_default();
    let has = |flag: &str| line.iter().any(|word| word.split('=').next() == Some(flag));
    let mut say = |seen: String, advice: &str| {
        let found = finding(Severity::Error, Topic::DaemonJson, name, seen, advice);
        findings.add_mended(found, world.mends_file(name, daemon_json::PATH));
        findings.covers(name, daemon_json::PATH);
    };
    let verifies = settings.verifies() || has("--tlsverify");
    if verifies && !settings.0.contains_key("tlscacert") && !has("--tlscacert") {
        say(
            "tlsverify without tlscacert: dockerd checks clients against the system's public CAs, and whoever has a certificate of one of them is let in".to_owned(),
            "name the CA in tlscacert, and restart docker",
        );
    }
    if settings.speaks_tls() && !verifies {
        say(
            "tls with tlsverify false: dockerd asks nobody for a certificate".to_owned(),
            "set tlsverify to true, and restart docker",
        );
    }
    let short = line.iter().any(|word| word.starts_with("-H"));
    if settings.0.contains_key("hosts") && (short || has("--host")) {
        say(
            "\"hosts\" in daemon.json and -H in the unit: dockerd does not start with both"
                .to_owned(),
            "take hosts out of daemon.json: with systemd the unit says where to listen",
        );
    }
    if !findings.has(name, Topic::DaemonJson) {
        findings.fine(
            name,
            Topic::DaemonJson,
            format!("{} can be worked with", daemon_json::PATH),
        );
    }
}

fn state(findings: &mut Findings, world: &World<'_>, host: &Host, unit: &UnitFact) {
    let (name, service) = (&host.name, &host.settings.unit);
    let restart = world.mends(name, |change| matches!(change.action, Action::Restart(_)));
    if unit.active_state() != "active" {
        let severity = if world.is_deployed(host) {
            Severity::Error
        } else {
            Severity::Warning
        };
        let seen = format!("{service} is {}", unit.active_state());
        let advice = format!("systemctl status {service}; journalctl -u {service} -n 30");
        findings.add_mended(finding(severity, Topic::Unit, name, seen, advice), restart);
        findings.covers(name, service);
    } else if unit.needs_reload() {
        let seen = format!("the files of {service} have changed, and systemd has not read them");
        let advice = "systemctl daemon-reload: they count at the next restart";
        let found = finding(Severity::Warning, Topic::Unit, name, seen, advice);
        findings.add_mended(found, restart);
        findings.covers(name, service);
    } else {
        findings.fine(name, Topic::Unit, format!("{service} runs"));
    }
}
