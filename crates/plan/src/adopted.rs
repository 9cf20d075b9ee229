//! Adopted leaves: made elsewhere with the CA's key, and kept until they are due.
//!
//! Missing names and another key type wait for the next certificate. What clients could not work
//! with, or names that the inventory lists explicitly, do not wait.

use std::collections::BTreeSet;

use super::Authority;
use crate::host::address::daemon_address;
use inventory::Host;
use pki::{Certificate, Role, San};

/// The names without which a daemon's certificate is useless, or which the inventory lists
/// explicitly.
fn needed_sans(host: &Host) -> BTreeSet<San> {
    let lower = |san: &San| match san {
        San::Dns(name) => San::Dns(name.to_ascii_lowercase()),
        San::Ip(address) => San::Ip(*address),
    };
    if let Some(exact) = &host.settings.sans {
        return exact.iter().map(lower).collect();
    }
    let mut needed: BTreeSet<San> = host.settings.extra_sans.iter().map(lower).collect();
    let called = daemon_address(host).host.to_ascii_lowercase();
    needed.extend(match called.parse() {
        Ok(address) => Some(San::Ip(address)),
        Err(_) => format!("DNS:{called}").parse().ok(),
    });
    needed
}

/// Why an adopted certificate must be replaced.
pub(super) fn faults(host: &Host, role: Role, certificate: &Certificate) -> Vec<String> {
    if role == Role::Client {
        return Vec::new();
    }
    // Go's, and so docker's, since Go 1.15.
    if certificate.sans().is_empty() {
        return vec!["it has a CN and no SAN, which docker does not accept".to_owned()];
    }
    needed_sans(host)
        .difference(certificate.sans())
        .map(|san| format!("SAN {san} missing"))
        .collect()
}

/// Whether the ledger lists it as adopted.
pub(super) fn is_adopted(authority: &Authority, certificate: &Certificate) -> bool {
    let entry = authority.ledger.by_serial(certificate.serial());
    entry.is_some_and(|entry| entry.adopted && entry.certificate_sha256 == certificate.sha256())
}
