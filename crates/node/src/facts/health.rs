//! What else decides whether docker can be deployed to and reached.
//!
//! Only `doctor` requests it.

use std::collections::BTreeMap;

/// Programs that scripts on a node call; busybox has them all.
pub const TOOLS: &[&str] = &[
    "cat",
    "chmod",
    "cp",
    "cut",
    "date",
    "df",
    "find",
    "grep",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "sha256sum",
    "sleep",
    "stat",
    "sync",
    "tail",
    "timeout",
    "tr",
    "uname",
];

/// The result of `fact_health`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// `SELinux` is present, and either enforces its policy or only logs.
    pub selinux: Option<bool>,
    /// The security label of the daemon's process; empty if it has none.
    pub label: Option<String>,
    /// The output of `dockerd --version` and `docker --version`, by program.
    pub versions: BTreeMap<String, String>,
    /// The missing [`TOOLS`].
    pub missing: Vec<String>,
}

impl Health {
    /// Adds one record; false if its form is wrong.
    pub(super) fn record(&mut self, name: &str, value: &str) -> bool {
        match name {
            "selinux" => self.selinux = Some(value == "1"),
            "label" => self.label = Some(value.to_owned()),
            "dockerd" | "docker" => {
                self.versions.insert(name.to_owned(), value.to_owned());
            }
            "missing" => self.missing.push(value.to_owned()),
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::facts::{FactRequest, NodeFacts};
    use crate::script::Script;
    use crate::shells::{SHELLS, run};

    fn facts_of(shell: &[&str], script: &Script) -> NodeFacts {
        let output = run(shell, script.text("test").expose());
        let names = ["localhost", "a.example", "no.such.host.invalid"];
        let request = FactRequest {
            lookups: names.map(str::to_owned).into(),
            ..FactRequest::default()
        };
        NodeFacts::parse(&output.stdout, &request).unwrap()
    }

    #[test]
    fn a_name_is_looked_up_without_getent_too() {
        for shell in SHELLS {
            let mut script = Script::default();
            script.statement(
                "command() { [ \"$2\" != getent ] && [ \"$2\" != nslookup ]; }".to_owned(),
            );
            script.call("fact_lookup", &["localhost"]);
            // Without a resolver nothing is reported.
            script.call("fact_lookup", &["no.such.host.invalid"]);
            let facts = facts_of(shell, &script);
            let found = &facts.resolved["localhost"];
            assert!(
                found.contains(&"127.0.0.1".to_owned()),
                "{shell:?}: {found:?}"
            );
            assert_eq!(facts.resolved.len(), 1, "{shell:?}");

            // The output of busybox's nslookup, old and new.
            for answer in ["Address 1: 192.0.2.7 a.example", "Address: 192.0.2.7"] {
                let mut script = Script::default();
                script.statement(format!(
                    "command() {{ [ \"$2\" != getent ]; }}\ntimeout() {{ printf '%s\\n' 'Server: 192.0.2.1' 'Address 1: 192.0.2.1' '' 'Name: a.example' '{answer}'; }}"
                ));
                script.call("fact_lookup", &["a.example"]);
                let facts = facts_of(shell, &script);
                assert_eq!(facts.resolved["a.example"], ["192.0.2.7"], "{shell:?}");
            }
        }
    }

    #[test]
    fn missing_tools_are_named() {
        for shell in SHELLS {
            let mut script = Script::default();
            script.call("fact_health", &["cat", "no-such-tool"]);
            let health = facts_of(shell, &script).health.expect("asked about");
            assert_eq!(health.missing, ["no-such-tool"], "{shell:?}");
        }
    }
}
