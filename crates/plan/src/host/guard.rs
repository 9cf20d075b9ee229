//! The guard of a daemon: its files, and whether they are on a node.

use std::fmt;
use std::sync::Arc;

use inventory::Host;
use node::facts::{FactRequest, NodeFacts};
use policy::Document;

use super::unit;

/// Its plugin name in dockerd.
pub const PLUGIN: &str = "dtls-deploy-guard";

/// Directory and name of the binary.
pub const PROGRAM: (&str, &str) = ("/opt/dtls-deploy/bin", "dtls-deploy-guard");

/// The guard's policy; every account may read it, since the guard runs as its own.
pub const POLICY: (&str, &str) = ("/etc/dtls-deploy-guard", "policy.json");

/// The administrator's unit directory.
pub const UNIT_DIRECTORY: &str = "/etc/systemd/system";

/// Names and texts of its units.
pub const UNITS: [(&str, &str); 4] = [
    (
        "dtls-deploy-guard.socket",
        include_str!("../../../../packaging/guard/dtls-deploy-guard.socket"),
    ),
    (
        "dtls-deploy-guard.service",
        include_str!("../../../../packaging/guard/dtls-deploy-guard.service"),
    ),
    (
        "dtls-deploy-guard.path",
        include_str!("../../../../packaging/guard/dtls-deploy-guard.path"),
    ),
    (
        "dtls-deploy-guard-socket.service",
        include_str!("../../../../packaging/guard/dtls-deploy-guard-socket.service"),
    ),
];

/// The drop-in that starts the units together with docker's: nothing has to be enabled.
pub const DROP_IN: &str = "40-dtls-deploy-guard.conf";

pub const DROP_IN_TEXT: &str = "\
# Written by dtls-deploy. dockerd asks the guard about each request, and does not start without it.
[Unit]
Wants=dtls-deploy-guard.socket dtls-deploy-guard.path
After=dtls-deploy-guard.socket
";

/// Whether this is one of these texts: they hold no value of an operator.
#[must_use]
pub fn is_own_text(text: &str) -> bool {
    text == DROP_IN_TEXT || UNITS.iter().any(|(_, unit)| *unit == text)
}

/// The guard binary, as it is delivered.
#[derive(Clone, PartialEq, Eq)]
pub struct Program {
    pub bytes: Arc<[u8]>,
    /// Lower-case hexadecimal.
    pub sha256: String,
}

impl fmt::Debug for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Program({})", self.sha256)
    }
}

impl Program {
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        let sha256 = pki::sha256_hex(&bytes);
        Self {
            bytes: bytes.into(),
            sha256,
        }
    }
}

/// Every file of it on a host, as directory and name: the binary first, the policy last.
#[must_use]
pub fn files(host: &Host) -> Vec<(String, String)> {
    let owned = |(directory, name): (&str, &str)| (directory.to_owned(), name.to_owned());
    let units = UNITS.map(|(name, _)| (UNIT_DIRECTORY.to_owned(), name.to_owned()));
    std::iter::once(owned(PROGRAM))
        .chain(units)
        .chain([
            (unit::directory(&host.settings.unit), DROP_IN.to_owned()),
            owned(POLICY),
        ])
        .collect()
}

#[must_use]
pub fn drop_in_path(host: &Host) -> String {
    format!("{}/{DROP_IN}", unit::directory(&host.settings.unit))
}

/// Whether a change of this file restarts the guard; it reloads a new policy itself.
#[must_use]
pub fn is_part(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name == PROGRAM.1 || name == DROP_IN || UNITS.iter().any(|(unit, _)| *unit == name)
}

#[must_use]
pub fn policy_path() -> String {
    let (directory, name) = POLICY;
    format!("{directory}/{name}")
}

/// Requests the facts that tell whether a guard rejects revoked certificates. The inventory need not
/// name it: one that is installed stays until `dtls_guard` is false.
pub fn request_policy(host: &Host, request: &mut FactRequest) {
    if host.is_daemon {
        request.content.insert(policy_path());
        request.content.insert(drop_in_path(host));
        let (directory, name) = PROGRAM;
        request.guard = Some([PLUGIN.to_owned(), format!("{directory}/{name}")]);
    }
}

/// Whether the daemon must ask a guard: the inventory wants one, or does not remove the installed
/// one.
#[must_use]
pub fn is_expected(host: &Host, facts: Option<&NodeFacts>) -> bool {
    let stays = host.is_daemon && host.settings.guard.is_none();
    host.is_guarded() || (stays && facts.is_some_and(|facts| is_installed(host, facts)))
}

/// Whether the policy of a daemon's guard names a revoked certificate, but dockerd does not ask the
/// guard.
#[must_use]
pub fn is_bypassed(host: &Host, facts: &NodeFacts, serial: &str) -> bool {
    facts.claims.guard_not_asked && names_revoked(host, facts, serial)
}

/// Whether the guard of a daemon rejects the certificate with this serial number.
#[must_use]
pub fn rejects(host: &Host, facts: &NodeFacts, serial: &str) -> bool {
    !facts.claims.guard_not_asked && names_revoked(host, facts, serial)
}

fn names_revoked(host: &Host, facts: &NodeFacts, serial: &str) -> bool {
    policy_in_place(host, facts).is_some_and(|policy| {
        let mut revoked = policy.revoked.iter();
        revoked.any(|revoked| revoked.serial.as_str() == serial)
    })
}

/// The policy of the guard that a daemon has; none where it has no guard, or cannot read it.
#[must_use]
pub fn policy_in_place(host: &Host, facts: &NodeFacts) -> Option<Document> {
    let text = facts
        .text(&policy_path())
        .filter(|_| is_installed(host, facts))?;
    serde_json::from_str(text).ok()
}

/// Whether the daemon has a guard that dtls-deploy installed.
#[must_use]
pub fn is_installed(host: &Host, facts: &NodeFacts) -> bool {
    facts.regular(&drop_in_path(host)).is_some()
}
