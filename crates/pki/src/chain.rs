//! The way from a CA to a certificate that signed itself, and what it allows.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use super::authority_error::AuthorityError;
use super::certificate::{Certificate, CertificateError};
use super::limits::Exclusion;
use super::profile::Role;
use super::san::San;
use super::san::client_name;
use super::usage::ExtendedKeyUsage;

/// The first certificate is the CA's own, and each is issued by the next.
#[derive(Debug, Clone)]
pub struct Chain<'a> {
    path: Vec<&'a Certificate>,
}

impl<'a> Chain<'a> {
    /// As far as the certificates lead.
    pub fn known(certificates: &'a [Certificate]) -> Result<Self, AuthorityError> {
        let own = certificates.first().ok_or(CertificateError::None)?;
        if !own.may_sign_certificates() {
            return Err(AuthorityError::NotAnAuthority(own.subject().to_owned()));
        }
        let mut path = vec![own];
        let mut at = own;
        // A chain is never longer than the file, whatever loops it describes.
        while path.len() <= certificates.len() && !at.is_signed_by(at) {
            let issuer = certificates
                .iter()
                .find(|issuer| issuer.may_sign_certificates() && at.is_signed_by(issuer));
            let Some(issuer) = issuer else { break };
            path.push(issuer);
            at = issuer;
        }
        Ok(Self { path })
    }

    /// The certificates of a CA file that are neither in the chain of the first one nor
    /// another certificate of its name and key. Go, and so dockerd, trusts each of them.
    #[must_use]
    pub fn strangers(certificates: &[Certificate]) -> Vec<&Certificate> {
        let Some(own) = certificates.first() else {
            return Vec::new();
        };
        let mut chain = vec![own];
        // Each round adds an issuer, or is the last one.
        while let Some(issuer) = certificates.iter().find(|issuer| {
            !chain.contains(issuer)
                && issuer.may_sign_certificates()
                && chain.iter().any(|issued| issued.is_signed_by(issuer))
        }) {
            chain.push(issuer);
        }
        let is_own = |other: &Certificate| {
            other.subject_raw() == own.subject_raw()
                && other.public_key_sha256() == own.public_key_sha256()
        };
        certificates
            .iter()
            .filter(|other| !chain.contains(other) && !is_own(other))
            .collect()
    }

    /// Checks that a CA file holds nothing beside the chain.
    pub fn check_alone(certificates: &[Certificate]) -> Result<(), AuthorityError> {
        let others = Self::strangers(certificates);
        if others.is_empty() {
            return Ok(());
        }
        let subjects: Vec<&str> = others.into_iter().map(Certificate::subject).collect();
        Err(AuthorityError::Foreign(subjects.join(", ")))
    }

    /// To a certificate that signed itself: OpenSSL's own tools follow a chain to its
    /// end, while Go trusts every certificate of the file.
    pub fn whole(certificates: &'a [Certificate]) -> Result<Self, AuthorityError> {
        let chain = Self::known(certificates)?;
        match (chain.path.first(), chain.path.last()) {
            (Some(own), Some(last)) if !last.is_signed_by(last) => {
                Err(AuthorityError::Intermediate {
                    subject: own.subject().to_owned(),
                    issuer: last.issuer().to_owned(),
                })
            }
            _ => Ok(chain),
        }
    }

    /// Whether each is valid now.
    pub fn check_dates(&self, now: OffsetDateTime) -> Result<(), AuthorityError> {
        for certificate in &self.path {
            if now > certificate.not_after() {
                return Err(AuthorityError::Expired(certificate.not_after()));
            }
            if now < certificate.not_before() {
                return Err(AuthorityError::NotYetValid(certificate.not_before()));
            }
        }
        Ok(())
    }

    /// Whether a leaf of this CA is accepted in this role with these names.
    pub fn check_leaf(
        &self,
        role: Role,
        common_name: &str,
        names: &BTreeSet<San>,
    ) -> Result<(), AuthorityError> {
        for (below, certificate) in self.path.iter().enumerate() {
            excludes(certificate, below, role, common_name, names).map_err(|why| {
                AuthorityError::Excluded {
                    subject: certificate.subject().to_owned(),
                    why,
                }
            })?;
        }
        Ok(())
    }
}

fn excludes(
    certificate: &Certificate,
    below: usize,
    role: Role,
    common_name: &str,
    names: &BTreeSet<San>,
) -> Result<(), Exclusion> {
    let limits = certificate.limits();
    limits.check(below)?;
    let usage = match role {
        Role::Daemon => ExtendedKeyUsage::ServerAuth,
        Role::Client => ExtendedKeyUsage::ClientAuth,
    };
    let usages = certificate.extended_key_usages();
    if !usages.is_empty() && !usages.contains(&usage) && !usages.contains(&ExtendedKeyUsage::Any) {
        return Err(Exclusion::Usage(role));
    }
    for name in names {
        limits.check_name(name)?;
    }
    if role == Role::Client {
        match client_name(common_name) {
            Ok(name) => limits.check_name(&name)?,
            Err(uri) => limits.check_uri(&uri)?,
        }
    }
    Ok(())
}
