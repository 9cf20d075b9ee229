//! Leaves: whether the pair on a node is right, another one is already on the CA node, or a new one
//! must be issued.
//!
//! No private key is read for this. The node reports the hash of its key file, the ledger maps that
//! hash to a certificate, and the certificate itself shows the rest.

mod pair;
mod wanted;

use crate::host::leaf::location;
pub use pair::{LookedAt, PairFault, look_at};
use pair::{PairOnDisk, examine, mismatches, stranger};
pub use wanted::{request, wanted_sans};

use super::decision::LeafDecision;
use super::issued::issued_names;
use super::moves::check_called;
use super::readable::unreadable;
use super::renewal::{Renewal, renewal, revoked};
use super::{Authority, Planner, Refusal, RefusalKind};
use inventory::Host;
use node::facts::FileFact;
use pki::{AuthorityError, Certificate, Chain, Exclusion, LeafRequest, Role, San, Signer};
use std::collections::BTreeSet;

/// Why a certificate is renewed although it is not due: an earlier run with --force could not renew
/// it.
#[must_use]
pub fn asked_renewal(
    authority: &Authority,
    holder: &str,
    role: Role,
    present: &Certificate,
) -> Option<String> {
    let at = authority.ledger.renewal_asked(holder, role)?;
    let own = authority.ledger.by_serial(present.serial());
    // A pair issued since then has arrived without a report.
    own.is_none_or(|own| own.issued_at <= at).then(|| {
        format!(
            "asked for with --force on {}, and not renewed then",
            at.date()
        )
    })
}

impl Planner<'_> {
    /// Notes a pair that is older than the last one issued: the node went back, by `rollback` or to
    /// an older disk. As long as the pair is good no change is needed, but the operator should
    /// know. Which of the two happened is unknown: a generation that was restored is not kept.
    pub(super) fn note_earlier(&mut self, host: &Host, role: Role, certificate: &Certificate) {
        let ledger = &self.authority.ledger;
        let is_earlier = ledger
            .by_serial(certificate.serial())
            .is_some_and(|entry| entry.superseded && entry.host == host.holder());
        if is_earlier {
            self.note(
                host,
                format!(
                    "{} is older than the one delivered last, after a rollback or a restored backup; it stays until it is due",
                    host.certificate_of(role)
                ),
            );
        }
    }

    /// Decides about the leaf of `host` in `role`, and records the decision.
    pub(crate) fn decide_leaf(&mut self, host: &Host, role: Role) -> Result<LeafDecision, Refusal> {
        if role == Role::Daemon {
            self.note_shared(host);
        }
        let decision = match self.pair(host, role)? {
            PairOnDisk::Pair(certificate) => {
                let kept = self.rolls_over.then(|| certificate.sans());
                let mut reasons = self.faults(host, role, &certificate, kept);
                self.note_earlier(host, role, &certificate);
                match self.renewal(host, &certificate) {
                    Renewal::NotDue => reasons.extend(self.unfinished(host, role, &certificate)),
                    Renewal::EndsWithAuthority if !reasons.is_empty() => {}
                    // A due renewal is already under way.
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
                    let kept = self.rolls_over.then(|| certificate.sans());
                    self.replace(host, role, reasons, (Some(&certificate), kept))?
                }
            }
            PairOnDisk::Nothing(fault) => {
                let shown = self.certificate_at(host, role);
                // Its advice to adopt it does not apply to what guards reject.
                let reason = shown
                    .filter(|_| fault == PairFault::Adoptable)
                    .and_then(|shown| revoked(&self.authority, &shown))
                    .unwrap_or_else(|| fault.to_string());
                self.replace(host, role, vec![reason], (None, None))?
            }
        };
        self.decided(host, role, &decision)?;
        Ok(decision)
    }

    /// An earlier run was asked for a new pair in place of this one, issued it, and was interrupted
    /// or undone before it arrived.
    fn unfinished(&self, host: &Host, role: Role, present: &Certificate) -> Option<String> {
        let ledger = &self.authority.ledger;
        let waiting = ledger.current(&host.holder(), role)?;
        let is_newer = waiting.certificate_sha256 != present.sha256()
            && waiting.not_before > present.not_before()
            && waiting.not_after > self.now;
        // One with more differences was issued for settings that may have changed since.
        let is_same =
            waiting.sans == *present.sans() && present.key_type() == Some(waiting.key_type);
        let is_open =
            !waiting.delivered && !waiting.adopted && ledger.revocation(&waiting.serial).is_none();
        let next = self.authority.next.as_ref().map(Certificate::sha256);
        let is_open = is_open
            && (next.as_ref() != Some(&waiting.issuer_sha256) || self.signer(role) == Signer::Next);
        if is_newer && is_same && is_open {
            return Some("its replacement was issued and has not arrived".to_owned());
        }
        asked_renewal(&self.authority, &host.holder(), role, present)
    }

    /// Decides only about the age of a leaf: a pair of the present CA that is due is replaced, and
    /// the decision recorded; other faults are left as they are.
    pub(crate) fn decide_renewal(
        &mut self,
        host: &Host,
        role: Role,
    ) -> Result<Option<LeafDecision>, Refusal> {
        let pair = self.pair(host, role)?;
        if self.authority.certificate.is_none() {
            self.lacks_authority();
            return Ok(None);
        }
        let (certificate, unknown) = match pair {
            PairOnDisk::Pair(certificate) => (certificate, None),
            // A certificate shows its own age, whatever the ledger knows.
            PairOnDisk::Nothing(fault @ (PairFault::UnknownKey | PairFault::Adoptable)) => {
                match self.certificate_at(host, role) {
                    Some(certificate) => (Box::new(certificate), Some(fault)),
                    None => return Ok(None),
                }
            }
            PairOnDisk::Nothing(_) => return Ok(None),
        };
        if let Some(stranger) = stranger(&self.authority, &certificate) {
            if unknown.is_some() {
                let text = format!("{} is not renewed: {stranger}", host.certificate_of(role));
                self.note(host, text);
            }
            return Ok(None);
        }
        let reason = match self.renewal(host, &certificate) {
            Renewal::NotDue => {
                let unfinished = self.unfinished(host, role, &certificate);
                if unfinished.is_none()
                    && let Some(fault) = unknown
                {
                    let text = format!("{} is not due, but {fault}", host.certificate_of(role));
                    self.note(host, text);
                }
                let Some(reason) = unfinished else {
                    return Ok(None);
                };
                reason
            }
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
        let present = (Some(&*certificate), Some(certificate.sans()));
        let decision = self.replace(host, role, vec![reason], present)?;
        self.decided(host, role, &decision)?;
        Ok(Some(decision))
    }

    /// The certificate on the node, whether or not the ledger knows it.
    pub(crate) fn certificate_at(&self, host: &Host, role: Role) -> Option<Certificate> {
        let (directory, files) = location(host, role);
        let facts = self.facts.get(&host.name)?;
        let file = facts.regular(&format!("{directory}/{}", files.cert))?;
        Certificate::from_pem(file.content.as_deref()?).ok()
    }

    /// Remembers it, where clients accept that certificate.
    fn decided(&mut self, host: &Host, role: Role, decision: &LeafDecision) -> Result<(), Refusal> {
        // In a rollover, one that is kept may be replaced in a later step.
        let may_change = self.rolls_over && matches!(decision, LeafDecision::Keep { .. });
        if role == Role::Daemon && !may_change {
            check_called(host, decision.sans())?;
        }
        self.leaves.insert((host.holder(), role), decision.clone());
        Ok(())
    }

    /// Whether this run has a new certificate for the host.
    #[must_use]
    pub fn has_new_leaf(&self, host: &Host, role: Role) -> bool {
        matches!(
            self.leaves.get(&(host.holder(), role)),
            Some(LeafDecision::Issue { .. } | LeafDecision::Fetch { .. })
        )
    }

    fn pair(&self, host: &Host, role: Role) -> Result<PairOnDisk, Refusal> {
        self.authority.usable()?;
        let facts = self.facts(&host.name)?;
        if role == Role::Daemon && host.settings.own_addresses && facts.own_addresses.is_none() {
            return Err(Refusal::new(
                "its own addresses are not known: there is no awk, or no /proc/net",
            )
            .hint("name them in dtls_extra_sans instead of dtls_own_addresses"));
        }
        if role == Role::Daemon && host.settings.own_addresses {
            self.check_own_addresses(host, facts)?;
        }
        let (directory, files) = location(host, role);
        let path = |name: &str| format!("{directory}/{name}");
        let (certificate, key) = (path(&files.cert), path(&files.key));
        for path in [&certificate, &key] {
            if facts.file(path) == Some(&FileFact::Unreadable) {
                let path = facts.expand(path);
                if facts.directories.contains_key(&facts.expand(&directory)) {
                    // The owner of the directory is the better reason.
                    facts.account_for(&directory)?;
                }
                return Err(unreadable(facts, &path));
            }
        }
        Ok(examine(facts, &certificate, &key, &self.authority))
    }

    /// Why a certificate is not signed by the CA that must have signed it, at the present step of a
    /// rollover.
    fn issuer_fault(&self, role: Role, certificate: &Certificate) -> Option<String> {
        let Some(rollover) = &self.rollover else {
            return stranger(&self.authority, certificate).map(|fault| fault.to_string());
        };
        let is_of_next = certificate.is_signed_by(rollover.next());
        if !is_of_next && rollover.signer_of(certificate).is_none() {
            return Some(PairFault::Stranger(certificate.issuer().to_owned()).to_string());
        }
        (!is_of_next && rollover.needs_new_leaf(role)).then(|| {
            format!(
                "CA rollover: issued by {}, must be issued by {}",
                certificate.issuer(),
                rollover.next().subject()
            )
        })
    }

    /// What is wrong with a certificate apart from its age, in words for the plan.
    pub(crate) fn faults(
        &self,
        host: &Host,
        role: Role,
        certificate: &Certificate,
        kept: Option<&BTreeSet<San>>,
    ) -> Vec<String> {
        let mut faults: Vec<String> = self.issuer_fault(role, certificate).into_iter().collect();
        let facts = self.facts.get(&host.name);
        faults.extend(mismatches(
            &self.authority,
            host,
            role,
            certificate,
            (facts, kept),
        ));
        faults
    }

    /// Whether a later step of the same run replaces a leaf of the present CA with one of the next
    /// CA: one restart for both.
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
        // An expired CA cannot sign another one.
        let can_wait = certificate.not_after() > self.now || self.authority_expired();
        self.rolls_over && !now && is_current && can_wait
    }

    /// The decision about a leaf, for a task that delivers it. A run without a `certificate` task
    /// delivers what is there when that is right.
    ///
    /// # Errors If a new pair is needed and no task of this run requests one.
    pub(crate) fn decided_leaf(
        &mut self,
        host: &Host,
        role: Role,
    ) -> Result<LeafDecision, Refusal> {
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

    fn check_authority(&self, signer: Signer, leaf: &LeafRequest) -> Result<(), Refusal> {
        if self.authority.planned {
            return Ok(());
        }
        let authority = match signer {
            Signer::Current => &self.authority.certificate,
            Signer::Next => &self.authority.next,
        };
        let Some(authority) = authority else {
            return Err(Refusal::new("there is no CA yet")
                .hint("deploy first: dtls-deploy INVENTORY; a playbook of your own needs a `ca` task before this one, and --tags must include it"));
        };
        if authority.not_after() <= self.now {
            let end = authority.not_after().date();
            return Err(Refusal::of(
                RefusalKind::AuthorityDates,
                format!("the CA has expired on {end}: it signs nothing"),
            )
            .hint(
                "replace it: dtls-deploy rotate --ca INVENTORY; or check the clock of this machine",
            ));
        }
        if authority.not_before() > self.now {
            let begin = authority.not_before().truncate_to_second();
            return Err(Refusal::of(
                RefusalKind::AuthorityDates,
                format!("the CA is valid only from {begin}"),
            )
            .hint("check the clock of this machine and of the CA node"));
        }
        let bundle = match (signer, &self.authority.next) {
            (Signer::Next, Some(next)) => std::slice::from_ref(next),
            _ => &self.authority.bundle,
        };
        Chain::known(bundle)
            .and_then(|chain| chain.check_leaf(leaf.role, &leaf.common_name, &leaf.sans))
            .map_err(|error| self.excluded(&error))
    }

    fn excluded(&self, error: &AuthorityError) -> Refusal {
        let limits_names = self.inventory.ca().settings.ca_name_constraints.is_some();
        let hint = match error {
            AuthorityError::Excluded {
                why: Exclusion::Name(_),
                ..
            } if limits_names => {
                Some("make a CA for the names of this inventory: dtls-deploy rotate --ca INVENTORY")
            }
            error => error.hint(),
        };
        let refusal = Refusal::new(error.to_string());
        match hint {
            Some(hint) => refusal.hint(hint),
            None => refusal,
        }
    }

    /// Which CA signs a certificate now.
    fn signer(&self, role: Role) -> Signer {
        let rollover = self.rollover.as_ref();
        rollover.map_or(Signer::Current, |rollover| rollover.signer(role))
    }

    /// A new pair, or one from the CA node, in place of the present one. A plain renewal keeps the
    /// present names in addition to the inventory's: clients use them until a deployment has moved
    /// the daemon and the clients.
    fn replace(
        &self,
        host: &Host,
        role: Role,
        reasons: Vec<String>,
        (present, kept): (Option<&Certificate>, Option<&BTreeSet<San>>),
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
            // A delivered pair may still be kept there; a new one has a new key.
            let is_new = |certificate: &Certificate| {
                present.is_none_or(|present| present.sha256() != certificate.sha256())
            };
            // One of the next CA waits until the rollover has come to its step.
            let next = self.authority.next.as_ref();
            let is_early = |certificate: &Certificate| {
                self.signer(role) == Signer::Current
                    && next.is_some_and(|next| certificate.is_signed_by(next))
            };
            if let PairOnDisk::Pair(certificate) = waiting
                && is_new(&certificate)
                && !is_early(&certificate)
                && kept.is_none_or(|kept| kept.is_subset(certificate.sans()))
                && self.faults(host, role, &certificate, kept).is_empty()
                && !is_due(&certificate)
                && self
                    .authority
                    .ledger
                    .current(&host.holder(), role)
                    // An adopted pair may differ in form from what is delivered.
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
        let signer = self.signer(role);
        let wanted = wanted_sans(host, role, self.facts.get(&host.name));
        let mut request = LeafRequest {
            host: host.holder(),
            role,
            signer,
            common_name: host.holder(),
            sans: match kept {
                Some(kept) if role == Role::Daemon => wanted.union(kept).cloned().collect(),
                _ => wanted.clone(),
            },
            key_type: host.settings.key_type,
            validity_days: host.settings.validity_days,
            key_name,
            certificate_name,
        };
        if self.check_authority(signer, &request).is_err() {
            // The CA may be limited to the names of the inventory.
            request.sans = wanted;
        }
        self.check_authority(signer, &request)?;
        Ok(LeafDecision::Issue {
            reasons,
            request: Box::new(request),
        })
    }
}
