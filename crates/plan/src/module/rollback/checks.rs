//! Limits of a rollback: it must not trust a replaced CA again, or lock clients out.

use crate::host::leaf::location as leaf_location;
use crate::launch;
use crate::module::shared::holders;
use crate::{Change, Planner, Refusal, revoked_reason};
use inventory::Host;
use node::facts::NodeFacts;
use node::generation::BeforeRun;
use pki::{Certificate, Role};

/// Requires that the command line names the CAs that the node would trust again.
pub(super) fn check_readmitted(
    planner: &Planner<'_>,
    host: &Host,
    before: &BeforeRun,
) -> Result<(), Refusal> {
    let facts = planner.facts(&host.name)?;
    for (file, _) in &before.files {
        let Some(copy) = facts.regular(&file.copy) else {
            continue;
        };
        let in_place = facts.regular(&file.path);
        if in_place.is_some_and(|present| present.sha256 == copy.sha256) {
            continue;
        }
        let kept = copy.content.as_deref().unwrap_or_default();
        let in_place = in_place.and_then(|present| present.content.as_deref());
        planner.check_readmitted(&file.path, kept, in_place)?;
    }
    Ok(())
}

/// A rollback must not restore a certificate that locks clients out.
pub(super) fn check_certificates(
    planner: &Planner<'_>,
    host: &Host,
    facts: &NodeFacts,
    before: &BeforeRun,
) -> Result<(), Refusal> {
    for (file, _) in &before.files {
        let Some(bytes) = facts
            .regular(&file.copy)
            .and_then(|copy| copy.content.as_deref())
        else {
            continue;
        };
        let Ok(certificate) = Certificate::from_pem(bytes) else {
            continue;
        };
        let node_now =
            time::OffsetDateTime::from_unix_timestamp(facts.clock).unwrap_or(planner.now);
        if certificate.not_after() <= node_now.max(planner.now) {
            return Err(Refusal::new(format!(
                "what is kept of {} has expired on {}",
                file.path,
                certificate.not_after().date()
            ))
            .hint(instead(planner, host, facts, &file.path)));
        }
        if certificate.is_ca() {
            continue;
        }
        if let Some(reason) = revoked_reason(&planner.authority, &certificate) {
            return Err(
                Refusal::new(format!("what is kept of {} was {reason}", file.path))
                    .hint(instead(planner, host, facts, &file.path)),
            );
        }
        let is_of_next = planner
            .authority
            .next
            .as_ref()
            .is_some_and(|next| certificate.is_signed_by(next));
        if let Some(authority) = &planner.authority.certificate
            && !certificate.is_signed_by(authority)
            && !is_of_next
        {
            return Err(Refusal::new(format!(
                "what is kept of {} was issued by {}, and the CA is {} now: it would not be accepted",
                file.path,
                certificate.issuer(),
                authority.subject()
            ))
            .hint(instead(planner, host, facts, &file.path)));
        }
    }
    Ok(())
}

/// What to do about a host whose kept certificate is of no use.
fn instead(planner: &Planner<'_>, host: &Host, facts: &NodeFacts, path: &str) -> String {
    let present = facts.regular(path).and_then(|file| file.content.as_deref());
    let present = present.and_then(|bytes| Certificate::from_pem(bytes).ok());
    let authority = &planner.authority;
    let is_good = |present: &Certificate| {
        let mut own = authority.certificate.iter().chain(&authority.next);
        present.not_after() > planner.now
            && revoked_reason(authority, present).is_none()
            && (present.is_ca() || own.any(|own| present.is_signed_by(own)))
    };
    if present.as_ref().is_some_and(is_good) {
        let name = &host.name;
        return format!(
            "the certificate in place is good: leave the host as it is, with --limit 'all:!{name}'"
        );
    }
    "deploy instead, which issues a new certificate: dtls-deploy INVENTORY".to_owned()
}

/// Nor a set that the other end does not accept now, or that would not accept the other end: during
/// a rollover the other end may have moved on.
pub(super) fn check_trust(
    planner: &Planner<'_>,
    host: &Host,
    facts: &NodeFacts,
    before: &BeforeRun,
    changes: &[Change],
) -> Result<(), Refusal> {
    let own = [Role::Daemon, Role::Client]
        .into_iter()
        .flat_map(|role| holders(host, role).into_iter().map(move |of| (role, of)));
    for (role, host) in own {
        let kept = |path: &str| {
            let (file, _) = before.files.iter().find(|(file, _)| file.path == path)?;
            facts.regular(&file.copy)?.content.clone()
        };
        // Before the run, the daemon's settings may have named other files.
        let (ca, certificate) = match role {
            Role::Daemon => {
                let paths = launch::launched(host, facts, changes).paths;
                (paths.ca, paths.certificate)
            }
            Role::Client => paths(host, role, facts),
        };
        if kept(&ca).is_none() && kept(&certificate).is_none() {
            continue;
        }
        let now = |path: &str| facts.regular(path)?.content.clone();
        let ours = Set::of(
            kept(&ca).or_else(|| now(&ca)),
            kept(&certificate).or_else(|| now(&certificate)),
        );
        let present = Set::of(now(&ca), now(&certificate));
        let other_role = match role {
            Role::Daemon => Role::Client,
            Role::Client => Role::Daemon,
        };
        let others = planner.inventory.hosts.iter();
        for other in others.flat_map(|other| holders(other, other_role)) {
            let Some(known) = planner.facts.get(&other.name) else {
                if planner.rollover.is_none() {
                    continue;
                }
                return Err(Refusal::new(format!(
                    "whether {} would accept what is kept here is not known while the CA is rolled over",
                    other.holder()
                ))
                .hint("go back without --limit, when it answers"));
            };
            let (ca, certificate) = paths(other, other_role, known);
            let of = |path: &str| known.regular(path)?.content.clone();
            let theirs = Set::of(of(&ca), of(&certificate));
            let hint = "go back on the hosts at the other end first, or deploy again";
            // Two ends that already reject each other lose nothing; the other end may be an account
            // that replaced its own files.
            if !theirs.trusts(&ours) && theirs.trusts(&present) {
                return Err(Refusal::new(format!(
                    "what is kept of {} is not trusted by {} now",
                    host.certificate_of(role),
                    other.holder()
                ))
                .hint(hint));
            }
            if !ours.trusts(&theirs) && present.trusts(&theirs) {
                return Err(Refusal::new(format!(
                    "what is kept of its {role} files does not trust the certificate that {} has now",
                    other.name
                ))
                .hint(hint));
            }
        }
    }
    Ok(())
}

fn paths(host: &Host, role: Role, facts: &NodeFacts) -> (String, String) {
    let (directory, files) = leaf_location(host, role);
    let path = |name: &str| facts.expand(&format!("{directory}/{name}"));
    (path(&files.ca), path(&files.cert))
}

/// The bundle and the leaf of one end.
struct Set {
    bundle: Vec<Certificate>,
    leaf: Option<Certificate>,
}

impl Set {
    fn of(bundle: Option<Vec<u8>>, leaf: Option<Vec<u8>>) -> Self {
        Self {
            bundle: bundle
                .and_then(|bytes| Certificate::bundle_from_pem(&bytes).ok())
                .unwrap_or_default(),
            leaf: leaf.and_then(|bytes| Certificate::from_pem(&bytes).ok()),
        }
    }

    /// Whether it accepts the other end, as far as both files exist.
    fn trusts(&self, other: &Self) -> bool {
        let Some(leaf) = &other.leaf else {
            return true;
        };
        self.bundle.is_empty()
            || self
                .bundle
                .iter()
                .any(|authority| leaf.is_signed_by(authority))
    }
}
