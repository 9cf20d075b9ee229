//! An existing pair, on its node or on the CA node.

use std::collections::BTreeSet;

use super::wanted::wanted_sans;
use crate::adopted;
use crate::authority::Authority;
use crate::host::leaf::location;
use inventory::Host;
use node::facts::{FileFact, NodeFacts};
use pki::{Certificate, ExtendedKeyUsage, Role, San, Subject};

/// Why a pair does not work. Displayed, each is a short reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairFault {
    #[error("none present")]
    Absent,
    #[error("{0} cannot be read")]
    Unreadable(String),
    /// It is unknown what the CA has issued.
    #[error("whether the CA has issued it is not known: {0}")]
    Unknown(String),
    #[error("the file present is not a certificate")]
    NotACertificate,
    #[error("its key is missing")]
    NoKey,
    #[error("key and certificate do not belong together")]
    Unpaired,
    #[error("its key is not one the ledger knows")]
    UnknownKey,
    /// The present CA issued it, but its ledger does not list it.
    #[error("its key is not one the ledger knows (`dtls-deploy adopt INVENTORY` takes it in)")]
    Adoptable,
    #[error("issued by another CA ({0})")]
    Stranger(String),
    #[error("the CA is new")]
    NewAuthority,
}

impl PairFault {
    /// Nothing is known about the pair: it may be fine.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::Unknown(_))
    }
}

pub(super) enum PairOnDisk {
    Pair(Box<Certificate>),
    Nothing(PairFault),
}

/// Whether there is a certificate, and next to it the key that the ledger lists for it.
pub(super) fn examine(
    facts: &NodeFacts,
    certificate: &str,
    key: &str,
    authority: &Authority,
) -> PairOnDisk {
    for path in [certificate, key] {
        if facts.file(path) == Some(&FileFact::Unreadable) {
            return PairOnDisk::Nothing(PairFault::Unreadable(facts.expand(path)));
        }
    }
    let Some(file) = facts.regular(certificate) else {
        return PairOnDisk::Nothing(PairFault::Absent);
    };
    let Ok(parsed) = Certificate::from_pem(file.content.as_deref().unwrap_or_default()) else {
        return PairOnDisk::Nothing(PairFault::NotACertificate);
    };
    let Some(key) = facts.regular(key) else {
        return PairOnDisk::Nothing(PairFault::NoKey);
    };
    if let Some(problem) = authority.unread() {
        return PairOnDisk::Nothing(PairFault::Unknown(problem.to_string()));
    }
    match authority.ledger.by_key_sha256(&key.sha256) {
        Some(entry) if entry.certificate_sha256 == parsed.sha256() => {
            PairOnDisk::Pair(Box::new(parsed))
        }
        Some(entry) if entry.public_key_sha256 == parsed.public_key_sha256() => {
            PairOnDisk::Pair(Box::new(parsed))
        }
        Some(_) => PairOnDisk::Nothing(PairFault::Unpaired),
        None if is_unknown(&parsed, authority) => PairOnDisk::Nothing(PairFault::Adoptable),
        None => PairOnDisk::Nothing(PairFault::UnknownKey),
    }
}

/// Whether the present CA issued it, but its ledger does not list it.
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

/// A pair on its node, as read-only commands see it.
#[derive(Debug)]
pub struct LookedAt {
    /// The certificate there, right or wrong.
    pub certificate: Option<Box<Certificate>>,
    /// Why it does not work.
    pub broken: Vec<PairFault>,
    /// What else differs from the inventory; its age is not checked.
    pub drift: Vec<String>,
}

/// Checks the pair of `role` on its node.
#[must_use]
pub fn look_at(facts: &NodeFacts, host: &Host, role: Role, authority: &Authority) -> LookedAt {
    let (directory, files) = location(host, role);
    let (path, key) = (
        format!("{directory}/{}", files.cert),
        format!("{directory}/{}", files.key),
    );
    let (certificate, mut broken) = match examine(facts, &path, &key, authority) {
        PairOnDisk::Pair(certificate) => (Some(certificate), Vec::new()),
        PairOnDisk::Nothing(reason) => {
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
        drift = mismatches(authority, host, role, certificate, (Some(facts), None));
    }
    LookedAt {
        certificate,
        broken,
        drift,
    }
}

/// Why a certificate is not the present CA's.
pub(super) fn stranger(authority: &Authority, certificate: &Certificate) -> Option<PairFault> {
    match &authority.certificate {
        Some(current) if !authority.planned => {
            let is_own = [Some(current), authority.next.as_ref()]
                .into_iter()
                .flatten()
                .any(|own| certificate.is_signed_by(own));
            (!is_own).then(|| PairFault::Stranger(certificate.issuer().to_owned()))
        }
        _ => Some(PairFault::NewAuthority),
    }
}

/// How a certificate differs from the inventory; the names in `kept` are allowed as well.
pub(super) fn mismatches(
    authority: &Authority,
    host: &Host,
    role: Role,
    certificate: &Certificate,
    (facts, kept): (Option<&NodeFacts>, Option<&BTreeSet<San>>),
) -> Vec<String> {
    let mut faults = Vec::new();
    let is_adopted = adopted::is_adopted(authority, certificate);
    if is_adopted {
        faults.extend(adopted::faults(host, role, certificate));
    } else if role == Role::Daemon {
        let wanted = wanted_sans(host, role, facts);
        for san in wanted.difference(certificate.sans()) {
            faults.push(format!("SAN {san} missing"));
        }
        let others = certificate.sans().difference(&wanted);
        for san in others.filter(|san| kept.is_none_or(|kept| !kept.contains(san))) {
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
    // A client's own certificate is recognised by its key alone; those of several people on one
    // host each need the right name.
    if host.identity.is_some() {
        let wanted = Subject::of_leaf(&host.holder()).to_string();
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

#[cfg(test)]
mod tests {
    use super::*;
    use inventory::{Environment, Inventory, MemoryFiles, load};

    /// From versions that issued clients no alternative name.
    const WITHOUT_NAME: &str = "-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUW2h2e9F3QA1XwFD2F5eJWREs+J0wCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGY2xpZW50MCAXDTI2MTEyOTE0NTIxM1oYDzIxMjYxMTA1MTQ1
MjEzWjARMQ8wDQYDVQQDDAZjbGllbnQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAQr2PP4by3S2XRJLsg3wJGpf3cboLklQpmpFI9UxZmKnTQgIHvMp2AhKT4vTBG2
iB3FuIwAvagUcPsbUE26jWK4o3UwczAdBgNVHQ4EFgQUkScLThx3qNhhzxhqQp7F
KUK6R5AwHwYDVR0jBBgwFoAUkScLThx3qNhhzxhqQp7FKUK6R5AwDAYDVR0TAQH/
BAIwADAOBgNVHQ8BAf8EBAMCB4AwEwYDVR0lBAwwCgYIKwYBBQUHAwIwCgYIKoZI
zj0EAwIDSAAwRQIgdECnN1hb0vVQJOa97SG43/2AEEDD23lOxbTNlOjTrPYCIQCt
El15yhmlhXuz3NrcTdcJeT9K+CXoL/YZl9ntyDxq7g==
-----END CERTIFICATE-----
";

    fn inventory() -> Inventory {
        let text = "all: {children: {ca: {hosts: {ca: }}, daemons: {hosts: {daemon: }}, clients: {hosts: {client: }}}}\n";
        let path = std::path::Path::new("/case/test.yaml");
        let files = [(path.to_owned(), text.as_bytes().to_vec())].into();
        let environment = Environment {
            home: None,
            user: Some("operator".to_owned()),
            directory: "/case".into(),
            files: std::sync::Arc::new(MemoryFiles(files)),
            untrusted: false,
        };
        load(path, &[], &environment).unwrap()
    }

    #[test]
    fn a_client_is_not_renewed_for_an_alternative_name() {
        let inventory = inventory();
        let certificate = Certificate::from_pem(WITHOUT_NAME.as_bytes()).unwrap();
        assert!(certificate.sans().is_empty());
        let authority = Authority::read(inventory.ca(), None);
        let client = inventory.host("client").unwrap();
        let faults = mismatches(&authority, client, Role::Client, &certificate, (None, None));
        assert_eq!(faults, Vec::<String>::new());
    }
}
