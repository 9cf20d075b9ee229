//! Whether a daemon showed what it should.
//!
//! Comes in: what a handshake has shown, and what was expected. Goes out: a
//! verdict. Called by proofs, and after every restart.

use super::probe::Shown;
use crate::docker::tls::DaemonMode;
use crate::event::Verdict;
use crate::pki::Certificate;

/// The CAs whose certificates a daemon asks its callers for.
#[must_use]
pub fn asked_for(mode: DaemonMode, trusted: &[Certificate]) -> &[Certificate] {
    match mode {
        DaemonMode::TlsVerify => trusted,
        DaemonMode::Tls => &[],
    }
}

/// Compares what a daemon showed with what it should.
#[must_use]
pub fn judge_shown(
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
                format!("serial {serial}, expected one unknown"),
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
    let mut wanted: Vec<Vec<u8>> = authorities
        .iter()
        .map(|authority| authority.subject_raw().to_vec())
        .collect();
    let mut asked = shown.accepted_authorities.clone().unwrap_or_default();
    wanted.sort();
    asked.sort();
    if wanted != asked {
        return (
            Verdict::Failed,
            "it accepts clients of other CAs than it should".to_owned(),
        );
    }
    (Verdict::Proved, format!("serial {serial}"))
}
