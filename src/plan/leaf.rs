//! Leaves: is the pair on a node the right one, is one waiting on the CA node,
//! or has a new one to be issued?
//!
//! No private key is read for it. The node reports the hash of its key file,
//! the ledger on the CA node knows to which certificate that file belongs, and
//! everything else is read from the certificate itself.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::adopted;
use super::authority::Authority;
use super::issued::issued_names;
use super::renewal::{Renewal, renewal, usable};
use super::{Planner, Refusal};
use crate::inventory::{Files, Host};
use crate::node::facts::{FactRequest, NodeFacts};
use crate::pki::{Certificate, ExtendedKeyUsage, LeafRequest, Role, San, Signer, Subject};

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

/// What is asked of a node about the three files of a role.
pub fn request(host: &Host, role: Role, request: &mut FactRequest) {
    let (directory, files) = location(host, role);
    for name in [&files.ca, &files.cert] {
        request.content.insert(format!("{directory}/{name}"));
    }
    request.hashed.insert(format!("{directory}/{}", files.key));
    request.own_addresses |= role == Role::Daemon && host.settings.own_addresses;
    request.accounts.extend(host.owner().map(str::to_owned));
}

/// The names and addresses a leaf is for; the node's own addresses, where they are
/// wanted, as far as facts are there to name them.
#[must_use]
pub fn wanted_sans(host: &Host, role: Role, facts: Option<&NodeFacts>) -> BTreeSet<San> {
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
    if host.settings.own_addresses {
        let own = facts.and_then(|facts| facts.own_addresses.as_ref());
        sans.extend(own.into_iter().flatten().copied().map(San::Ip));
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
        let decision = match self.pair(host, role)? {
            Found::Pair(certificate) => {
                let mut reasons = self.faults(host, role, &certificate);
                self.note_earlier(host, role, &certificate);
                match self.renewal(host, &certificate) {
                    Renewal::NotDue => {}
                    Renewal::EndsWithAuthority if !reasons.is_empty() => {}
                    // What is due is under way.
                    Renewal::EndsWithAuthority if self.rolls_over => {}
                    Renewal::EndsWithAuthority => self.waits_for_authority(host, role),
                    Renewal::Due(reason) => reasons.push(reason),
                    Renewal::LastTime(reason) => {
                        reasons.push(reason);
                        if !self.rolls_over {
                            self.renewed_for_the_last_time(host, role);
                        }
                    }
                }
                if self.waits_for_next(role, &certificate) {
                    reasons.clear();
                }
                if reasons.is_empty() {
                    LeafDecision::Keep { certificate }
                } else {
                    self.replace(host, role, reasons, Some(&certificate))?
                }
            }
            Found::Nothing(reason) => self.replace(host, role, vec![reason], None)?,
        };
        self.leaves.insert((host.holder(), role), decision.clone());
        Ok(decision)
    }

    /// Decides about the age of a leaf alone: a pair of the present CA that is
    /// to be renewed is replaced, and remembered; what else may be wrong with
    /// it is left as it is.
    ///
    /// # Errors
    /// When the CA cannot be used or the request cannot be made.
    pub fn decide_renewal(
        &mut self,
        host: &Host,
        role: Role,
    ) -> Result<Option<LeafDecision>, Refusal> {
        let certificate = match self.pair(host, role)? {
            Found::Pair(certificate) => certificate,
            Found::Nothing(reason) => {
                if reason.starts_with(UNKNOWN_KEY) {
                    self.note(
                        host,
                        format!("whether its {role} certificate is due is not known: {reason}"),
                    );
                }
                return Ok(None);
            }
        };
        if stranger(&self.authority, &certificate).is_some() {
            return Ok(None);
        }
        let reason = match self.renewal(host, &certificate) {
            Renewal::NotDue => return Ok(None),
            Renewal::EndsWithAuthority => {
                self.waits_for_authority(host, role);
                return Ok(None);
            }
            Renewal::Due(reason) => reason,
            Renewal::LastTime(reason) => {
                self.renewed_for_the_last_time(host, role);
                reason
            }
        };
        if role == Role::Daemon && !self.may_restart(host, &reason) {
            return Ok(None);
        }
        let decision = self.replace(host, role, vec![reason], Some(&certificate))?;
        self.leaves.insert((host.holder(), role), decision.clone());
        Ok(Some(decision))
    }

    /// Whether this run has a new certificate for the host.
    #[must_use]
    pub fn has_new_leaf(&self, host: &Host, role: Role) -> bool {
        matches!(
            self.leaves.get(&(host.holder(), role)),
            Some(LeafDecision::Issue { .. } | LeafDecision::Fetch { .. })
        )
    }

    fn pair(&self, host: &Host, role: Role) -> Result<Found, Refusal> {
        usable(&self.authority)?;
        let facts = self.facts(&host.name)?;
        if role == Role::Daemon && host.settings.own_addresses && facts.own_addresses.is_none() {
            return Err(Refusal::new(
                "its own addresses are not known: there is no awk, or no /proc/net",
            )
            .hint("name them in dtls_extra_sans instead of dtls_own_addresses"));
        }
        let (directory, files) = location(host, role);
        Ok(examine(
            facts,
            &format!("{directory}/{}", files.cert),
            &format!("{directory}/{}", files.key),
            &self.authority,
        ))
    }

    /// Why a certificate is not of the CA that it has to be of, in this step of a
    /// rollover where there is one.
    fn issuer_fault(&self, role: Role, certificate: &Certificate) -> Option<String> {
        let Some(rollover) = &self.rollover else {
            return stranger(&self.authority, certificate);
        };
        let is_of_next = certificate.is_signed_by(rollover.next());
        if !is_of_next && rollover.signer_of(certificate).is_none() {
            return Some(format!("issued by another CA ({})", certificate.issuer()));
        }
        (!is_of_next && rollover.needs_new_leaf(role)).then(|| {
            format!(
                "CA rollover: issued by {}, wanted of {}",
                certificate.issuer(),
                rollover.next().subject()
            )
        })
    }

    /// What is wrong with a certificate besides its age, in words for the plan.
    fn faults(&self, host: &Host, role: Role, certificate: &Certificate) -> Vec<String> {
        let mut faults: Vec<String> = self.issuer_fault(role, certificate).into_iter().collect();
        let facts = self.facts.get(&host.name);
        faults.extend(mismatches(&self.authority, host, role, certificate, facts));
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
        // One of an expired CA cannot be had anew.
        let can_wait = certificate.not_after() > self.now || self.authority_expired();
        self.rolls_over && !now && is_current && can_wait
    }

    /// The decision about a leaf, for a task that delivers it. A run without a
    /// `certificate` task delivers what is there when that is right.
    ///
    /// # Errors
    /// When a new pair is needed, and nothing in this run asks for one.
    pub fn decided_leaf(&mut self, host: &Host, role: Role) -> Result<LeafDecision, Refusal> {
        let key = (host.holder(), role);
        if let Some(decision) = self.leaves.get(&key) {
            return Ok(decision.clone());
        }
        match self.decide_leaf(host, role)? {
            LeafDecision::Issue { reasons, .. } | LeafDecision::Fetch { reasons, .. } => {
                self.leaves.remove(&key);
                Err(Refusal::new(format!(
                    "{} has to be replaced ({}), and no `certificate` task of this run does so",
                    host.certificate_of(role),
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
            return Err(
                Refusal::new(format!("the CA has expired on {end}: it signs nothing")).hint(
                    "replace it: dtls-deploy rotate --ca; or check the clock of this machine",
                ),
            );
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
        present: Option<&Certificate>,
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
            let signer = self.authority.certificate.as_ref();
            let is_due = |certificate: &Certificate| {
                matches!(
                    renewal(certificate, &host.settings, signer, self.now),
                    Renewal::Due(_) | Renewal::LastTime(_)
                )
            };
            // What was delivered may be kept there, too: a new one has a new key.
            let is_new = |certificate: &Certificate| {
                present.is_none_or(|present| present.sha256() != certificate.sha256())
            };
            if let Found::Pair(certificate) = waiting
                && is_new(&certificate)
                && self.faults(host, role, &certificate).is_empty()
                && !is_due(&certificate)
                && self
                    .authority
                    .ledger
                    .current(&host.holder(), role)
                    // An adopted pair may have another form than what is delivered.
                    .is_some_and(|entry| {
                        !entry.adopted
                            && entry.certificate_sha256 == certificate.sha256()
                            && self.authority.ledger.revocation(&entry.serial).is_none()
                    })
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
                host: host.holder(),
                role,
                signer,
                common_name: host.holder(),
                sans: wanted_sans(host, role, self.facts.get(&host.name)),
                key_type: host.settings.key_type,
                validity_days: host.settings.validity_days,
                key_name,
                certificate_name,
            }),
        })
    }
}

const UNKNOWN_KEY: &str = "its key is not one the ledger knows";

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
        None if is_unknown(&parsed, authority) => {
            Found::Nothing(format!("{UNKNOWN_KEY} (`dtls-deploy adopt` takes it in)"))
        }
        None => Found::Nothing(UNKNOWN_KEY.to_owned()),
    }
}

/// Whether the CA that is there issued it, and its ledger has no word of it.
fn is_unknown(certificate: &Certificate, authority: &Authority) -> bool {
    if authority.ledger.by_serial(certificate.serial()).is_some() {
        return false;
    }
    let own = authority
        .certificate
        .as_ref()
        .filter(|_| !authority.planned);
    own.is_some_and(|own| certificate.is_signed_by(own))
}

/// What somebody who only looks sees of a pair on its node.
#[derive(Debug)]
pub struct LookedAt {
    /// Where there is one, whether it is the right one or not.
    pub certificate: Option<Box<Certificate>>,
    /// Why it does not work.
    pub broken: Vec<String>,
    /// What else is not as the inventory wants it; its age is not looked at.
    pub drift: Vec<String>,
}

/// Looks at the pair of `role` that lies on its node.
#[must_use]
pub fn look_at(facts: &NodeFacts, host: &Host, role: Role, authority: &Authority) -> LookedAt {
    let (directory, files) = location(host, role);
    let (path, key) = (
        format!("{directory}/{}", files.cert),
        format!("{directory}/{}", files.key),
    );
    let (certificate, mut broken) = match examine(facts, &path, &key, authority) {
        Found::Pair(certificate) => (Some(certificate), Vec::new()),
        Found::Nothing(reason) => {
            let file = facts.regular(&path);
            let content = file.and_then(|file| file.content.as_deref());
            let parsed = content.and_then(|content| Certificate::from_pem(content).ok());
            (parsed.map(Box::new), vec![reason])
        }
    };
    let mut drift = Vec::new();
    if let Some(certificate) = &certificate {
        if authority.certificate.is_some() {
            broken.extend(stranger(authority, certificate));
        }
        drift = mismatches(authority, host, role, certificate, Some(facts));
    }
    LookedAt {
        certificate,
        broken,
        drift,
    }
}

/// Why a certificate is not the present CA's.
fn stranger(authority: &Authority, certificate: &Certificate) -> Option<String> {
    match &authority.certificate {
        Some(current) if !authority.planned => {
            let is_own = [Some(current), authority.next.as_ref()]
                .into_iter()
                .flatten()
                .any(|own| certificate.is_signed_by(own));
            (!is_own).then(|| format!("issued by another CA ({})", certificate.issuer()))
        }
        _ => Some("the CA is new".to_owned()),
    }
}

/// What of a certificate is not as the inventory wants it.
fn mismatches(
    authority: &Authority,
    host: &Host,
    role: Role,
    certificate: &Certificate,
    facts: Option<&NodeFacts>,
) -> Vec<String> {
    let mut faults = Vec::new();
    let is_adopted = adopted::is_adopted(authority, certificate);
    if is_adopted {
        faults.extend(adopted::faults(host, role, certificate));
    } else {
        let wanted = wanted_sans(host, role, facts);
        for san in wanted.difference(certificate.sans()) {
            faults.push(format!("SAN {san} missing"));
        }
        for san in certificate.sans().difference(&wanted) {
            faults.push(format!("SAN {san} not wanted"));
        }
    }
    let usage = match role {
        Role::Daemon => ExtendedKeyUsage::ServerAuth,
        Role::Client => ExtendedKeyUsage::ClientAuth,
    };
    if certificate.extended_key_usages() != &BTreeSet::from([usage]) {
        faults.push("extended key usage differs".to_owned());
    }
    // The client's own is told by its key alone; those of several people on one
    // host are for one person each.
    if host.identity.is_some() {
        let wanted = Subject::named(&host.holder()).to_string();
        if certificate.subject() != wanted {
            faults.push(format!(
                "it is that of {}, want {wanted}",
                certificate.subject()
            ));
        }
    }
    if !is_adopted && certificate.key_type() != Some(host.settings.key_type) {
        let found = certificate
            .key_type()
            .map_or_else(|| "another".to_owned(), |key_type| key_type.to_string());
        faults.push(format!("key type {found}, want {}", host.settings.key_type));
    }
    faults
}
