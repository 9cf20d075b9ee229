//! The status as metrics, for the textfile collector of `node_exporter`.

use std::fmt::Write as _;

use time::OffsetDateTime;

use super::StatusReport;
use base::event::{CertificateState, CertificateStatus};

/// A metric of each certificate: name, meaning, value where it has one.
type Metric = (
    &'static str,
    &'static str,
    fn(&CertificateStatus) -> Option<i64>,
);

const METRICS: [Metric; 6] = [
    (
        "dtls_deploy_certificate_not_before_timestamp_seconds",
        "When the certificate begins to be valid, in seconds since 1970.",
        |one| Some(one.certificate.as_ref()?.not_before.unix_timestamp()),
    ),
    (
        "dtls_deploy_certificate_not_after_timestamp_seconds",
        "When the certificate expires, in seconds since 1970.",
        |one| Some(one.certificate.as_ref()?.not_after.unix_timestamp()),
    ),
    (
        "dtls_deploy_certificate_drift",
        "1 where the certificate or what belongs to it is not as declared.",
        |one| Some(i64::from(!one.drift.is_empty())),
    ),
    (
        "dtls_deploy_certificate_due",
        "1 where a renewal or another change is due.",
        |one| Some(i64::from(one.state == CertificateState::Due)),
    ),
    (
        "dtls_deploy_certificate_broken",
        "1 where the certificate is expired, missing or does not work.",
        |one| {
            let broken = matches!(
                one.state,
                CertificateState::Expired | CertificateState::Broken
            );
            Some(i64::from(broken))
        },
    ),
    (
        "dtls_deploy_certificate_revoked",
        "1 where the certificate was revoked and is still accepted.",
        |one| Some(i64::from(one.state == CertificateState::Revoked)),
    ),
];

/// The file's text.
#[must_use]
pub fn text(found: &StatusReport, now: OffsetDateTime) -> String {
    let mut text = String::new();
    for (name, help, value) in METRICS {
        head(&mut text, name, help);
        for one in &found.certificates {
            if let Some(value) = value(one) {
                let _ = writeln!(text, "{name}{{{}}} {value}", labels(one));
            }
        }
    }
    let name = "dtls_deploy_host_up";
    head(&mut text, name, "1 where the host answered with its facts.");
    for (host, up) in &found.hosts {
        let _ = writeln!(
            text,
            "{name}{{host=\"{}\"}} {}",
            escaped(host),
            u8::from(*up)
        );
    }
    let name = "dtls_deploy_last_status_timestamp_seconds";
    head(
        &mut text,
        name,
        "When this was written, in seconds since 1970.",
    );
    let _ = writeln!(text, "{name} {}", now.unix_timestamp());
    text
}

fn head(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

/// The same for all metrics of a certificate, and for no two certificates.
fn labels(one: &CertificateStatus) -> String {
    let certificate = one.certificate.as_ref();
    let identity = one.identity.as_deref();
    let labels = [
        ("host", one.host.as_str()),
        ("role", one.role.word()),
        ("source", one.source.word()),
        ("place", one.place.as_str()),
        ("subject", certificate.map_or("", |text| &text.subject)),
        ("serial", certificate.map_or("", |text| &text.serial)),
    ];
    // A label that is not there is an empty one to Prometheus.
    let labels = labels
        .into_iter()
        .chain(identity.map(|name| ("identity", name)));
    let written: Vec<String> = labels
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    written.join(",")
}

/// A label's value: what would end it or the line is escaped.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use base::event::{CertificateRole, CertificateSource, CertificateText};
    use run::Exit;

    fn found() -> StatusReport {
        StatusReport {
            certificates: vec![CertificateStatus {
                host: "node3".to_owned(),
                identity: None,
                role: CertificateRole::Daemon,
                source: CertificateSource::Served,
                place: "tcp://node3:2376".to_owned(),
                holder: "docker.service on node3".to_owned(),
                state: CertificateState::Due,
                drift: vec!["not the one on disk".to_owned()],
                allowed: None,
                due: None,
                certificate: Some(CertificateText {
                    subject: "O=a\\\"b\nc,CN=node3".to_owned(),
                    sans: Vec::new(),
                    issuer: "CN=ca".to_owned(),
                    serial: "0A".to_owned(),
                    not_before: datetime!(2030-01-01 00:00 UTC),
                    not_after: datetime!(2031-01-01 00:00 UTC),
                    days_left: 300,
                    used: 20,
                }),
            }],
            next: None,
            holders: Vec::new(),
            contexts: Vec::new(),
            inventory_hosts: 2,
            hosts: vec![("node3".to_owned(), true), ("node4".to_owned(), false)],
            exit: Exit::ChangesNeeded,
        }
    }

    #[test]
    fn every_series_stands_below_its_help_and_labels_are_escaped() {
        let text = text(&found(), datetime!(2030-02-01 00:00 UTC));
        let labels = r#"host="node3",role="daemon",source="served",place="tcp://node3:2376",subject="O=a\\\"b\nc,CN=node3",serial="0A""#;
        for line in [
            "# HELP dtls_deploy_certificate_not_after_timestamp_seconds When the certificate expires, in seconds since 1970.".to_owned(),
            "# TYPE dtls_deploy_certificate_not_after_timestamp_seconds gauge".to_owned(),
            format!("dtls_deploy_certificate_not_after_timestamp_seconds{{{labels}}} 1924992000"),
            format!("dtls_deploy_certificate_drift{{{labels}}} 1"),
            format!("dtls_deploy_certificate_due{{{labels}}} 1"),
            format!("dtls_deploy_certificate_broken{{{labels}}} 0"),
            "dtls_deploy_host_up{host=\"node4\"} 0".to_owned(),
            "dtls_deploy_last_status_timestamp_seconds 1896134400".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn an_identity_is_a_label_of_its_own() {
        let mut found = found();
        found.certificates[0].identity = Some("alice".to_owned());
        let text = text(&found, datetime!(2030-02-01 00:00 UTC));
        assert!(text.contains(r#"serial="0A",identity="alice"} 1924992000"#));
    }
}
