//! Distinguished names as text, for people and for records.
//!
//! They are written as in RFC 4514. Names are compared as DER, never as this text.

use std::fmt::Write as _;

use x509_parser::prelude::{FromDer as _, X509Name};

use super::encoding::hex;

/// A distinguished name in DER as text; what is none is not shown.
#[must_use]
pub fn subject_text(der: &[u8]) -> String {
    match X509Name::from_der(der) {
        Ok((_, name)) => name_text(&name),
        Err(_) => "?".to_owned(),
    }
}

/// RFC 4514, section 2: last relative name first, values escaped.
pub(crate) fn name_text(name: &X509Name<'_>) -> String {
    let mut relative_names: Vec<String> = name
        .iter_rdn()
        .map(|relative_name| {
            let attributes: Vec<String> = relative_name
                .iter()
                .map(|attribute| {
                    let identifier = attribute.attr_type().to_id_string();
                    let value = attribute.as_str().map_or_else(
                        |_| format!("#{}", hex(attribute.attr_value().data)),
                        escape_value,
                    );
                    format!("{}={value}", short_name(&identifier))
                })
                .collect();
            attributes.join("+")
        })
        .collect();
    relative_names.reverse();
    relative_names.join(",")
}

fn short_name(identifier: &str) -> &str {
    match identifier {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        other => other,
    }
}

pub(crate) fn escape_value(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (position, character) in value.chars().enumerate() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => {
                escaped.push('\\');
                escaped.push(character);
            }
            ' ' if position == 0 || position == last => escaped.push_str("\\ "),
            '#' if position == 0 => escaped.push_str("\\#"),
            control if control.is_control() => {
                let mut bytes = [0; 4];
                for byte in control.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(escaped, "\\{byte:02X}");
                }
            }
            other => escaped.push(other),
        }
    }
    escaped
}
