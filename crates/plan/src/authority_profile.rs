//! The profile of a new CA: its dates and key type from the inventory, and the names that it may
//! sign for.

use std::collections::BTreeSet;

use super::{Planner, leaves_of, wanted_sans};
use inventory::Host;
use pki::{AuthorityProfile, Permitted, Role, Subject, client_name};

/// Most CAs that are named: the files of an account can hold any number.
const KNOWN: usize = 64;

impl Planner<'_> {
    #[must_use]
    pub fn authority_profile(&self, ca: &Host, subject: Subject) -> AuthorityProfile {
        let settings = &ca.settings;
        let mut profile =
            AuthorityProfile::new(subject, settings.key_type, settings.ca_validity_days);
        if let Some(more) = &settings.ca_name_constraints {
            profile.permitted = self.names_of_leaves();
            profile.permitted.extend(more.iter().cloned());
        }
        profile.known = self.carried().into_keys().take(KNOWN).collect();
        profile
    }

    fn names_of_leaves(&self) -> BTreeSet<Permitted> {
        let leaves = leaves_of(self.inventory).into_iter();
        leaves
            .flat_map(|(host, role)| {
                let mut names = wanted_sans(host, role, self.facts.get(&host.name));
                // Name constraints do not cover URIs of this kind.
                if role == Role::Client
                    && let Ok(name) = client_name(&host.holder())
                {
                    names.insert(name);
                }
                names
            })
            .map(|name| Permitted::exactly(&name))
            .collect()
    }

    /// Notes that the CA signs for every name, although the inventory asks for limits.
    pub(crate) fn note_unlimited(&mut self, ca: &Host) {
        let unlimited = |certificate: &pki::Certificate| !certificate.limits_names();
        if ca.settings.ca_name_constraints.is_some()
            && self.authority.certificate.as_ref().is_some_and(unlimited)
            && self.authority.next.is_none()
        {
            self.note(
                ca,
                "the CA was made without name constraints and signs for every name; to replace it: \
                 dtls-deploy rotate --ca INVENTORY",
            );
        }
    }
}
