//! Values for the guard of a daemon: roles, and what custom ones allow.

use std::collections::BTreeMap;

use policy::{Document, OwnRole, Problem, Rule};

use super::convert::{Context, Convert, Found};
use super::path_values::unknown_key;
use crate::yaml::node::Entry;
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
        let entries = value.mapping(Self::EXPECTED, context)?;
        let read: Vec<Option<(String, OwnRole)>> = entries
            .iter()
            .map(|entry| own_role(value.name, entry, context))
            .collect();
        read.into_iter().collect()
    }
}

fn own_role(variable: &str, entry: &Entry, context: &mut Context) -> Option<(String, OwnRole)> {
    let name = entry.key.text.clone();
    let whole = format!("{variable}.{name}");
    let value = Found::part(&whole, entry);
    if policy::Role::named(&name).is_some() {
        let message = format!("every guard has a role {} of its own", quoted(&name));
        let help = Some("choose another name for this role".to_owned());
        context
            .problems
            .error(entry.key_span, message, "this name", help);
        return None;
    }
    let (mut allow, mut fine) = (None, true);
    for part in value.mapping("a mapping with allow: [{methods, paths}]", context)? {
        let inner_name = format!("{whole}.{}", part.key.text);
        let inner = Found::part(&inner_name, part);
        if part.key.text == "allow" {
            allow = inner.each("a list of {methods, paths}", context, rule);
            fine &= allow.is_some();
        } else {
            unknown_key(&whole, part, &["allow"], context);
            fine = false;
        }
    }
    if !fine {
        return None;
    }
    let Some(allow) = allow else {
        let message = format!("{} does not say what it allows", quoted(&whole));
        return value.refuse(message, EXAMPLE, context);
    };
    let role = OwnRole { allow };
    if let Some(problem) = problem_of(&name, &role) {
        let message = format!("{} {problem}", quoted(&whole));
        return value.refuse(message, "", context);
    }
    Some((name, role))
}

fn rule(value: &Found, context: &mut Context) -> Option<Rule> {
    let (mut methods, mut paths, mut fine) = (None, None, true);
    for part in value.mapping("a mapping with methods and paths", context)? {
        let key = part.key.text.as_str();
        let inner_name = format!("{}.{key}", value.name);
        let inner = Found::part(&inner_name, part);
        let list = match key {
            "methods" => &mut methods,
            "paths" => &mut paths,
            _ => {
                unknown_key(value.name, part, &["methods", "paths"], context);
                fine = false;
                continue;
            }
        };
        *list = inner.each("a list", context, |item, context| word(key, item, context));
        fine &= list.is_some();
    }
    match (methods, paths) {
        (Some(methods), Some(paths)) if fine => Some(Rule { methods, paths }),
        (methods, paths) if fine => {
            let lacks = match (methods, paths) {
                (None, None) => "methods and paths",
                (None, _) => "methods",
                _ => "paths",
            };
            let message = format!("a rule of {} has no {lacks}", quoted(value.name));
            value.refuse(message, EXAMPLE, context)
        }
        _ => None,
    }
}

/// One method or path, checked as a guard checks it.
fn word(key: &str, item: &Found, context: &mut Context) -> Option<String> {
    let text = item.line("a text", context)?;
    let alone = || vec![text.to_owned()];
    let (methods, paths) = match key {
        "methods" => (alone(), Vec::new()),
        _ => (Vec::new(), alone()),
    };
    let allow = vec![Rule { methods, paths }];
    let Some(problem) = problem_of("a role", &OwnRole { allow }) else {
        return Some(text.to_owned());
    };
    let (message, help) = match &problem {
        Problem::Path { problem, .. } => (
            format!("the path {} {problem}", quoted(text)),
            "paths of the Engine API without its version, * for one segment and ** for several",
        ),
        _ => (
            format!("there is no method {}", quoted(text)),
            "the methods are DELETE, GET, HEAD, POST and PUT",
        ),
    };
    item.refuse(message, help, context)
}

const EXAMPLE: &str = "write allow: [{methods: [GET], paths: [/containers/json]}]";

/// What a guard would say of a policy with this role.
fn problem_of(name: &str, role: &OwnRole) -> Option<Problem> {
    let roles = BTreeMap::from([(name.to_owned(), role.clone())]);
    Document::new(roles, None).check().err()
}
