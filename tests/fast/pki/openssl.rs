//! What this program writes, OpenSSL reads; what OpenSSL wrote, this program
//! reads. Runs the real `openssl`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base::secret::Secret;
use pki::{
    Authority, AuthorityError, AuthorityProfile, Certificate, ExtendedKeyUsage, KeyFileError,
    KeyType, LeafProfile, Role, San, Subject, decrypt, encrypt, generate,
};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use super::{PASSPHRASE, passphrase};

/// A directory to work in, with the passphrase in the file `pass`.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("pass"), format!("{PASSPHRASE}\n")).unwrap();
    directory
}

fn run(directory: &Path, arguments: &str) -> Output {
    Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(directory)
        .output()
        .expect("openssl is installed")
}

/// Runs it, expects success, and gives what it printed.
fn openssl(directory: &Path, arguments: &str) -> String {
    let output = run(directory, arguments);
    assert!(
        output.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn authority(key_type: KeyType) -> Authority {
    let profile = AuthorityProfile::new(Subject::named("lab CA"), key_type, 730);
    Authority::create(&profile, now()).unwrap()
}

fn profile(key_type: KeyType, role: Role) -> LeafProfile {
    LeafProfile {
        common_name: "node3".to_owned(),
        role,
        sans: sans(&["node3", "10.0.0.12", "::1"]),
        key_type,
        validity: Duration::days(365),
    }
}

fn sans(names: &[&str]) -> BTreeSet<San> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn openssl_opens_our_ca_key_of_every_type() {
    let directory = directory();
    let path = directory.path();
    for key_type in KeyType::ALL {
        let key = generate(key_type).unwrap();
        let pem = encrypt(&key, &passphrase()).unwrap();
        assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        fs::write(path.join("ca-key.pem"), &pem).unwrap();
        let plain = openssl(path, "pkey -in ca-key.pem -passin file:pass");
        assert_eq!(plain.as_bytes(), key.to_pem().expose(), "{key_type}");
        assert!(
            !run(path, "pkey -in ca-key.pem -passin pass:wrong")
                .status
                .success()
        );
        let asn1 = openssl(path, "asn1parse -in ca-key.pem");
        assert!(
            asn1.contains("PBES2") && asn1.contains("aes-256-cbc"),
            "{asn1}"
        );
        let again = decrypt(pem.as_bytes(), &passphrase()).unwrap();
        assert_eq!(again.to_pem(), key.to_pem());
        assert_eq!(again.key_type(), key_type);
    }
}

#[test]
fn openssl_verifies_every_leaf_type_under_every_ca_type() {
    let directory = directory();
    let path = directory.path();
    let leaves: Vec<_> = KeyType::ALL
        .map(|key_type| (key_type, generate(key_type).unwrap()))
        .into();
    for ca_type in KeyType::ALL {
        let ca = authority(ca_type);
        fs::write(path.join("ca.pem"), ca.certificate().to_pem()).unwrap();
        openssl(
            path,
            "verify -x509_strict -check_ss_sig -CAfile ca.pem ca.pem",
        );
        for (key_type, key) in &leaves {
            for (role, purpose, other) in [
                (Role::Daemon, "sslserver", "sslclient"),
                (Role::Client, "sslclient", "sslserver"),
            ] {
                let serial = pki::Serial::random().unwrap();
                let leaf = ca
                    .sign(&profile(*key_type, role), key, serial, now())
                    .unwrap();
                fs::write(path.join("leaf.pem"), leaf.certificate.to_pem()).unwrap();
                fs::write(path.join("key.pem"), leaf.key_pem.expose()).unwrap();
                openssl(
                    path,
                    &format!("verify -x509_strict -CAfile ca.pem -purpose {purpose} leaf.pem"),
                );
                let refused =
                    format!("verify -x509_strict -CAfile ca.pem -purpose {other} leaf.pem");
                assert!(
                    !run(path, &refused).status.success(),
                    "{ca_type} {key_type} {role}"
                );
                assert_eq!(
                    openssl(path, "x509 -in leaf.pem -noout -pubkey"),
                    openssl(path, "pkey -in key.pem -pubout"),
                );
                assert_eq!(leaf.certificate.key_type(), Some(*key_type));
            }
        }
    }
}

/// A CN has 64 characters at most.
#[test]
fn a_long_name_is_verified_as_a_whole() {
    let directory = directory();
    let path = directory.path();
    let ca = authority(KeyType::EcdsaP256);
    fs::write(path.join("ca.pem"), ca.certificate().to_pem()).unwrap();
    let key = generate(KeyType::EcdsaP256).unwrap();
    let host = format!("{}.{}.example.com", "a".repeat(50), "b".repeat(50));
    let identity = format!("alice@{host}");
    for (role, name, sans) in [
        (Role::Daemon, &host, sans(&[&host])),
        (Role::Client, &host, BTreeSet::new()),
        (Role::Client, &identity, BTreeSet::new()),
    ] {
        let profile = LeafProfile {
            common_name: name.clone(),
            sans,
            ..profile(KeyType::EcdsaP256, role)
        };
        let serial = pki::Serial::random().unwrap();
        let leaf = ca.sign(&profile, &key, serial, now()).unwrap();
        fs::write(path.join("leaf.pem"), leaf.certificate.to_pem()).unwrap();
        let named = if name == &host {
            format!("-verify_hostname {host}")
        } else {
            String::new()
        };
        openssl(
            path,
            &format!("verify -x509_strict -CAfile ca.pem {named} leaf.pem"),
        );
        let text = openssl(path, "x509 -in leaf.pem -noout -ext subjectAltName");
        assert!(text.contains(name.as_str()), "{text}");
    }
}

/// PROCEDURE, guide C, rows 1 to 3.
#[test]
fn the_profile_is_what_openssl_shows() {
    let directory = directory();
    let path = directory.path();
    let ca = authority(KeyType::Rsa4096);
    fs::write(path.join("ca.pem"), ca.certificate().to_pem()).unwrap();
    let text = openssl(path, "x509 -in ca.pem -noout -text");
    for line in [
        "Signature Algorithm: sha256WithRSAEncryption",
        "Public-Key: (4096 bit)",
        "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0\n",
        "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n",
        "X509v3 Subject Key Identifier:",
        "X509v3 Authority Key Identifier:",
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
    let leaf = ca
        .issue(&profile(KeyType::Rsa2048, Role::Daemon), now())
        .unwrap();
    fs::write(path.join("leaf.pem"), leaf.certificate.to_pem()).unwrap();
    let text = openssl(path, "x509 -in leaf.pem -noout -text");
    for line in [
        "Signature Algorithm: sha256WithRSAEncryption",
        "Subject: CN = node3\n",
        "X509v3 Basic Constraints: critical\n                CA:FALSE\n",
        "X509v3 Key Usage: critical\n                Digital Signature, Key Encipherment\n",
        "X509v3 Extended Key Usage: \n                TLS Web Server Authentication\n",
        "DNS:node3, IP Address:10.0.0.12, IP Address:0:0:0:0:0:0:0:1\n",
        "X509v3 Subject Key Identifier:",
        "X509v3 Authority Key Identifier:",
    ] {
        assert!(text.contains(line), "{line:?} is missing in {text}");
    }
    let certificate = &leaf.certificate;
    assert_eq!(
        openssl(path, "x509 -in leaf.pem -noout -serial"),
        format!("serial={}\n", certificate.serial())
    );
    assert_eq!(certificate.serial().len(), 32);
    let fingerprint = openssl(path, "x509 -in leaf.pem -noout -fingerprint -sha256");
    let fingerprint = fingerprint
        .rsplit_once('=')
        .unwrap()
        .1
        .trim()
        .replace(':', "");
    assert_eq!(fingerprint.to_lowercase(), certificate.sha256());
    // The authority's identifier is the same in the leaf as in the CA.
    let identifier = |file: &str, name: &str| {
        let text = openssl(path, &format!("x509 -in {file} -noout -ext {name}"));
        text.lines()
            .nth(1)
            .unwrap()
            .trim()
            .trim_start_matches("keyid:")
            .to_owned()
    };
    assert_eq!(
        identifier("leaf.pem", "authorityKeyIdentifier"),
        identifier("ca.pem", "subjectKeyIdentifier")
    );

    let client = ca
        .issue(&profile(KeyType::EcdsaP256, Role::Client), now())
        .unwrap();
    fs::write(path.join("leaf.pem"), client.certificate.to_pem()).unwrap();
    let text = openssl(path, "x509 -in leaf.pem -noout -text");
    assert!(
        text.contains("X509v3 Key Usage: critical\n                Digital Signature\n"),
        "{text}"
    );
    assert!(text.contains("TLS Web Client Authentication\n"), "{text}");
    assert!(!text.contains("TLS Web Server"), "{text}");

    let p384 = authority(KeyType::EcdsaP384);
    fs::write(path.join("ca.pem"), p384.certificate().to_pem()).unwrap();
    let text = openssl(path, "x509 -in ca.pem -noout -text");
    assert!(text.contains("ecdsa-with-SHA384"), "{text}");
}

#[test]
fn a_full_subject_comes_out_as_openssl_would_write_it() {
    let directory = directory();
    let path = directory.path();
    let subject = Subject {
        common_name: Some("lab, \"CA\"".to_owned()),
        organization: Some("Bücher + Söhne".to_owned()),
        organizational_unit: Some("ops".to_owned()),
        locality: Some("Köln".to_owned()),
        state: Some("NRW".to_owned()),
        country: Some("DE".to_owned()),
        email_address: Some("ca@example.com".to_owned()),
    };
    let asked = AuthorityProfile::new(subject.clone(), KeyType::EcdsaP256, 1);
    let ca = Authority::create(&asked, now()).unwrap();
    fs::write(path.join("ca.pem"), ca.certificate().to_pem()).unwrap();
    let shown = openssl(
        path,
        "x509 -in ca.pem -noout -subject -nameopt RFC2253,-esc_msb,utf8",
    );
    assert_eq!(shown, format!("subject={}\n", ca.certificate().subject()));
    assert_eq!(ca.certificate().subject(), subject.to_string());
    let types = openssl(path, "asn1parse -in ca.pem");
    assert!(types.contains("PRINTABLESTRING   :DE"), "{types}");
    assert!(
        types.contains("IA5STRING         :ca@example.com"),
        "{types}"
    );
    // A name of several attributes is repeated byte for byte by its leaves.
    ca.issue(&profile(KeyType::EcdsaP256, Role::Daemon), now())
        .unwrap();
}

/// Each as a guide or OpenSSL's own manual has it.
#[test]
fn keys_that_openssl_encrypted_are_opened() {
    let directory = directory();
    let path = directory.path();
    openssl(path, "genrsa -out rsa.pem 2048");
    openssl(path, "ecparam -name prime256v1 -genkey -out p256.pem");
    openssl(path, "ecparam -name secp384r1 -genkey -noout -out p384.pem");
    openssl(path, "genpkey -algorithm ed25519 -out ed.pem");
    let mut commands: Vec<(String, KeyType)> = vec![
        ("genrsa -aes256 -passout file:pass -out key.pem 3072".into(), KeyType::Rsa3072),
        ("genrsa -traditional -aes256 -passout file:pass -out key.pem 4096".into(), KeyType::Rsa4096),
        (
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes-256-cbc -pass file:pass -out key.pem".into(),
            KeyType::EcdsaP256,
        ),
        ("genpkey -algorithm ed25519 -aes256 -pass file:pass -out key.pem".into(), KeyType::Ed25519),
    ];
    for cipher in ["aes128", "aes192", "aes256", "des3"] {
        for (file, key_type) in [
            ("rsa.pem", KeyType::Rsa2048),
            ("p256.pem", KeyType::EcdsaP256),
            ("p384.pem", KeyType::EcdsaP384),
        ] {
            let tail = format!("-in {file} -{cipher} -passout file:pass -out key.pem");
            commands.push((format!("pkey -traditional {tail}"), key_type));
            commands.push((format!("pkey {tail}"), key_type));
        }
    }
    for digest in ["hmacWithSHA1", "hmacWithSHA256", "hmacWithSHA512"] {
        commands.push((
            format!("pkcs8 -topk8 -v2 aes256 -v2prf {digest} -in rsa.pem -passout file:pass -out key.pem"),
            KeyType::Rsa2048,
        ));
    }
    commands.push((
        "pkcs8 -topk8 -scrypt -in ed.pem -passout file:pass -out key.pem".into(),
        KeyType::Ed25519,
    ));
    for (command, key_type) in commands {
        openssl(path, &command);
        let pem = fs::read(path.join("key.pem")).unwrap();
        let key = decrypt(&pem, &passphrase()).unwrap_or_else(|error| panic!("{command}: {error}"));
        assert_eq!(key.key_type(), key_type, "{command}");
        fs::write(path.join("plain.pem"), key.to_pem().expose()).unwrap();
        assert_eq!(
            openssl(path, "pkey -in key.pem -passin file:pass -pubout"),
            openssl(path, "pkey -in plain.pem -pubout"),
            "{command}"
        );
        for attempt in 0..20 {
            let wrong = Secret::from(format!("wrong {attempt}"));
            let error = decrypt(&pem, &wrong).unwrap_err();
            assert_eq!(error, KeyFileError::WrongPassphrase, "{command}");
        }
    }
    // With the block of curve parameters that `openssl ecparam` puts before it.
    openssl(
        path,
        "pkey -traditional -in p256.pem -aes256 -passout file:pass -out key.pem",
    );
    let mut pem = openssl(path, "ecparam -name prime256v1").into_bytes();
    pem.extend(fs::read(path.join("key.pem")).unwrap());
    decrypt(&pem, &passphrase()).unwrap();
}

#[test]
fn what_cannot_be_opened_is_named() {
    let directory = directory();
    let path = directory.path();
    let read = || fs::read(path.join("key.pem")).unwrap();
    let error = |pem: &[u8]| decrypt(pem, &passphrase()).unwrap_err();
    for command in [
        "genrsa -out key.pem 2048",
        "genrsa -traditional -out key.pem 2048",
        "ecparam -name prime256v1 -genkey -out key.pem",
    ] {
        openssl(path, command);
        assert_eq!(error(&read()), KeyFileError::NotEncrypted, "{command}");
    }
    openssl(path, "genrsa -out rsa.pem 2048");
    for (command, name) in [
        (
            "pkey -traditional -in rsa.pem -camellia256 -passout file:pass -out key.pem",
            "CAMELLIA-256-CBC",
        ),
        (
            "pkcs8 -topk8 -v2 camellia-256-cbc -in rsa.pem -passout file:pass -out key.pem",
            "CAMELLIA-256-CBC",
        ),
        (
            "pkcs8 -topk8 -v1 PBE-SHA1-3DES -in rsa.pem -passout file:pass -out key.pem",
            "pbeWithSHA1And3-KeyTripleDES-CBC",
        ),
    ] {
        openssl(path, command);
        assert_eq!(
            error(&read()),
            KeyFileError::UnsupportedCipher(name.to_owned()),
            "{command}"
        );
    }
    for (command, name) in [
        (
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -aes256 -pass file:pass -out key.pem",
            "EC on curve 1.3.132.0.35",
        ),
        (
            "genrsa -aes256 -passout file:pass -out key.pem 2560",
            "RSA of 2560 bits",
        ),
    ] {
        openssl(path, command);
        assert_eq!(
            error(&read()),
            KeyFileError::UnsupportedKey(name.to_owned()),
            "{command}"
        );
    }
    assert_eq!(error(b""), KeyFileError::NoKey);
    assert_eq!(
        error(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        KeyFileError::NoKey
    );
    assert_eq!(
        encrypt(
            &generate(KeyType::EcdsaP256).unwrap(),
            &Secret::new(Vec::new())
        )
        .unwrap_err(),
        KeyFileError::EmptyPassphrase
    );
}

/// The PKCS#8 library panics on some parameters; nothing a file holds may.
#[test]
fn no_damage_to_a_key_file_is_more_than_an_error() {
    let directory = directory();
    let path = directory.path();
    let key = generate(KeyType::EcdsaP256).unwrap();
    fs::write(path.join("plain.pem"), key.to_pem().expose()).unwrap();
    let mut files = Vec::new();
    for command in [
        "pkcs8 -topk8 -v2 des3 -iter 1 -in plain.pem -passout file:pass -out key.pem",
        "pkcs8 -topk8 -scrypt -scrypt_N 2 -scrypt_r 1 -scrypt_p 1 -in plain.pem -passout file:pass -out key.pem",
        "pkey -traditional -aes256 -in plain.pem -passout file:pass -out key.pem",
    ] {
        openssl(path, command);
        let text = fs::read_to_string(path.join("key.pem")).unwrap();
        files.push(text);
    }
    for text in files {
        let block = pem::parse(&text).unwrap();
        for position in 0..block.contents().len() {
            // Lengths and counts beyond these make the derivation take hours.
            for change in [0x00, 0x01, 0x7f] {
                let mut der = block.contents().to_vec();
                if der[position] == change {
                    continue;
                }
                der[position] = change;
                let mut damaged = pem::Pem::new(block.tag(), der);
                for (name, value) in block.headers().iter() {
                    damaged.headers_mut().add(name, value).unwrap();
                }
                let _ = decrypt(pem::encode(&damaged).as_bytes(), &passphrase());
            }
        }
        for end in 0..text.len() {
            assert!(
                decrypt(&text.as_bytes()[..end], &passphrase()).is_err() || end > text.len() - 2
            );
        }
    }
}

/// Guide A's and C's CA, made by hand, is adopted and goes on issuing.
#[test]
fn a_ca_that_openssl_made_issues_leaves_that_openssl_verifies() {
    let directory = directory();
    let path = directory.path();
    openssl(
        path,
        "genrsa -aes256 -passout file:pass -out ca-key.pem 4096",
    );
    openssl(
        path,
        "req -new -x509 -days 730 -key ca-key.pem -passin file:pass -sha256 -out ca.pem -utf8 \
         -subj /C=DE/ST=NRW/L=Bonn/O=Example/OU=Ops/CN=ca.example.com/emailAddress=a@example.com",
    );
    let key = decrypt(&fs::read(path.join("ca-key.pem")).unwrap(), &passphrase()).unwrap();
    let certificate = Certificate::from_pem(&fs::read(path.join("ca.pem")).unwrap()).unwrap();
    assert_eq!(
        certificate.subject(),
        "emailAddress=a@example.com,CN=ca.example.com,OU=Ops,O=Example,L=Bonn,ST=NRW,C=DE"
    );
    let ca = Authority::open(certificate, key).unwrap();
    let leaf = ca
        .issue(&profile(KeyType::EcdsaP256, Role::Daemon), now())
        .unwrap();
    fs::write(path.join("leaf.pem"), leaf.certificate.to_pem()).unwrap();
    // Not -x509_strict: `openssl req -x509` gave the CA itself no keyUsage.
    openssl(path, "verify -CAfile ca.pem leaf.pem");
}

#[test]
fn a_ca_whose_name_cannot_be_repeated_is_refused_when_it_is_opened() {
    let directory = directory();
    let path = directory.path();
    openssl(
        path,
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass file:pass -out key.pem",
    );
    for (subject, multivalue) in [
        ("/OU=one/OU=two/CN=x", ""),
        ("/DC=com/DC=example/CN=x", ""),
        ("/O=a+OU=b/CN=x", "-multivalue-rdn"),
    ] {
        openssl(
            path,
            &format!(
                "req -new -x509 -days 9 -key key.pem -passin file:pass -out ca.pem {multivalue} -subj {subject}"
            ),
        );
        let key = decrypt(&fs::read(path.join("key.pem")).unwrap(), &passphrase()).unwrap();
        let certificate = Certificate::from_pem(&fs::read(path.join("ca.pem")).unwrap()).unwrap();
        let error = Authority::open(certificate, key).unwrap_err();
        assert!(
            matches!(error, AuthorityError::ForeignSubject(_)),
            "{subject}: {error}"
        );
        assert!(error.hint().is_some());
    }
}

#[test]
fn certificates_of_openssl_are_read_as_they_are() {
    let directory = directory();
    let path = directory.path();
    openssl(
        path,
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 9 -subj /CN=ca",
    );
    openssl(
        path,
        "req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=node3",
    );
    fs::write(
        path.join("extensions"),
        "subjectAltName = DNS:Node3,IP:10.0.0.12,email:a@b.c\nextendedKeyUsage = serverAuth,codeSigning\n",
    )
    .unwrap();
    openssl(
        path,
        "x509 -req -days 7 -in leaf.csr -CA ca.pem -CAkey ca.key -set_serial 0x0F -extfile extensions -out leaf.pem",
    );
    let read = |name: &str| Certificate::from_pem(&fs::read(path.join(name)).unwrap()).unwrap();
    let (ca, leaf) = (read("ca.pem"), read("leaf.pem"));
    assert!(ca.is_ca() && !leaf.is_ca());
    assert_eq!(leaf.serial(), "0F");
    assert_eq!((leaf.subject(), leaf.issuer()), ("CN=node3", "CN=ca"));
    assert_eq!(leaf.sans(), &sans(&["node3", "10.0.0.12"]));
    assert_eq!(
        leaf.extended_key_usages(),
        &BTreeSet::from([
            ExtendedKeyUsage::ServerAuth,
            ExtendedKeyUsage::Other("1.3.6.1.5.5.7.3.3".to_owned())
        ])
    );
    assert_eq!(leaf.key_type(), Some(KeyType::Rsa2048));
    assert_eq!(leaf.not_after() - leaf.not_before(), Duration::days(7));
    assert!(leaf.is_signed_by(&ca) && ca.is_signed_by(&ca) && !ca.is_signed_by(&leaf));
    let public = openssl(path, "pkey -in leaf.key -pubout");
    let der = pem::parse(public).unwrap();
    assert_eq!(leaf.public_key_sha256(), pki::sha256_hex(der.contents()));

    let text = fs::read_to_string(path.join("ca.pem")).unwrap() + &leaf.to_pem();
    let bundle = Certificate::bundle_from_pem(format!("a comment\n{text}").as_bytes()).unwrap();
    assert_eq!(bundle, [ca.clone(), leaf]);
    // Another CA of the same name did not sign it.
    openssl(
        path,
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 9 -subj /CN=ca",
    );
    assert!(!bundle[1].is_signed_by(&read("ca.pem")));
}
