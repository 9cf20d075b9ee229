//! What the authority promises, with the time and the serial number chosen.

use std::collections::BTreeSet;

use pki::{
    Authority, AuthorityError, AuthorityProfile, Certificate, CertificateError, KeyType,
    LeafProfile, Role, Serial, Subject, generate,
};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2026-03-01 12:00:00 UTC);

fn authority(days: u32) -> Authority {
    Authority::create(&authority_profile(days), NOW).unwrap()
}

fn authority_profile(days: u32) -> AuthorityProfile {
    AuthorityProfile::new(Subject::named("CA"), KeyType::EcdsaP256, days)
}

fn profile(days: i64) -> LeafProfile {
    LeafProfile {
        common_name: "node3".to_owned(),
        role: Role::Daemon,
        sans: BTreeSet::from(["Node3".parse().unwrap()]),
        key_type: KeyType::EcdsaP256,
        validity: Duration::days(days),
    }
}

#[test]
fn dates_are_backdated_five_minutes_and_counted_from_now() {
    let ca = authority(3650);
    assert_eq!(ca.certificate().not_before(), NOW - Duration::minutes(5));
    assert_eq!(ca.certificate().not_after(), NOW + Duration::days(3650));
    let later = NOW + Duration::days(10);
    let leaf = ca.issue(&profile(365), later).unwrap();
    assert_eq!(leaf.certificate.not_before(), later - Duration::minutes(5));
    assert_eq!(leaf.certificate.not_after(), later + Duration::days(365));
    assert!(!leaf.clipped_by_ca);
}

#[test]
fn a_leaf_is_valid_only_while_its_ca_is() {
    let ca = authority(100);
    let leaf = ca.issue(&profile(365), NOW).unwrap();
    assert!(leaf.clipped_by_ca);
    assert_eq!(leaf.certificate.not_after(), ca.certificate().not_after());
    let exact = ca.issue(&profile(100), NOW).unwrap();
    assert!(!exact.clipped_by_ca);
    let before = NOW - Duration::minutes(2);
    let early = ca.issue(&profile(1), before).unwrap();
    assert_eq!(
        early.certificate.not_before(),
        ca.certificate().not_before()
    );
    assert!(matches!(
        ca.issue(&profile(1), NOW + Duration::days(101)),
        Err(AuthorityError::Expired(_))
    ));
    assert!(matches!(
        ca.issue(&profile(1), NOW - Duration::days(1)),
        Err(AuthorityError::NotYetValid(_))
    ));
}

#[test]
fn a_chosen_serial_and_key_are_those_of_the_certificate() {
    let ca = authority(100);
    let key = generate(KeyType::EcdsaP384).unwrap();
    let serial = Serial::from_bytes([0xAB; 16]);
    let leaf = ca.sign(&profile(10), &key, serial, NOW).unwrap();
    assert_eq!(leaf.certificate.serial(), "AB".repeat(16));
    assert_eq!(
        leaf.certificate.public_key_sha256(),
        key.public_key_sha256()
    );
    assert_eq!(leaf.key_pem, key.to_pem());
    assert_eq!(
        leaf.certificate.sans().first().unwrap().to_string(),
        "DNS:node3"
    );
}

#[test]
fn what_does_not_belong_together_is_not_opened() {
    let ca = authority(100);
    let leaf = ca.issue(&profile(10), NOW).unwrap();
    let other = generate(KeyType::EcdsaP256).unwrap();
    assert!(matches!(
        Authority::open(ca.certificate().clone(), other),
        Err(AuthorityError::KeyMismatch(_))
    ));
    let other = generate(KeyType::EcdsaP256).unwrap();
    assert!(matches!(
        Authority::open(leaf.certificate, other),
        Err(AuthorityError::NotAnAuthority(_))
    ));
}

#[test]
fn validities_out_of_range_are_refused() {
    for days in [0, 366 * 8000, u32::MAX] {
        let made = Authority::create(&authority_profile(days), NOW);
        assert!(matches!(made, Err(AuthorityError::Validity(_))), "{days}");
    }
}

#[test]
fn a_certificate_that_is_cut_or_changed_is_damaged() {
    let ca = authority(100);
    let der = ca.certificate().der();
    for end in 0..der.len() {
        assert!(Certificate::from_der(&der[..end]).is_err(), "cut at {end}");
    }
    let mut longer = der.to_vec();
    longer.push(0);
    assert!(Certificate::from_der(&longer).is_err());
    for position in 0..der.len() {
        let mut changed = der.to_vec();
        changed[position] ^= 1;
        // It may still be one: then the signature tells, or the byte was the
        // tag of the unsigned algorithm field and changes nothing that is read.
        if let Ok(certificate) = Certificate::from_der(&changed)
            && certificate.is_signed_by(ca.certificate())
        {
            let read = |certificate: &Certificate| {
                let usages = certificate.extended_key_usages().clone();
                let key = certificate.public_key_sha256();
                format!("{certificate:?} {usages:?} {key} {}", certificate.is_ca())
            };
            assert_eq!(
                read(&certificate),
                read(ca.certificate()),
                "byte {position}"
            );
        }
    }
    let good = ca.certificate().to_pem();
    let bad = good.replacen("MII", "AII", 1).replacen("MI", "AI", 1);
    assert!(matches!(
        Certificate::bundle_from_pem(format!("{good}{bad}").as_bytes()),
        Err(CertificateError::Damaged { position: 2, .. })
    ));
    assert_eq!(Certificate::from_pem(b"hello"), Err(CertificateError::None));
}

/// A client is called by its own name; a URI names whom DNS cannot.
#[test]
fn client_certificates_have_an_alternative_name() {
    let ca = authority(100);
    for (name, san, uri) in [
        ("desk", Some("DNS:desk"), None),
        ("Desk.example.com", Some("DNS:desk.example.com"), None),
        ("alice@desk", None, Some("dtls-deploy:alice@desk")),
        ("10.0.0.10", None, Some("dtls-deploy:10.0.0.10")),
        ("a b/ü@desk", None, Some("dtls-deploy:a%20b%2F%C3%BC@desk")),
    ] {
        let profile = LeafProfile {
            common_name: name.to_owned(),
            role: Role::Client,
            sans: BTreeSet::new(),
            ..profile(10)
        };
        let leaf = ca.issue(&profile, NOW).unwrap().certificate;
        let sans: Vec<String> = leaf.sans().iter().map(ToString::to_string).collect();
        let san: Vec<String> = san.map(str::to_owned).into_iter().collect();
        assert_eq!(sans, san, "{name}");
        let uris: Vec<&str> = leaf.uris().iter().map(String::as_str).collect();
        let uri: Vec<&str> = uri.into_iter().collect();
        assert_eq!(uris, uri, "{name}");
        // A daemon is called as the inventory says, and by nothing else.
        let daemon = ca
            .issue(
                &LeafProfile {
                    role: Role::Daemon,
                    ..profile
                },
                NOW,
            )
            .unwrap();
        assert!(daemon.certificate.sans().is_empty() && daemon.certificate.uris().is_empty());
    }
}
