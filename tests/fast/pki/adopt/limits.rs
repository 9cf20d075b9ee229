//! What a CA's own extensions exclude, as this program and the real `openssl` see it.

use std::collections::BTreeSet;

use pki::{Chain, San};

use super::*;

struct Limit {
    /// Lines of the CA's extensions, after basicConstraints and keyUsage.
    extensions: &'static str,
    role: Role,
    names: &'static [&'static str],
    /// What is reported of it; `None` where the leaf is fine.
    refused: Option<&'static str>,
    /// OpenSSL agrees: it knows some extensions that docker does not.
    openssl_agrees: bool,
}

const fn limit(
    extensions: &'static str,
    role: Role,
    names: &'static [&'static str],
    refused: Option<&'static str>,
) -> Limit {
    Limit {
        extensions,
        role,
        names,
        refused,
        openssl_agrees: true,
    }
}

const EXCLUDED: Option<&str> = Some("name constraints exclude");
const DAEMON: Role = Role::Daemon;

const LIMITS: &[Limit] = &[
    limit("", DAEMON, &["DNS:node3", "IP:10.0.0.12", "IP:::1"], None),
    limit(
        "nameConstraints=critical,permitted;DNS:example.com",
        DAEMON,
        &["DNS:node3"],
        EXCLUDED,
    ),
    limit(
        "nameConstraints=critical,permitted;DNS:example.com",
        DAEMON,
        &["DNS:node3.example.com"],
        None,
    ),
    limit(
        "nameConstraints=critical,permitted;DNS:example.com",
        DAEMON,
        &["DNS:example.com"],
        None,
    ),
    limit(
        "nameConstraints=critical,permitted;DNS:.example.com",
        DAEMON,
        &["DNS:example.com"],
        EXCLUDED,
    ),
    limit(
        "nameConstraints=critical,permitted;DNS:.example.com",
        DAEMON,
        &["DNS:a.example.com"],
        None,
    ),
    limit(
        "nameConstraints=critical,permitted;DNS:example.com",
        DAEMON,
        &["DNS:anexample.com"],
        EXCLUDED,
    ),
    limit(
        "nameConstraints=critical,permitted;DNS:example.com",
        DAEMON,
        &["IP:10.0.0.12"],
        None,
    ),
    limit(
        "nameConstraints=critical,permitted;DNS:node3,permitted;DNS:node4",
        DAEMON,
        &["DNS:node4", "DNS:node3"],
        None,
    ),
    limit(
        "nameConstraints=permitted;DNS:example.com",
        DAEMON,
        &["DNS:node3"],
        EXCLUDED,
    ),
    limit(
        "nameConstraints=critical,excluded;DNS:node3",
        DAEMON,
        &["DNS:a.node3"],
        EXCLUDED,
    ),
    limit(
        "nameConstraints=critical,excluded;DNS:node3",
        DAEMON,
        &["DNS:node33"],
        None,
    ),
    limit(
        "nameConstraints=critical,permitted;IP:10.0.0.0/255.255.0.0",
        DAEMON,
        &["IP:10.0.9.9"],
        None,
    ),
    limit(
        "nameConstraints=critical,permitted;IP:10.0.0.0/255.255.0.0",
        DAEMON,
        &["IP:10.1.0.0"],
        EXCLUDED,
    ),
    limit(
        "nameConstraints=critical,permitted;IP:10.0.0.0/255.255.0.0",
        DAEMON,
        &["IP:::1"],
        EXCLUDED,
    ),
    limit(
        "nameConstraints=critical,excluded;IP:0.0.0.0/0.0.0.0",
        DAEMON,
        &["IP:127.0.0.1"],
        EXCLUDED,
    ),
    limit(
        "nameConstraints=critical,permitted;email:example.com",
        DAEMON,
        &["DNS:node3"],
        None,
    ),
    limit(
        "nameConstraints=critical,permitted;DNS:example.com",
        Role::Client,
        &[],
        EXCLUDED,
    ),
    limit(
        "nameConstraints=critical,permitted;DNS:node3",
        Role::Client,
        &[],
        None,
    ),
    limit(
        "extendedKeyUsage=clientAuth",
        DAEMON,
        &["DNS:node3"],
        Some("excludes certificates of daemons"),
    ),
    limit("extendedKeyUsage=clientAuth", Role::Client, &[], None),
    limit(
        "extendedKeyUsage=serverAuth",
        Role::Client,
        &[],
        Some("excludes certificates of clients"),
    ),
    limit(
        "extendedKeyUsage=serverAuth,clientAuth",
        DAEMON,
        &["DNS:node3"],
        None,
    ),
    limit(
        "extendedKeyUsage=codeSigning",
        DAEMON,
        &["DNS:node3"],
        Some("excludes certificates of daemons"),
    ),
    limit(
        "1.2.3.4=critical,ASN1:NULL",
        DAEMON,
        &["DNS:node3"],
        Some("critical extension 1.2.3.4"),
    ),
    limit("1.2.3.4=ASN1:NULL", DAEMON, &["DNS:node3"], None),
    limit(
        "certificatePolicies=critical,1.2.3.4",
        DAEMON,
        &["DNS:node3"],
        None,
    ),
    Limit {
        openssl_agrees: false,
        ..limit(
            "policyConstraints=critical,requireExplicitPolicy:3",
            DAEMON,
            &["DNS:node3"],
            Some("critical extension 2.5.29.36"),
        )
    },
    Limit {
        openssl_agrees: false,
        ..limit(
            "nameConstraints=critical,permitted;dirName:base\n[base]\nCN=node3",
            DAEMON,
            &["DNS:node3"],
            Some("limit directory names"),
        )
    },
];

#[test]
fn what_a_ca_excludes_is_known_before_it_is_issued() {
    for case in LIMITS {
        let directory = directory();
        let path = directory.path();
        let what = format!("{} for {:?}", case.extensions, case.names);
        let (sections, usage) = match case.role {
            Role::Daemon => ("sslserver", "serverAuth"),
            Role::Client => ("sslclient", "clientAuth"),
        };
        // Clients are called by their common name.
        let names = if case.names.is_empty() {
            "DNS:node3".to_owned()
        } else {
            case.names.join(",")
        };
        fs::write(
            path.join("ca.cnf"),
            format!(
                "[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n{}\n",
                case.extensions
            ),
        )
        .unwrap();
        fs::write(
            path.join("leaf.cnf"),
            format!("[leaf]\nsubjectAltName={names}\nextendedKeyUsage={usage}\n"),
        )
        .unwrap();
        shell(
            path,
            "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass env:P -out ca-key.pem 2>/dev/null
            openssl req -new -key ca-key.pem -passin env:P -subj /CN=foreign -out ca.csr
            openssl x509 -req -days 9 -in ca.csr -signkey ca-key.pem -passin env:P -extfile ca.cnf -extensions ca -out ca.pem 2>/dev/null
            openssl req -new -newkey rsa:2048 -nodes -keyout leaf.key -subj /CN=node3 -out leaf.csr 2>/dev/null
            openssl x509 -req -days 8 -in leaf.csr -CA ca.pem -CAkey ca-key.pem -passin env:P -CAcreateserial -extfile leaf.cnf -extensions leaf -out leaf.pem 2>/dev/null",
        );
        let said = shell(
            path,
            &format!("openssl verify -purpose {sections} -CAfile ca.pem leaf.pem 2>&1 || true"),
        );
        if case.openssl_agrees {
            assert_eq!(
                said.contains("leaf.pem: OK"),
                case.refused.is_none(),
                "{what}: {said}"
            );
        }
        let bundle = Certificate::bundle_from_pem(&fs::read(path.join("ca.pem")).unwrap()).unwrap();
        let sans: BTreeSet<San> = case
            .names
            .iter()
            .map(|name| name.parse().unwrap())
            .collect();
        let checked = Chain::whole(&bundle)
            .unwrap()
            .check_leaf(case.role, "node3", &sans);
        agrees(
            &what,
            checked.map_err(|error| error.to_string()),
            case.refused,
        );
        // The agent issues nothing of the kind either.
        let mut agent = agent(path);
        adopt(&mut agent).unwrap_or_else(|error| panic!("{what}: {error}"));
        let issued = refused(agent.handle(Request::Issue {
            leaves: vec![LeafRequest {
                signer: pki::Signer::Current,
                host: "node3".to_owned(),
                role: case.role,
                common_name: "node3".to_owned(),
                sans,
                key_type: KeyType::EcdsaP256,
                validity_days: 8,
                key_name: "node3/key.pem".to_owned(),
                certificate_name: "node3/cert.pem".to_owned(),
            }],
            passphrase: passphrase(),
        }));
        agrees(&what, issued.map(drop), case.refused);
    }
}

fn agrees(what: &str, result: Result<(), String>, refused: Option<&str>) {
    match (result, refused) {
        (Ok(()), None) => {}
        (Err(error), Some(expected)) => assert!(error.contains(expected), "{what}: {error}"),
        (result, _) => panic!("{what}: {result:?}"),
    }
}

#[test]
fn a_root_that_allows_no_ca_below_it_is_found() {
    for (length, refused) in [
        ("", None),
        (",pathlen:1", None),
        (",pathlen:0", Some("pathlen:0")),
    ] {
        let directory = directory();
        let path = directory.path();
        shell(
            path,
            &format!(
                "{KEY}
                openssl req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -days 900 -subj /CN=root -addext basicConstraints=critical,CA:TRUE{length} 2>/dev/null
                openssl req -new -key ca-key.pem -passin env:P -subj /CN=middle -out own.csr
                printf 'basicConstraints = critical,CA:TRUE\\nkeyUsage = keyCertSign\\n' >ext
                openssl x509 -req -days 800 -in own.csr -CA root.pem -CAkey root.key -CAcreateserial -extfile ext -out own.pem 2>/dev/null
                cat own.pem root.pem >ca.pem"
            ),
        );
        let bundle = Certificate::bundle_from_pem(&fs::read(path.join("ca.pem")).unwrap()).unwrap();
        let checked = Chain::whole(&bundle)
            .unwrap()
            .check_leaf(DAEMON, "node3", &BTreeSet::new());
        agrees(length, checked.map_err(|error| error.to_string()), refused);
    }
}
