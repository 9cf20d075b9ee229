//! Subject alternative names: what a client may call the daemon.

use base::hex;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A subject alternative name: what a client may call the daemon.
///
/// Written `DNS:name` or `IP:address`, as OpenSSL's `subjectAltName` is; read
/// from that, or from the bare name or address. DNS names are kept in lower
/// case, because they are compared without regard to case (RFC 4343).
/// An IPv4 address in IPv6 notation is the IPv4 address, as which Go takes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum San {
    Dns(String),
    Ip(IpAddr),
}

impl fmt::Display for San {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(formatter, "DNS:{name}"),
            Self::Ip(address) => write!(formatter, "IP:{address}"),
        }
    }
}

impl FromStr for San {
    type Err = SanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(name) = text.strip_prefix("DNS:") {
            return dns_name(name).map(Self::Dns);
        }
        if let Some(address) = text.strip_prefix("IP:") {
            return address
                .parse::<IpAddr>()
                .map(|address| Self::Ip(address.to_canonical()))
                .map_err(|_| SanError::Address(address.to_owned()));
        }
        match text.parse() {
            Ok(address) => Ok(Self::Ip(IpAddr::to_canonical(&address))),
            Err(_) => dns_name(text).map(Self::Dns),
        }
    }
}

impl Serialize for San {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for San {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Why a text is no subject alternative name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SanError {
    #[error("{0:?} is not an IP address")]
    Address(String),
    #[error("{name:?} is not a DNS name: {reason}")]
    Name { name: String, reason: &'static str },
}

/// A DNS name as RFC 5280, section 4.2.1.6 allows it in a certificate, in
/// lower case. An underscore is let through, because host names have them.
fn dns_name(text: &str) -> Result<String, SanError> {
    let refuse = |reason| {
        Err(SanError::Name {
            name: text.to_owned(),
            reason,
        })
    };
    if text.is_empty() {
        return refuse("it is empty");
    }
    if !text.is_ascii() {
        return refuse("write an international name in its ASCII form (xn--...)");
    }
    if text.len() > 253 {
        return refuse("it is longer than 253 characters");
    }
    let labels = text.strip_prefix("*.").unwrap_or(text);
    for label in labels.split('.') {
        if label.is_empty() || label.len() > 63 {
            return refuse("the parts between its dots have 1 to 63 characters");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return refuse("a part begins or ends with a hyphen");
        }
        if !label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        {
            return refuse("only letters, digits, hyphens, underscores and dots may stand in it");
        }
    }
    // "10.0.0.300" is a mistyped address, never a name (RFC 1123, section 2.1).
    if let Some(last) = labels.rsplit('.').next()
        && last.bytes().all(|byte| byte.is_ascii_digit())
    {
        return refuse("its last part is a number, so that it would be taken for an address");
    }
    Ok(text.to_ascii_lowercase())
}

/// What a client is called in its subjectAltName: by its common name, where that can
/// be a DNS name, and otherwise (an identity, NAME@HOST) by a URI. The URI is
/// opaque, so that no mail account and no host of that name can be taken for it.
pub fn client_name(common_name: &str) -> Result<San, String> {
    format!("DNS:{common_name}").parse().map_err(|_| {
        let mut uri = "dtls-deploy:".to_owned();
        for byte in common_name.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => {
                    uri.push(char::from(byte));
                }
                other => {
                    uri.push('%');
                    uri.push_str(&hex(&[other]).to_uppercase());
                }
            }
        }
        uri
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternative_names_are_read_with_and_without_their_kind() {
        for (text, shown) in [
            ("DNS:Node3", "DNS:node3"),
            ("node3.example.com", "DNS:node3.example.com"),
            ("*.example.com", "DNS:*.example.com"),
            ("my_host", "DNS:my_host"),
            ("IP:10.0.0.12", "IP:10.0.0.12"),
            ("10.0.0.12", "IP:10.0.0.12"),
            ("IP:0:0::1", "IP:::1"),
            ("::1", "IP:::1"),
        ] {
            let san: San = text.parse().unwrap();
            assert_eq!(san.to_string(), shown);
            let json = serde_json::to_string(&san).unwrap();
            assert_eq!(serde_json::from_str::<San>(&json).unwrap(), san);
        }
    }

    #[test]
    fn what_is_neither_name_nor_address_is_refused() {
        for text in [
            "",
            "DNS:",
            "IP:node3",
            "10.0.0.300",
            "a..b",
            ".a",
            "a.",
            "-a",
            "a b",
            "a/b",
            "*",
            "a.*.b",
            "bücher.example",
            "URI:http://x",
        ] {
            assert!(text.parse::<San>().is_err(), "{text:?} was accepted");
        }
        assert!("a".repeat(64).parse::<San>().is_err());
    }
}
