//! What an unquoted YAML scalar means to Ansible.
//!
//! Ansible reads YAML 1.1: `yes`, `on` and `NO` are booleans there, `0644` is an octal number and
//! `1:30` is ninety. Used for converting variables and for the values that templates see. The rules
//! are those of <https://yaml.org/type/>, as `PyYAML` applies them.

use serde_json::{Map, Number, Value as Json};

use super::node::{Node, Scalar, Value};

/// What a scalar means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Meaning {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text,
}

impl Scalar {
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.meaning() == Meaning::Null
    }

    #[must_use]
    pub fn meaning(&self) -> Meaning {
        if self.plain {
            plain(&self.text)
        } else {
            Meaning::Text
        }
    }
}

/// What an unquoted scalar means.
pub(crate) fn plain(text: &str) -> Meaning {
    if matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Meaning::Null;
    }
    if let Some(value) = yaml_boolean(text) {
        return Meaning::Bool(value);
    }
    if let Some(value) = integer(text) {
        return Meaning::Integer(value);
    }
    float(text).map_or(Meaning::Text, Meaning::Float)
}

fn yaml_boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn signed(text: &str) -> (i128, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = signed(text);
    let clean = digits.replace('_', "");
    let value = if let Some(binary) = clean.strip_prefix("0b") {
        radix(binary, 2)?
    } else if let Some(hexadecimal) = clean.strip_prefix("0x") {
        radix(hexadecimal, 16)?
    } else if digits.contains(':') {
        sexagesimal(&clean)?
    } else if clean.len() > 1 && clean.starts_with('0') {
        radix(&clean, 8)?
    } else if digits.starts_with(|first: char| first.is_ascii_digit()) {
        radix(&clean, 10)?
    } else {
        return None;
    };
    Some(sign * value)
}

fn radix(digits: &str, radix: u32) -> Option<i128> {
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    i128::from_str_radix(digits, radix)
        .ok()
        .filter(|value| *value < 1 << 100)
}

/// `1:30` is ninety: parts of sixty, the first without a leading zero.
fn sexagesimal(digits: &str) -> Option<i128> {
    let mut parts = digits.split(':');
    let first = parts.next()?;
    if first.starts_with('0') {
        return None;
    }
    let mut value = radix(first, 10)?;
    for part in parts {
        let part = radix(part, 10).filter(|value| *value < 60 && part.len() <= 2)?;
        value = value.checked_mul(60)?.checked_add(part)?;
    }
    Some(value)
}

fn float(text: &str) -> Option<f64> {
    let (sign, digits) = signed(text);
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Some(if sign < 0 {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        });
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Some(f64::NAN);
    }
    let (whole, rest) = digits.split_once('.')?;
    let (fraction, exponent) = match rest.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, Some(exponent)),
        None => (rest, None),
    };
    let number = |part: &str| {
        part.chars()
            .all(|digit| digit.is_ascii_digit() || digit == '_')
    };
    let starts_well = |part: &str| part.starts_with(|first: char| first.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|exponent| {
        exponent.strip_prefix(['+', '-']).is_some_and(|digits| {
            !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit())
        })
    });
    let fits = number(whole)
        && number(fraction)
        && (starts_well(whole) || (whole.is_empty() && sign > 0 && starts_well(fraction)))
        && exponent_fits;
    if !fits {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// The booleans that Ansible accepts for its own variables, quoted or not.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "true" | "t" | "on" | "1" | "1.0" => Some(true),
        "no" | "n" | "false" | "f" | "off" | "0" | "0.0" => Some(false),
        _ => None,
    }
}

/// The value as templates and JSON see it.
pub(crate) fn to_json(node: &Node) -> Json {
    match &node.value {
        Value::Sequence(items) => Json::Array(items.iter().map(to_json).collect()),
        Value::Mapping(entries) => Json::Object(
            entries
                .iter()
                .map(|entry| (entry.key.text.clone(), to_json(&entry.node)))
                .collect::<Map<_, _>>(),
        ),
        Value::Scalar(scalar) => match scalar.meaning() {
            Meaning::Null => Json::Null,
            Meaning::Bool(value) => Json::Bool(value),
            Meaning::Integer(value) => Number::from_i128(value)
                .map_or_else(|| Json::String(scalar.text.clone()), Json::Number),
            Meaning::Float(value) => Number::from_f64(value)
                .map_or_else(|| Json::String(scalar.text.clone()), Json::Number),
            Meaning::Text => Json::String(scalar.text.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Meaning, boolean, plain};

    #[test]
    fn plain_scalars_mean_what_yaml_1_1_says() {
        for (text, meaning) in [
            ("", Meaning::Null),
            ("~", Meaning::Null),
            ("NO", Meaning::Bool(false)),
            ("On", Meaning::Bool(true)),
            ("y", Meaning::Text),
            ("22", Meaning::Integer(22)),
            ("-1_000", Meaning::Integer(-1000)),
            ("0644", Meaning::Integer(420)),
            ("0o644", Meaning::Text),
            ("089", Meaning::Text),
            ("0x1F", Meaning::Integer(31)),
            ("0b101", Meaning::Integer(5)),
            ("1:30", Meaning::Integer(90)),
            ("01:30", Meaning::Text),
            ("22:99", Meaning::Text),
            ("1.5", Meaning::Float(1.5)),
            (".5", Meaning::Float(0.5)),
            ("1e3", Meaning::Text),
            ("1.0e+3", Meaning::Float(1000.0)),
            ("1.2.3", Meaning::Text),
            ("_1", Meaning::Text),
            ("+", Meaning::Text),
            ("30d", Meaning::Text),
            ("10.0.0.10", Meaning::Text),
            ("tcp://node3:2376", Meaning::Text),
        ] {
            assert_eq!(plain(text), meaning, "{text:?}");
        }
    }

    #[test]
    fn booleans_are_ansibles() {
        assert_eq!(boolean("Yes"), Some(true));
        assert_eq!(boolean("oFF"), Some(false));
        assert_eq!(boolean("maybe"), None);
    }
}
