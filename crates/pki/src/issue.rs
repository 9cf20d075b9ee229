//! Many leaves at once: keys on all cores, then one record, then the files.
//!
//! Nothing is written here.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use time::{Duration, OffsetDateTime};

use super::authority::{Authority, LeafProfile, SignedLeaf};
use super::encoding::sha256_hex;
use super::failure::Failure;
use super::issued_name::check_name;
use super::key_pool::KeyPool;
use super::ledger::{Entry, IssuedName};
use super::protocol::{ErrorKind, IssuedLeaf, LeafRequest};
use super::serial::Serial;
use crate::authority_error::AuthorityError;

/// Whether these leaves can be issued together: names that are allowed, and no
/// two files at one path.
pub(crate) fn check(leaves: &[LeafRequest]) -> Result<(), Failure> {
    let mut paths = BTreeSet::new();
    let mut names = BTreeSet::new();
    for leaf in leaves {
        if leaf.host.is_empty() {
            return Err(Failure::new(ErrorKind::Request, "a leaf names no host"));
        }
        if !names.insert((&leaf.host, leaf.role)) {
            return Err(Failure::new(
                ErrorKind::Request,
                format!("two {} leaves for {:?} at once", leaf.role, leaf.host),
            ));
        }
        for name in [&leaf.key_name, &leaf.certificate_name] {
            check_name(name)?;
            if !paths.insert(name) {
                return Err(Failure::new(
                    ErrorKind::Request,
                    format!("two issued files would land on {name:?} in the CA directory"),
                )
                .hint("let dtls_issued_name tell host, role and kind apart"));
            }
        }
    }
    Ok(())
}

/// Signs with keys of the pool's, in the order asked for. `give_up` is checked before
/// each leaf.
pub(crate) fn sign(
    authority: &Authority,
    leaves: &[LeafRequest],
    now: OffsetDateTime,
    keys: &KeyPool,
    give_up: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<SignedLeaf>, Failure> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(leaf) = leaves.get(index) else {
                return Ok(done);
            };
            if give_up() {
                return Err(Failure::new(
                    ErrorKind::Cancelled,
                    "the controller went away; nothing was issued",
                ));
            }
            let signed = keys
                .take(leaf.key_type)
                .map_err(AuthorityError::from)
                .and_then(|key| authority.sign(&profile(leaf), &key, Serial::random()?, now));
            match signed {
                Ok(signed) => done.push((index, signed)),
                Err(error) => {
                    // The others stop at their next leaf.
                    next.store(leaves.len(), Ordering::Relaxed);
                    return Err(named(error, leaf));
                }
            }
        }
    };
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(leaves.len());
    let mut signed = thread::scope(|scope| {
        let running: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work()?;
        for thread in running {
            all.extend(thread.join().map_err(|_| {
                Failure::new(
                    ErrorKind::Authority,
                    "a thread that issued leaves ended early",
                )
            })??);
        }
        Ok::<_, Failure>(all)
    })?;
    signed.sort_by_key(|(index, _)| *index);
    Ok(signed.into_iter().map(|(_, signed)| signed).collect())
}

fn profile(leaf: &LeafRequest) -> LeafProfile {
    LeafProfile {
        common_name: leaf.common_name.clone(),
        role: leaf.role,
        sans: leaf.sans.clone(),
        key_type: leaf.key_type,
        validity: Duration::days(leaf.validity_days.into()),
    }
}

fn named(error: AuthorityError, leaf: &LeafRequest) -> Failure {
    let mut failure = Failure::from(error);
    failure.message = format!(
        "{} certificate of {}: {}",
        leaf.role, leaf.host, failure.message
    );
    failure
}

/// What the ledger keeps of a leaf.
pub(crate) fn entry(
    leaf: &LeafRequest,
    signed: &SignedLeaf,
    authority: &Authority,
    now: OffsetDateTime,
) -> Entry {
    let certificate = &signed.certificate;
    Entry {
        serial: certificate.serial().to_owned(),
        role: leaf.role,
        host: leaf.host.clone(),
        subject: certificate.subject().to_owned(),
        sans: certificate.sans().clone(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        certificate_sha256: certificate.sha256(),
        key_sha256: sha256_hex(signed.key_pem.expose()),
        public_key_sha256: certificate.public_key_sha256(),
        key_type: leaf.key_type,
        issuer_sha256: authority.certificate().sha256(),
        issued_at: now,
        issued_name: IssuedName {
            key: leaf.key_name.clone(),
            certificate: leaf.certificate_name.clone(),
        },
        superseded: false,
        delivered: false,
        kept: false,
        adopted: false,
    }
}

/// What the controller gets of a leaf.
pub(crate) fn answer(leaf: &LeafRequest, signed: SignedLeaf) -> IssuedLeaf {
    IssuedLeaf {
        host: leaf.host.clone(),
        role: leaf.role,
        certificate_pem: signed.certificate.to_pem(),
        serial: signed.certificate.serial().to_owned(),
        not_after: signed.certificate.not_after(),
        clipped_by_ca: signed.clipped_by_ca,
        key: signed.key_pem,
    }
}
