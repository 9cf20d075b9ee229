//! The state of one certificate: its dates, its faults, and whether it is due.

use time::OffsetDateTime;

use base::event::{CertificateState, CertificateText};
use inventory::Host;
use pki::{Certificate, Role};
use plan::{Renewal, asked_renewal, renewal, revoked_reason};
use run::look::Observation;

/// The data of a certificate.
pub(super) fn text(certificate: &Certificate, now: OffsetDateTime) -> CertificateText {
    CertificateText {
        subject: certificate.subject().to_owned(),
        sans: names(certificate),
        issuer: certificate.issuer().to_owned(),
        serial: certificate.serial().to_owned(),
        not_before: certificate.not_before(),
        not_after: certificate.not_after(),
        days_left: days_left(certificate.not_after(), now),
        used: used(certificate.not_before(), certificate.not_after(), now),
    }
}

/// Its subjectAltNames, written as OpenSSL does.
fn names(certificate: &Certificate) -> Vec<String> {
    let names = certificate.sans().iter().map(ToString::to_string);
    let uris = certificate.uris().iter().map(|uri| format!("URI:{uri}"));
    names.chain(uris).collect()
}

/// Whole days, rounded down: one that expired an hour ago has -1.
pub(super) fn days_left(end: OffsetDateTime, now: OffsetDateTime) -> i64 {
    (end - now).whole_seconds().div_euclid(86_400)
}

/// The elapsed part of a validity period, in percent.
pub(super) fn used(begin: OffsetDateTime, end: OffsetDateTime, now: OffsetDateTime) -> u8 {
    let (whole, over) = ((end - begin).whole_seconds(), (now - begin).whole_seconds());
    if whole <= 0 {
        return 100;
    }
    u8::try_from((over.saturating_mul(100) / whole).clamp(0, 100)).unwrap_or(100)
}

/// Its faults, by severity.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// It does not work.
    pub(super) broken: Vec<String>,
    /// It is unknown whether it works.
    pub(super) unknown: Vec<String>,
    /// It works, but differs from the inventory.
    pub(super) drift: Vec<String>,
}

/// The conclusion from dates and faults.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) state: CertificateState,
    pub(super) drift: Vec<String>,
    pub(super) due: Option<String>,
}

/// The state of a certificate, and its faults in one list.
pub(super) fn judge(
    certificate: Option<&Certificate>,
    mut faults: Faults,
    renewal: Renewal,
    now: OffsetDateTime,
) -> Judged {
    let mut expired = false;
    if let Some(certificate) = certificate {
        expired = certificate.not_after() <= now;
        if certificate.not_before() > now {
            let begin = certificate.not_before().truncate_to_second();
            faults.broken.push(format!("is valid only from {begin}"));
        }
    }
    let due = match renewal {
        Renewal::NotDue => None,
        Renewal::Due(reason) | Renewal::LastTime(reason) => Some(reason),
        Renewal::EndsWithAuthority => {
            Some("due for renewal, and a new CA has to come first".to_owned())
        }
    };
    let state = if expired {
        CertificateState::Expired
    } else if !faults.broken.is_empty() {
        CertificateState::Broken
    } else if !faults.unknown.is_empty() {
        CertificateState::Unknown
    } else if !faults.drift.is_empty() || due.is_some() {
        CertificateState::Due
    } else {
        CertificateState::Fine
    };
    let mut drift = faults.broken;
    drift.append(&mut faults.unknown);
    drift.append(&mut faults.drift);
    Judged { state, drift, due }
}

/// Whether it is renewed now, because of its age, a mark or a forced rotation.
pub(super) fn age(
    observed: &Observation<'_>,
    host: &Host,
    role: Role,
    certificate: Option<&Certificate>,
) -> Renewal {
    let authority = observed.authority.certificate.as_ref();
    certificate.map_or(Renewal::NotDue, |certificate| {
        match revoked_reason(&observed.authority, certificate) {
            Some(reason) => Renewal::Due(reason),
            None => match renewal(certificate, &host.settings, authority, observed.now) {
                Renewal::NotDue => {
                    let holder = host.holder();
                    let asked = asked_renewal(&observed.authority, &holder, role, certificate);
                    asked.map_or(Renewal::NotDue, Renewal::Due)
                }
                due => due,
            },
        }
    })
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn days_and_percents_are_rounded_towards_the_worse() {
        let now = datetime!(2030-01-10 12:00 UTC);
        assert_eq!(days_left(now + Duration::hours(47), now), 1);
        assert_eq!(days_left(now, now), 0);
        assert_eq!(days_left(now - Duration::hours(1), now), -1);
        let begin = now - Duration::days(30);
        assert_eq!(used(begin, begin + Duration::days(60), now), 50);
        assert_eq!(used(begin, begin + Duration::days(10), now), 100);
        assert_eq!(used(now + Duration::DAY, now + Duration::WEEK, now), 0);
        assert_eq!(used(now, now, now), 100);
    }
}
