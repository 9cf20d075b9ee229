//! Checks the connection from every client to every daemon: names, ports, what answers, and whether
//! the client's own certificate is accepted.
//!
//! Probing and judging are separate: [`judge`] is pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt as _;

use super::Diagnosis;
use super::findings::{Findings, finding};
use base::event::{Check, Finding, Proof, Severity, Topic, Verdict};
use docker::tls::DaemonMode;
use inventory::{Host, host_of};
use node::DialError;
use node::facts::NodeFacts;
use pki::{Certificate, Role};
use plan::host::address::daemon_address;
use plan::host::leaf::location as leaf_location;
use plan::{UPDATE_POLICIES, Unnamed, revoked_reason};
use run::verify::probe::{self, Answer, Shown};
use run::verify::{Expectations, foreign_authorities, own_certificate};

/// Longer than any connection within a site; detects a firewall that drops packets.
const DEADLINE: Duration = Duration::from_secs(5);
/// Maximum number of concurrent connections.
const AT_ONCE: usize = 64;
/// Topics that explain why a daemon does not listen, and are already reported.
const CAUSES: [Topic; 4] = [Topic::Docker, Topic::Unit, Topic::DaemonJson, Topic::Listen];
/// Topics that explain a wrong answer.
const FAULTS: [Topic; 3] = [Topic::DaemonJson, Topic::PlainTcp, Topic::Certificate];

/// The result of one probe.
#[derive(Debug)]
pub(super) enum Seen {
    /// The daemon answered, with TLS or not.
    Answered(Answer, Shown),
    Not(DialError),
    /// Something listens, but there is no CA to verify it.
    Open,
}

/// Looks from all clients at all daemons.
pub(super) async fn check(findings: &mut Findings, diagnosis: &Diagnosis<'_>) {
    let listed = diagnosis.playbook.limited(diagnosis.observed.inventory);
    let pairs: Vec<(&Host, &Host)> = listed
        .clients()
        .flat_map(|client| listed.daemons().map(move |daemon| (client, daemon)))
        .filter(|(client, _)| diagnosis.observed.nodes.contains_key(&client.name))
        .collect();
    let looks = pairs.into_iter().map(|(client, daemon)| async move {
        (client, daemon, look(diagnosis, client, daemon).await)
    });
    let mut seen: Vec<_> = futures::stream::iter(looks)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    seen.sort_by_key(|(client, daemon, _)| (client.name.clone(), daemon.name.clone()));
    let mut good = Vec::new();
    for (client, daemon, seen) in seen {
        match judge(findings, diagnosis, client, daemon, &seen) {
            Judged::Found(found) => findings.add(found),
            Judged::Follows => {}
            Judged::Fine => {
                let way = if diagnosis.is_deployed(daemon) {
                    "is reached at"
                } else {
                    "is not deployed yet, and the way is free to"
                };
                let what = format!("{} {way} {}", daemon.name, daemon_address(daemon).url());
                findings.fine(&client.name, Topic::Reach, what);
                good.push((client, daemon));
            }
        }
    }
    identities(findings, diagnosis, good).await;
}

async fn look(diagnosis: &Diagnosis<'_>, client: &Host, daemon: &Host) -> Seen {
    let address = daemon_address(daemon);
    let Some(node) = diagnosis.observed.nodes.get(&client.name) else {
        return Seen::Open;
    };
    let stream = match node
        .connection
        .dial(&address.host, address.port, DEADLINE)
        .await
    {
        Ok(stream) => stream,
        Err(error) => return Seen::Not(error),
    };
    let authorities: Vec<Vec<u8>> = [
        &diagnosis.observed.authority.certificate,
        &diagnosis.observed.authority.next,
    ]
    .into_iter()
    .flatten()
    .map(|authority| authority.der().to_vec())
    .collect();
    if authorities.is_empty() {
        return Seen::Open;
    }
    match probe::https(stream, &address.host, &authorities, None, DEADLINE).await {
        Ok((answer, shown)) => Seen::Answered(answer, shown),
        Err(_) => Seen::Open,
    }
}

/// The conclusion from one probe.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Fine,
    Found(Finding),
    /// Already explained by another finding.
    Follows,
}

/// Judges one probe.
pub(super) fn judge(
    findings: &Findings,
    diagnosis: &Diagnosis<'_>,
    client: &Host,
    daemon: &Host,
    seen: &Seen,
) -> Judged {
    let address = daemon_address(daemon);
    let (url, from) = (address.url(), client.name.as_str());
    if let Seen::Answered(_, shown) = seen
        && let Some(found) = foreign(diagnosis, daemon, shown)
    {
        return Judged::Found(found);
    }
    let is_good = match seen {
        Seen::Open => true,
        // What is declared is reported once, for the daemon.
        Seen::Answered(Answer::Served(_), _) => daemon.settings.daemon_mode == DaemonMode::Tls,
        Seen::Answered(answer, _) => !matches!(
            answer,
            Answer::ServerCertificate(_) | Answer::Closed(_) | Answer::Timeout
        ),
        Seen::Not(_) => false,
    };
    if is_good {
        return Judged::Fine;
    }
    if let Some(found) = misled(diagnosis, client, daemon) {
        return Judged::Found(found);
    }
    if let Seen::Not(DialError::Forbidden { .. }) = seen {
        return Judged::Found(finding(
            Severity::Warning,
            Topic::Ssh,
            from,
            "its sshd forwards no connections: nothing can be checked from there",
            "allow it for this account: AllowTcpForwarding local, PermitOpen, in sshd_config",
        ));
    }
    let topics: &[Topic] = match seen {
        // A firewall drops packets whatever the daemon does.
        Seen::Not(DialError::Timeout { .. }) => &[],
        Seen::Not(_) => &CAUSES,
        Seen::Answered(..) | Seen::Open => &FAULTS,
    };
    let is_down = diagnosis.observed.missing.contains_key(&daemon.name);
    if is_down || findings.has_error(&daemon.name, topics) {
        return Judged::Follows;
    }
    let found = |host: &str, seen: String, advice: String| {
        Judged::Found(finding(Severity::Error, Topic::Reach, host, seen, advice))
    };
    let unknown = NodeFacts::default();
    let there = diagnosis
        .observed
        .facts
        .get(&daemon.name)
        .unwrap_or(&unknown);
    match seen {
        Seen::Not(DialError::Refused { .. }) if !diagnosis.is_deployed(daemon) => Judged::Fine,
        Seen::Not(DialError::Refused { .. }) => found(
            from,
            format!(
                "{url} of {} refuses connections: nothing listens there, or a firewall rejects them",
                daemon.name
            ),
            format!("look at {}: ss -ltn; nft list ruleset", daemon.name),
        ),
        Seen::Not(DialError::Timeout { .. }) => found(
            from,
            format!(
                "{url} of {} does not answer within {} s",
                daemon.name,
                DEADLINE.as_secs()
            ),
            format!(
                "a firewall between the two drops it: let TCP port {} through",
                address.port
            ),
        ),
        Seen::Not(error) => found(
            from,
            error.to_string(),
            format!("look at the network between {from} and {}", daemon.name),
        ),
        Seen::Answered(Answer::Served(_), _) => found(
            &daemon.name,
            format!("{url} accepts clients without a certificate"),
            format!(
                "restart docker there: {}",
                there.restart_command(&daemon.settings.unit)
            ),
        ),
        Seen::Answered(answer, shown) => answered(diagnosis, client, daemon, answer, shown),
        Seen::Open => Judged::Fine,
    }
}

/// A daemon that accepts clients of a CA that is not this inventory's: it has read
/// another bundle than it should have.
fn foreign(diagnosis: &Diagnosis<'_>, daemon: &Host, shown: &Shown) -> Option<Finding> {
    let authorities = [
        &diagnosis.observed.authority.certificate,
        &diagnosis.observed.authority.next,
    ];
    let own: Vec<Certificate> = authorities.into_iter().flatten().cloned().collect();
    if own.is_empty() || !diagnosis.is_deployed(daemon) {
        return None;
    }
    let names = foreign_authorities(shown, &own)?;
    Some(Finding {
        mended_by_deploy: true,
        ..finding(
            Severity::Error,
            Topic::Certificate,
            &daemon.name,
            format!("dockerd accepts clients of other CAs than it should: {names}"),
            "find out who can write its CA bundle; deploy restarts docker with the right one",
        )
    })
}

/// Something unexpected answers.
fn answered(
    diagnosis: &Diagnosis<'_>,
    client: &Host,
    daemon: &Host,
    answer: &Answer,
    shown: &Shown,
) -> Judged {
    let url = daemon_address(daemon).url();
    let served = shown.certificate.as_deref();
    let on_disk = diagnosis
        .observed
        .facts
        .get(&daemon.name)
        .and_then(|facts| on_disk(facts, daemon));
    let is_other = served.is_some() && on_disk.as_ref().map(Certificate::der) != served;
    let (host, seen, advice) = if is_other {
        (
            &client.name,
            format!(
                "what answers at {url} shows another certificate than lies on {} ({answer})",
                daemon.name
            ),
            format!(
                "another machine answers at that address, or docker on {} has not been restarted since",
                daemon.name
            ),
        )
    } else {
        (
            &daemon.name,
            format!("{url}, as {} sees it: {answer}", client.name),
            diagnosis
                .observed
                .facts
                .get(&daemon.name)
                .unwrap_or(&NodeFacts::default())
                .look_command(&daemon.settings.unit),
        )
    };
    Judged::Found(finding(Severity::Error, Topic::Reach, host, seen, advice))
}

fn on_disk(facts: &NodeFacts, daemon: &Host) -> Option<Certificate> {
    let (directory, files) = leaf_location(daemon, Role::Daemon);
    let file = facts.regular(&format!("{directory}/{}", files.cert))?;
    Certificate::from_pem(file.content.as_deref()?).ok()
}

/// A name that leads the client elsewhere.
fn misled(diagnosis: &Diagnosis<'_>, client: &Host, daemon: &Host) -> Option<Finding> {
    let name = daemon_address(daemon).host;
    if name.parse::<IpAddr>().is_ok() {
        return None;
    }
    let advice = format!("fix {name} in /etc/hosts of {}, or in DNS", client.name);
    let found = |seen: String| {
        Some(finding(
            Severity::Error,
            Topic::Name,
            &client.name,
            seen,
            advice.clone(),
        ))
    };
    let addresses = diagnosis
        .observed
        .facts
        .get(&client.name)?
        .resolved
        .get(&name)?;
    if addresses.is_empty() {
        return found(format!(
            "the name {name} of {} has no address there",
            daemon.name
        ));
    }
    let network = diagnosis
        .observed
        .facts
        .get(&daemon.name)?
        .network
        .as_ref()?;
    let is_own = |address: &IpAddr| !address.is_loopback() && network.has(*address);
    let mut parsed = addresses.iter().filter_map(|text| text.parse().ok());
    if client.name == daemon.name || parsed.any(|address| is_own(&address)) {
        return None;
    }
    found(format!(
        "the name {name} is {} there, which is not an address of {} (it has {})",
        addresses.join(" "),
        daemon.name,
        network.shown().join(", ")
    ))
}

/// Shows each client's own certificate, where nothing is known that speaks
/// against it.
async fn identities(findings: &mut Findings, diagnosis: &Diagnosis<'_>, good: Vec<(&Host, &Host)>) {
    let expectations = &Expectations::default();
    let tried = good.into_iter().filter(|(client, daemon)| {
        client.shows_certificate()
            && diagnosis.is_deployed(client)
            && diagnosis.is_deployed(daemon)
            && !findings.has_error(&client.name, &[Topic::Certificate])
            && !findings.has_error(&daemon.name, &FAULTS)
    });
    let proofs = tried.map(|(client, daemon)| async move {
        let node = diagnosis.observed.nodes.get(&client.name)?;
        Some(own_certificate(node, client, daemon, expectations).await)
    });
    let unnamed: BTreeSet<(String, String)> = unnamed(diagnosis)
        .into_iter()
        .flat_map(|one| {
            let holder = one.holder;
            let daemons = one.daemons.into_iter();
            daemons.map(move |daemon| (holder.clone(), daemon))
        })
        .collect();
    let proofs: Vec<Option<Vec<Proof>>> = futures::stream::iter(proofs.collect::<Vec<_>>())
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for Proof {
        from,
        to,
        check,
        verdict,
        seen,
    } in proofs.into_iter().flatten().flatten()
    {
        match verdict {
            _ if check == Check::Role => {
                if verdict == Verdict::Failed {
                    findings.add(finding(
                        Severity::Error,
                        Topic::Certificate,
                        &from,
                        format!("{to} does not hold it to its role ({seen})"),
                        "run deploy, which installs the guard and its policy".to_owned(),
                    ));
                }
            }
            Verdict::Proved => findings.fine(
                &from,
                Topic::Certificate,
                format!("{to} accepts it ({seen})"),
            ),
            // Reported with its tools.
            Verdict::NotProved | Verdict::NotReached => {}
            Verdict::Unreachable => findings.add(finding(
                Severity::Warning,
                Topic::Reach,
                &from,
                format!("whether {to} accepts its certificate could not be tried: {seen}"),
                "run doctor again".to_owned(),
            )),
            // Reported with its cause.
            Verdict::Failed if unnamed.contains(&(from.clone(), to.clone())) => {}
            Verdict::Failed => {
                let advice = rejected(diagnosis, &from, &to);
                let seen = format!("{to} rejects it: {seen}");
                findings.add(finding(
                    Severity::Error,
                    Topic::Certificate,
                    &from,
                    seen,
                    advice,
                ));
            }
        }
    }
}

/// Clients that guards reject because their policies do not name them.
fn unnamed(diagnosis: &Diagnosis<'_>) -> Vec<Unnamed> {
    let observed = &diagnosis.observed;
    let listed = diagnosis.playbook.limited(observed.inventory);
    let ledger = &observed.authority.ledger;
    plan::unnamed(observed.inventory, &listed, &observed.facts, |holder| {
        ledger.delivered(holder, Role::Client).is_some()
    })
}

/// The same as findings. Pure.
pub(super) fn guards(findings: &mut Findings, diagnosis: &Diagnosis<'_>) {
    for one in unnamed(diagnosis) {
        findings.add(finding(
            Severity::Error,
            Topic::Reach,
            host_of(&one.holder),
            one.described(),
            format!("update the policies: {UPDATE_POLICIES}"),
        ));
    }
}

/// What to do about a client that a daemon rejects.
fn rejected(diagnosis: &Diagnosis<'_>, from: &str, to: &str) -> String {
    let is_guarded = diagnosis
        .observed
        .inventory
        .host(to)
        .is_some_and(Host::is_guarded);
    let shown = diagnosis
        .observed
        .inventory
        .holder(from)
        .and_then(|client| {
            let (directory, files) = leaf_location(client, Role::Client);
            let facts = diagnosis.observed.facts.get(&client.name)?;
            let file = facts.regular(&format!("{directory}/{}", files.cert))?;
            Certificate::from_pem(file.content.as_deref()?).ok()
        });
    let is_revoked =
        shown.is_some_and(|shown| revoked_reason(&diagnosis.observed.authority, &shown).is_some());
    if is_guarded && is_revoked {
        return format!(
            "its certificate is revoked. If {from} is to have access again, give it a new one: dtls-deploy deploy INVENTORY"
        );
    }
    format!(
        "compare the CAs that {to} trusts with the client's certificate: dtls-deploy status INVENTORY"
    )
}

#[cfg(test)]
mod tests;
