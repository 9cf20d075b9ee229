//! Checks of the guards of daemons against the roles of clients.

use super::convert::Context;
use super::guard_values::FULL;
use super::names::nearest;
use super::resolve::Resolved;
use crate::yaml::source::{Span, quoted};
use docker::tls::DaemonMode;

/// Requires that a guard can enforce what the inventory declares: it distinguishes certificates,
/// its roles exist, and each daemon that a restricted client could use instead has one.
pub(super) fn check(hosts: &[Resolved], context: &mut Context) {
    let daemons = || hosts.iter().filter(|resolved| resolved.host.is_daemon);
    for daemon in daemons().filter(|daemon| daemon.host.is_guarded()) {
        let settings = &daemon.host.settings;
        let at = |name: &str| daemon.variables.place(name).unwrap_or(daemon.span);
        if settings.daemon_mode == DaemonMode::Tls {
            let message = "a guard tells clients by their certificates, and with dtls_daemon_mode: tls the daemon asks for none";
            let help = Some("leave dtls_daemon_mode out, or dtls_guard".to_owned());
            context
                .problems
                .error(at("dtls_guard"), message, "this value", help);
        }
        if let Some(role) = &settings.guard_default
            && !is_known(role, daemon)
        {
            let place = at("dtls_guard_default");
            unknown(role, "dtls_guard_default", place, hosts, context);
        }
    }
    let clients = hosts.iter().filter(|resolved| resolved.host.is_client);
    for client in clients {
        let own = std::iter::once((&client.host.settings.role, "dtls_role"));
        let identities = client.host.settings.identities.iter();
        let identities = identities.filter_map(|of| Some((of.role.as_ref()?, "dtls_identities")));
        for (role, variable) in own.chain(identities) {
            if role == FULL {
                continue;
            }
            let at = client.variables.place(variable).unwrap_or(client.span);
            let open = daemons().find(|daemon| !daemon.host.is_guarded());
            if let Some(open) = open {
                let message = format!(
                    "{} has no guard, so that this certificate is root there whatever its role is",
                    open.host.name
                );
                let help = Some("set dtls_guard: true for all daemons".to_owned());
                context.problems.error(at, message, "this role", help);
            } else if daemons().any(|daemon| !is_known(role, daemon)) {
                unknown(role, variable, at, hosts, context);
            }
        }
    }
}

/// Whether it is defined: one that is defined wrongly is reported where it is defined.
fn is_known(role: &str, daemon: &Resolved) -> bool {
    policy::Role::named(role).is_some()
        || daemon.host.settings.roles.contains_key(role)
        || daemon.variables.has_key("dtls_roles", role)
}

fn unknown(role: &str, variable: &str, at: Span, hosts: &[Resolved], context: &mut Context) {
    let message = format!("{variable}: there is no role {}", quoted(role));
    let own = hosts.iter().flat_map(|of| of.host.settings.roles.keys());
    let known = policy::Role::ALL.map(policy::Role::name).into_iter();
    let near = nearest(role, known.chain(own.map(String::as_str)));
    let help = match near {
        Some(near) if near != role => format!("did you mean {}?", quoted(near)),
        _ => "use full, read or logs, or define it in dtls_roles of all daemons".to_owned(),
    };
    context.problems.error(at, message, "this role", Some(help));
}
