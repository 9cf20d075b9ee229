use proptest::prelude::*;

use super::{Kind, Place};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
/// The places whose content a run compares.
const PLACES: [Place; 5] = [
    Place::Certificates,
    Place::Key,
    Place::DaemonJson,
    Place::DropIn,
    Place::Context,
];

#[test]
fn each_place_accepts_its_own_kind_alone() {
    let dump = format!("Certificate:\n    Data:\n        Version: 3\n{CERTIFICATE}");
    let bag = format!("Bag Attributes\n    localKeyID: 01\nsubject=CN=x\n{CERTIFICATE}");
    let comment = format!("# made by hand\n\n{CERTIFICATE}{CERTIFICATE}trailing words\n");
    let both = format!("{KEY}{CERTIFICATE}");
    let other_way = format!("{CERTIFICATE}{KEY}");
    let script = format!("#!/bin/sh\ncat <<E\n{CERTIFICATE}E\n");
    let openssh = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n";
    let rsa = KEY.replace("PRIVATE", "RSA PRIVATE");
    let parameters = format!(
        "-----BEGIN EC PARAMETERS-----\nBggq\n-----END EC PARAMETERS-----\n{}",
        KEY.replace("PRIVATE", "EC PRIVATE")
    );
    let sealed = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let table: &[(&str, Kind, Option<Place>)] = &[
        (CERTIFICATE, Kind::Certificates, Some(Place::Certificates)),
        (&dump, Kind::Certificates, Some(Place::Certificates)),
        (&bag, Kind::Certificates, Some(Place::Certificates)),
        (&comment, Kind::Certificates, Some(Place::Certificates)),
        (KEY, Kind::Key, Some(Place::Key)),
        (&rsa, Kind::Key, Some(Place::Key)),
        (&sealed, Kind::Key, Some(Place::Key)),
        (&parameters, Kind::Key, Some(Place::Key)),
        (&both, Kind::CertificatesAndKey, None),
        (&other_way, Kind::CertificatesAndKey, None),
        (openssh, Kind::OtherPem, None),
        (&script, Kind::Text, None),
        ("root:x:0:0:root:/root:/bin/bash\n", Kind::Text, None),
        ("Debian GNU/Linux 12 \\n \\l\n", Kind::Text, None),
        ("key=value\n", Kind::Text, None),
        ("[Service]\nnot a setting\n", Kind::Text, None),
        ("[1, 2]\n", Kind::Text, None),
        ("\u{7f}ELF\0\0", Kind::Binary, None),
    ];
    for (text, kind, place) in table {
        assert_eq!(Kind::of(text.as_bytes()), *kind, "{text}");
        for each in PLACES {
            assert_eq!(
                each.accepts(*kind),
                Some(each) == *place,
                "{each:?}: {text}"
            );
        }
    }
    assert_eq!(Kind::of(b"\xff\xfe{\0}\0"), Kind::Binary);
}

#[test]
fn settings_may_be_empty_and_certificates_may_not() {
    for text in ["", "\n", "  \n\t\n"] {
        let kind = Kind::of(text.as_bytes());
        assert_eq!(kind, Kind::Empty, "{text:?}");
        assert!(Place::DaemonJson.accepts(kind) && Place::DropIn.accepts(kind));
        for place in [Place::Certificates, Place::Key, Place::Context] {
            assert!(!place.accepts(kind), "{place:?}");
        }
    }
}

#[test]
fn drop_ins_as_people_write_them() {
    for text in [
        "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd -H fd:// \\\n  --debug\n",
        "# only a comment\n; and another\n",
        "[Service]\nEnvironment=\"A=b c\"\n\n[Unit]\nX-Own=1\n",
    ] {
        assert!(Place::DropIn.accepts(Kind::of(text.as_bytes())), "{text}");
    }
    let json = br#"{"debug": true}"#;
    assert!(Place::DaemonJson.accepts(Kind::of(json)) && Place::Context.accepts(Kind::of(json)));
    assert!(!Place::DropIn.accepts(Kind::of(json)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_never_recognised(bytes in prop::collection::vec(any::<u8>(), 1..2000)) {
        let kind = Kind::of(&bytes);
        prop_assume!(kind != Kind::Empty && kind != Kind::Comments);
        for place in PLACES {
            prop_assert!(!place.accepts(kind), "{place:?} {kind:?}");
        }
    }

    /// Text before a block, a truncated block, another label: no certificate, no key.
    #[test]
    fn words_are_never_recognised(text in "[a-zA-Z0-9 :/.\n]{1,200}", cut in 0usize..20) {
        let kind = Kind::of(text.as_bytes());
        prop_assume!(kind != Kind::Empty && kind != Kind::Comments);
        for place in PLACES {
            prop_assert!(!place.accepts(kind), "{place:?} {kind:?}");
        }
        let begins_so = text.trim_start().len() < text.len();
        let before = format!("x{text}\n{CERTIFICATE}");
        prop_assert!(begins_so || !Place::Certificates.accepts(Kind::of(before.as_bytes())));
        let cut_off: String = CERTIFICATE.chars().take(cut).collect();
        prop_assert!(!Place::Certificates.accepts(Kind::of(cut_off.as_bytes())));
    }
}
