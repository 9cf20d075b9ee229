//! The three roles that every policy knows, as methods and paths.

use crate::ApiPath;

/// A role that needs no definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything: root on the daemon's host.
    Full,
    /// Lists and inspects; reads no files and no output of containers, starts
    /// nothing, has no connection upgraded.
    Read,
    /// Finds containers, services and tasks, and reads what they print.
    Logs,
}

type Endpoint = (&'static [&'static str], &'static str);

const GET: &[&str] = &["GET"];

/// What the CLI needs before anything else.
const GREETING: &[Endpoint] = &[(&["GET", "HEAD"], "/_ping"), (GET, "/version")];

/// Missing on purpose: `/configs` (their data is in the list), `/swarm` (join
/// tokens), `top` (starts ps on the host), `/images/search` and `/distribution`
/// (the daemon logs in to a registry), `archive`, `export`, `get`, `attach/ws`.
const READ: &[Endpoint] = &[
    (GET, "/containers/*/changes"),
    (GET, "/containers/*/checkpoints"),
    (GET, "/containers/*/json"),
    (GET, "/containers/*/stats"),
    (GET, "/containers/json"),
    (GET, "/events"),
    (GET, "/exec/*/json"),
    (GET, "/images/**/attestations"),
    (GET, "/images/**/history"),
    (GET, "/images/**/json"),
    (GET, "/images/json"),
    (GET, "/info"),
    (GET, "/networks"),
    (GET, "/networks/*"),
    (GET, "/nodes"),
    (GET, "/nodes/*"),
    (GET, "/plugins"),
    (GET, "/plugins/**/json"),
    // dockerd returns names and labels of secrets, never their data.
    (GET, "/secrets"),
    (GET, "/secrets/*"),
    (GET, "/services"),
    (GET, "/services/*"),
    (GET, "/system/df"),
    (GET, "/tasks"),
    (GET, "/tasks/*"),
    (GET, "/volumes"),
    (GET, "/volumes/*"),
];

const LOGS: &[Endpoint] = &[
    (GET, "/containers/*/json"),
    (GET, "/containers/*/logs"),
    (GET, "/containers/json"),
    (GET, "/info"),
    (GET, "/nodes/*"),
    (GET, "/services"),
    (GET, "/services/*"),
    (GET, "/services/*/logs"),
    (GET, "/tasks"),
    (GET, "/tasks/*"),
    (GET, "/tasks/*/logs"),
];

impl Role {
    pub const ALL: [Self; 3] = [Self::Full, Self::Read, Self::Logs];

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Read => "read",
            Self::Logs => "logs",
        }
    }

    /// Whether the role allows this method on this path.
    #[must_use]
    pub fn allows(self, method: &str, path: &ApiPath) -> bool {
        let own = match self {
            Self::Full => return true,
            Self::Read => READ,
            Self::Logs => LOGS,
        };
        GREETING
            .iter()
            .chain(own)
            .any(|(methods, pattern)| methods.contains(&method) && path.matches(pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::{GREETING, LOGS, READ, Role};
    use crate::{ApiPath, path::problem_of};

    #[test]
    fn the_tables_are_made_of_valid_patterns() {
        for (_, pattern) in [GREETING, READ, LOGS].concat() {
            assert_eq!(problem_of(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn a_name_finds_its_role() {
        for role in Role::ALL {
            assert_eq!(Role::named(role.name()), Some(role));
        }
        assert_eq!(Role::named("Full"), None);
    }

    #[test]
    fn methods_are_compared_as_dockerd_does() {
        let path = ApiPath::parse("/containers/json").unwrap();
        assert!(Role::Read.allows("GET", &path));
        for method in ["get", "HEAD", "POST", "OPTIONS", ""] {
            assert!(!Role::Read.allows(method, &path), "{method}");
        }
    }
}
