//! Checks the daemon's unit and its daemon.json: what prevents dockerd from running as deployed, or
//! makes it accept clients without a certificate.
//!
//! What deploy itself refuses (a syntax error, a drop-in that overrides dtls-deploy's) is reported
//! by
//! [`super::deploy`]. Pure.

use serde_json::{Map, Value};

use super::Diagnosis;
use super::findings::{DeployFixes, Findings, finding};
use base::event::{Severity, Topic};
use docker::daemon_json::{mode_of, tcp_hosts};
use docker::tls::{self, DaemonMode};
use docker::unit::command_line;
use inventory::Host;
use node::facts::{NodeFacts, UnitFact};
use plan::host::{daemon_json, unit};
use plan::{Action, Change};

/// daemon.json as dockerd would read it; empty if it cannot.
pub(super) struct Settings {
    values: Map<String, Value>,
    hosts: Vec<String>,
    /// The TLS mode of dockerd with only these settings.
    pub(super) mode: Option<DaemonMode>,
}

impl Settings {
    pub(super) fn read(facts: &NodeFacts) -> Self {
        let text = facts.text(daemon_json::PATH).unwrap_or_default();
        Self {
            values: serde_json::from_str(text).unwrap_or_default(),
            hosts: tcp_hosts(text),
            mode: mode_of(text),
        }
    }

    /// The TCP addresses of `hosts`.
    pub(super) fn hosts(&self) -> &[String] {
        &self.hosts
    }
}

pub(super) fn check(
    findings: &mut Findings,
    diagnosis: &Diagnosis<'_>,
    host: &Host,
    facts: &NodeFacts,
) {
    let unit = facts.unit.clone().unwrap_or_default();
    json(findings, diagnosis, host, facts, &unit);
    if unit.is_loaded() {
        state(findings, diagnosis, host, facts, &unit);
    }
}

fn json(
    findings: &mut Findings,
    diagnosis: &Diagnosis<'_>,
    host: &Host,
    facts: &NodeFacts,
    unit: &UnitFact,
) {
    let name = &host.name;
    let settings = Settings::read(facts);
    let files = unit::unit_files(facts);
    let environment = unit::environment(unit, facts, &files);
    let line = command_line(&files, &environment).unwrap_or_default();
    let has = |flag: &str| line.iter().any(|word| word.split('=').next() == Some(flag));
    let mut say = |path: &str, seen: &str, advice: &str| {
        let found = finding(Severity::Error, Topic::DaemonJson, name, seen, advice);
        findings.add_with_fix(found, diagnosis.deploy_fixes_file(name, path));
        findings.covers(name, path);
    };
    // A setting in the file is fixed in the file, a flag in dtls-deploy's drop-in.
    let own = unit::path(host);
    let place = if settings.mode.is_some() {
        daemon_json::PATH
    } else {
        &own
    };
    let mode = settings.mode.or_else(|| tls::mode_of(&line));
    let is_declared = host.settings.daemon_mode == DaemonMode::Tls;
    let names_ca = settings.values.contains_key("tlscacert") || has("--tlscacert");
    match mode {
        Some(DaemonMode::TlsVerify) if !names_ca => say(
            place,
            "tlsverify without tlscacert: dockerd checks clients against the system's public CAs, and accepts a certificate of any of them",
            "name the CA in tlscacert, and restart docker",
        ),
        Some(DaemonMode::Tls) if !is_declared => say(
            place,
            "tls with tlsverify false: dockerd asks for no certificate",
            "set tlsverify to true, and restart docker",
        ),
        _ => {}
    }
    let short = line.iter().any(|word| word.starts_with("-H"));
    if settings.values.contains_key("hosts") && (short || has("--host")) {
        let (seen, advice) = if facts.systemd {
            (
                "\"hosts\" in daemon.json and -H in the unit: dockerd does not start with both",
                "take hosts out of daemon.json: with systemd the unit says where to listen",
            )
        } else {
            (
                "\"hosts\" in daemon.json and -H in DOCKER_OPTS: dockerd does not start with both",
                "take -H out of DOCKER_OPTS: without systemd daemon.json says where to listen",
            )
        };
        say(daemon_json::PATH, seen, advice);
    }
    if mode == Some(DaemonMode::Tls) && is_declared {
        let seen = "open to anyone who can connect, as declared: dtls_daemon_mode is tls";
        let advice = "anyone who can connect is root there: set tlsverify if that is not intended";
        findings.add(finding(
            Severity::Note,
            Topic::DaemonJson,
            name,
            seen,
            advice,
        ));
    }
    if !findings.has(name, Topic::DaemonJson) {
        findings.fine(
            name,
            Topic::DaemonJson,
            format!("{} can be worked with", daemon_json::PATH),
        );
    }
}

fn state(
    findings: &mut Findings,
    diagnosis: &Diagnosis<'_>,
    host: &Host,
    facts: &NodeFacts,
    unit: &UnitFact,
) {
    let (name, service) = (&host.name, &host.settings.unit);
    let is_restart = |change: &Change| matches!(change.action, Action::Restart(_));
    if unit.active_state() != "active" {
        let severity = if diagnosis.is_deployed(host) {
            Severity::Error
        } else {
            Severity::Warning
        };
        let seen = format!("{service} is {}", unit.active_state());
        let advice = facts.look_command(service);
        // A restart brings back one that was stopped. One that does not start needs other files.
        let fix = if unit.active_state() == "failed" && !changes_files(diagnosis, name) {
            DeployFixes::Never
        } else {
            diagnosis.deploy_fixes(name, is_restart)
        };
        findings.add_with_fix(finding(severity, Topic::Unit, name, seen, advice), fix);
        findings.covers(name, service);
    } else if unit.needs_reload() {
        let seen = format!("the files of {service} have changed, and systemd has not read them");
        let advice = "systemctl daemon-reload: they count at the next restart";
        let found = finding(Severity::Warning, Topic::Unit, name, seen, advice);
        findings.add_with_fix(found, diagnosis.deploy_fixes(name, is_restart));
        findings.covers(name, service);
    } else {
        findings.fine(name, Topic::Unit, format!("{service} runs"));
    }
}

/// Whether deploy would change a file that dockerd reads.
fn changes_files(diagnosis: &Diagnosis<'_>, host: &str) -> bool {
    let own = || {
        diagnosis
            .examined
            .changes
            .iter()
            .filter(|change| change.host == host)
    };
    let mut restarts = own().filter_map(|change| match &change.action {
        Action::Restart(restart) => Some(&restart.reads),
        _ => None,
    });
    restarts.any(|reads| {
        own().any(
            |change| matches!(&change.action, Action::File(file) if reads.contains(&file.path())),
        )
    })
}
