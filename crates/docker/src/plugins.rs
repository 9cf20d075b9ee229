//! `authorization-plugins` of daemon.json: dockerd asks them one after the other about each request.

use serde_json::Value;

use super::daemon_json::{DaemonJsonError, PLUGINS, read};
use super::json_text;

/// The names in the text; none if dockerd could not read it.
#[must_use]
pub fn plugins(text: &str) -> Vec<String> {
    let settings: Value = serde_json::from_str(text).unwrap_or_default();
    let names = settings.get(PLUGINS).and_then(Value::as_array);
    let names = names.into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

/// The text with this plugin as the last one.
pub fn with_plugin(text: &str, name: &str) -> Result<String, DaemonJsonError> {
    let mut names = listed(text)?;
    if names.iter().any(|each| each == name) {
        return Ok(text.to_owned());
    }
    names.push(Value::from(name));
    Ok(json_text::set(text, PLUGINS, &Value::from(names)))
}

/// The text without this plugin, and without the setting if it becomes empty; `None` if nothing is
/// left.
pub fn without_plugin(text: &str, name: &str) -> Result<Option<String>, DaemonJsonError> {
    let mut names = listed(text)?;
    let before = names.len();
    names.retain(|each| each != name);
    if names.len() == before {
        return Ok(Some(text.to_owned()));
    }
    if names.is_empty() {
        return Ok(json_text::remove(text, PLUGINS));
    }
    Ok(Some(json_text::set(text, PLUGINS, &Value::from(names))))
}

fn listed(text: &str) -> Result<Vec<Value>, DaemonJsonError> {
    let (_, settings) = read(Some(text.as_bytes()))?;
    match settings.get(PLUGINS) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(names)) => Ok(names.clone()),
        Some(_) => Err(DaemonJsonError::NotAList),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_what_is_taken_out() {
        for old in [
            "",
            "{\n  \"icc\": false\n}\n",
            "{\"authorization-plugins\": [\"opa\"], \"icc\": false}",
        ] {
            let with = with_plugin(old, "guard").unwrap();
            let expected: Vec<String> = plugins(old)
                .into_iter()
                .chain(["guard".to_owned()])
                .collect();
            assert_eq!(plugins(&with), expected, "after the others: {with}");
            assert_eq!(with_plugin(&with, "guard").unwrap(), with);
            let left = without_plugin(&with, "guard").unwrap().unwrap_or_default();
            assert_eq!(left, old);
            assert_eq!(without_plugin(old, "guard").unwrap().as_deref(), Some(old));
        }
        let odd = r#"{"authorization-plugins": "opa"}"#;
        assert_eq!(with_plugin(odd, "guard"), Err(DaemonJsonError::NotAList));
    }
}
