//! Network facts that decide whether dockerd can listen on an address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of a node, and the listeners on the requested ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// The node's own addresses, with the length of the prefix that is local (for example
    /// 127.0.0.0/8).
    pub addresses: Vec<(IpAddr, u8)>,
    /// The kernel allows binding addresses that the node does not have (`ip_nonlocal_bind`).
    pub nonlocal_bind: bool,
    pub listeners: Vec<Listener>,
}

/// A TCP socket that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub address: IpAddr,
    pub port: u16,
    pub owner: Owner,
}

/// The owner of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The unit's main process.
    Daemon,
    Other(Holder),
    /// Only root can tell.
    Unknown,
}

/// The holder of a socket other than the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    Process {
        /// The name of the process.
        name: String,
        pid: u32,
    },
    /// No visible process.
    Hidden,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { name, pid } => write!(formatter, "{name} (process {pid})"),
            Self::Hidden => formatter.write_str("the kernel or a process that cannot be seen"),
        }
    }
}

impl Network {
    /// Whether a program can listen on `address`, as far as addresses matter.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        address.is_unspecified()
            || address.is_loopback()
            || self.nonlocal_bind
            || self
                .addresses
                .iter()
                .any(|(own, length)| within(address, *own, *length))
    }

    /// The addresses at which others may reach the node, for messages.
    #[must_use]
    pub fn shown(&self) -> Vec<String> {
        self.addresses
            .iter()
            .filter(|(address, _)| !address.is_loopback())
            .map(|(address, length)| match (address, length) {
                (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => address.to_string(),
                _ => format!("{address}/{length}"),
            })
            .collect()
    }

    /// The listener that blocks `address` and `port`.
    #[must_use]
    pub fn in_the_way(&self, address: IpAddr, port: u16) -> Option<&Listener> {
        self.listeners.iter().find(|listener| {
            listener.port == port
                && listener.owner != Owner::Daemon
                && (listener.address == address
                    || covers(listener.address, address)
                    || covers(address, listener.address))
        })
    }
}

/// `0.0.0.0` is every IPv4 address; `[::]` also covers every IPv4 address (ipv6(7), `IPV6_V6ONLY`
/// is off unless a program sets it).
fn covers(wildcard: IpAddr, address: IpAddr) -> bool {
    match wildcard {
        IpAddr::V4(wildcard) => wildcard.is_unspecified() && address.is_ipv4(),
        IpAddr::V6(wildcard) => wildcard.is_unspecified(),
    }
}

fn within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let length = u32::from(length);
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let differing = u32::from(address) ^ u32::from(network);
            differing.leading_zeros() >= length
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let differing = u128::from(address) ^ u128::from(network);
            differing.leading_zeros() >= length
        }
        _ => false,
    }
}

/// `10.0.0.12/32`.
pub(super) fn prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    Some((address.parse().ok()?, length.parse().ok()?))
}

/// An address of `/proc/net/if_inet6`: 32 hexadecimal digits.
pub(super) fn inet6(text: &str) -> Option<(IpAddr, u8)> {
    let bits = u128::from_str_radix(text, 16).ok()?;
    if text.len() != 32 {
        return None;
    }
    // Go treats ::ffff:10.0.0.12 in a certificate as 10.0.0.12.
    let address = Ipv6Addr::from(bits).to_canonical();
    Some((address, if address.is_ipv4() { 32 } else { 128 }))
}

/// An address of `/proc/net/tcp` or `tcp6`: words of 32 bits in the machine's byte order.
pub(super) fn socket_address(text: &str, machine: &str) -> Option<IpAddr> {
    let little_endian = !matches!(machine, "s390x" | "ppc64" | "mips" | "mips64");
    let mut bytes = Vec::with_capacity(16);
    for start in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(start..start + 8)?, 16).ok()?;
        bytes.extend(if little_endian {
            word.to_le_bytes()
        } else {
            word.to_be_bytes()
        });
    }
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    let bytes = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
    let address = Ipv6Addr::from(bytes);
    // An IPv4 address on a socket for both.
    Some(
        address
            .to_ipv4_mapped()
            .map_or(IpAddr::V6(address), IpAddr::V4),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        assert_eq!(
            socket_address("0C00000A", "x86_64"),
            Some(address("10.0.0.12"))
        );
        assert_eq!(
            socket_address("0A00000C", "s390x"),
            Some(address("10.0.0.12"))
        );
        assert_eq!(
            socket_address("00000000000000000000000001000000", "aarch64"),
            Some(address("::1"))
        );
        assert_eq!(
            socket_address("0000000000000000FFFF00000C00000A", "x86_64"),
            Some(address("10.0.0.12"))
        );
        assert_eq!(socket_address("0C0000", "x86_64"), None);
        assert_eq!(
            inet6("fe800000000000000000000000000001"),
            Some((address("fe80::1"), 128))
        );
        assert_eq!(inet6("fe80"), None);
        assert_eq!(
            inet6("00000000000000000000ffff0a00000c"),
            Some((address("10.0.0.12"), 32))
        );
        assert_eq!(prefix("127.0.0.0/8"), Some((address("127.0.0.0"), 8)));
    }

    #[test]
    fn an_address_is_the_nodes_own_or_not() {
        let mut network = Network {
            addresses: vec![(address("10.0.0.12"), 32), (address("10.1.0.0"), 16)],
            ..Network::default()
        };
        for own in ["10.0.0.12", "10.1.2.3", "0.0.0.0", "::", "127.0.0.5", "::1"] {
            assert!(network.has(address(own)), "{own}");
        }
        for foreign in ["10.0.0.13", "10.2.0.1", "fe80::1"] {
            assert!(!network.has(address(foreign)), "{foreign}");
        }
        assert_eq!(network.shown(), ["10.0.0.12", "10.1.0.0/16"]);
        network.nonlocal_bind = true;
        assert!(network.has(address("10.2.0.1")));
    }

    #[test]
    fn listeners_that_share_an_address_are_in_each_others_way() {
        let other = |text: &str| Network {
            listeners: vec![Listener {
                address: address(text),
                port: 2376,
                owner: Owner::Other(Holder::Hidden),
            }],
            ..Network::default()
        };
        let cases = [
            ("0.0.0.0", "10.0.0.12", true),
            ("10.0.0.12", "0.0.0.0", true),
            ("127.0.0.1", "10.0.0.12", false),
            ("::", "10.0.0.12", true),
            ("::1", "0.0.0.0", false),
            ("0.0.0.0", "::", true),
        ];
        for (listens, wanted, clash) in cases {
            let network = other(listens);
            let found = network.in_the_way(address(wanted), 2376);
            assert_eq!(found.is_some(), clash, "{listens} and {wanted}");
            assert_eq!(network.in_the_way(address(wanted), 2377), None);
        }
        let mut own = other("0.0.0.0");
        own.listeners[0].owner = Owner::Daemon;
        assert_eq!(own.in_the_way(address("0.0.0.0"), 2376), None);
    }
}
