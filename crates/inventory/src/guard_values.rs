//! Values about the guard of a daemon: roles, and what an operator's own ones allow.

use std::collections::BTreeMap;

use policy::{Document, OwnRole};

use super::convert::{Context, Convert, Found};
use super::resolve::Resolved;
use crate::yaml::scalar::to_json;
use crate::yaml::source::quoted;
use docker::tls::DaemonMode;

/// The role that is no restriction, and the one that who is not told otherwise has.
pub(super) const FULL: &str = "full";

/// The name of a role. Which ones there are is known when all hosts are.
pub(super) struct RoleName;

impl Convert for RoleName {
    type Output = String;
    const EXPECTED: &'static str = "full, read, logs or a role of dtls_roles";
    const SCHEMA: &'static str = r#"{"type": "string", "minLength": 1, "maxLength": 128}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<String> {
        Some(value.line(Self::EXPECTED, context)?.to_owned())
    }
}

/// Roles with what each of them allows.
pub(super) struct Roles;

impl Convert for Roles {
    type Output = BTreeMap<String, OwnRole>;
    const EXPECTED: &'static str = "a mapping of roles, each with allow: [{methods, paths}]";
    const SCHEMA: &'static str = r#"{"type": "object",
        "propertyNames": {"minLength": 1, "maxLength": 128, "not": {"enum": ["full", "read", "logs"]}},
        "additionalProperties": {"type": "object", "additionalProperties": false, "required": ["allow"],
        "properties": {"allow": {"type": "array", "items": {"type": "object", "additionalProperties": false,
        "required": ["methods", "paths"], "properties": {
        "methods": {"type": "array", "items": {"enum": ["DELETE", "GET", "HEAD", "POST", "PUT"]}},
        "paths": {"type": "array", "items": {"type": "string", "pattern": "^/"}}}}}}}}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Self::Output> {
        let mut roles = BTreeMap::new();
        for entry in value.mapping(Self::EXPECTED, context)? {
            let name = format!("{}.{}", value.name, entry.key.text);
            let part = Found::part(&name, entry);
            let role: OwnRole = match serde_json::from_value(to_json(&entry.node)) {
                Ok(role) => role,
                Err(error) => {
                    let message = format!("{} is not a role: {error}", quoted(&name));
                    let help = "write allow: [{methods: [GET], paths: [/containers/json]}]";
                    return part.refuse(message, help, context);
                }
            };
            let role = BTreeMap::from([(entry.key.text.clone(), role)]);
            if let Err(problem) = Document::new(role.clone(), None).check() {
                let message = format!("{} {problem}", quoted(&name));
                let help = "methods in capitals; paths of the Engine API without its version, * for one segment and ** for several";
                return part.refuse(message, help, context);
            }
            roles.extend(role);
        }
        Some(roles)
    }
}

/// Whether a guard is what the inventory calls it: able to tell certificates apart, with roles that
/// exist, on each daemon that a restricted client could use instead.
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
            && !is_known(role, &settings.roles)
        {
            unknown(
                role,
                "dtls_guard_default",
                at("dtls_guard_default"),
                context,
            );
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
            } else if daemons().any(|daemon| !is_known(role, &daemon.host.settings.roles)) {
                unknown(role, variable, at, context);
            }
        }
    }
}

fn is_known(role: &str, own: &BTreeMap<String, OwnRole>) -> bool {
    policy::Role::named(role).is_some() || own.contains_key(role)
}

fn unknown(role: &str, variable: &str, at: crate::yaml::source::Span, context: &mut Context) {
    let message = format!("{variable}: there is no role {}", quoted(role));
    let help = Some("use full, read or logs, or define it in dtls_roles of all daemons".to_owned());
    context.problems.error(at, message, "this role", help);
}
