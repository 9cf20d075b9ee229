//! The addresses at which others may reach a node.
//!
//! `/proc/net/fib_trie` has the IPv4 addresses and not their interfaces: `ip` shows them. Without
//! `ip`, the interface is that of the narrowest network in `/proc/net/route` that is reached
//! without a gateway and holds the address. docker's interfaces are recognised by the names that it
//! gives them: `docker0`, `docker_gwbridge`, `br-` with twelve hexadecimal digits, `veth`
//! (moby/moby, libnetwork/drivers/bridge).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::network::{inet6, socket_address};

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct OwnAddresses {
    v4: BTreeSet<Ipv4Addr>,
    v6: BTreeSet<Ipv6Addr>,
    /// Networks that are reached without a gateway: network, mask, interface.
    networks: Vec<(u32, u32, String)>,
    /// Interfaces of an address, according to `ip`.
    on: BTreeMap<Ipv4Addr, BTreeSet<String>>,
}

/// `IFA_F_TEMPORARY`, `IFA_F_DADFAILED`, `IFA_F_DEPRECATED`, `IFA_F_TENTATIVE` (`linux/if_addr.h`):
/// temporary or unused addresses.
const PASSING: u32 = 0x01 | 0x08 | 0x20 | 0x40;

impl OwnAddresses {
    /// Adds one record; false if its form is wrong.
    pub(super) fn record(&mut self, fields: &[&str], machine: &str) -> bool {
        match fields {
            ["asked"] => true,
            ["v4", address] => match address.parse() {
                Ok(address) => {
                    self.v4.insert(address);
                    true
                }
                Err(_) => false,
            },
            ["on", interface, address] => match address.parse() {
                Ok(address) => {
                    let interfaces = self.on.entry(address).or_default();
                    interfaces.insert((*interface).to_owned());
                    true
                }
                Err(_) => false,
            },
            ["v6", address, scope, flags, interface] => {
                self.v6(address, scope, flags, interface).is_some()
            }
            ["route", interface, network, mask] => {
                let number = |text: &str| match socket_address(text, machine)? {
                    IpAddr::V4(address) => Some(u32::from(address)),
                    IpAddr::V6(_) => None,
                };
                let (Some(network), Some(mask)) = (number(network), number(mask)) else {
                    return false;
                };
                self.networks.push((network, mask, (*interface).to_owned()));
                true
            }
            _ => false,
        }
    }

    fn v6(&mut self, address: &str, scope: &str, flags: &str, interface: &str) -> Option<()> {
        let (IpAddr::V6(address), _) = inet6(address)? else {
            return None;
        };
        let scope = u32::from_str_radix(scope, 16).ok()?;
        let flags = u32::from_str_radix(flags, 16).ok()?;
        // Scope 0 is global (linux/rtnetlink.h, RT_SCOPE_UNIVERSE).
        if scope == 0 && flags & PASSING == 0 && !is_dockers(interface) {
            self.v6.insert(address);
        }
        Some(())
    }

    /// The addresses found.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        let v4 = self.v4.iter().filter(|address| {
            !address.is_loopback()
                && !address.is_link_local()
                && !address.is_unspecified()
                && !self.is_on_dockers(**address)
        });
        let v4 = v4.copied().map(IpAddr::V4);
        v4.chain(self.v6.iter().copied().map(IpAddr::V6)).collect()
    }

    fn is_on_dockers(&self, address: Ipv4Addr) -> bool {
        match self.on.get(&address) {
            // An address that another interface also has is the node's.
            Some(interfaces) => interfaces.iter().all(|interface| is_dockers(interface)),
            None => self.interface(address).is_some_and(is_dockers),
        }
    }

    fn interface(&self, address: Ipv4Addr) -> Option<&str> {
        let address = u32::from(address);
        self.networks
            .iter()
            .filter(|(network, mask, _)| address & mask == *network)
            .max_by_key(|(_, mask, _)| *mask)
            .map(|(.., interface)| interface.as_str())
    }
}

/// An interface that docker created for its own networks.
fn is_dockers(interface: &str) -> bool {
    let is_bridge = interface.strip_prefix("br-").is_some_and(|id| {
        id.len() == 12 && id.chars().all(|character| character.is_ascii_hexdigit())
    });
    is_bridge || matches!(interface, "docker0" | "docker_gwbridge") || interface.starts_with("veth")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(records: &[&[&str]]) -> Vec<String> {
        let mut own = OwnAddresses::default();
        for record in records {
            assert!(own.record(record, "x86_64"), "{record:?}");
        }
        own.addresses().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_of_dockers_networks_are_not_the_nodes() {
        let found = of(&[
            &["v4", "127.0.0.1"],
            &["v4", "10.0.0.12"],
            &["v4", "10.0.2.15"],
            &["v4", "169.254.3.4"],
            &["v4", "172.17.0.1"],
            &["v4", "172.18.0.1"],
            // On lo, in no network of the table.
            &["v4", "192.0.2.7"],
            &["route", "eth0", "0000000A", "00FFFFFF"],
            &["route", "docker0", "000011AC", "0000FFFF"],
            &["route", "br-0123456789ab", "000012AC", "0000FFFF"],
        ]);
        assert_eq!(found, ["10.0.0.12", "10.0.2.15", "192.0.2.7"]);
    }

    #[test]
    fn the_narrowest_network_says_whose_an_address_is() {
        let found = of(&[
            &["v4", "172.17.0.1"],
            &["v4", "172.17.9.1"],
            &["route", "br-lan", "000010AC", "0000F0FF"],
            &["route", "docker0", "000011AC", "00FFFFFF"],
        ]);
        assert_eq!(found, ["172.17.9.1"]);
    }

    #[test]
    fn an_address_in_no_network_is_where_ip_says() {
        let found = of(&[
            &["v4", "10.99.0.1"],
            &["v4", "10.0.0.12"],
            &["v4", "192.0.2.7"],
            &["v4", "172.17.0.3"],
            &["route", "eth0", "0000000A", "00FFFFFF"],
            &["route", "docker0", "000011AC", "0000FFFF"],
            &["on", "docker0", "10.99.0.1"],
            &["on", "docker0", "192.0.2.7"],
            &["on", "lo", "192.0.2.7"],
            &["on", "eth0", "10.0.0.12"],
            &["on", "eth0", "172.17.0.3"],
        ]);
        assert_eq!(found, ["10.0.0.12", "172.17.0.3", "192.0.2.7"]);
    }

    #[test]
    fn of_ipv6_those_stay_that_others_use_tomorrow() {
        let found = of(&[
            &["v6", "fe800000000000000000000000000001", "20", "80", "eth0"],
            &["v6", "20010db8000000000000000000000001", "00", "80", "eth0"],
            &["v6", "20010db8000000000000000000000002", "00", "01", "eth0"],
            &["v6", "20010db8000000000000000000000003", "00", "a0", "eth0"],
            &[
                "v6",
                "fd000000000000000000000000000001",
                "00",
                "80",
                "docker0",
            ],
            &["v6", "00000000000000000000000000000001", "10", "80", "lo"],
        ]);
        assert_eq!(found, ["2001:db8::1"]);
    }

    #[test]
    fn an_operators_bridge_is_not_dockers() {
        for name in ["br0", "br-lan", "br-0123456789", "eth0", "bond0", "wg0"] {
            assert!(!is_dockers(name), "{name}");
        }
    }

    #[test]
    fn a_record_that_is_not_whole_is_refused() {
        let mut own = OwnAddresses::default();
        for record in [
            &["v4", "10.0.0"][..],
            &["v6", "fe80", "20", "80", "eth0"],
            &["route", "eth0", "0000000A"],
            &["on", "eth0", "10.0.0"],
            &["route", "eth0", "0000000A", "zz"],
        ] {
            assert!(!own.record(record, "x86_64"), "{record:?}");
        }
    }
}
