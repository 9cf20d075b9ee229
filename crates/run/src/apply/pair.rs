//! Whether a key, its certificate and the CA match each other and the request.

use std::collections::BTreeSet;

use pki::{Certificate, ExtendedKeyUsage, IssuedLeaf, PrivateKey, Role, San, client_name};

/// What is wrong with a pair, in words for the operator.
pub(super) fn fault(
    leaf: &IssuedLeaf,
    sans: &BTreeSet<San>,
    authorities: &[Certificate],
) -> Option<String> {
    let certificate = match Certificate::from_pem(leaf.certificate_pem.as_bytes()) {
        Ok(certificate) => certificate,
        Err(error) => return Some(format!("its certificate cannot be read: {error}")),
    };
    let key = match PrivateKey::from_pem(leaf.key.expose()) {
        Ok(key) => key,
        Err(error) => return Some(format!("its key cannot be read: {error}")),
    };
    if key.public_key_sha256() != certificate.public_key_sha256() {
        return Some("its key does not belong to its certificate".to_owned());
    }
    if !authorities
        .iter()
        .any(|authority| certificate.is_signed_by(authority))
    {
        return Some(format!(
            "its certificate is not signed by the CA that is delivered with it, but by {}",
            certificate.issuer()
        ));
    }
    let usage = match leaf.role {
        Role::Daemon => ExtendedKeyUsage::ServerAuth,
        Role::Client => ExtendedKeyUsage::ClientAuth,
    };
    if certificate.extended_key_usages() != &BTreeSet::from([usage]) {
        return Some(format!("its certificate is not one for a {}", leaf.role));
    }
    // A client certificate has the client's name, or no name: see `client_name`.
    let own = (leaf.role == Role::Client).then(|| client_name(&leaf.host).ok());
    let own = own.flatten();
    let of_others = |san: &&San| !sans.contains(san) && own.as_ref() != Some(san);
    if !sans.is_subset(certificate.sans()) || certificate.sans().iter().any(|san| of_others(&san)) {
        let list = |sans: &BTreeSet<San>| {
            let sans: Vec<String> = sans.iter().map(ToString::to_string).collect();
            sans.join(" ")
        };
        return Some(format!(
            "its certificate is for [{}], and was asked for [{}]",
            list(certificate.sans()),
            list(sans)
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;
    use time::{Duration, OffsetDateTime};

    use super::*;
    use base::secret::Secret;
    use pki::{Authority, AuthorityProfile, KeyType, LeafProfile, Subject};

    const NOW: OffsetDateTime = datetime!(2030-01-01 00:00 UTC);

    fn authority() -> Authority {
        let subject = Subject::named("CA");
        let profile = AuthorityProfile::new(subject, KeyType::EcdsaP256, 9);
        Authority::create(&profile, NOW).unwrap()
    }

    fn names() -> BTreeSet<San> {
        [
            "DNS:node3".parse().unwrap(),
            "IP:10.0.0.12".parse().unwrap(),
        ]
        .into()
    }

    fn pair(authority: &Authority, role: Role, key_type: KeyType) -> IssuedLeaf {
        let profile = LeafProfile {
            common_name: "node3".to_owned(),
            role,
            sans: names(),
            key_type,
            validity: Duration::days(5),
        };
        let leaf = authority.issue(&profile, NOW).unwrap();
        IssuedLeaf {
            host: "node3".to_owned(),
            role: Role::Daemon,
            certificate_pem: leaf.certificate.to_pem(),
            key: leaf.key_pem,
            serial: leaf.certificate.serial().to_owned(),
            not_after: leaf.certificate.not_after(),
            clipped_by_ca: false,
        }
    }

    #[test]
    fn a_pair_that_belongs_together_has_no_fault() {
        let authority = authority();
        for key_type in [KeyType::EcdsaP256, KeyType::Ed25519, KeyType::Rsa2048] {
            let leaf = pair(&authority, Role::Daemon, key_type);
            let trusted = [authority.certificate().clone()];
            assert_eq!(fault(&leaf, &names(), &trusted), None, "{key_type}");
        }
    }

    #[test]
    fn every_mismatch_is_named() {
        let (own, other) = (authority(), authority());
        let trusted = [own.certificate().clone()];
        let good = || pair(&own, Role::Daemon, KeyType::EcdsaP256);
        let said = |leaf: &IssuedLeaf| fault(leaf, &names(), &trusted).unwrap_or_default();
        let mut leaf = good();
        leaf.key = good().key;
        assert_eq!(said(&leaf), "its key does not belong to its certificate");
        leaf.key = Secret::from("no key".to_owned());
        assert!(said(&leaf).starts_with("its key cannot be read"));
        let leaf = pair(&other, Role::Daemon, KeyType::EcdsaP256);
        assert!(said(&leaf).starts_with("its certificate is not signed by the CA"));
        let leaf = pair(&own, Role::Client, KeyType::EcdsaP256);
        assert_eq!(said(&leaf), "its certificate is not one for a daemon");
        let leaf = good();
        let fewer = ["DNS:node3".parse().unwrap()].into();
        assert_eq!(
            fault(&leaf, &fewer, &trusted).unwrap(),
            "its certificate is for [DNS:node3 IP:10.0.0.12], and was asked for [DNS:node3]"
        );
    }
}
