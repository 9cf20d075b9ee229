//! Whether a daemon presented what it should.

use super::probe::Shown;
use base::event::Verdict;
use docker::tls::DaemonMode;
use pki::{Certificate, subject_text};

/// The CAs whose client certificates a daemon asks for.
#[must_use]
pub(crate) fn asked_for(mode: DaemonMode, trusted: &[Certificate]) -> &[Certificate] {
    match mode {
        DaemonMode::TlsVerify => trusted,
        DaemonMode::Tls => &[],
    }
}

/// The names of CAs that a daemon asks for but should not trust: it has read another bundle than it
/// should have.
#[must_use]
pub fn foreign_authorities(shown: &Shown, authorities: &[Certificate]) -> Option<String> {
    let asked = shown.accepted_authorities.iter().flatten();
    let foreign: Vec<String> = asked
        .filter(|name| authorities.iter().all(|known| known.subject_raw() != *name))
        .map(|name| node::visible(&subject_text(name)))
        .collect();
    (!foreign.is_empty()).then(|| foreign.join(", "))
}

/// How the CAs of which a daemon accepts clients differ from those that it should accept.
#[must_use]
pub fn other_authorities(shown: &Shown, authorities: &[Certificate]) -> Option<String> {
    if let Some(foreign) = foreign_authorities(shown, authorities) {
        return Some(format!(
            "it accepts clients of other CAs than it should: {foreign}"
        ));
    }
    let asked = shown.accepted_authorities.as_deref().unwrap_or_default();
    if asked.is_empty() && !authorities.is_empty() {
        return Some("it asks clients for no certificate".to_owned());
    }
    let missing = authorities
        .iter()
        .filter(|known| asked.iter().all(|name| *name != known.subject_raw()));
    let missing: Vec<String> = missing
        .map(|known| subject_text(known.subject_raw()))
        .collect();
    (!missing.is_empty()).then(|| format!("it does not accept clients of {}", missing.join(", ")))
}

/// Compares what a daemon presented with what it should.
#[must_use]
pub(crate) fn judge_shown(
    shown: &Shown,
    served: Option<&[u8]>,
    authorities: &[Certificate],
) -> (Verdict, String) {
    let Some(der) = &shown.certificate else {
        return (Verdict::Failed, "no certificate was served".to_owned());
    };
    let serial = Certificate::from_der(der).map_or_else(
        |_| "?".to_owned(),
        |certificate| certificate.serial().to_owned(),
    );
    match served {
        None => {
            return (
                Verdict::NotProved,
                format!("serial {serial}; which one to expect is not known"),
            );
        }
        Some(expected) if expected != der => {
            return (
                Verdict::Failed,
                format!("another certificate, serial {serial}"),
            );
        }
        Some(_) => {}
    }
    if let Some(seen) = other_authorities(shown, authorities) {
        return (Verdict::Failed, seen);
    }
    (Verdict::Proved, format!("serial {serial}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pki::{Authority, AuthorityProfile, KeyType, Subject};

    #[test]
    fn a_ca_that_is_not_in_the_bundle_is_named() {
        let authority = |name: &str| {
            let now = time::OffsetDateTime::now_utc();
            let profile = AuthorityProfile::new(Subject::named(name), KeyType::EcdsaP256, 1);
            Authority::create(&profile, now)
                .unwrap()
                .certificate()
                .clone()
        };
        let (own, evil) = (authority("own"), authority("evil"));
        let shown = |asked: &[&Certificate]| Shown {
            certificate: Some(own.der().to_vec()),
            accepted_authorities: Some(
                asked.iter().map(|one| one.subject_raw().to_vec()).collect(),
            ),
        };
        let wanted = std::slice::from_ref(&own);
        assert_eq!(foreign_authorities(&shown(&[&own]), wanted), None);
        assert_eq!(foreign_authorities(&shown(&[]), wanted), None);
        let both = shown(&[&own, &evil]);
        assert_eq!(
            foreign_authorities(&both, wanted).as_deref(),
            Some("CN=evil")
        );
        let (verdict, seen) = judge_shown(&both, Some(own.der()), wanted);
        assert_eq!(verdict, Verdict::Failed);
        assert!(seen.ends_with("CN=evil"), "{seen}");
        // A missing CA is a different fault.
        let (verdict, seen) = judge_shown(&shown(&[]), Some(own.der()), wanted);
        assert_eq!(verdict, Verdict::Failed);
        assert_eq!(seen, "it asks clients for no certificate");
        let both = [own.clone(), evil];
        let (verdict, seen) = judge_shown(&shown(&[&own]), Some(own.der()), &both);
        assert_eq!(verdict, Verdict::Failed);
        assert_eq!(seen, "it does not accept clients of CN=evil");
    }
}
