//! The `dtls_` types that end up in certificates or in dockerd's arguments:
//! subjects, subject alternative names, listen addresses.

use std::net::IpAddr;

use pki::{Permitted, San, Subject};

use super::convert::{Context, Convert, Found};
use super::names;
use super::path_values::unknown_key;
use crate::yaml::node::Value;
use crate::yaml::scalar::boolean;
use crate::yaml::source::quoted;

/// Where a daemon listens: `tcp://host:port`, TLS always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// As it was written.
    pub text: String,
    /// A host name or an address, an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
}

pub(super) struct CaSubject;

/// The parts of a subject and how long each may be (RFC 5280, appendix A.1).
const PARTS: [(&str, usize); 7] = [
    ("CN", 64),
    ("O", 64),
    ("OU", 64),
    ("L", 128),
    ("ST", 128),
    ("C", 2),
    ("emailAddress", 255),
];

impl Convert for CaSubject {
    type Output = Subject;
    const EXPECTED: &'static str = "a mapping of CN, O, OU, L, ST, C and emailAddress";
    const SCHEMA: &'static str = r#"{"type": "object", "additionalProperties": false, "properties": {
        "CN": {"type": "string"}, "O": {"type": "string"}, "OU": {"type": "string"}, "L": {"type": "string"},
        "ST": {"type": "string"}, "C": {"type": "string", "minLength": 2, "maxLength": 2},
        "emailAddress": {"type": "string"}}}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Subject> {
        let mut subject = Subject::default();
        let mut fine = true;
        for entry in value.mapping(Self::EXPECTED, context)? {
            let key = entry.key.text.as_str();
            let slot = match key {
                "CN" => &mut subject.common_name,
                "O" => &mut subject.organization,
                "OU" => &mut subject.organizational_unit,
                "L" => &mut subject.locality,
                "ST" => &mut subject.state,
                "C" => &mut subject.country,
                "emailAddress" => &mut subject.email_address,
                _ => {
                    unknown_key(value.name, entry, &PARTS.map(|(part, _)| part), context);
                    fine = false;
                    continue;
                }
            };
            let name = format!("{}.{key}", value.name);
            let inner = Found::part(&name, entry);
            *slot = part(key, &inner, context);
            fine &= slot.is_some();
        }
        fine.then_some(subject)
    }
}

fn part(key: &str, value: &Found, context: &mut Context) -> Option<String> {
    let text = value.line("text", context)?;
    let longest = PARTS
        .iter()
        .find(|(part, _)| *part == key)
        .map_or(64, |(_, longest)| *longest);
    if key == "C" && (text.len() != 2 || !text.chars().all(|letter| letter.is_ascii_uppercase())) {
        let message = format!("{} is not a country code", quoted(text));
        return value.refuse(message, "two capital letters, like DE", context);
    }
    if key == "emailAddress" && (!text.is_ascii() || !text.contains('@')) {
        let message = format!("{} is not a mail address", quoted(text));
        return value.refuse(message, "it must look like name@example.com", context);
    }
    if text.chars().count() > longest {
        let message = format!("{} is too long for a certificate", quoted(value.name));
        return value.refuse(message, format!("at most {longest} characters"), context);
    }
    Some(text.to_owned())
}

pub(super) struct SanList;

impl Convert for SanList {
    type Output = Vec<San>;
    const EXPECTED: &'static str =
        "a list like [docker.example.com, 10.0.0.12], or [DNS:node3, IP:10.0.0.12]";
    const SCHEMA: &'static str = r#"{"type": "array", "items": {"type": "string"}}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Vec<San>> {
        let mut seen = Vec::new();
        value.each(Self::EXPECTED, context, |item, context| {
            let san = san(item, context)?;
            if seen.contains(&san) {
                return item.refuse(
                    format!("{} is there twice", quoted(&san.to_string())),
                    "",
                    context,
                );
            }
            seen.push(san.clone());
            Some(san)
        })
    }
}

/// The exact list that replaces the derived one.
pub(super) struct ExactSans;

impl Convert for ExactSans {
    type Output = Vec<San>;
    const EXPECTED: &'static str = SanList::EXPECTED;
    const SCHEMA: &'static str = SanList::SCHEMA;

    fn convert(value: &Found, context: &mut Context) -> Option<Self::Output> {
        let sans = SanList::convert(value, context)?;
        if sans.is_empty() {
            let message = "a certificate without any name proves nothing";
            return value.refuse(message, "name the daemon, or leave dtls_sans out", context);
        }
        Some(sans)
    }
}

fn san(value: &Found, context: &mut Context) -> Option<San> {
    let text = value.line("DNS:name or IP:address", context)?;
    match text.split_once(':') {
        Some(("DNS", name)) => {
            if name.parse::<IpAddr>().is_ok() {
                let message = format!("{} is an address, not a DNS name", quoted(name));
                return value.refuse(message, format!("write IP:{name}"), context);
            }
            if !names::is_certificate_name(name) {
                let message = format!("{} is not a DNS name", quoted(name));
                return value.refuse(
                    message,
                    "letters, digits, hyphens and dots; a `*` only as the first label",
                    context,
                );
            }
            Some(San::Dns(name.to_owned()))
        }
        Some(("IP", address)) => match address.parse::<IpAddr>() {
            Ok(address) => Some(San::Ip(address.to_canonical())),
            Err(_) if names::is_certificate_name(address) => {
                let message = format!("{} is a name, not an IP address", quoted(address));
                value.refuse(message, format!("write DNS:{address}"), context)
            }
            Err(_) => value.refuse(
                format!("{} is not an IP address", quoted(address)),
                "like 10.0.0.12 or fd00::12",
                context,
            ),
        },
        _ => {
            if let Ok(address) = text.parse::<IpAddr>() {
                return Some(San::Ip(address.to_canonical()));
            }
            if names::is_certificate_name(text) {
                return Some(San::Dns(text.to_owned()));
            }
            value.refuse(
                format!("{} is neither a name nor an address", quoted(text)),
                "write docker.example.com or 10.0.0.12, or DNS:name or IP:address in capital letters",
                context,
            )
        }
    }
}

/// The names that a CA may sign for, in addition to those of the inventory; none if it may sign for
/// all.
pub(super) struct NameConstraints;

impl Convert for NameConstraints {
    type Output = Option<Vec<Permitted>>;
    const EXPECTED: &'static str =
        "true, false, or a list of domains and networks like [example.com, 10.0.0.0/24]";
    const SCHEMA: &'static str =
        r#"{"oneOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}}]}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Self::Output> {
        if let Value::Scalar(scalar) = &value.node.value {
            return match boolean(&scalar.text) {
                Some(limits) => Some(limits.then(Vec::new)),
                None => value.wrong_type(Self::EXPECTED, context),
            };
        }
        let more = value.each(Self::EXPECTED, context, |item, context| {
            let text = item.line("a domain or a network", context)?;
            match text.parse() {
                Ok(permitted) => Some(permitted),
                Err(error) => item.refuse(
                    format!("{error}"),
                    "like example.com, for it and all names below it, or 10.0.0.0/24",
                    context,
                ),
            }
        })?;
        Some(Some(more))
    }
}

/// Where dockerd listens.
pub(super) struct ListenList;

impl Convert for ListenList {
    type Output = Vec<Listen>;
    const EXPECTED: &'static str = "a list like [tcp://0.0.0.0:2376]";
    const SCHEMA: &'static str = r#"{"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^tcp://.+:[0-9]+$"}}"#;

    fn convert(value: &Found, context: &mut Context) -> Option<Vec<Listen>> {
        let mut seen: Vec<Listen> = Vec::new();
        let list = value.each(Self::EXPECTED, context, |item, context| {
            let listen = listen(item, context)?;
            let wildcard = |host: &str| matches!(host, "0.0.0.0" | "::");
            let clash = seen.iter().find(|other| {
                other.port == listen.port
                    && (other.host == listen.host
                        || wildcard(&other.host)
                        || wildcard(&listen.host))
            });
            if let Some(other) = clash {
                let message = format!(
                    "{} and {} are one place to listen",
                    quoted(&other.text),
                    quoted(&listen.text)
                );
                return item.refuse(
                    message,
                    "dockerd would not start: keep one of the two",
                    context,
                );
            }
            seen.push(listen.clone());
            Some(listen)
        })?;
        if list.is_empty() {
            let message = "a daemon that listens nowhere cannot be reached";
            return value.refuse(
                message,
                "name at least one address, like tcp://0.0.0.0:2376",
                context,
            );
        }
        Some(list)
    }
}

fn listen(value: &Found, context: &mut Context) -> Option<Listen> {
    const FORM: &str = "write tcp://address:port, like tcp://0.0.0.0:2376";
    let text = value.line("an address like tcp://0.0.0.0:2376", context)?;
    let Some((scheme, place)) = text.split_once("://") else {
        let help = if names::split_port(text)
            .is_some_and(|(host, port)| port.is_some() && names::is_address(host))
        {
            format!("write tcp://{text}")
        } else {
            FORM.to_owned()
        };
        return value.refuse(
            format!("{} is not an address to listen on", quoted(text)),
            help,
            context,
        );
    };
    match scheme {
        "tcp" => {}
        "unix" | "fd" | "npipe" => {
            let message = format!("{} is a local socket", quoted(text));
            return value.refuse(
                message,
                "set dtls_local_socket: true or false instead",
                context,
            );
        }
        _ => {
            let message = format!("dockerd cannot listen on {}", quoted(text));
            return value.refuse(message, FORM, context);
        }
    }
    let (host, port) = match names::split_port(place) {
        Some((host, Some(port @ 1..))) if names::is_address(host) => (host, port),
        Some((host, None)) if names::is_address(host) => {
            let message = format!("{} lacks a port", quoted(text));
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.to_owned()
            };
            return value.refuse(message, format!("write tcp://{host}:2376"), context);
        }
        Some(("", Some(port))) => {
            let message = format!("{} lacks an address", quoted(text));
            return value.refuse(
                message,
                format!("for every address write tcp://0.0.0.0:{port}"),
                context,
            );
        }
        _ => {
            let message = format!("{} is not an address to listen on", quoted(text));
            return value.refuse(
                message,
                format!("{FORM}; ports go from 1 to 65535"),
                context,
            );
        }
    };
    if port == 2375 {
        let message = "port 2375 is Docker's port without TLS, and is closed here";
        return value.refuse(message, "TLS has the port 2376 by convention", context);
    }
    Some(Listen {
        text: text.to_owned(),
        host: host.to_owned(),
        port,
    })
}
