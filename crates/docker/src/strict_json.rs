//! JSON without duplicate keys.
//!
//! For a duplicate key, dockerd uses the last value or merges objects, and other readers behave
//! differently: such a file cannot be written again without losing a setting.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Parses one value.
///
/// # Errors If the text is not exactly one JSON value, or an object in it repeats a key.
pub(super) fn parse(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str::<Strict>(text).map(|strict| strict.0)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(value)) = items.next_element()? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!(
                    "the key \"{key}\" is there twice"
                )));
            }
            let Strict(value) = entries.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_key_that_is_there_twice_is_an_error_wherever_it_is() {
        for text in [
            r#"{"debug": true, "debug": true}"#,
            r#"{"a": {"b": [{"c": 1, "d": 2, "c": 1}]}}"#,
            // The same key, written in another way.
            r#"{"debug": true, "\u0064ebug": false}"#,
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains("is there twice"), "{error}");
            assert_eq!(error.line(), 1);
        }
        for text in ["{}{}", "{} {\"a\": 1}", "\u{feff}{}", "{\"a\": 1,}", ""] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_other_value_is_what_serde_json_reads() {
        for text in [
            r#"{"a": [1, -1, 1.5, 1e400, true, null, "x\n\u00fc", {}], "b": {"a": 18446744073709551615}}"#,
            r#"{"max-concurrent-downloads": 10, "big": 123456789012345678901234567890}"#,
            "[]",
            "\"x\"",
        ] {
            let Ok(expected) = serde_json::from_str::<serde_json::Value>(text) else {
                assert!(parse(text).is_err(), "{text}");
                continue;
            };
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
    }
}
