//! Variables that affect the whole run: they must be the same for every daemon.

use super::convert::Context;
use super::resolve::Resolved;
use super::variables::Settings;
use crate::yaml::source::quoted;

/// Whether two hosts have the same value.
type Same = fn(&Settings, &Settings) -> bool;

const RUN_WIDE: [(&str, Same); 3] = [
    ("dtls_serial", |one, other| one.serial == other.serial),
    ("dtls_roles", |one, other| one.roles == other.roles),
    ("dtls_max_fail_percentage", |one, other| {
        one.max_fail_percentage == other.max_fail_percentage
    }),
];

/// One run has one order of batches.
pub(super) fn of_the_daemons(hosts: &[Resolved], context: &mut Context) {
    let mut daemons = hosts.iter().filter(|resolved| resolved.host.is_daemon);
    let Some(first) = daemons.next() else { return };
    let others: Vec<&Resolved> = daemons.collect();
    for (name, same) in RUN_WIDE {
        let differing = others
            .iter()
            .find(|other| !same(&first.host.settings, &other.host.settings));
        let Some(other) = differing else { continue };
        let at = |resolved: &Resolved| resolved.variables.place(name);
        // At least one of the two sets it; the other may have the default.
        let span = at(other).or_else(|| at(first)).unwrap_or(other.span);
        let message = format!(
            "{} and {} differ in {name}, which is about the run as a whole",
            quoted(&first.host.name),
            quoted(&other.host.name)
        );
        let help = Some("write it below `all` or below the group `daemons`".to_owned());
        context
            .problems
            .error(span, message, "for one of the two", help);
    }
}
