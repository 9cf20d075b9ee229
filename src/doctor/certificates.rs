//! Checks the CA and every certificate on disk: expired, of another CA, with another key, without a
//! name that clients use.

use super::findings::{DeployFixes, Findings, finding};
use super::{Diagnosis, keeps_record};
use base::event::{Severity, Topic};
use inventory::Host;
use node::facts::NodeFacts;
use pki::{Certificate, Role, San};
use plan::host::address::daemon_address;
use plan::host::leaf::location as leaf_location;
use plan::{
    Action, Authority, LookedAt, PairFault, Renewal, authority_warning, former_described,
    former_key, former_removal, is_older, left_keys, look_at_leaf, renewal, revoked_reason,
};
use time::OffsetDateTime;

const ROLL_OVER: &str = "dtls-deploy rotate --ca INVENTORY";

/// Keys of issued certificates that are still on the CA node.
fn keys_left(findings: &mut Findings, diagnosis: &Diagnosis<'_>) {
    let ca = diagnosis.observed.inventory.ca();
    for key in left_keys(
        &diagnosis.observed.authority,
        diagnosis.observed.inventory,
        &diagnosis.observed.facts,
        diagnosis.observed.now,
    ) {
        let removal = key.removal();
        let (advice, mended) = if let Some(removal) = &removal {
            (removal.as_str(), false)
        } else if key.has_arrived() {
            (
                "it is removed when its host is checked: dtls-deploy INVENTORY",
                true,
            )
        } else if diagnosis.has_unwanted(&key) {
            (
                "no host wants it any more; it is removed when its host is checked: dtls-deploy INVENTORY",
                true,
            )
        } else if key.is_of_next {
            (
                "it waits there for its step of the CA rollover: dtls-deploy rotate --ca INVENTORY",
                false,
            )
        } else {
            ("it waits there for its host: dtls-deploy INVENTORY", false)
        };
        let seen = key.described();
        let mut found = finding(Severity::Warning, Topic::Files, &ca.name, seen, advice);
        found.mended_by_deploy = mended;
        findings.add(found);
        findings.covers(&ca.name, &key.path);
    }
}

pub(super) fn authority(findings: &mut Findings, diagnosis: &Diagnosis<'_>) {
    let ca = diagnosis.observed.inventory.ca();
    let Some(facts) = diagnosis.observed.facts.get(&ca.name) else {
        return;
    };
    for key in ["ca-key.pem", "next/ca-key.pem"] {
        let path = format!("{}/{key}", ca.settings.ca_dir);
        let Some(file) = facts.regular(&path) else {
            continue;
        };
        let path = facts.expand(&path);
        let is_open = file.mode & 0o077 != 0;
        if !is_open {
            findings.fine(
                &ca.name,
                Topic::Files,
                format!("{path} is readable by its owner only"),
            );
            continue;
        }
        let seen = format!(
            "{path}: mode {:04o}: others can read the CA's key",
            file.mode
        );
        let advice = format!("chmod 0400 {path}; anyone who has read it needs only its passphrase");
        let found = finding(Severity::Error, Topic::Files, &ca.name, seen, advice);
        findings.add_with_fix(found, diagnosis.deploy_fixes_file(&ca.name, &path));
        findings.covers(&ca.name, &path);
    }
    keys_left(findings, diagnosis);
    let Some(certificate) = &diagnosis.observed.authority.certificate else {
        return;
    };
    if !diagnosis.observed.authority.knows_holders() {
        let path = facts.expand(&format!("{}/{}", ca.settings.ca_dir, pki::LEDGER));
        let seen = format!(
            "{path} is missing or lists no certificate: who holds certificates of this CA is not known, and the CA cannot be replaced"
        );
        let advice =
            "rebuild it from the certificates that are in use: dtls-deploy adopt INVENTORY";
        findings.add(finding(
            Severity::Warning,
            Topic::Ca,
            &ca.name,
            seen,
            advice,
        ));
    }
    let warning = authority_warning(
        certificate,
        diagnosis.observed.inventory,
        diagnosis.observed.now,
    );
    let (severity, seen) = if certificate.not_before() > diagnosis.observed.now {
        let begin = certificate.not_before().truncate_to_second();
        (
            Severity::Error,
            format!("the CA is valid only from {begin}: is this machine's clock right?"),
        )
    } else if certificate.not_after() <= diagnosis.observed.now {
        (Severity::Error, warning.unwrap_or_default())
    } else if let Some(text) = warning {
        (Severity::Warning, text)
    } else {
        let end = certificate.not_after().date();
        findings.fine(&ca.name, Topic::Ca, format!("the CA is good until {end}"));
        return;
    };
    let mut found = finding(severity, Topic::Ca, &ca.name, seen, ROLL_OVER);
    found.refused_by_deploy = severity == Severity::Error;
    findings.add(found);
}

pub(super) fn leaves(
    findings: &mut Findings,
    diagnosis: &Diagnosis<'_>,
    host: &Host,
    facts: &NodeFacts,
) {
    if host.is_daemon {
        leaf(findings, diagnosis, host, facts, Role::Daemon);
    }
    for holder in host.certificate_holders() {
        leaf(findings, diagnosis, holder, facts, Role::Client);
    }
    for holder in host.client_holders() {
        let observed = &diagnosis.observed;
        let found = former_key(&observed.authority, holder, facts);
        if let Some((path, entry)) = found.filter(|(_, entry)| entry.not_after > observed.now) {
            let (seen, advice) = (former_described(&path, entry), former_removal(&path));
            findings.add(finding(
                Severity::Warning,
                Topic::Files,
                &host.name,
                seen,
                advice,
            ));
        }
    }
}

fn leaf(
    findings: &mut Findings,
    diagnosis: &Diagnosis<'_>,
    host: &Host,
    facts: &NodeFacts,
    role: Role,
) {
    // Without the CA nothing can be told of what it has issued.
    if diagnosis.observed.authority.problem.is_some()
        || diagnosis.observed.authority.certificate.is_none()
    {
        return;
    }
    let (directory, files) = leaf_location(host, role);
    // Do not suggest a deployment with an older CA: it is refused, with the reason.
    let ca = facts.regular(&format!("{directory}/{}", files.ca));
    let ca = ca.and_then(|file| file.content.as_deref());
    if is_older(&diagnosis.observed.authority, ca.unwrap_or_default()) {
        findings.covers(&host.name, &subject(&host.holder(), role));
        return;
    }
    let (path, key) = (
        facts.expand(&format!("{directory}/{}", files.cert)),
        facts.expand(&format!("{directory}/{}", files.key)),
    );
    if facts.regular(&path).is_none() && facts.regular(&key).is_none() {
        // Nothing was ever there, or it was removed: deploy makes it.
        let delivered = diagnosis
            .observed
            .authority
            .ledger
            .delivered(&host.holder(), role);
        if delivered.is_none() || !keeps_record(facts) {
            return;
        }
    }
    let looked = look_at_leaf(facts, host, role, &diagnosis.observed.authority);
    // Of files that cannot be read the refusal says more.
    if looked.broken.iter().any(PairFault::is_unknown) {
        return;
    }
    let (severity, faults) = judge(diagnosis, host, role, &looked);
    if faults.is_empty() {
        let what = format!("the {role} certificate {path} is good");
        findings.fine(&host.name, Topic::Certificate, what);
        return;
    }
    let whose = match &host.identity {
        Some(_) => format!("{role} certificate of {}", host.holder()),
        None => format!("{role} certificate"),
    };
    let seen = format!("{whose} {path}: {}", faults.join("; "));
    let mut fix = diagnosis.deploy_fixes(&host.name, |change| {
        issues(&change.action, &host.holder(), role)
    });
    // Issued, it waits for a daemon that is not confirmed.
    if fix == DeployFixes::Now && diagnosis.deploy_fixes_file(&host.name, &key) != DeployFixes::Now
    {
        fix = DeployFixes::Later;
    }
    let found = finding(
        severity,
        Topic::Certificate,
        &host.name,
        seen,
        advice(
            &looked,
            &diagnosis.observed.authority,
            diagnosis.observed.now,
        ),
    );
    findings.add_with_fix(found, fix);
    findings.covers(&host.name, &subject(&host.holder(), role));
}

/// The subject of a finding about a certificate.
pub(super) fn subject(holder: &str, role: Role) -> String {
    format!("{role} certificate of {holder}")
}

pub(super) fn issues(action: &Action, host: &str, role: Role) -> bool {
    match action {
        Action::Issue(request) => request.host == host && request.role == role,
        Action::Fetch {
            holder: of,
            role: its,
            ..
        } => of == host && *its == role,
        _ => false,
    }
}

/// What is wrong with it, and how bad that is.
fn judge(
    diagnosis: &Diagnosis<'_>,
    host: &Host,
    role: Role,
    looked: &LookedAt,
) -> (Severity, Vec<String>) {
    let mut severity = if looked.broken.is_empty() {
        Severity::Warning
    } else {
        Severity::Error
    };
    let mut faults = Vec::new();
    if let Some(certificate) = &looked.certificate {
        if let Some(text) = dates(diagnosis, certificate) {
            severity = Severity::Error;
            faults.push(text);
        } else if let Some(text) = age(diagnosis, host, certificate) {
            faults.push(text);
        }
        if role == Role::Daemon && lacks_used_name(host, certificate) {
            severity = Severity::Error;
        }
    }
    // What is revoked should not be adopted.
    let is_revoked = is_revoked(looked, &diagnosis.observed.authority);
    let broken = looked.broken.iter();
    let broken = broken.filter(|fault| !(is_revoked && **fault == PairFault::Adoptable));
    faults.extend(broken.map(ToString::to_string));
    // A foreign certificate has nothing in common with the wanted one.
    let is_strange = |fault: &PairFault| matches!(fault, PairFault::Stranger(_));
    if !looked.broken.iter().any(is_strange) {
        faults.extend(looked.drift.iter().cloned());
    }
    (severity, faults)
}

fn dates(diagnosis: &Diagnosis<'_>, certificate: &Certificate) -> Option<String> {
    let (begin, end) = (certificate.not_before(), certificate.not_after());
    if end <= diagnosis.observed.now {
        return Some(format!("expired on {}", end.date()));
    }
    (begin > diagnosis.observed.now)
        .then(|| format!("is valid only from {}", begin.truncate_to_second()))
}

fn age(diagnosis: &Diagnosis<'_>, host: &Host, certificate: &Certificate) -> Option<String> {
    let authority = diagnosis.observed.authority.certificate.as_ref();
    if let Some(text) = revoked_reason(&diagnosis.observed.authority, certificate) {
        return Some(text);
    }
    match renewal(
        certificate,
        &host.settings,
        authority,
        diagnosis.observed.now,
    ) {
        Renewal::NotDue => None,
        Renewal::Due(text) | Renewal::LastTime(text) => Some(text),
        Renewal::EndsWithAuthority => {
            Some("due for renewal, and a new CA has to come first".to_owned())
        }
    }
}

/// Whether its SANs lack the name that clients use for the daemon.
fn lacks_used_name(host: &Host, certificate: &Certificate) -> bool {
    let used = daemon_address(host).host;
    let wanted = match used.parse() {
        Ok(address) => San::Ip(address),
        Err(_) => San::Dns(used.to_ascii_lowercase()),
    };
    !certificate.sans().contains(&wanted)
}

fn is_revoked(looked: &LookedAt, authority: &Authority) -> bool {
    let certificate = looked.certificate.as_ref();
    certificate.is_some_and(|found| revoked_reason(authority, found).is_some())
}

fn advice(looked: &LookedAt, authority: &Authority, now: OffsetDateTime) -> String {
    let is_expired = looked
        .certificate
        .as_ref()
        .is_some_and(|certificate| certificate.not_after() <= now);
    if !is_expired
        && !is_revoked(looked, authority)
        && looked.broken.contains(&PairFault::Adoptable)
    {
        return "dtls-deploy adopt INVENTORY keeps it, deploy replaces it".to_owned();
    }
    "let a new one be issued: dtls-deploy INVENTORY".to_owned()
}
