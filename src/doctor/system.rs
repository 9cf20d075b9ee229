//! The node itself: its tools, its clock, what confines dockerd, its docker version.

use super::Diagnosis;
use super::findings::{Findings, finding};
use base::event::{Severity, Topic};
use inventory::Host;
use node::facts::{Health, NodeFacts};
use plan::{Refusal, clocks, recorded_input};

/// The oldest docker that deploy was tested with.
const OLDEST: (u32, u32) = (20, 10);

pub(super) fn check(
    findings: &mut Findings,
    diagnosis: &Diagnosis<'_>,
    host: &Host,
    facts: &NodeFacts,
) {
    if let Some(health) = &facts.health {
        tools(findings, host, facts, health);
        if host.is_daemon {
            confinement(findings, host, facts, health);
            versions(findings, host, health);
        }
    }
    if let Some(Refusal { message, hint, .. }) = recorded_input(facts) {
        let advice = hint.unwrap_or_default();
        findings.add(finding(
            Severity::Warning,
            Topic::Sudo,
            &host.name,
            message,
            advice,
        ));
    }
    clock(findings, diagnosis, host);
}

fn tools(findings: &mut Findings, host: &Host, facts: &NodeFacts, health: &Health) {
    let name = &host.name;
    if health.missing.is_empty() {
        findings.fine(name, Topic::Tools, "a POSIX shell and every tool are there");
    } else {
        let seen = format!("not in PATH: {}", health.missing.join(" "));
        let advice = "install coreutils, findutils, grep and sed, or busybox";
        findings.add(finding(Severity::Error, Topic::Tools, name, seen, advice));
    }
    if host.is_client {
        let proves = ["docker", "curl", "openssl"]
            .into_iter()
            .find(|tool| facts.tools.contains_key(*tool));
        match proves {
            Some(tool) => findings.fine(name, Topic::Tools, format!("{tool} is there to check with")),
            None => findings.add(finding(
                Severity::Warning,
                Topic::Tools,
                name,
                "neither docker nor curl nor openssl is there: nothing can show that its certificate is accepted",
                "install docker's CLI",
            )),
        }
    }
}

fn clock(findings: &mut Findings, diagnosis: &Diagnosis<'_>, host: &Host) {
    let name = &host.name;
    let notes = clocks(diagnosis.observed.inventory, |asked| {
        (asked == name)
            .then(|| diagnosis.observed.facts.get(asked))
            .flatten()
    });
    let Some(note) = notes.into_iter().next() else {
        findings.fine(name, Topic::Clock, "its clock is this machine's");
        return;
    };
    // Already reported, with the consequence.
    if !findings.has(name, Topic::Clock) {
        let advice = "timedatectl set-ntp true, or chronyc makestep";
        let found = finding(Severity::Warning, Topic::Clock, name, note.text, advice);
        findings.add(found);
    }
}

fn confinement(findings: &mut Findings, host: &Host, facts: &NodeFacts, health: &Health) {
    let name = &host.name;
    let directory = facts.expand(&host.settings.daemon_dir);
    let label = health.label.as_deref().unwrap_or_default();
    if health.selinux == Some(true) {
        let seen = format!("SELinux enforces its policy; dockerd runs as {label}");
        let advice = format!(
            "where dockerd says \"permission denied\" of a file in {directory}: restorecon -R {directory}; ausearch -m avc -ts recent"
        );
        findings.add(finding(
            Severity::Note,
            Topic::Confinement,
            name,
            seen,
            advice,
        ));
        return;
    }
    let profile = label.split(' ').next().unwrap_or_default();
    if health.selinux.is_none() && !matches!(profile, "" | "unconfined") {
        let seen = format!("dockerd runs under the AppArmor profile {label}");
        let advice = format!("the profile has to let it read {directory}");
        findings.add(finding(
            Severity::Note,
            Topic::Confinement,
            name,
            seen,
            advice,
        ));
        return;
    }
    findings.fine(name, Topic::Confinement, "nothing confines dockerd");
}

fn versions(findings: &mut Findings, host: &Host, health: &Health) {
    let Some(said) = health.versions.get("dockerd") else {
        return;
    };
    match version(said) {
        Some(found) if found < OLDEST => {
            let seen = format!("{said} is older than {}.{}", OLDEST.0, OLDEST.1);
            let advice = "deploy has not been tried with it: upgrade docker";
            let found = finding(Severity::Warning, Topic::Docker, &host.name, seen, advice);
            findings.add(found);
        }
        _ => findings.fine(&host.name, Topic::Docker, said.clone()),
    }
}

/// `Docker version 20.10.24+dfsg1`
fn version(said: &str) -> Option<(u32, u32)> {
    let numbers = said.strip_prefix("Docker version ")?;
    let mut parts = numbers.split(['.', '+', '-', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        assert_eq!(version("Docker version 20.10.24+dfsg1"), Some((20, 10)));
        assert_eq!(version("Docker version 28.3.0-rc.1"), Some((28, 3)));
        assert!(version("Docker version 19.03.1") < Some(OLDEST));
        assert_eq!(version("podman 4"), None);
    }
}
