//! The endpoints of the Engine API, and which role may use which.

use crate::{ApiPath, Role};

/// One line of `endpoints.txt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    pub method: &'static str,
    /// With names in braces for what a client fills in.
    pub path: &'static str,
    /// The first and last version of the API that describe it, `1.25` and `1.55`.
    pub versions: Option<(&'static str, &'static str)>,
}

/// Every endpoint that dockerd serves, by path.
pub fn all() -> impl Iterator<Item = Endpoint> {
    let lines = include_str!("endpoints.txt").lines();
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (method, path) = (words.next()?, words.next()?);
            let (first, last) = (words.next()?, words.next()?);
            let versions = (first != "-").then_some((first, last));
            Some(Endpoint {
                method,
                path,
                versions,
            })
        })
}

impl Endpoint {
    /// A request to this endpoint, with a name for each pair of braces.
    #[must_use]
    pub fn example(&self) -> String {
        let segments = self.path.split('/').map(|segment| {
            if segment.starts_with('{') {
                "x"
            } else {
                segment
            }
        });
        segments.collect::<Vec<_>>().join("/")
    }

    /// Whether a role allows it.
    #[must_use]
    pub fn is_allowed(&self, role: Role) -> bool {
        match ApiPath::parse(&self.example()) {
            Ok(path) => role.allows(self.method, &path),
            Err(_) => role == Role::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::all;
    use crate::{Role, page};
    use std::fmt::Write as _;

    #[test]
    fn the_table_of_roles_is_what_they_allow() {
        let mut text = String::from(
            "\n| endpoint | API versions | full | read | logs |\n|---|---|---|---|---|\n",
        );
        for endpoint in all() {
            let versions = match endpoint.versions {
                Some((first, last)) => format!("{first} to {last}"),
                None => "not described".to_owned(),
            };
            let answer = |role| if endpoint.is_allowed(role) { "yes" } else { "" };
            let allowed = Role::ALL.map(answer);
            let (method, path) = (endpoint.method, endpoint.path);
            writeln!(
                text,
                "| `{method} {path}` | {versions} | {} |",
                allowed.join(" | ")
            )
            .unwrap();
        }
        text.push('\n');
        page::keep("guard.md", "roles", &text, "cargo test -p policy");
    }

    #[test]
    fn every_line_is_an_endpoint() {
        let lines = include_str!("endpoints.txt").lines();
        assert_eq!(
            all().count(),
            lines.filter(|line| !line.starts_with('#')).count()
        );
        assert!(all().count() > 100);
    }

    /// What can change a daemon, run a program, read files or take over a
    /// connection is for `full` alone.
    #[test]
    fn read_and_logs_only_look() {
        let closed = [
            "archive",
            "attach",
            "configs",
            "copy",
            "debug",
            "exec",
            "export",
            "get",
            "grpc",
            "privileges",
            "search",
            "session",
            "swarm",
            "top",
            "unlockkey",
            "ws",
        ];
        for endpoint in all() {
            assert!(endpoint.is_allowed(Role::Full), "{endpoint:?}");
            let mut words = endpoint.path.split('/');
            let is_inspection = endpoint.path == "/exec/{id}/json";
            let is_closed = !is_inspection && words.any(|word| closed.contains(&word));
            let is_change = !["GET", "HEAD"].contains(&endpoint.method);
            if is_closed || is_change {
                assert!(!endpoint.is_allowed(Role::Read), "{endpoint:?}");
                assert!(!endpoint.is_allowed(Role::Logs), "{endpoint:?}");
            }
            let is_output = endpoint.path.ends_with("/logs");
            assert!(
                !is_output || !endpoint.is_allowed(Role::Read),
                "{endpoint:?}"
            );
            assert!(
                !is_output || endpoint.is_allowed(Role::Logs),
                "{endpoint:?}"
            );
        }
    }
}
