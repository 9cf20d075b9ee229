//! The address at which clients reach a daemon.

use std::net::IpAddr;

use crate::inventory::Host;

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
