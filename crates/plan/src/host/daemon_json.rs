//! daemon.json and the TLS files that it names, on one host.

use docker::daemon_json::{DaemonJsonError, readable};
use docker::tls::TlsPaths;
use inventory::Host;
use node::facts::NodeFacts;

/// Docker's default on Linux, if the unit does not set another.
pub const DIRECTORY: &str = "/etc/docker";

pub const NAME: &str = "daemon.json";

pub const PATH: &str = "/etc/docker/daemon.json";

/// The live-restore setting before `live_restore` changed it.
pub const LIVE_RESTORE_RECORD: &str = "/var/lib/dtls-deploy/live-restore";

/// The paths that dockerd on `host` is configured to read.
#[must_use]
pub(crate) fn tls_paths(host: &Host, expand: impl Fn(&str) -> String) -> TlsPaths {
    let directory = expand(&host.settings.daemon_dir);
    let files = &host.settings.daemon_files;
    TlsPaths {
        ca: format!("{directory}/{}", files.ca),
        certificate: format!("{directory}/{}", files.cert),
        key: format!("{directory}/{}", files.key),
    }
}

/// Why dockerd could not read the existing file.
pub fn check(facts: &NodeFacts) -> Result<(), DaemonJsonError> {
    let file = facts.regular(PATH);
    readable(file.and_then(|file| file.content.as_deref()))
}
