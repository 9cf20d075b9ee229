//! The HTML page of `status`: hostile texts, what it may load, and its size for a large inventory.

use base::event::{
    CertificateRole, CertificateSource, CertificateState, CertificateStatus, CertificateText,
};
use base64::Engine as _;
use dtls_deploy::status::holders::Holder;
use dtls_deploy::status::{StatusReport, html, write_html};
use proptest::prelude::*;
use run::Exit;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2030-02-01 12:34 UTC);
const TEMPLATE: &str = include_str!("../../src/status/page.html");

fn row(host: &str, role: CertificateRole, state: CertificateState) -> CertificateStatus {
    CertificateStatus {
        host: host.to_owned(),
        identity: None,
        role,
        source: CertificateSource::Disk,
        place: "/etc/docker/tls/cert.pem".to_owned(),
        holder: format!("root on {host}"),
        state,
        drift: Vec::new(),
        allowed: None,
        due: None,
        certificate: Some(CertificateText {
            subject: format!("CN={host}"),
            sans: vec![format!("DNS:{host}")],
            issuer: "CN=ca".to_owned(),
            serial: "0A".to_owned(),
            not_before: NOW - Duration::days(31),
            not_after: NOW + Duration::days(334),
            days_left: 334,
            used: 8,
        }),
    }
}

fn holder(name: &str, role: CertificateRole) -> Holder {
    Holder {
        name: name.to_owned(),
        role,
        trusts: Some(vec!["CN=ca".to_owned()]),
        accepts_anyone: false,
        renew_before: None,
    }
}

fn found(certificates: Vec<CertificateStatus>, holders: Vec<Holder>) -> StatusReport {
    StatusReport {
        certificates,
        next: None,
        holders,
        contexts: Vec::new(),
        inventory_hosts: 3,
        hosts: vec![("node1".to_owned(), true), ("node4".to_owned(), false)],
        exit: Exit::Fine,
    }
}

fn page(found: &StatusReport) -> String {
    html::page(found, "lab.yaml", NOW).unwrap()
}

/// Names of elements and of their attributes, in order.
fn structure(page: &str) -> Vec<&str> {
    page.split('<')
        .skip(1)
        .map(|tag| tag.split('>').next().unwrap())
        .collect()
}

/// The same text in every field that comes from a node or an inventory.
fn everywhere(text: &str) -> String {
    let own = || text.to_owned();
    let mut one = row(text, CertificateRole::Client, CertificateState::Broken);
    one.identity = Some(own());
    one.place = own();
    one.holder = own();
    one.drift = vec![own()];
    one.due = Some(own());
    let says = one.certificate.as_mut().unwrap();
    says.subject = own();
    says.sans = vec![own()];
    says.issuer = own();
    says.serial = own();
    let mut daemon = one.clone();
    daemon.role = CertificateRole::Daemon;
    daemon.state = CertificateState::Fine;
    let mut ca = one.clone();
    ca.role = CertificateRole::Ca;
    let mut trusting = holder(text, CertificateRole::Daemon);
    trusting.trusts = Some(vec![text.to_owned()]);
    trusting.accepts_anyone = true;
    let mut blind = holder(text, CertificateRole::Client);
    blind.trusts = None;
    let mut found = found(vec![one, daemon, ca], vec![trusting, blind]);
    found.next = found.certificates[0].certificate.clone();
    found.hosts = vec![(text.to_owned(), false)];
    html::page(&found, text, NOW).unwrap()
}

#[test]
fn a_hostile_text_is_text_in_every_field() {
    let plain = everywhere("harmless");
    for hostile in [
        "<script>alert(1)</script>",
        "</style></script><img src=x onerror=alert(1)>",
        "\" onmouseover=\"alert(1)",
        "' autofocus onfocus='alert(1)",
        "{{ now }}{% raw %}",
        "<!--",
        "]]>&lt;&#60;",
        "a\u{202e}b\u{0}c\u{2028}d",
    ] {
        let page = everywhere(hostile);
        assert_eq!(structure(&page), structure(&plain), "{hostile}");
        assert!(!page.contains(['\u{202e}', '\u{0}', '\u{2028}']));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_adds_an_element_or_an_attribute(text in "[<>&\"'/=a-z \\PC]{1,24}") {
        let plain = everywhere("harmless");
        let page = everywhere(&text);
        prop_assert_eq!(structure(&page), structure(&plain));
    }
}

#[test]
fn the_page_allows_its_own_style_and_script_and_loads_nothing() {
    let page = page(&found(
        vec![row(
            "node1",
            CertificateRole::Client,
            CertificateState::Fine,
        )],
        Vec::new(),
    ));
    for (element, directive) in [("style", "style-src"), ("script", "script-src")] {
        let (_, rest) = page.split_once(&format!("<{element}>")).unwrap();
        let (text, _) = rest.split_once(&format!("</{element}>")).unwrap();
        let hex = pki::sha256_hex(text.as_bytes());
        let bytes = (0..hex.len()).step_by(2);
        let bytes = bytes.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        let hash = base64::engine::general_purpose::STANDARD.encode(bytes.collect::<Vec<u8>>());
        let allowed = format!("{directive} 'sha256-{hash}'");
        assert!(page.contains(&allowed), "page.html needs {allowed}");
    }
    assert!(page.contains("default-src 'none'; "));
    for loaded in [
        "http:", "https:", "//", "url(", "@import", " src=", " href=", " style=", " on",
    ] {
        let tags: Vec<&str> = structure(&page);
        assert!(!tags.iter().any(|tag| tag.contains(loaded)), "{loaded}");
    }
    for loaded in ["http:", "https:", "url(", "@import", "fetch(", "import("] {
        assert!(!TEMPLATE.contains(loaded), "{loaded}");
    }
}

#[test]
fn findings_come_first_and_the_verdict_follows_from_them() {
    use CertificateState::{Due, Expired, Fine, Revoked, Unknown};
    for (state, verdict) in [
        (Revoked, "Action is required"),
        (Expired, "Action is required"),
        (Unknown, "Some certificates were not checked"),
        (Due, "Changes are due"),
        (Fine, "No action is needed"),
    ] {
        let mut found = found(
            vec![
                row("bad", CertificateRole::Client, state),
                row("good", CertificateRole::Daemon, Fine),
            ],
            Vec::new(),
        );
        found.hosts.retain(|(_, up)| *up);
        found.inventory_hosts = 1;
        let page = page(&found);
        assert!(page.contains(&format!(">{verdict}</h1>")), "{state:?}");
        let fine = page.find("Certificates that are fine").unwrap();
        let at = page.find(">bad</td>").unwrap();
        assert_eq!(at < fine, state != Fine, "{state:?}");
        assert!(page.find(">good</td>").unwrap() > fine);
        assert!(page.contains(
            "1 of 1 hosts of the inventory lab.yaml were checked on 2030-02-01 12:34 UTC."
        ));
    }
    // With --limit, others were not asked.
    let mut limited = found(Vec::new(), Vec::new());
    limited.hosts.retain(|(_, up)| *up);
    let limited = page(&limited);
    assert!(limited.contains(">Some certificates were not checked</h1>"));
    assert!(!limited.contains("did not answer"));
    let silent = page(&found(Vec::new(), Vec::new()));
    assert!(silent.contains(">Some certificates were not checked</h1>"));
    assert!(silent.contains("These hosts did not answer: node4."));
}

/// During a rollover: whom each CA concerns.
#[test]
fn the_trust_picture_has_every_ca() {
    let mut ca = row("vault", CertificateRole::Ca, CertificateState::Fine);
    ca.certificate.as_mut().unwrap().subject = "CN=ca".to_owned();
    let mut alice = row("node1", CertificateRole::Client, CertificateState::Fine);
    alice.identity = Some("alice".to_owned());
    alice.certificate.as_mut().unwrap().issuer = "CN=next".to_owned();
    let mut broken = row("mallory", CertificateRole::Client, CertificateState::Broken);
    broken.certificate.as_mut().unwrap().issuer = "CN=foreign".to_owned();
    let mut daemon = holder("node3", CertificateRole::Daemon);
    daemon.trusts = Some(vec!["CN=ca".to_owned(), "CN=next".to_owned()]);
    let mut found = found(
        vec![ca, alice, broken],
        vec![daemon, holder("node1", CertificateRole::Client)],
    );
    let next = CertificateText {
        subject: "CN=next".to_owned(),
        ..found.certificates[0].certificate.clone().unwrap()
    };
    found.next = Some(next);
    let page = page(&found);
    let cards: Vec<&str> = page.split("<article").skip(1).collect();
    assert_eq!(cards.len(), 2);
    assert!(cards[0].contains("CN=ca</h3>") && cards[0].contains("current CA, valid from"));
    assert!(cards[0].contains("<li>node3</li>") && !cards[0].contains("alice"));
    assert!(cards[1].contains("CN=next</h3>") && cards[1].contains("next CA, valid from"));
    assert!(cards[1].contains("<li>node3</li>") && cards[1].contains("<li>alice@node1</li>"));
    assert!(
        !cards[1].contains("<li>node1</li>"),
        "that client trusts the old CA only"
    );
}

#[test]
fn the_timeline_shows_the_renewal_window_of_each_holder() {
    let one = row("node1", CertificateRole::Client, CertificateState::Fine);
    let mut early = holder("node1", CertificateRole::Client);
    let third = page(&found(vec![one.clone()], vec![early.clone()]));
    assert!(third.contains("2030-01-01 to 2031-01-01"), "{third}");
    assert!(third.contains("due from 2030-09-01"), "a third of 365 days");
    early.renew_before = Some(30);
    let month = page(&found(vec![one.clone()], vec![early]));
    assert!(month.contains("due from 2030-12-02"));
    // No date of a hostile certificate moves the others out of sight, or overflows.
    let mut forever = row("odd", CertificateRole::Daemon, CertificateState::Fine);
    let says = forever.certificate.as_mut().unwrap();
    says.not_before = datetime!(-9999-01-01 00:00 UTC);
    says.not_after = datetime!(9999-12-31 23:59:59 UTC);
    let page = page(&found(vec![one, forever], Vec::new()));
    assert!(
        page.contains("<span>2028-02-02</span>") && page.contains("<span>2033-01-31</span>"),
        "{page}"
    );
}

#[test]
fn an_untrusted_inventory_makes_no_page() {
    let directory = tempfile::tempdir().unwrap();
    let inventory = concat!(env!("CARGO_MANIFEST_DIR"), "/inventory/lab.yaml");
    let path = directory.path().join("status.html");
    for (list, code) in [(None, 2), (Some("--list-hosts"), 0)] {
        let status = std::process::Command::new(env!("CARGO_BIN_EXE_dtls-deploy"))
            .args(["status", inventory, "--untrusted", "--html"])
            .arg(&path)
            .args(list)
            .output()
            .unwrap();
        assert_eq!(status.status.code(), Some(code), "{status:?}");
        assert!(!path.exists());
    }
}

#[test]
fn a_copy_in_a_context_is_named_by_its_context() {
    let of = |name: &str| {
        let mut copy = row("desk", CertificateRole::Client, CertificateState::Fine);
        copy.source = CertificateSource::Context;
        let id = docker::context::id(name);
        copy.place = format!("/home/ubuntu/.docker/contexts/tls/{id}/docker/cert.pem");
        copy
    };
    let mut found = found(vec![of("docker1"), of("docker2")], Vec::new());
    found.contexts = ["docker1", "docker2"].map(str::to_owned).to_vec();
    let page = page(&found);
    for name in ["docker1", "docker2"] {
        assert!(
            page.contains(&format!("at context {name} (cert.pem in")),
            "{page}"
        );
        assert!(!page.contains(&docker::context::id(name)), "{page}");
    }
}

#[test]
fn a_thousand_hosts_are_a_page_of_a_few_megabytes() {
    let mut certificates = vec![row("ca", CertificateRole::Ca, CertificateState::Fine)];
    let mut holders = vec![holder("desk", CertificateRole::Client)];
    for number in 0..1000 {
        let name = format!("node{number}");
        for source in [CertificateSource::Served, CertificateSource::Disk] {
            let mut one = row(&name, CertificateRole::Daemon, CertificateState::Fine);
            one.source = source;
            certificates.push(one);
        }
        let mut copy = row("desk", CertificateRole::Client, CertificateState::Fine);
        copy.source = CertificateSource::Context;
        certificates.push(copy);
        holders.push(holder(&name, CertificateRole::Daemon));
    }
    let found = found(certificates, holders);
    let begun = std::time::Instant::now();
    let page = page(&found);
    println!("{} bytes in {:?}", page.len(), begun.elapsed());
    if let Some(path) = std::env::var_os("STATUS_PAGE") {
        write_html(path.as_ref(), &found, "large.yaml", NOW).unwrap();
    }
    assert_eq!(page.matches("<tr>\n<td").count(), 3001);
    assert_eq!(page.matches("<article").count(), 1);
    assert!(page.len() < 4_000_000, "{}", page.len());
}
