//! Plain TCP: every setting that makes dockerd, or systemd for it, listen without TLS. Every client
//! that reaches such a port is root on the node.

use super::Diagnosis;
use super::daemon::Settings;
use super::findings::{DeployFixes, Findings, finding};
use base::event::{Severity, Topic};
use docker::tls::ConfigStyle;
use docker::unit::{listeners, socket};
use inventory::Host;
use node::facts::{Holder, NodeFacts, Owner};
use plan::host::{daemon_json, socket as docker_socket, unit};

/// Docker's conventional port without TLS.
pub(super) const PORT: u16 = 2375;

/// A setting with a listener.
struct Place {
    address: String,
    path: String,
    /// The file that deploy writes to close it.
    closed_in: String,
}

pub(super) fn check(
    findings: &mut Findings,
    diagnosis: &Diagnosis<'_>,
    host: &Host,
    facts: &NodeFacts,
) {
    let name = &host.name;
    let files = unit::unit_files(facts);
    let (flags, flag_tls) = listeners(&files, &facts.environment_texts());
    let settings = Settings::read(facts);
    let tls = flag_tls || settings.mode.is_some();
    let own = unit::path(host);
    let has_flags = host.settings.config_style == ConfigStyle::Flags;
    let mut open: Vec<Place> = Vec::new();
    for address in settings.hosts() {
        open.push(Place {
            address: address.clone(),
            path: daemon_json::PATH.to_owned(),
            closed_in: daemon_json::PATH.to_owned(),
        });
    }
    // An unreadable file does not show how the daemon listens on the addresses of dtls-deploy's
    // drop-in.
    let is_known = daemon_json::check(facts).is_ok();
    let flags = flags.into_iter();
    let flags = flags.filter(|listener| is_known || listener.path != own);
    open.extend(flags.map(|listener| Place {
        // The drop-in's port has TLS again once daemon.json is fixed, if the settings belong there.
        closed_in: if listener.path == own && !has_flags {
            daemon_json::PATH.to_owned()
        } else {
            own.clone()
        },
        address: listener.address,
        path: listener.path,
    }));
    let ports = socket::ports(&docker_socket::files(facts));
    let sockets = ports.iter().map(|port| Place {
        address: format!("ListenStream={}", port.stream),
        path: port.path.clone(),
        closed_in: docker_socket::path(host),
    });
    if tls {
        for place in sockets {
            let seen = format!(
                "systemd listens on TCP for docker: {} in {}; dockerd speaks TLS there only as long as {} says so",
                place.address,
                place.path,
                if has_flags {
                    "its command line"
                } else {
                    "daemon.json"
                }
            );
            let advice = format!("take the line out of {}", place.path);
            say(
                findings,
                diagnosis,
                host,
                Severity::Warning,
                seen,
                advice,
                &place,
            );
        }
    } else {
        for place in open.iter().chain(&sockets.collect::<Vec<_>>()) {
            let seen = format!(
                "plain TCP, without TLS: {} in {}; anyone who can connect is root there",
                place.address, place.path
            );
            let advice = if place.path == own && has_flags {
                format!("give {own} its TLS flags back, and restart docker")
            } else if place.path == own {
                "give daemon.json its TLS settings back, and restart docker".to_owned()
            } else {
                format!("take it out of {} and restart docker", place.path)
            };
            say(
                findings,
                diagnosis,
                host,
                Severity::Error,
                seen,
                advice,
                place,
            );
        }
    }
    running(findings, host, facts, !ports.is_empty());
    if !findings.has(name, Topic::PlainTcp) {
        findings.fine(
            name,
            Topic::PlainTcp,
            "no plain TCP in daemon.json, unit, environment and docker.socket, and nothing on 2375",
        );
    }
}

fn say(
    findings: &mut Findings,
    diagnosis: &Diagnosis<'_>,
    host: &Host,
    severity: Severity,
    seen: String,
    advice: String,
    place: &Place,
) {
    let found = finding(severity, Topic::PlainTcp, &host.name, seen, advice);
    let fix = diagnosis.deploy_fixes_file(&host.name, &place.closed_in);
    findings.add_with_fix(found, fix);
    if fix != DeployFixes::Never {
        findings.covers(&host.name, &place.closed_in);
    }
}

/// The process on port 2375, if no setting explains it.
fn running(findings: &mut Findings, host: &Host, facts: &NodeFacts, has_socket: bool) {
    let Some(network) = &facts.network else {
        return;
    };
    for listener in network.listeners.iter().filter(|one| one.port == PORT) {
        let place = std::net::SocketAddr::new(listener.address, listener.port);
        match &listener.owner {
            Owner::Daemon if !findings.has(&host.name, Topic::PlainTcp) => {
                let restart = facts.restart_command(&host.settings.unit);
                findings.add(finding(
                    Severity::Error,
                    Topic::PlainTcp,
                    &host.name,
                    format!("dockerd listens on {place}, which none of its files says any more"),
                    format!("restart it: {restart}"),
                ));
            }
            // systemd holds the port for docker.
            Owner::Other(Holder::Process { pid: 1, .. }) if has_socket => {}
            Owner::Other(process) => findings.add(finding(
                Severity::Warning,
                Topic::PlainTcp,
                &host.name,
                format!("{process} listens on {place}, the port of plain docker"),
                "find out what it is: the check of port 2375 fails as long as it runs",
            )),
            Owner::Daemon | Owner::Unknown => {}
        }
    }
}
