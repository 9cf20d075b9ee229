//! Which CAs daemons and clients trust, according to their own bundles.

use super::judge::text;
use super::rows::role_of;
use base::event::{CertificateRole, CertificateText};
use docker::tls::DaemonMode;
use inventory::Inventory;
use pki::{Certificate, Role};
use plan::host::leaf::location;
use plan::leaves_of;
use run::look::Observation;

/// A daemon, a client or an identity.
#[derive(Debug, Clone)]
pub struct Holder {
    /// HOST, or NAME@HOST for an identity.
    pub name: String,
    pub role: CertificateRole,
    /// Subjects of the CAs in its bundle on disk; none if it could not be read.
    pub trusts: Option<Vec<String>>,
    /// A daemon that accepts clients without a certificate.
    pub accepts_anyone: bool,
    /// `dtls_renew_before`, in days.
    pub renew_before: Option<u32>,
}

pub(super) fn all(observed: &Observation<'_>, listed: &Inventory) -> Vec<Holder> {
    let leaves = leaves_of(listed).into_iter();
    let holders = leaves.map(|(host, role)| {
        let (directory, files) = location(host, role);
        let file = observed.facts.get(&host.name);
        let file = file.and_then(|facts| facts.regular(&format!("{directory}/{}", files.ca)));
        let bundle = file
            .and_then(|file| Certificate::bundle_from_pem(file.content.as_deref()?).ok())
            .filter(|bundle| !bundle.is_empty());
        let subject = |one: &Certificate| one.subject().to_owned();
        Holder {
            name: host.holder(),
            role: role_of(role),
            trusts: bundle.map(|bundle| bundle.iter().map(subject).collect()),
            accepts_anyone: role == Role::Daemon && host.settings.daemon_mode == DaemonMode::Tls,
            renew_before: host.settings.renew_before.map(|renew| renew.days),
        }
    });
    holders.collect()
}

/// The CA that follows the present one, during a rollover.
pub(super) fn next(observed: &Observation<'_>) -> Option<CertificateText> {
    let next = observed.authority.next.as_ref();
    next.map(|next| text(next, observed.now))
}
