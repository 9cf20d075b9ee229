//! The address at which clients reach a daemon.

use std::net::IpAddr;

use inventory::Host;

/// Host and port of a daemon, as its clients use them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonAddress {
    pub host: String,
    pub port: u16,
}

impl DaemonAddress {
    /// In the docker CLI's form, for instance `tcp://node3:2376`.
    #[must_use]
    pub fn url(&self) -> String {
        match self.host.parse() {
            Ok(IpAddr::V6(address)) => format!("tcp://[{address}]:{}", self.port),
            _ => format!("tcp://{}:{}", self.host, self.port),
        }
    }
}

impl DaemonAddress {
    /// From an address in dockerd's form, for instance `tcp://0.0.0.0:2376`, on a host that is
    /// reached at `reached`; none for a local socket.
    #[must_use]
    pub fn listened(address: &str, reached: &str) -> Option<Self> {
        let rest = address.strip_prefix("tcp://")?;
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (rest, 2376),
        };
        let host = host.trim_matches(['[', ']']);
        let host = if is_wildcard(host) { reached } else { host };
        Some(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// The first address that the daemon listens on; if that is every address, the inventory's address
/// of the host.
#[must_use]
pub fn daemon_address(daemon: &Host) -> DaemonAddress {
    let first = daemon.settings.listen.first();
    let port = first.map_or(2376, |listen| listen.port);
    let listened = first.map(|listen| listen.host.trim_matches(['[', ']']));
    let host = match listened {
        Some(host) if !is_wildcard(host) => host,
        _ => &daemon.connection.address,
    };
    DaemonAddress {
        host: host.to_owned(),
        port,
    }
}

fn is_wildcard(host: &str) -> bool {
    host.is_empty()
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_where_clients_reach_it() {
        for (address, expected) in [
            ("tcp://0.0.0.0:2376", Some(("10.0.0.12", 2376))),
            ("tcp://[::]:2377", Some(("10.0.0.12", 2377))),
            ("tcp://:2376", Some(("10.0.0.12", 2376))),
            ("tcp://node3:2400", Some(("node3", 2400))),
            ("tcp://[2001:db8::1]:2376", Some(("2001:db8::1", 2376))),
            ("tcp://[2001:db8::1]", Some(("2001:db8::1", 2376))),
            ("tcp://node3:x", None),
            ("unix:///run/docker.sock", None),
            ("fd://", None),
        ] {
            let found = DaemonAddress::listened(address, "10.0.0.12");
            let found = found
                .as_ref()
                .map(|found| (found.host.as_str(), found.port));
            assert_eq!(found, expected, "{address}");
        }
    }
}
