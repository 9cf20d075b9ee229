//! What holds for every value: quoting for shells, and names in certificates.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use base::shell::quote;
use node::script::call;
use pki::{Authority, AuthorityProfile, Bundle, KeyType, San, Subject};
use proptest::prelude::*;

/// What shells take for something else, often, and anything else.
fn text() -> impl Strategy<Value = String> {
    let special = prop::sample::select(vec![
        "'", "''", "\"", "\\", "\\'", "$", "$(id)", "`id`", "${IFS}", ";", "&", "|", "\n", "\t",
        " ", "*", "?", "[a]", "~", "!", "!!", "#", "-n", "--", "=", "%s", "\u{1b}", "é", "漢",
        "\u{202e}",
    ])
    .prop_map(str::to_owned);
    let any = "[^\0]{0,4}";
    prop::collection::vec(prop_oneof![special, any], 0..6).prop_map(|parts| parts.concat())
}

/// What a shell makes of a script.
fn answer(shell: &[&str], script: &str) -> Vec<u8> {
    let mut child = Command::new(shell[0])
        .args(&shell[1..])
        .arg("-s")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{shell:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let script = script.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{shell:?}");
    output.stdout
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Every shell that nodes have gives a quoted value back byte for byte, as
    /// one word, also as an argument among others.
    #[test]
    fn quoted_values_arrive_as_they_are(values in prop::collection::vec(text(), 1..16)) {
        let words: Vec<&str> = values.iter().map(String::as_str).collect();
        let mut script = "f() { for word; do printf '%s\\0' \"$word\"; done; }\n".to_owned();
        for value in &words {
            script += &["f ", &quote(value), "\n"].concat();
        }
        script.push_str(&call("f", &words));
        script.push('\n');
        let mut expected = Vec::new();
        for value in words.iter().chain(&words) {
            expected.extend(value.as_bytes());
            expected.push(0);
        }
        for shell in [&["dash"][..], &["bash"], &["busybox", "ash"]] {
            prop_assert_eq!(&answer(shell, &script), &expected, "{:?}", shell);
        }
    }
}

proptest! {
    /// What is accepted is written in one way, and read back as the same.
    #[test]
    fn accepted_names_are_read_back(text in prop_oneof![
        "(DNS:|IP:)?(\\*\\.)?[A-Za-z0-9_-]{1,8}(\\.[A-Za-z0-9-]{1,8}){0,3}\\.?",
        "(DNS:|IP:)?[0-9a-fA-F:.%\\[\\]]{0,20}",
        "\\PC{0,12}",
    ]) {
        if let Ok(san) = text.parse::<San>() {
            let shown = san.to_string();
            prop_assert_eq!(shown.parse::<San>(), Ok(san.clone()));
            let json = serde_json::to_string(&san).unwrap();
            prop_assert_eq!(serde_json::from_str::<San>(&json).unwrap(), san.clone());
            if let San::Dns(name) = &san {
                prop_assert!(name.parse::<IpAddr>().is_err(), "{name} is an address");
                prop_assert_eq!(name, &name.to_ascii_lowercase());
                prop_assert!(name.len() <= 253 && name.split('.').all(|part| !part.is_empty() && part.len() <= 63));
                prop_assert!(!name.contains(['/', ',', ':', ' ', '\0']), "{name} means something to OpenSSL");
            }
        }
    }

    #[test]
    fn every_address_is_a_name(bytes in any::<[u8; 16]>(), four in any::<[u8; 4]>()) {
        for address in [IpAddr::from(bytes), IpAddr::from(four)] {
            let san: San = format!("IP:{address}").parse().unwrap();
            prop_assert_eq!(&san, &San::Ip(address));
            prop_assert_eq!(address.to_string().parse::<San>(), Ok(san.clone()));
            let as_name = format!("DNS:{address}").parse::<San>();
            prop_assert!(as_name.is_err(), "{as_name:?}");
        }
    }
}

/// A piece of a CA file, and what of it counts.
#[derive(Debug, Clone)]
enum Piece {
    Certificate(usize),
    Key(String),
    Else(String),
}

fn authorities() -> &'static [String] {
    static MADE: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    MADE.get_or_init(|| {
        (1..4)
            .map(|number| {
                let subject = Subject::named(&format!("CA {number}"));
                Authority::create(
                    &AuthorityProfile::new(subject, KeyType::EcdsaP256, 90),
                    time::OffsetDateTime::now_utc(),
                )
                .unwrap()
                .certificate()
                .to_pem()
            })
            .collect()
    })
}

fn piece() -> impl Strategy<Value = Piece> {
    let label = prop::sample::select(vec![
        "PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
    ]);
    // Recognised again wherever it may turn up.
    let body = "Secret[A-Za-z0-9+/]{40,58}";
    let key = (label, body, 0..4_u8).prop_map(|(label, body, cut)| {
        Piece::Key(match cut {
            0 => format!("{body}\n-----END {label}-----\n"),
            1 => format!("-----BEGIN {label}-----\n{body}\n"),
            2 => format!(
                "-----BEGIN {label}-----\nProc-Type: 4,ENCRYPTED\n\n{body}\n-----END {label}-----\n"
            ),
            _ => format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"),
        })
    });
    let other = prop::sample::select(vec![
        "Certificate:\n    Data:\n        Version: 3 (0x2)\n",
        "# Secret: a comment\n",
        "-----BEGIN CERTIFICATE REQUEST-----\nSecretAAAA\n-----END CERTIFICATE REQUEST-----\n",
        "-----BEGIN TRUSTED CERTIFICATE-----\nSecretAAAA\n-----END TRUSTED CERTIFICATE-----\n",
        "-----BEGIN X509 CRL-----\nSecretAAAA\n-----END X509 CRL-----\n",
        "-----BEGIN DH PARAMETERS-----\nSecretAAAA\n-----END DH PARAMETERS-----\n",
        " -----BEGIN CERTIFICATE-----\nSecretAAAA\n",
        "\n",
    ])
    .prop_map(|text| Piece::Else(text.to_owned()));
    let noise = "[ -~]{0,20}".prop_filter("no frame of a block", |text| !text.contains("---"));
    prop_oneof![
        4 => (0..3_usize).prop_map(Piece::Certificate),
        2 => key,
        2 => other,
        1 => noise.prop_map(|text| Piece::Else(text + "\n")),
    ]
}

/// The file, and the certificates that are in it, each once.
fn ca_file(pieces: &[Piece], carriage_returns: bool) -> (String, String) {
    let mut file = String::new();
    let mut known = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Certificate(number) => {
                file.push_str(&authorities()[*number]);
                if !known.contains(number) {
                    known.push(*number);
                }
            }
            Piece::Key(text) | Piece::Else(text) => file.push_str(text),
        }
    }
    if carriage_returns {
        file = file.replace('\n', "\r\n");
    }
    let known = known
        .into_iter()
        .map(|number| authorities()[number].clone());
    (file, known.collect())
}

proptest! {
    /// Whatever is in a CA file, its certificates come out and nothing else.
    #[test]
    fn only_certificates_come_out_of_a_ca_file(
        pieces in prop::collection::vec(piece(), 0..8),
        carriage_returns: bool,
    ) {
        let (file, known) = ca_file(&pieces, carriage_returns);
        match Bundle::read(file.as_bytes()) {
            Ok(bundle) => {
                prop_assert_eq!(bundle.to_pem(), known);
                let has_key = pieces.iter().any(|piece| matches!(piece, Piece::Key(_)));
                prop_assert_eq!(bundle.has_private_key(), has_key);
            }
            Err(error) => {
                prop_assert!(known.is_empty(), "{error}: {file}");
                prop_assert!(!error.to_string().contains("Secret"), "{error}");
            }
        }
    }

    /// Nor when the file was cut anywhere, or pieces run into each other.
    #[test]
    fn nothing_else_comes_out_of_a_mangled_one(
        pieces in prop::collection::vec(piece(), 1..6),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 1..40_usize), 0..4),
    ) {
        let (mut file, _) = ca_file(&pieces, false);
        for (at, length) in cuts {
            let from = at.index(file.len() + 1);
            let to = (from + length).min(file.len());
            file.replace_range(from..to, "");
        }
        match Bundle::read(file.as_bytes()) {
            Ok(bundle) => {
                for certificate in bundle.certificates() {
                    prop_assert!(authorities().contains(&certificate.to_pem()));
                }
            }
            Err(error) => prop_assert!(!error.to_string().contains("Secret"), "{error}"),
        }
    }
}
