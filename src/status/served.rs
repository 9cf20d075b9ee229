//! What daemons serve: a handshake with each, from a client's node if possible, otherwise from the
//! daemon's own.

use futures::StreamExt as _;

use super::judge::{Faults, age, judge, text};
use base::event::{
    CertificateRole, CertificateSource, CertificateState, CertificateStatus, Verdict,
};
use docker::tls::DaemonMode;
use inventory::{Host, Inventory};
use node::DialError;
use pki::{Certificate, Role};
use plan::Renewal;
use plan::host::address::daemon_address;
use plan::host::guard;
use plan::host::leaf::location as leaf_location;
use run::look::Observation;
use run::verify::probe::{Answer, ServerFault, Shown};
use run::verify::{DEADLINE, Unreached, handshake, local, other_authorities};

/// Maximum number of concurrent handshakes.
const AT_ONCE: usize = 64;
/// Number of clients to try, one after the other, until one succeeds.
const CLIENTS: usize = 3;

/// One row for every daemon that can be checked.
pub(super) async fn all(observed: &Observation<'_>, listed: &Inventory) -> Vec<CertificateStatus> {
    let rows = listed.daemons().map(|daemon| one(observed, daemon));
    futures::stream::iter(rows)
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

async fn one(observed: &Observation<'_>, daemon: &Host) -> Option<CertificateStatus> {
    let authorities = authorities(observed, daemon);
    let address = daemon_address(daemon);
    let clients = observed.inventory.clients().map(|client| &client.name);
    let clients = clients.filter(|name| observed.nodes.contains_key(*name));
    let own = std::iter::once(&daemon.name);
    let mut seen = None;
    for name in clients.take(CLIENTS).chain(own) {
        let Some(node) = observed.nodes.get(name) else {
            continue;
        };
        let at = (address.host.as_str(), address.port);
        let shown = handshake(node, at, &authorities, None, DEADLINE).await;
        let got_through = shown.is_ok();
        // The result of the first client counts, unless another one succeeds.
        if got_through || seen.is_none() {
            seen = Some((name, shown));
        }
        if got_through {
            break;
        }
    }
    let guard = guard(observed, daemon).await;
    let (from, seen) = seen?;
    let mut row = CertificateStatus {
        host: daemon.name.clone(),
        identity: None,
        role: CertificateRole::Daemon,
        source: CertificateSource::Served,
        // Independent of the client, so that its metrics stay one series.
        place: address.url(),
        holder: format!("{} on {}", daemon.settings.unit, daemon.name),
        state: CertificateState::Unknown,
        drift: Vec::new(),
        allowed: None,
        due: None,
        certificate: None,
    };
    match seen {
        Ok((answer, shown)) => fill(observed, daemon, &authorities, &answer, &shown, &mut row),
        Err(error) => {
            row.state = match &error {
                Unreached::Dial(DialError::Refused { .. }) if is_undeployed(observed, daemon) => {
                    CertificateState::Due
                }
                Unreached::Dial(DialError::Refused { .. }) => CertificateState::Broken,
                // Nothing is known of the daemon.
                Unreached::Dial(_) | Unreached::Probe(_) | Unreached::NoAuthority => {
                    CertificateState::Unknown
                }
            };
            row.drift.push(format!("seen from {from}: {error}"));
        }
    }
    if let Some(fault) = guard {
        row.state = row.state.min(CertificateState::Broken);
        row.drift.push(fault);
    }
    Some(row)
}

/// What is wrong with the daemon's guard: without it a client may do anything.
async fn guard(observed: &Observation<'_>, daemon: &Host) -> Option<String> {
    let node = observed.nodes.get(&daemon.name)?;
    let is_guarded = guard::is_expected(daemon, observed.facts.get(&daemon.name));
    if !is_guarded || is_undeployed(observed, daemon) {
        return None;
    }
    match local(node, daemon, true).await.1 {
        Some((Verdict::Failed, seen)) => Some(format!("its guard does not work: {seen}")),
        _ => None,
    }
}

fn is_undeployed(observed: &Observation<'_>, daemon: &Host) -> bool {
    let facts = observed.facts.get(&daemon.name);
    facts.is_some_and(|facts| plan::is_undeployed(daemon, Role::Daemon, facts))
}

/// The CA, and the one that is to follow it; where none is known, what the daemon's own node has
/// of it.
fn authorities(observed: &Observation<'_>, daemon: &Host) -> Vec<Certificate> {
    let known = [&observed.authority.certificate, &observed.authority.next];
    let known: Vec<Certificate> = known.into_iter().flatten().cloned().collect();
    if known.is_empty() {
        bundle(observed, daemon).unwrap_or_default()
    } else {
        known
    }
}

/// Whose clients the daemon should accept: those of the CA. While that is replaced, of one, both
/// or the other, as its own bundle says.
fn wanted(
    observed: &Observation<'_>,
    daemon: &Host,
    authorities: &[Certificate],
) -> Vec<Certificate> {
    let is_replaced = observed.authority.next.is_some();
    let is_known = |found: &Certificate| authorities.iter().any(|known| known.der() == found.der());
    let on_disk = bundle(observed, daemon).filter(|found| found.iter().all(is_known));
    match (on_disk, &observed.authority.certificate) {
        (Some(found), _) if is_replaced && !found.is_empty() => found,
        (_, Some(authority)) => vec![authority.clone()],
        _ => authorities.to_vec(),
    }
}

fn bundle(observed: &Observation<'_>, daemon: &Host) -> Option<Vec<Certificate>> {
    let (directory, files) = leaf_location(daemon, Role::Daemon);
    let facts = observed.facts.get(&daemon.name)?;
    let file = facts.regular(&format!("{directory}/{}", files.ca))?;
    Certificate::bundle_from_pem(file.content.as_deref()?).ok()
}

fn fill(
    observed: &Observation<'_>,
    daemon: &Host,
    authorities: &[Certificate],
    answer: &Answer,
    shown: &Shown,
    row: &mut CertificateStatus,
) {
    let der = shown.certificate.as_deref();
    let certificate = der.and_then(|der| Certificate::from_der(der).ok());
    let mut faults = Faults::default();
    match answer {
        // Its dates show that.
        Answer::ServerCertificate(ServerFault::Expired | ServerFault::NotYetValid) => {}
        Answer::ServerCertificate(fault) => faults.broken.push(fault.to_string()),
        Answer::Served(_) if daemon.settings.daemon_mode == DaemonMode::Tls => {}
        Answer::Served(_) => faults
            .broken
            .push("accepts clients without a certificate".to_owned()),
        _ if certificate.is_none() => faults.broken.push(answer.to_string()),
        _ => {}
    }
    if let Some(certificate) = &certificate {
        faults
            .drift
            .extend(not_on_disk(observed, daemon, certificate));
        // It asks for certificates only after its own was accepted.
        if shown.accepted_authorities.is_some() {
            let authorities = wanted(observed, daemon, authorities);
            faults.broken.extend(other_authorities(shown, &authorities));
        }
    }
    // What is on disk is what is renewed.
    let renewal = match age(observed, daemon, Role::Daemon, certificate.as_ref()) {
        due if faults.drift.is_empty() => due,
        _ => Renewal::NotDue,
    };
    let judged = judge(certificate.as_ref(), faults, renewal, observed.now);
    row.state = judged.state;
    row.drift = judged.drift;
    row.due = judged.due;
    row.certificate = certificate.map(|certificate| text(&certificate, observed.now));
}

/// Why what is served is not what dockerd would read now.
fn not_on_disk(observed: &Observation<'_>, daemon: &Host, served: &Certificate) -> Option<String> {
    let facts = observed.facts.get(&daemon.name)?;
    let (directory, files) = leaf_location(daemon, Role::Daemon);
    let file = facts.regular(&format!("{directory}/{}", files.cert))?;
    let on_disk = Certificate::from_pem(file.content.as_deref()?).ok()?;
    (on_disk.der() != served.der()).then(|| {
        format!(
            "another one is on disk (serial {}): docker has not been restarted since",
            on_disk.serial()
        )
    })
}
