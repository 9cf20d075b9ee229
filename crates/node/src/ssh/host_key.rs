//! Is this the server it should be?

use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate};

use super::error::ConnectFault;
use super::known_hosts::{self, KnownHosts, Records, Verdict};
use super::settings::Settings;
use crate::HostKeyChecking;
use base::wildcard;

/// Whether a server was identified, or only let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// By a record, or a certificate of a CA on record.
    Identified,
    /// There is no record of it: it is new and was accepted as such, or nothing
    /// is checked. Passwords stay here.
    Unverified,
    /// [`HostKeyChecking::Off`] let a key through that contradicts the record.
    /// Passwords stay here.
    Contradicted,
}

/// Host key algorithms in order of preference when nothing is on record.
/// `ssh-rsa` with SHA-1 is not among them.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

/// Plain key algorithms, those on record first (as OpenSSH orders them, so
/// that a server shows the key that is known), and certificate algorithms,
/// none unless an authority is on record.
pub(super) fn preferred(records: &Records) -> (Vec<Algorithm>, Vec<Algorithm>) {
    let recorded: Vec<Algorithm> = records.keys().map(|entry| entry.key.algorithm()).collect();
    let is_recorded = |algorithm: &Algorithm| {
        recorded.iter().any(|known| match (known, algorithm) {
            (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
            (known, algorithm) => known == algorithm,
        })
    };
    let (mut plain, rest): (Vec<_>, Vec<_>) = ALGORITHMS.into_iter().partition(is_recorded);
    plain.extend(rest);
    let certificates = if records.authorities().next().is_some() {
        ALGORITHMS.to_vec()
    } else {
        Vec::new()
    };
    (plain, certificates)
}

/// Decides about what the server showed; `now` is for certificates.
pub(super) fn check(
    settings: &Settings,
    records: &Records,
    shown: &PublicKeyOrCertificate,
    now: SystemTime,
) -> Result<Trust, ConnectFault> {
    let key = shown.public_key();
    if let Some(certificate) = shown.certificate() {
        let authority = PublicKey::new(certificate.signature_key().clone(), "");
        for key in [&authority, &key] {
            if let Some(entry) = records.revoked(key) {
                return Err(ConnectFault::HostKeyRevoked {
                    revoked: Box::new(entry.recorded()),
                });
            }
        }
        let known = records
            .authorities()
            .any(|entry| entry.key.key_data() == authority.key_data());
        if known {
            let name = settings.known_names.last().map_or("", String::as_str);
            return match certificate_fault(certificate, name, now) {
                None => Ok(Trust::Identified),
                Some(reason) => Err(ConnectFault::HostCertificate {
                    key_id: crate::visible(certificate.key_id()),
                    reason,
                }),
            };
        }
        // As OpenSSH: a certificate of a stranger is worth its bare key.
    }
    match (records.judge(&key), settings.checking) {
        (Verdict::Trusted, _) => Ok(Trust::Identified),
        (Verdict::Revoked(revoked), _) => Err(ConnectFault::HostKeyRevoked {
            revoked: Box::new(revoked),
        }),
        (Verdict::Mismatch(_), HostKeyChecking::Off) => Ok(Trust::Contradicted),
        (Verdict::Mismatch(expected), _) => Err(ConnectFault::HostKeyMismatch {
            expected,
            algorithm: key.algorithm().to_string(),
            got: key.fingerprint(HashAlg::Sha256).to_string(),
        }),
        (Verdict::Unknown, HostKeyChecking::AcceptNew) if settings.records_new_hosts => {
            record(settings, &key)
        }
        (Verdict::Unknown, HostKeyChecking::Off | HostKeyChecking::AcceptNew) => {
            Ok(Trust::Unverified)
        }
        (Verdict::Unknown, HostKeyChecking::Strict) => Err(ConnectFault::HostKeyUnknown {
            algorithm: key.algorithm().to_string(),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            files: settings.known_hosts.clone(),
        }),
    }
}

/// What is wrong with a host certificate of a known authority
/// (PROTOCOL.certkeys; `sshkey_cert_check_host`).
fn certificate_fault(certificate: &Certificate, name: &str, now: SystemTime) -> Option<String> {
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    if certificate.cert_type() != CertType::Host {
        return Some("it is a certificate for users, not for hosts".to_owned());
    }
    if certificate.signature().algorithm() == (Algorithm::Rsa { hash: None }) {
        return Some("it is signed with SHA-1".to_owned());
    }
    if seconds < certificate.valid_after() {
        return Some("it is not valid yet (or this machine's clock is slow)".to_owned());
    }
    if seconds >= certificate.valid_before() {
        return Some("it has expired".to_owned());
    }
    // An empty list means every host.
    let principals = certificate.valid_principals();
    let named = |principal: &String| wildcard::is_match(&principal.to_lowercase(), name);
    if !principals.is_empty() && !principals.iter().any(named) {
        return Some(format!(
            "it is for {}, not for {name}",
            crate::visible(&principals.join(", "))
        ));
    }
    if !certificate.critical_options().is_empty() {
        return Some("it has critical options, which host certificates do not know".to_owned());
    }
    if certificate.validate_at(seconds, [&authority]).is_err() {
        return Some("its signature is wrong".to_owned());
    }
    None
}

/// Accepts a new key and writes it down.
fn record(settings: &Settings, key: &PublicKey) -> Result<Trust, ConnectFault> {
    let Some((path, name)) = settings
        .record_in
        .as_ref()
        .zip(settings.known_names.first())
    else {
        return Ok(Trust::Unverified);
    };
    let failed = |reason: String| ConnectFault::KnownHostsFile {
        path: path.clone(),
        reason,
    };
    let verdict = append(path, name, key, settings).map_err(|error| failed(error.to_string()))?;
    match verdict {
        Verdict::Trusted | Verdict::Unknown => Ok(Trust::Unverified),
        Verdict::Revoked(revoked) => Err(ConnectFault::HostKeyRevoked {
            revoked: Box::new(revoked),
        }),
        Verdict::Mismatch(expected) => Err(ConnectFault::HostKeyMismatch {
            expected,
            algorithm: key.algorithm().to_string(),
            got: key.fingerprint(HashAlg::Sha256).to_string(),
        }),
    }
}

/// Appends under a lock, after looking once more: another connection, or
/// another process, may have recorded the host in the meantime. Answers
/// `Unknown` when it was new and has now been written.
fn append(path: &Path, name: &str, key: &PublicKey, settings: &Settings) -> io::Result<Verdict> {
    if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(Verdict::Unknown); // /dev/null: accepted, and meant to be forgotten
    }
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    let files: Result<Vec<KnownHosts>, _> = settings
        .known_hosts
        .iter()
        .map(|path| KnownHosts::read(path))
        .collect();
    let files = files.map_err(|unreadable| io::Error::other(unreadable.reason))?;
    let records = Records::of(&files, &settings.known_names);
    let verdict = records.judge(key);
    if verdict == Verdict::Unknown {
        let mut line = known_hosts::line(name, key, settings.hash_known_hosts)?;
        if !ends_with_newline(&mut file)? {
            line.insert(0, '\n');
        }
        file.write_all(line.as_bytes())?;
        file.sync_data()?;
    }
    Ok(verdict)
}

fn ends_with_newline(file: &mut std::fs::File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
