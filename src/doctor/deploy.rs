//! What a run would report and change: refusals and drift, in the plan's own words.
//!
//! Refusals come before all other findings and drift after them, so that nothing is reported twice.

use std::collections::BTreeSet;

use super::Diagnosis;
use super::certificates::{issues, subject};
use super::findings::{Findings, finding};
use base::event::{Severity, Topic};
use inventory::Host;
use node::facts::NodeFacts;
use pki::{Certificate, Role};
use plan::host::leaf::location as leaf_location;
use plan::orchestrator::About;
use plan::playbook::Word;
use plan::{
    Action, AuthorityProblem, Change, Content, FileChange, InForce, Refusal, RefusalKind,
    deploy_or_drop, lost_since, readable_by_others,
};

pub(super) fn refusals(findings: &mut Findings, diagnosis: &Diagnosis<'_>) {
    let problem = diagnosis.observed.authority.problem.as_ref();
    if let Some(problem) = problem.filter(|one| !matches!(one, AuthorityProblem::Unreachable(_))) {
        let ca = &diagnosis.observed.inventory.ca().name;
        let (seen, hint) = (problem.to_string(), problem.hint());
        let mut found = finding(Severity::Error, Topic::Ca, ca, seen, hint);
        found.refused_by_deploy = true;
        findings.add(found);
    }
    for refused in &diagnosis.examined.refusals {
        let Refusal {
            kind,
            message,
            hint,
        } = &refused.refusal;
        // The CA is a finding of one host, and blocks all.
        let is_said = match kind {
            RefusalKind::Authority(of) => problem == Some(&**of),
            RefusalKind::AuthorityDates => true,
            RefusalKind::NoDocker | RefusalKind::Other => false,
        };
        if is_said {
            continue;
        }
        let advice = hint.clone();
        let advice = advice.unwrap_or_else(|| format!("look at {}", refused.host));
        let topic = topic(refused.about, kind);
        let mut found = finding(Severity::Error, topic, &refused.host, message, advice);
        found.refused_by_deploy = true;
        findings.add(found);
    }
    for note in &diagnosis.examined.notes {
        let (host, text) = (&note.host, note.text.clone());
        let advice = "let the facts be read as root (ansible_become), or look with ss -ltnp";
        findings.add(finding(Severity::Note, Topic::Listen, host, text, advice));
    }
}

fn topic(about: About, kind: &RefusalKind) -> Topic {
    match about {
        About::Clock => Topic::Clock,
        About::Listening => Topic::Listen,
        About::Space => Topic::Disk,
        About::Owner | About::Unsettled => Topic::Run,
        About::Settings | About::Module(Word::DaemonJson | Word::LiveRestore) => Topic::DaemonJson,
        About::Module(Word::SystemdOverride) if *kind == RefusalKind::NoDocker => Topic::Docker,
        About::Module(Word::SystemdOverride | Word::Restart) => Topic::Unit,
        About::Module(Word::Ca) => Topic::Ca,
        About::Module(Word::Certificate) => Topic::Certificate,
        About::Module(_) => Topic::Files,
    }
}

/// What a run would change, and no one has spoken of yet.
pub(super) fn drift(findings: &mut Findings, diagnosis: &Diagnosis<'_>) {
    let changes = &diagnosis.examined.changes;
    for host in &diagnosis.observed.inventory.hosts {
        let Some(facts) = diagnosis.observed.facts.get(&host.name) else {
            continue;
        };
        let own = || changes.iter().filter(|change| change.host == host.name);
        if !diagnosis.is_deployed(host) {
            let count = own().count();
            if count > 0 {
                let (seen, advice) = undeployed(diagnosis, host);
                let seen = format!("{seen}; changes to be made: {count}");
                findings.add_with_fix(
                    finding(Severity::Note, Topic::Drift, &host.name, seen, advice),
                    diagnosis.deploy_fixes(&host.name, |change| change.host == host.name),
                );
            }
            continue;
        }
        let before = findings.counts(0).checks;
        open_directories(findings, host, facts);
        for change in own() {
            one(findings, diagnosis, host, facts, change);
        }
        if findings.counts(0).checks == before {
            findings.fine(&host.name, Topic::Drift, "everything else is as deployed");
        }
    }
}

/// What is known of a host without a deployment, and what to do.
fn undeployed(diagnosis: &Diagnosis<'_>, host: &Host) -> (String, String) {
    let ledger = &diagnosis.observed.authority.ledger;
    let mut delivered = roles(host).filter_map(|role| ledger.delivered(&host.name, role));
    match delivered.next() {
        Some(entry) => (
            format!("nothing is deployed there any more: {}", lost_since(entry)),
            deploy_or_drop(&host.name),
        ),
        None => (
            "nothing is deployed there yet".to_owned(),
            "dtls-deploy INVENTORY --check --diff shows them".to_owned(),
        ),
    }
}

/// Directories of keys that others may read; directories that they may write to are refused.
fn open_directories(findings: &mut Findings, host: &Host, facts: &NodeFacts) {
    let holders = host.client_holders().map(|holder| (holder, Role::Client));
    let daemon = host.is_daemon.then_some((host, Role::Daemon));
    let mut directories: BTreeSet<String> = daemon
        .into_iter()
        .chain(holders)
        .map(|(holder, role)| leaf_location(holder, role).0)
        .collect();
    directories.extend(host.is_ca.then(|| host.settings.ca_dir.clone()));
    for directory in directories {
        if let Some(Refusal { message, hint, .. }) = readable_by_others(facts, &directory) {
            let advice = hint.unwrap_or_default();
            findings.add(finding(
                Severity::Warning,
                Topic::Files,
                &host.name,
                message,
                advice,
            ));
        }
    }
}

fn one(
    findings: &mut Findings,
    diagnosis: &Diagnosis<'_>,
    host: &Host,
    facts: &NodeFacts,
    change: &Change,
) {
    let name = &host.name;
    let file = match &change.action {
        Action::File(file) => file,
        // A pair on the CA node is reported with its key.
        Action::Issue(request) => {
            return to_issue(
                findings,
                diagnosis,
                host,
                change,
                (&request.host, request.role),
            );
        }
        Action::Sweep { directory, .. } => {
            let seen = format!("an interrupted run has left files in {directory}, keys perhaps");
            let fix = diagnosis.deploy_fixes(name, |other| matches!(&other.action, Action::Sweep { directory: of, .. } if of == directory));
            let advice = "the next run removes them";
            findings.add_with_fix(
                finding(Severity::Warning, Topic::Run, name, seen, advice),
                fix,
            );
            return;
        }
        Action::Restart(restart) => {
            // It usually follows from another change.
            let follows =
                diagnosis.examined.changes.iter().any(|other| {
                    other.host == *name && !matches!(other.action, Action::Restart(_))
                });
            if !follows && !findings.is_covered(name, &restart.unit) {
                let seen = format!(
                    "the running dockerd has not read what is there now: {}",
                    change.reasons.join("; ")
                );
                // Deploy checks before the restart whether dockerd starts with them.
                let advice =
                    "dtls-deploy INVENTORY checks the new settings, and then restarts docker";
                let fix = diagnosis
                    .deploy_fixes(name, |other| matches!(other.action, Action::Restart(_)));
                findings.add_with_fix(
                    finding(
                        Severity::Warning,
                        Topic::Drift,
                        name,
                        seen,
                        advice.to_owned(),
                    ),
                    fix,
                );
            }
            return;
        }
        _ => return,
    };
    let path = file.path();
    let fix = diagnosis.deploy_fixes_file(name, &path);
    let of_file: Vec<String> = file.attributes.iter().map(ToString::to_string).collect();
    let content = change.reasons.iter().filter(|one| !of_file.contains(one));
    let content: Vec<&str> = content.map(String::as_str).collect();
    if !of_file.is_empty() && !findings.is_covered(name, &path) {
        let is_key = is_key(host, facts, &path);
        let open = facts
            .regular(&path)
            .is_some_and(|found| found.mode & 0o077 != 0);
        let (severity, advice) = if is_key && open {
            (
                Severity::Error,
                "other accounts on that machine may have read the key: fix the mode, and consider a new key (dtls-deploy rotate --force INVENTORY)",
            )
        } else {
            (Severity::Warning, "chmod, chown")
        };
        let seen = format!("{path}: {}", of_file.join("; "));
        findings.add_with_fix(finding(severity, Topic::Files, name, seen, advice), fix);
    }
    if content.is_empty() || findings.is_covered(name, &path) || follows(diagnosis, name, file) {
        return;
    }
    let is_bundle = is_bundle(host, facts, &path);
    // Which CAs it holds during a rollover depends on the step, which is reported for the CA.
    if is_bundle && is_of_rollover(diagnosis, facts, &path) {
        return;
    }
    let (severity, topic) = if is_bundle {
        (Severity::Error, Topic::Certificate)
    } else {
        (Severity::Warning, Topic::Drift)
    };
    let seen = format!("{path}: {}", content.join("; "));
    let advice =
        "the inventory or the node has changed: dtls-deploy INVENTORY --check --diff shows how";
    findings.add_with_fix(finding(severity, topic, name, seen, advice), fix);
}

/// A certificate that a run issues although the present one is fine.
fn to_issue(
    findings: &mut Findings,
    diagnosis: &Diagnosis<'_>,
    host: &Host,
    change: &Change,
    (holder, role): (&str, Role),
) {
    let name = &host.name;
    if findings.is_covered(name, &subject(holder, role)) {
        return;
    }
    let seen = format!("{}: {}", subject(holder, role), change.reasons.join("; "));
    let advice = "the next deployment issues it: dtls-deploy INVENTORY";
    let fix = diagnosis.deploy_fixes(name, |change| issues(&change.action, holder, role));
    findings.add_with_fix(
        finding(Severity::Note, Topic::Certificate, name, seen, advice),
        fix,
    );
}

/// A new pair brings its files, and copies of them, with it.
fn follows(diagnosis: &Diagnosis<'_>, host: &str, file: &FileChange) -> bool {
    let is_new = [Role::Daemon, Role::Client]
        .into_iter()
        .any(|role| diagnosis.has_new_leaf(host, role));
    match file.content {
        Content::Leaf { .. } | Content::Copy { .. } => is_new,
        Content::Authority => true,
        _ => false,
    }
}

fn roles(host: &Host) -> impl Iterator<Item = Role> {
    let daemon = host.is_daemon.then_some(Role::Daemon);
    daemon
        .into_iter()
        .chain(host.is_client.then_some(Role::Client))
}

fn is_key(host: &Host, facts: &NodeFacts, path: &str) -> bool {
    path.ends_with("/key.pem")
        || roles(host).any(|role| {
            let (directory, files) = leaf_location(host, role);
            facts.expand(&format!("{directory}/{}", files.key)) == path
        })
}

/// Whether a CA rollover is under way, and a bundle holds only CAs of it.
fn is_of_rollover(diagnosis: &Diagnosis<'_>, facts: &NodeFacts, path: &str) -> bool {
    let authority = &diagnosis.observed.authority;
    let content = facts.regular(path).and_then(|file| file.content.as_deref());
    let (Some(present), Some(next), Some(content)) = (&authority.pem, &authority.next_pem, content)
    else {
        return false;
    };
    let in_force = InForce::read(present.as_bytes(), next.as_bytes());
    !Certificate::bundle_from_pem(content)
        .unwrap_or_default()
        .is_empty()
        && in_force.others(content).is_empty()
}

fn is_bundle(host: &Host, facts: &NodeFacts, path: &str) -> bool {
    roles(host).any(|role| {
        let (directory, files) = leaf_location(host, role);
        facts.expand(&format!("{directory}/{}", files.ca)) == path
    })
}
