//! What is revoked and accepted all the same.

use super::rows::remembered;
use base::event::{CertificateState, CertificateStatus};
use inventory::Inventory;
use pki::Role;
use plan::revoked;
use run::look::Observation;

/// Those that are revoked, and that someone accepts all the same.
pub(super) fn rows(observed: &Observation<'_>, listed: &Inventory) -> Vec<CertificateStatus> {
    revoked::revoked(&observed.authority, observed.now)
        .filter_map(|(entry, revocation)| {
            let trusted = revoked::trusted_by(entry, listed, &observed.facts);
            let unseen: Vec<&str> = listed
                .hosts
                .iter()
                .filter(|host| match entry.role {
                    Role::Client => host.is_daemon,
                    Role::Daemon => host.is_client,
                })
                .map(|host| host.name.as_str())
                .filter(|name| !observed.facts.contains_key(*name))
                .collect();
            if trusted.is_empty() && unseen.is_empty() {
                return None;
            }
            let mut drift = vec![match &revocation.reason {
                Some(reason) => format!("revoked on {}: {reason}", revocation.at.date()),
                None => format!("revoked on {}", revocation.at.date()),
            }];
            if !trusted.is_empty() {
                let by = some_of(&trusted);
                drift.push(match entry.role {
                    Role::Client => format!("STILL ACCEPTED by {by}, which trusts its CA"),
                    Role::Daemon => format!("STILL TRUSTED by {by}"),
                });
            }
            if !unseen.is_empty() {
                let unseen: Vec<String> = unseen.iter().map(|&name| name.to_owned()).collect();
                drift.push(format!(
                    "perhaps by {}, which could not be checked",
                    some_of(&unseen)
                ));
            }
            let accepting = trusted.iter().map(String::as_str).chain(unseen);
            let due = if revoked::is_for_restart(entry, listed, &observed.facts, accepting.clone())
            {
                Some("dockerd does not ask its guard there: dtls-deploy INVENTORY restarts it")
            } else if revoked::is_for_guards(entry, listed, accepting) {
                Some("the guard's policy must be updated: dtls-deploy rotate INVENTORY")
            } else {
                revoked::is_of_present(&observed.authority, entry)
                    .then_some("the CA must be replaced: dtls-deploy rotate --ca INVENTORY")
            };
            Some(CertificateStatus {
                state: CertificateState::Revoked,
                drift,
                due: due.map(str::to_owned),
                ..remembered(observed, &entry.host, entry.role, Some(entry))
            })
        })
        .collect()
}

/// "node3, node4 and 7 others".
fn some_of(names: &[String]) -> String {
    const FEW: usize = 3;
    let first = names
        .iter()
        .take(FEW)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(FEW) {
        0 => first,
        1 => format!("{first} and 1 other"),
        more => format!("{first} and {more} others"),
    }
}
