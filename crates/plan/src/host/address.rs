//! The address at which clients reach a daemon.

use std::net::IpAddr;

use inventory::Host;

/// Host and port of a daemon, as its clients call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonAddress {
    pub host: String,
    pub port: u16,
}

impl DaemonAddress {
    /// As the docker CLI wants it, `tcp://node3:2376` for instance.
    #[must_use]
    pub fn url(&self) -> String {
        match self.host.parse() {
            Ok(IpAddr::V6(address)) => format!("tcp://[{address}]:{}", self.port),
            _ => format!("tcp://{}:{}", self.host, self.port),
        }
    }
}

impl DaemonAddress {
    /// Of an address as dockerd takes it, `tcp://0.0.0.0:2376` for instance, on a host that is
    /// reached at `reached`; none of a local socket.
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

/// The first address that the daemon listens on; where that is every address
/// of its host, the one the inventory reaches the host at.
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
