//! A host as each of its identities sees it: the same machine, with the directory, key type and
//! validity period of that identity's certificate, so that everything that plans for a client also
//! plans for identities.

use super::host::{Host, Identity};
use super::values::ClientEnv;

/// The host as each of its identities sees it.
pub(super) fn of(host: &Host) -> Vec<Host> {
    let written = host.settings.identities.iter();
    written
        .map(|identity| {
            let mut own = host.clone();
            own.is_ca = false;
            own.is_daemon = false;
            own.identities = Vec::new();
            let settings = &mut own.settings;
            settings.identities = Vec::new();
            settings.client_dir.clone_from(&identity.dir);
            settings.client_mode = identity.mode.unwrap_or(settings.client_mode);
            if let Some(role) = &identity.role {
                settings.role.clone_from(role);
            }
            settings.key_type = identity.key_type.unwrap_or(settings.key_type);
            settings.validity_days = identity.validity_days.unwrap_or(settings.validity_days);
            settings.renew_before = match (identity.renew_before, identity.validity_days) {
                (Some(own), _) => Some(own),
                // The client's setting is for another validity period: the default is a third of
                // its own.
                (None, Some(_)) => None,
                (None, None) => settings.renew_before,
            };
            // A profile is one account's, which several identities may share.
            settings.client_env = if identity.context {
                vec![ClientEnv::Context]
            } else {
                Vec::new()
            };
            own.identity = Some(Identity {
                name: identity.name.clone(),
                owner: identity.owner.clone(),
                absent: identity.absent,
            });
            own
        })
        .collect()
}
