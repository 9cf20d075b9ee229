//! Values for the guard of a daemon: roles, and what custom ones allow.

use std::collections::BTreeMap;

use policy::{Document, OwnRole};

use super::convert::{Context, Convert, Found};
use crate::yaml::scalar::to_json;
use crate::yaml::source::quoted;

/// The unrestricted role, which is the default.
pub(super) const FULL: &str = "full";

/// The name of a role. Whether it exists is checked once all hosts are known.
pub(super) struct RoleName;

impl Convert for RoleName {
    type Output = String;
    const EXPECTED: &'static str = "full, read, logs or a role of dtls_roles";
    const SCHEMA: &'static str = r#"{"type": "string", "minLength": 1, "maxLength": 128}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<String> {
        Some(value.line(Self::EXPECTED, context)?.to_owned())
    }
}

/// Roles, with what each allows.
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
