//! The names that a CA may sign for: nameConstraints (RFC 5280, section 4.2.1.10).

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::san::San;

/// A domain with all names below it, or a network.
///
/// Written `DNS:example.com` or `IP:10.0.0.0/24`; read from that, or from the bare
/// domain, address or network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permitted {
    /// In lower case, without a leading dot.
    Dns(String),
    /// An address and the length of its prefix in bits.
    Network(IpAddr, u8),
}

/// Why a text is neither a domain nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a domain nor a network")]
pub struct NotPermitted(String);

impl Permitted {
    /// No more than this name.
    #[must_use]
    pub fn exactly(name: &San) -> Self {
        match name {
            // A constraint has no wildcard: what is below the domain is in it.
            San::Dns(name) => {
                Self::Dns(name.strip_prefix("*.").unwrap_or(name).to_ascii_lowercase())
            }
            San::Ip(address) => Self::Network(*address, bits(*address)),
        }
    }
}

/// The address with the bits behind the prefix cleared.
fn network(address: IpAddr, prefix: u8) -> IpAddr {
    let behind = u32::from(bits(address) - prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(behind).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Permitted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(formatter, "DNS:{name}"),
            Self::Network(address, prefix) => write!(formatter, "IP:{address}/{prefix}"),
        }
    }
}

impl FromStr for Permitted {
    type Err = NotPermitted;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotPermitted(text.to_owned());
        if let Some((address, prefix)) = text.split_once('/') {
            let address = address.strip_prefix("IP:").unwrap_or(address);
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
            if prefix > bits(address) {
                return Err(wrong());
            }
            return Ok(Self::Network(network(address, prefix), prefix));
        }
        let bare = text.strip_prefix("DNS:").unwrap_or(text);
        match bare.strip_prefix('.').unwrap_or(bare).parse::<San>() {
            Ok(name) if !bare.contains('*') => Ok(Self::exactly(&name)),
            _ => Err(wrong()),
        }
    }
}

impl Serialize for Permitted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Permitted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The extension; none where nothing is limited. A kind of name of which nothing is
/// permitted is excluded: a constraint on one kind says nothing about the other.
pub(super) fn extension(permitted: &BTreeSet<Permitted>) -> Option<NameConstraints> {
    if permitted.is_empty() {
        return None;
    }
    let permitted_subtrees: Vec<_> = permitted
        .iter()
        .map(|name| match name {
            Permitted::Dns(name) => GeneralSubtree::DnsName(name.clone()),
            Permitted::Network(address, prefix) => {
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, *prefix))
            }
        })
        .collect();
    let mut excluded_subtrees = Vec::new();
    if !permitted
        .iter()
        .any(|name| matches!(name, Permitted::Dns(_)))
    {
        excluded_subtrees.push(GeneralSubtree::DnsName(String::new()));
    }
    if !permitted
        .iter()
        .any(|name| matches!(name, Permitted::Network(..)))
    {
        for any in [IpAddr::from([0_u8; 4]), IpAddr::from([0_u16; 8])] {
            excluded_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(
                any, 0,
            )));
        }
    }
    Some(NameConstraints {
        permitted_subtrees,
        excluded_subtrees,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (text, expected) in [
            ("example.com", "DNS:example.com"),
            (".Example.com", "DNS:example.com"),
            ("DNS:node3", "DNS:node3"),
            ("10.0.0.9", "IP:10.0.0.9/32"),
            ("10.0.0.0/24", "IP:10.0.0.0/24"),
            ("10.0.0.77/24", "IP:10.0.0.0/24"),
            ("0.0.0.0/0", "IP:0.0.0.0/0"),
            ("IP:fd00::/8", "IP:fd00::/8"),
            ("IP:10.0.0.9", "IP:10.0.0.9/32"),
        ] {
            let read: Permitted = text.parse().unwrap();
            assert_eq!(read.to_string(), expected, "{text}");
            assert_eq!(expected.parse(), Ok(read), "{text}");
        }
        for wrong in [
            "",
            "*.example.com",
            "10.0.0.0/33",
            "a b",
            "example.com/8",
            "DNS:",
        ] {
            assert!(wrong.parse::<Permitted>().is_err(), "{wrong:?}");
        }
    }
}
