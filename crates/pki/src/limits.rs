//! What a CA certificate keeps its leaves from being.
//!
//! The rules are those of RFC 5280, section 4.2.1, as Go's crypto/x509 applies them: it checks the
//! limits of trusted certificates too.

use std::net::IpAddr;

use x509_parser::prelude::{GeneralName, GeneralSubtree, ParsedExtension, X509Certificate};

use super::profile::Role;
use super::san::San;

/// Extensions that Go's crypto/x509, OpenSSL and webpki all understand: any other
/// critical one makes one of them reject every certificate below it.
const UNDERSTOOD: [&str; 6] = [
    "2.5.29.15", // keyUsage
    "2.5.29.17", // subjectAltName
    "2.5.29.19", // basicConstraints
    "2.5.29.30", // nameConstraints
    "2.5.29.32", // certificatePolicies
    "2.5.29.37", // extKeyUsage
];

/// Why a leaf of a CA would be rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exclusion {
    #[error(
        "its basicConstraints (pathlen:{allowed}) allow {allowed} CAs below it, and there are {below}"
    )]
    PathLength { allowed: u32, below: usize },
    #[error("its extended key usage excludes certificates of {0}s")]
    Usage(Role),
    #[error(
        "its critical extension {0} is not known to docker, which rejects every certificate below it"
    )]
    Critical(String),
    #[error("its name constraints exclude {0}")]
    Name(String),
    #[error("its name constraints limit {0}, which docker does not check and so rejects")]
    NameKind(&'static str),
}

/// The part of a certificate that limits what is below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Limits {
    path_length: Option<u32>,
    unknown_critical: Option<String>,
    permitted: Vec<Subtree>,
    excluded: Vec<Subtree>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subtree {
    /// Lower case.
    Dns(String),
    /// Address and mask, 4 or 16 bytes each.
    Ip(Vec<u8>, Vec<u8>),
    Uri,
    Email,
    Other(&'static str),
}

impl Limits {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut limits = Self {
            path_length: certificate
                .basic_constraints()
                .ok()
                .flatten()
                .and_then(|extension| extension.value.path_len_constraint),
            unknown_critical: certificate
                .iter_extensions()
                .filter(|extension| extension.critical)
                .map(|extension| extension.oid.to_id_string())
                .find(|oid| !UNDERSTOOD.contains(&oid.as_str())),
            ..Self::default()
        };
        for extension in certificate.iter_extensions() {
            if let ParsedExtension::NameConstraints(names) = extension.parsed_extension() {
                let read = |trees: &Option<Vec<GeneralSubtree<'_>>>| {
                    let trees = trees.iter().flatten();
                    trees.map(|tree| Subtree::of(&tree.base)).collect()
                };
                limits.permitted = read(&names.permitted_subtrees);
                limits.excluded = read(&names.excluded_subtrees);
            }
        }
        limits
    }

    /// Whether any kind of name is limited.
    pub(super) fn any_names(&self) -> bool {
        !self.permitted.is_empty() || !self.excluded.is_empty()
    }

    /// Whether so many CAs below this one and any leaf at all are accepted.
    pub(super) fn check(&self, below: usize) -> Result<(), Exclusion> {
        if let Some(oid) = &self.unknown_critical {
            return Err(Exclusion::Critical(oid.clone()));
        }
        if let Some(allowed) = self.path_length
            && usize::try_from(allowed).is_ok_and(|allowed| allowed < below)
        {
            return Err(Exclusion::PathLength { allowed, below });
        }
        let other = self.permitted.iter().chain(&self.excluded);
        let other = other.filter_map(|tree| match tree {
            Subtree::Other(kind) => Some(*kind),
            _ => None,
        });
        match other.into_iter().next() {
            Some(kind) => Err(Exclusion::NameKind(kind)),
            None => Ok(()),
        }
    }

    /// Whether a leaf may have this name.
    pub(super) fn check_name(&self, name: &San) -> Result<(), Exclusion> {
        let excluded = || Err(Exclusion::Name(name.to_string()));
        if self.excluded.iter().any(|tree| tree.holds(name)) {
            return excluded();
        }
        let mut of_its_kind = self.permitted.iter().filter(|tree| tree.is_of_kind(name));
        let mut is_limited = false;
        let is_permitted = of_its_kind.any(|tree| {
            is_limited = true;
            tree.holds(name)
        });
        if is_limited && !is_permitted {
            return excluded();
        }
        Ok(())
    }

    /// Whether a leaf may be named by a URI without a host: any limit of URIs
    /// excludes it (RFC 5280, section 4.2.1.10).
    pub(super) fn check_uri(&self, uri: &str) -> Result<(), Exclusion> {
        let mut trees = self.permitted.iter().chain(&self.excluded);
        if trees.any(|tree| *tree == Subtree::Uri) {
            return Err(Exclusion::Name(format!("URI:{uri}")));
        }
        Ok(())
    }
}

impl Subtree {
    fn of(base: &GeneralName<'_>) -> Self {
        match base {
            GeneralName::DNSName(name) => Self::Dns(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) if matches!(bytes.len(), 8 | 32) => {
                let (address, mask) = bytes.split_at(bytes.len() / 2);
                Self::Ip(address.to_vec(), mask.to_vec())
            }
            GeneralName::URI(_) => Self::Uri,
            // This program issues no certificate with an e-mail address.
            GeneralName::RFC822Name(_) => Self::Email,
            GeneralName::DirectoryName(_) => Self::Other("directory names"),
            GeneralName::IPAddress(_) => Self::Other("addresses in a malformed way"),
            _ => Self::Other("names of another kind"),
        }
    }

    fn is_of_kind(&self, name: &San) -> bool {
        matches!(
            (self, name),
            (Self::Dns(_), San::Dns(_)) | (Self::Ip(..), San::Ip(_))
        )
    }

    fn holds(&self, name: &San) -> bool {
        match (self, name) {
            (Self::Dns(tree), San::Dns(name)) => {
                // With a leading dot only names below it (Go and OpenSSL).
                let name = name.to_ascii_lowercase();
                tree.is_empty()
                    || name == *tree
                    || name.strip_suffix(tree.as_str()).is_some_and(|before| {
                        !before.is_empty() && (tree.starts_with('.') || before.ends_with('.'))
                    })
            }
            (Self::Ip(address, mask), San::Ip(name)) => {
                let octets = match name {
                    IpAddr::V4(name) => name.octets().to_vec(),
                    IpAddr::V6(name) => name.octets().to_vec(),
                };
                octets.len() == address.len()
                    && octets
                        .iter()
                        .zip(address)
                        .zip(mask)
                        .all(|((octet, tree), mask)| octet & mask == tree & mask)
            }
            _ => false,
        }
    }
}
