//! Leaves: is the pair on a node the right one, is one waiting on the CA node,
//! or has a new one to be issued?
//!
//! No private key is read for it. The node reports the hash of its key file,
//! the ledger on the CA node knows to which certificate that file belongs, and
//! everything else is read from the certificate itself.

use std::collections::BTreeSet;
use std::net::IpAddr;

use time::{Duration, OffsetDateTime};

use super::authority::Authority;
use super::issued::issued_names;
use super::{Planner, Refusal};
use crate::inventory::{Files, Host, RenewBefore};
use crate::node::facts::NodeFacts;
use crate::pki::{Certificate, ExtendedKeyUsage, LeafRequest, Role, San, Signer};

/// What shall happen about one leaf.
#[derive(Debug, Clone)]
pub enum LeafDecision {
    /// The pair on the node is right.
    Keep { certificate: Box<Certificate> },
    /// A pair that was issued before waits on the CA node.
    Fetch {
        reasons: Vec<String>,
        certificate: Box<Certificate>,
    },
    /// A new pair is needed.
    Issue {
        reasons: Vec<String>,
        request: Box<LeafRequest>,
    },
}

/// Where a role's files are on its node.
#[must_use]
pub fn location(host: &Host, role: Role) -> (String, Files) {
    match role {
        Role::Daemon => (
            host.settings.daemon_dir.clone(),
            host.settings.daemon_files.clone(),
        ),
        Role::Client => (host.settings.client_dir.clone(), Files::default()),
    }
}

/// The names and addresses a leaf is for.
#[must_use]
pub fn wanted_sans(host: &Host, role: Role) -> BTreeSet<San> {
    if role == Role::Client {
        return BTreeSet::new();
    }
    // Certificates carry DNS names in lower case: see `LeafProfile`.
    let lower = |san: &San| match san {
        San::Dns(name) => San::Dns(name.to_ascii_lowercase()),
        San::Ip(address) => San::Ip(*address),
    };
    if let Some(exact) = &host.settings.sans {
        return exact.iter().map(lower).collect();
    }
    let mut sans: BTreeSet<San> = host.settings.extra_sans.iter().map(lower).collect();
    let listened = host
        .settings
        .listen
        .iter()
        .map(|listen| listen.host.as_str());
    for name in [
        host.name.as_str(),
        host.connection.address.as_str(),
        "localhost",
    ]
    .into_iter()
    .chain(listened)
    {
        match name.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => {}
            Ok(address) => {
                sans.insert(San::Ip(address));
            }
            Err(_) => {
                if let Ok(name) = format!("DNS:{name}").parse() {
                    sans.insert(name);
                }
            }
        }
    }
    sans.insert(San::Ip(std::net::Ipv4Addr::LOCALHOST.into()));
    sans.insert(San::Ip(std::net::Ipv6Addr::LOCALHOST.into()));
    sans
}

impl Planner<'_> {
    /// Decides about the leaf of `host` in `role`, and remembers it.
    ///
    /// # Errors
    /// When the CA cannot be used or the request cannot be made.
    pub fn decide_leaf(&mut self, host: &Host, role: Role) -> Result<LeafDecision, Refusal> {
        if let Some(problem) = &self.authority.problem {
            return Err(Refusal::new(problem.to_string()).hint(problem.hint()));
        }
        let facts = self.facts(&host.name)?;
        let (directory, files) = location(host, role);
        let found = examine(
            facts,
            &format!("{directory}/{}", files.cert),
            &format!("{directory}/{}", files.key),
            &self.authority,
        );
        let decision = match found {
            Found::Pair(certificate) => {
                let mut reasons = self.faults(host, role, &certificate);
                if self.waits_for_next(role, &certificate) {
                    reasons.clear();
                }
                if self.ends_with_authority(&certificate)
                    && due(&certificate, host.settings.renew_before, self.now).is_some()
                {
                    self.note(
                        host,
                        format!(
                            "its {role} certificate ends with the CA, on {}, and a new one would too: make a new CA before that day",
                            certificate.not_after().date()
                        ),
                    );
                }
                if reasons.is_empty() {
                    LeafDecision::Keep { certificate }
                } else {
                    self.replace(host, role, reasons)?
                }
            }
            Found::Nothing(reason) => self.replace(host, role, vec![reason])?,
        };
        self.leaves
            .insert((host.name.clone(), role), decision.clone());
        Ok(decision)
    }

    /// What is wrong with a certificate, in words for the plan.
    fn faults(&self, host: &Host, role: Role, certificate: &Certificate) -> Vec<String> {
        let mut faults = Vec::new();
        match &self.authority.certificate {
            Some(authority) if !self.authority.planned => {
                let is_of_next = self
                    .rollover
                    .as_ref()
                    .is_some_and(|rollover| certificate.is_signed_by(rollover.next()));
                if !is_of_next && !certificate.is_signed_by(authority) {
                    faults.push(format!("issued by another CA ({})", certificate.issuer()));
                } else if let Some(rollover) = &self.rollover
                    && !is_of_next
                    && rollover.needs_new_leaf(role)
                {
                    faults.push(format!(
                        "CA rollover: issued by {}, wanted of {}",
                        certificate.issuer(),
                        rollover.next().subject()
                    ));
                }
            }
            _ => faults.push("the CA is new".to_owned()),
        }
        let wanted = wanted_sans(host, role);
        for san in wanted.difference(certificate.sans()) {
            faults.push(format!("SAN {san} missing"));
        }
        for san in certificate.sans().difference(&wanted) {
            faults.push(format!("SAN {san} not wanted"));
        }
        let usage = match role {
            Role::Daemon => ExtendedKeyUsage::ServerAuth,
            Role::Client => ExtendedKeyUsage::ClientAuth,
        };
        if certificate.extended_key_usages() != &BTreeSet::from([usage]) {
            faults.push("extended key usage differs".to_owned());
        }
        if certificate.key_type() != Some(host.settings.key_type) {
            let found = certificate
                .key_type()
                .map_or_else(|| "another".to_owned(), |key_type| key_type.to_string());
            faults.push(format!("key type {found}, want {}", host.settings.key_type));
        }
        if !self.ends_with_authority(certificate)
            && let Some(fault) = due(certificate, host.settings.renew_before, self.now)
        {
            faults.push(fault);
        }
        faults
    }

    /// Whether a leaf of the present CA is replaced by one of the next CA in a
    /// later step of the same run: one restart for both.
    fn waits_for_next(&self, role: Role, certificate: &Certificate) -> bool {
        let is_current = self
            .authority
            .certificate
            .as_ref()
            .is_some_and(|authority| certificate.is_signed_by(authority));
        let now = self
            .rollover
            .as_ref()
            .is_some_and(|rollover| rollover.needs_new_leaf(role));
        self.rolls_over && !now && is_current && certificate.not_after() > self.now
    }

    /// Whether a leaf is good for as long as its CA is: one issued now would end
    /// at the same moment, so that renewing it gains nothing.
    fn ends_with_authority(&self, certificate: &Certificate) -> bool {
        let rollover = self.rollover.as_ref();
        rollover
            .and_then(|rollover| rollover.signer_of(certificate))
            .or(self.authority.certificate.as_ref())
            .is_some_and(|authority| {
                !self.authority.planned
                    && certificate.not_after() >= authority.not_after()
                    && authority.not_after() > self.now
            })
    }

    /// The decision about a leaf, for a task that delivers it. A run without a
    /// `certificate` task delivers what is there when that is right.
    ///
    /// # Errors
    /// When a new pair is needed, and nothing in this run asks for one.
    pub fn decided_leaf(&mut self, host: &Host, role: Role) -> Result<LeafDecision, Refusal> {
        let key = (host.name.clone(), role);
        if let Some(decision) = self.leaves.get(&key) {
            return Ok(decision.clone());
        }
        match self.decide_leaf(host, role)? {
            LeafDecision::Issue { reasons, .. } | LeafDecision::Fetch { reasons, .. } => {
                self.leaves.remove(&key);
                Err(Refusal::new(format!(
                    "its {role} certificate has to be replaced ({}), and no `certificate` task of this run does so",
                    reasons.join("; ")
                ))
                .hint("put a `certificate` task for this role before, or let --tags include it"))
            }
            keep @ LeafDecision::Keep { .. } => Ok(keep),
        }
    }

    /// Whether the CA can sign now.
    fn check_authority(&self, signer: Signer) -> Result<(), Refusal> {
        if self.authority.planned {
            return Ok(());
        }
        let authority = match signer {
            Signer::Current => &self.authority.certificate,
            Signer::Next => &self.authority.next,
        };
        let Some(authority) = authority else {
            return Err(Refusal::new("there is no CA yet")
                .hint("a `ca` task makes one: put it first, or let --tags include it"));
        };
        if authority.not_after() <= self.now {
            let end = authority.not_after().date();
            return Err(Refusal::new(format!("the CA has expired on {end}: it signs nothing")).hint(
                "move ca.pem and ca-key.pem away to begin with a new CA, or check the clock of this machine",
            ));
        }
        if authority.not_before() > self.now {
            let begin = authority.not_before().truncate_to_second();
            return Err(Refusal::new(format!("the CA is valid only from {begin}"))
                .hint("check the clock of this machine and of the CA node"));
        }
        Ok(())
    }

    fn replace(
        &self,
        host: &Host,
        role: Role,
        reasons: Vec<String>,
    ) -> Result<LeafDecision, Refusal> {
        let authority_host = self.inventory.ca();
        let template = &authority_host.settings.issued_name;
        let (key_name, certificate_name) = issued_names(template, host, role)?;
        if let Some(facts) = self.facts.get(&authority_host.name) {
            let directory = &authority_host.settings.ca_dir;
            let waiting = examine(
                facts,
                &format!("{directory}/{certificate_name}"),
                &format!("{directory}/{key_name}"),
                &self.authority,
            );
            if let Found::Pair(certificate) = waiting
                && self.faults(host, role, &certificate).is_empty()
                && self
                    .authority
                    .ledger
                    .current(&host.name, role)
                    .is_some_and(|entry| entry.certificate_sha256 == certificate.sha256())
            {
                return Ok(LeafDecision::Fetch {
                    reasons,
                    certificate,
                });
            }
        }
        let signer = self
            .rollover
            .as_ref()
            .map_or(Signer::Current, |rollover| rollover.signer(role));
        self.check_authority(signer)?;
        Ok(LeafDecision::Issue {
            reasons,
            request: Box::new(LeafRequest {
                host: host.name.clone(),
                role,
                signer,
                common_name: host.name.clone(),
                sans: wanted_sans(host, role),
                key_type: host.settings.key_type,
                validity_days: host.settings.validity_days,
                key_name,
                certificate_name,
            }),
        })
    }
}

enum Found {
    Pair(Box<Certificate>),
    Nothing(String),
}

/// Is there a certificate, and beside it the key that the ledger knows for it?
fn examine(facts: &NodeFacts, certificate: &str, key: &str, authority: &Authority) -> Found {
    let Some(file) = facts.regular(certificate) else {
        return Found::Nothing("none present".to_owned());
    };
    let Ok(parsed) = Certificate::from_pem(file.content.as_deref().unwrap_or_default()) else {
        return Found::Nothing("the file present is not a certificate".to_owned());
    };
    let Some(key) = facts.regular(key) else {
        return Found::Nothing("its key is missing".to_owned());
    };
    match authority.ledger.by_key_sha256(&key.sha256) {
        Some(entry) if entry.certificate_sha256 == parsed.sha256() => Found::Pair(Box::new(parsed)),
        Some(entry) if entry.public_key_sha256 == parsed.public_key_sha256() => {
            Found::Pair(Box::new(parsed))
        }
        Some(_) => Found::Nothing("key and certificate do not belong together".to_owned()),
        None => Found::Nothing("its key is not one the ledger knows".to_owned()),
    }
}

/// Expired, or inside the window in which it is renewed.
fn due(
    certificate: &Certificate,
    renew_before: Option<RenewBefore>,
    now: OffsetDateTime,
) -> Option<String> {
    let end = certificate.not_after();
    if end <= now {
        return Some(format!("expired on {}", end.date()));
    }
    let window = match renew_before {
        Some(RenewBefore { days }) => Duration::days(days.into()),
        None => (end - certificate.not_before()) / 3,
    };
    (now >= end - window).then(|| format!("expires on {}, due for renewal", end.date()))
}
