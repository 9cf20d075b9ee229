//! Adopting: finds certificates on the nodes that this CA signed and that its ledger does not list.
//!
//! ```text
//! facts ──> where the files lie (found) ──> candidates ──> standing ──> ledger
//!                    └──> lines for the inventory
//! ```
//!
//! This module is pure: facts in, candidates out. [`run`] reads the facts, verifies that keys match
//! their certificates, and calls the CA agent.

mod lines;

use std::collections::BTreeMap;

use time::OffsetDateTime;

pub use crate::host::in_use::more_facts;
pub use crate::host::in_use::paths;
pub use lines::lines;

use crate::{Refusal, issued_names};
use docker::tls::TlsPaths;
use inventory::{Host, Inventory};
use node::facts::NodeFacts;
use pki::{AdoptedLeaf, Certificate, ExtendedKeyUsage, Ledger, Role};

/// A certificate found at a path for a leaf.
#[derive(Debug)]
pub struct Candidate {
    pub host: String,
    pub role: Role,
    pub paths: TlsPaths,
    /// The pair lies in the CA directory and not on its host.
    pub on_ca: bool,
    pub certificate: Certificate,
    pub leaf: AdoptedLeaf,
    pub standing: Standing,
    /// Remarks for the operator, for instance that it is due at once.
    pub remarks: Vec<String>,
}

/// How a candidate stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The ledger lists it.
    Known,
    /// The ledger lists it for this other holder.
    Shared(String),
    /// It can be adopted once its key is verified to match.
    New,
    /// It cannot be adopted, for this reason; the next run replaces it.
    Refused(String),
}

/// Every certificate at the paths that the inventory and the daemons' own settings name.
pub fn candidates(
    inventory: &Inventory,
    hosts: &[&Host],
    facts: &BTreeMap<String, NodeFacts>,
    authority: &Certificate,
    ledger: &Ledger,
    now: OffsetDateTime,
) -> Result<Vec<Candidate>, Refusal> {
    let mut found: Vec<Candidate> = Vec::new();
    for host in hosts {
        for (role, is_wanted) in [
            (Role::Daemon, host.is_daemon),
            (Role::Client, host.shows_certificate()),
        ] {
            if !is_wanted {
                continue;
            }
            let Some(mut candidate) = candidate(inventory, host, role, facts)? else {
                continue;
            };
            candidate.standing = standing(&candidate, authority, ledger, &found);
            if candidate.standing == Standing::New {
                candidate.remarks = remarks(&candidate, now);
            }
            found.push(candidate);
        }
    }
    Ok(found)
}

/// Reads the host itself, or the CA directory if the host does not answer.
fn candidate(
    inventory: &Inventory,
    host: &Host,
    role: Role,
    facts: &BTreeMap<String, NodeFacts>,
) -> Result<Option<Candidate>, Refusal> {
    let ca = inventory.ca();
    let (key_name, certificate_name) = issued_names(&ca.settings.issued_name, host, role)?;
    let own = facts.get(&host.name);
    let there = own.map(|facts| (facts, paths(host, role, facts), false));
    // A reachable host without a certificate gets a new one.
    let here = facts.get(&ca.name).filter(|_| own.is_none()).map(|facts| {
        let directory = &ca.settings.ca_dir;
        let paths = TlsPaths {
            ca: format!("{directory}/ca.pem"),
            certificate: format!("{directory}/{certificate_name}"),
            key: format!("{directory}/{key_name}"),
        };
        (facts, paths, true)
    });
    for (facts, paths, on_ca) in there.into_iter().chain(here) {
        let content = facts
            .regular(&paths.certificate)
            .and_then(|file| file.content.as_deref());
        let certificate = content.and_then(|pem| Certificate::from_pem(pem).ok());
        let (Some(certificate), Some(key)) = (certificate, facts.regular(&paths.key)) else {
            continue;
        };
        return Ok(Some(Candidate {
            host: host.name.clone(),
            role,
            on_ca,
            leaf: AdoptedLeaf {
                host: host.name.clone(),
                role,
                certificate_pem: certificate.to_pem(),
                key_sha256: Some(key.sha256.clone()),
                key_name,
                certificate_name,
            },
            paths,
            certificate,
            standing: Standing::New,
            remarks: Vec::new(),
        }));
    }
    Ok(None)
}

fn standing(
    candidate: &Candidate,
    authority: &Certificate,
    ledger: &Ledger,
    before: &[Candidate],
) -> Standing {
    let certificate = &candidate.certificate;
    let refused = |reason: String| Standing::Refused(reason);
    if !certificate.is_signed_by(authority) {
        return refused(format!("issued by another CA ({})", certificate.issuer()));
    }
    let hash = candidate.leaf.key_sha256.as_deref().unwrap_or_default();
    let known = ledger.by_key_sha256(hash);
    // One pair on several clients is one entry.
    let again = before.iter().find(|other| {
        other.standing == Standing::New
            && other.leaf.key_sha256 == candidate.leaf.key_sha256
            && other.certificate == candidate.certificate
    });
    if let Some(other) = again {
        return Standing::Shared(other.host.clone());
    }
    if let Some(entry) = known.filter(|entry| entry.certificate_sha256 == certificate.sha256()) {
        return if entry.host == candidate.host {
            Standing::Known
        } else {
            Standing::Shared(entry.host.clone())
        };
    }
    let serial = certificate.serial();
    let taken = before
        .iter()
        .any(|other| other.standing == Standing::New && other.certificate.serial() == serial);
    if taken || ledger.by_serial(serial).is_some() {
        return refused(format!("another certificate has the same serial {serial}"));
    }
    let (usage, who) = match candidate.role {
        Role::Daemon => (ExtendedKeyUsage::ServerAuth, "servers"),
        Role::Client => (ExtendedKeyUsage::ClientAuth, "clients"),
    };
    let usages = certificate.extended_key_usages();
    if !usages.is_empty() && !usages.contains(&usage) && !usages.contains(&ExtendedKeyUsage::Any) {
        return refused(format!("it is not for {who}"));
    }
    if certificate.key_type().is_none() {
        return refused("its key is of a type that is not supported".to_owned());
    }
    Standing::New
}

/// Why the next run replaces it even though it is adopted.
fn remarks(candidate: &Candidate, now: OffsetDateTime) -> Vec<String> {
    let certificate = &candidate.certificate;
    let mut remarks = Vec::new();
    let end = certificate.not_after();
    if end <= now {
        remarks.push(format!("expired on {}: due at once", end.date()));
    } else {
        remarks.push(format!("valid until {}", end.date()));
    }
    if candidate.role == Role::Daemon && certificate.sans().is_empty() {
        remarks.push("it has a CN and no SAN: due at once".to_owned());
    }
    if certificate.extended_key_usages().len() != 1 {
        remarks.push("good for clients and servers alike: due at once".to_owned());
    }
    if candidate.on_ca {
        remarks.push("found on the CA node".to_owned());
    }
    remarks
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use time::Duration;
    use time::macros::datetime;

    use super::*;
    use pki::{Authority, AuthorityProfile, KeyType, LeafProfile, Serial, Subject, generate};

    const NOW: OffsetDateTime = datetime!(2026-06-01 00:00 UTC);

    fn authority() -> Authority {
        let subject = Subject::named("CA");
        let profile = AuthorityProfile::new(subject, KeyType::EcdsaP256, 900);
        Authority::create(&profile, NOW).unwrap()
    }

    fn found(ca: &Authority, host: &str, role: Role, serial: Serial) -> Candidate {
        let profile = LeafProfile {
            common_name: host.to_owned(),
            role: Role::Client,
            sans: BTreeSet::new(),
            key_type: KeyType::EcdsaP256,
            validity: Duration::days(90),
        };
        let key = generate(KeyType::EcdsaP256).unwrap();
        let leaf = ca.sign(&profile, &key, serial, NOW).unwrap();
        Candidate {
            host: host.to_owned(),
            role,
            paths: TlsPaths {
                ca: String::new(),
                certificate: String::new(),
                key: String::new(),
            },
            on_ca: false,
            leaf: AdoptedLeaf {
                host: host.to_owned(),
                role,
                certificate_pem: leaf.certificate.to_pem(),
                key_sha256: Some(pki::sha256_hex(leaf.key_pem.expose())),
                key_name: "key.pem".to_owned(),
                certificate_name: "cert.pem".to_owned(),
            },
            certificate: leaf.certificate,
            standing: Standing::New,
            remarks: Vec::new(),
        }
    }

    fn judged(candidate: &Candidate, ca: &Authority, before: &[Candidate]) -> Standing {
        standing(candidate, ca.certificate(), &Ledger::default(), before)
    }

    #[test]
    fn only_what_the_ledger_can_tell_apart_is_taken_in() {
        let (ca, other) = (authority(), authority());
        let serial = Serial::random().unwrap();
        let first = found(&ca, "a", Role::Client, serial);
        assert_eq!(judged(&first, &ca, &[]), Standing::New);
        assert!(matches!(
            judged(&first, &other, &[]),
            Standing::Refused(reason) if reason.contains("another CA")
        ));
        // A client's certificate where a daemon's belongs.
        let daemon = found(&ca, "b", Role::Daemon, Serial::random().unwrap());
        assert!(matches!(
            judged(&daemon, &ca, &[]),
            Standing::Refused(reason) if reason.contains("not for servers")
        ));
        // Every certificate made with `openssl x509 -set_serial 01` has this serial.
        let same_serial = found(&ca, "c", Role::Client, serial);
        let before = [first];
        assert!(matches!(
            judged(&same_serial, &ca, &before),
            Standing::Refused(reason) if reason.contains("same serial")
        ));
    }

    #[test]
    fn one_pair_on_several_clients_is_one_entry() {
        let ca = authority();
        let first = found(&ca, "a", Role::Client, Serial::random().unwrap());
        let second = Candidate {
            host: "b".to_owned(),
            role: Role::Client,
            paths: first.paths.clone(),
            on_ca: false,
            certificate: first.certificate.clone(),
            leaf: first.leaf.clone(),
            standing: Standing::New,
            remarks: Vec::new(),
        };
        assert_eq!(
            judged(&second, &ca, &[first]),
            Standing::Shared("a".to_owned())
        );
    }

    #[test]
    fn what_is_due_at_once_is_said() {
        let ca = authority();
        let mut candidate = found(&ca, "a", Role::Client, Serial::random().unwrap());
        assert_eq!(remarks(&candidate, NOW), ["valid until 2026-08-30"]);
        let late = NOW + Duration::days(91);
        assert_eq!(
            remarks(&candidate, late),
            ["expired on 2026-08-30: due at once"]
        );
        candidate.role = Role::Daemon;
        let daemon = LeafProfile {
            common_name: "a".to_owned(),
            role: Role::Daemon,
            sans: BTreeSet::new(),
            key_type: KeyType::EcdsaP256,
            validity: Duration::days(90),
        };
        candidate.certificate = ca.issue(&daemon, NOW).unwrap().certificate;
        assert!(remarks(&candidate, NOW)[1].contains("no SAN"));
    }
}
