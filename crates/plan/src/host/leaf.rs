//! Where the three files of a leaf are.

use inventory::{Files, Host};
use pki::Role;

#[must_use]
pub fn location(host: &Host, role: Role) -> (String, Files) {
    match role {
        Role::Daemon => (
            host.settings.daemon_dir.clone(),
            host.settings.daemon_files.clone(),
        ),
        Role::Client => (host.settings.client_dir.clone(), Files::default()),
    }
}
