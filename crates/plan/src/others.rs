//! Addresses of other hosts, which no host may claim for its own certificate.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Planner, Refusal};
use inventory::Host;
use node::facts::NodeFacts;
use pki::San;

/// The addresses that the inventory gives a host.
fn declared(host: &Host) -> impl Iterator<Item = IpAddr> + '_ {
    let sans = host.settings.sans.iter().flatten();
    let sans = sans
        .chain(&host.settings.extra_sans)
        .filter(|_| host.is_daemon);
    let listened = host.settings.listen.iter().filter(|_| host.is_daemon);
    let words = [host.name.as_str(), host.connection.address.as_str()]
        .into_iter()
        .chain(listened.map(|listen| listen.host.as_str()))
        .filter_map(|word| word.trim_matches(['[', ']']).parse().ok());
    let sans = sans.filter_map(|san| match san {
        San::Ip(address) => Some(*address),
        San::Dns(_) => None,
    });
    words
        .chain(sans)
        .filter(|address: &IpAddr| !address.is_loopback() && !address.is_unspecified())
}

/// Removes addresses that several nodes report: a bridge that every host has, or a lying node. No
/// client can distinguish nodes by them.
pub fn leave_out_shared(facts: &mut BTreeMap<String, NodeFacts>) {
    let mut claims: BTreeMap<IpAddr, Vec<String>> = BTreeMap::new();
    for (host, known) in facts.iter() {
        for address in known.own_addresses.iter().flatten() {
            claims.entry(*address).or_default().push(host.clone());
        }
    }
    claims.retain(|_, hosts| hosts.len() > 1);
    for (host, known) in facts.iter_mut() {
        let Some(own) = &mut known.own_addresses else {
            continue;
        };
        let shared = claims.iter().filter(|(_, hosts)| hosts.contains(host));
        known.claims.shared = shared
            .map(|(address, hosts)| {
                let others = hosts.iter().filter(|other| *other != host);
                (*address, others.cloned().collect())
            })
            .collect();
        own.retain(|address| !claims.contains_key(address));
    }
}

impl Planner<'_> {
    /// The address this run uses for a host that the inventory may know only by name.
    fn reached(&self, host: &Host) -> Option<IpAddr> {
        let address = self.facts.get(&host.name)?.claims.reached?.to_canonical();
        (!address.is_loopback()).then_some(address)
    }

    /// Refuses a node that claims an address by which another host is known.
    pub(super) fn check_own_addresses(
        &self,
        host: &Host,
        facts: &NodeFacts,
    ) -> Result<(), Refusal> {
        let own = facts.own_addresses.iter().flatten();
        let own: Vec<&IpAddr> = own.chain(facts.claims.shared.keys()).collect();
        let mine: Vec<IpAddr> = declared(host).chain(self.reached(host)).collect();
        let others = self
            .inventory
            .hosts
            .iter()
            .filter(|other| other.name != host.name);
        for other in others {
            let declared = declared(other).map(|address| (address, "in the inventory that is"));
            let reached = self.reached(other);
            let reached = reached.map(|address| (address, "at that address this run reached"));
            let theirs = declared
                .chain(reached)
                .find(|(address, _)| own.contains(&address) && !mine.contains(address));
            if let Some((address, whose)) = theirs {
                return Err(Refusal::new(format!(
                    "it says that {address} is its own, and {whose} {}",
                    other.name
                ))
                .hint(format!(
                    "look at `ip address` on {}; if both have it, name the addresses of {} in dtls_extra_sans instead of dtls_own_addresses",
                    host.name, host.name
                )));
            }
        }
        Ok(())
    }

    /// Notes which addresses are dropped because other nodes report them too.
    pub(super) fn note_shared(&mut self, host: &Host) {
        let facts = self.facts.get(&host.name);
        let shared = facts.map(|facts| facts.claims.shared.clone());
        for (address, others) in shared.into_iter().flatten() {
            let text = format!(
                "{address} is not in its certificate: {} also say that it is theirs",
                others.join(", ")
            );
            self.note(host, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(addresses: &[&str]) -> NodeFacts {
        NodeFacts {
            own_addresses: Some(addresses.iter().map(|text| text.parse().unwrap()).collect()),
            ..NodeFacts::default()
        }
    }

    #[test]
    fn what_several_claim_is_nobodys() {
        let mut facts = BTreeMap::from([
            ("a".to_owned(), of(&["10.0.0.1", "192.168.122.1"])),
            (
                "b".to_owned(),
                of(&["10.0.0.2", "192.168.122.1", "2001:db8::1"]),
            ),
            ("c".to_owned(), of(&["10.0.0.2"])),
            ("d".to_owned(), NodeFacts::default()),
        ]);
        leave_out_shared(&mut facts);
        let own = |host: &str| facts[host].own_addresses.clone();
        assert_eq!(own("a"), of(&["10.0.0.1"]).own_addresses);
        assert_eq!(own("b"), of(&["2001:db8::1"]).own_addresses);
        assert_eq!(own("c"), of(&[]).own_addresses);
        assert_eq!(own("d"), None);
        let shared = &facts["b"].claims.shared;
        assert_eq!(shared[&"10.0.0.2".parse::<IpAddr>().unwrap()], ["c"]);
        assert_eq!(shared[&"192.168.122.1".parse::<IpAddr>().unwrap()], ["a"]);
    }
}
