//! The JSON Schema of an inventory, for editors.
//!
//! Turns the table of variables into a schema (draft 07, which every editor supports) that accepts
//! what [`super::load`] accepts: Ansible's groups, hosts and variables, an operator's own among
//! them, but no `dtls_` name that does not exist. `dtls-deploy schema` prints it.

use serde_json::{Map, Value, json};

use super::other_variables::REFUSED;
use super::variables::{ReadBy, Variable, table};
use crate::yaml::problems::Problems;
use crate::yaml::{self, scalar};

/// The schema of a whole inventory. Below `definitions`, `variables` is that
/// of a file in `group_vars` or `host_vars`.
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Inventory of dtls-deploy",
        "description": "An Ansible inventory in YAML with the groups ca, daemons and clients.",
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"not": {"enum": ["hosts", "children", "vars", "plugin"]}},
        "additionalProperties": {"$ref": "#/definitions/group"},
        "definitions": {
            "group": {
                "type": ["object", "null"],
                "properties": {
                    "vars": {"$ref": "#/definitions/variables"},
                    "hosts": members("hosts, one a line with a colon behind it", "#/definitions/variables"),
                    "children": members("groups inside this one", "#/definitions/group"),
                },
                "additionalProperties": false,
            },
            "variables": variables(),
        },
    })
}

/// A mapping of names; one name alone stands for itself.
fn members(description: &str, of: &str) -> Value {
    json!({
        "description": description,
        "type": ["object", "string", "null"],
        "additionalProperties": {"$ref": of},
    })
}

fn variables() -> Value {
    let mut properties = Map::new();
    for variable in table() {
        properties.insert(variable.name.to_owned(), property(variable, None));
        for alias in variable.aliases {
            let named = property(variable, Some(variable.name));
            properties.insert((*alias).to_owned(), named);
        }
    }
    for (name, reason) in REFUSED {
        let refused = json!({"not": {}, "description": reason});
        properties.insert((*name).to_owned(), refused);
    }
    let ours: Vec<&str> = table()
        .map(|variable| variable.name)
        .filter(|name| name.starts_with("dtls_"))
        .collect();
    json!({
        "type": ["object", "null"],
        "properties": properties,
        // A misspelt `dtls_` name is an error; other names are the operator's.
        "propertyNames": {"anyOf": [
            {"enum": ours},
            {"not": {"pattern": "^[Dd][Tt][Ll][Ss][_-]"}},
        ]},
    })
}

fn property(variable: &Variable, newer_name: Option<&str>) -> Value {
    let mut schema = match serde_json::from_str(variable.schema) {
        Ok(Value::Object(schema)) => widened(schema),
        // A unit test holds every entry of the table to an object.
        _ => Map::new(),
    };
    let mut description = variable
        .doc
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    if let Some(name) = newer_name {
        description = format!("An older name of {name}. {description}");
    }
    description.push_str(match variable.read_by {
        ReadBy::Every => "",
        ReadBy::Ca => " Read for the host in the group ca.",
        ReadBy::Daemons => " Read for hosts in the group daemons.",
        ReadBy::Clients => " Read for hosts in the group clients.",
    });
    schema.insert("description".to_owned(), description.into());
    if let Some(default) = default(variable) {
        schema.insert("default".to_owned(), default);
    }
    Value::Object(schema)
}

/// The written default as JSON.
fn default(variable: &Variable) -> Option<Value> {
    if variable.default.is_empty() {
        return None;
    }
    let mut problems = Problems::default();
    let source = problems
        .sources
        .add(variable.name, variable.default.to_owned());
    let node = yaml::parse(source, variable.default, &mut problems)?;
    Some(scalar::to_json(&node))
}

/// A type with the other spellings that Ansible and this program take for it:
/// numbers and booleans in quotes, and text that YAML takes for a number.
fn widened(mut schema: Map<String, Value>) -> Map<String, Value> {
    for part in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(part) {
            *inner = widened(std::mem::take(inner));
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for inner in properties.values_mut() {
            if let Value::Object(inner) = inner {
                *inner = widened(std::mem::take(inner));
            }
        }
    }
    let plain = schema.len() == 1;
    let other = match schema.get("type").and_then(Value::as_str) {
        Some("boolean") => json!({"enum": [
            "yes", "no", "Yes", "No", "YES", "NO", "on", "off", "On", "Off", "ON", "OFF",
            "true", "false", "True", "False", "TRUE", "FALSE", "y", "n", "t", "f", 1, 0, "1", "0",
        ]}),
        Some("integer") => json!({"type": "string", "pattern": "^-?[0-9]+$"}),
        Some("string") if plain => json!({"type": "integer"}),
        _ => return schema,
    };
    let mut wide = Map::new();
    wide.insert("anyOf".to_owned(), json!([schema, other]));
    wide
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_has_its_type_and_its_default() {
        let schema = schema();
        let properties = &schema["definitions"]["variables"]["properties"];
        for variable in table() {
            let entry = properties[variable.name].as_object().unwrap();
            assert!(entry.len() >= 2, "{} has no type", variable.name);
            assert_eq!(
                entry.contains_key("default"),
                !variable.default.is_empty(),
                "{}",
                variable.name
            );
        }
        assert_eq!(properties["dtls_validity_days"]["default"], 365);
        assert_eq!(properties["dtls_daemon_files"]["default"]["key"], "key.pem");
        assert_eq!(properties["ansible_ssh_host"]["anyOf"][0]["type"], "string");
    }

    #[test]
    fn what_is_refused_says_why() {
        let schema = schema();
        let refused = &schema["definitions"]["variables"]["properties"]["dtls_ca_passphrase"];
        assert_eq!(refused["not"], json!({}));
        assert!(
            refused["description"]
                .as_str()
                .unwrap()
                .contains("never comes from an inventory")
        );
    }
}
