//! What the running dockerd manages: containers, swarm.
//!
//! Docker's API is not used: without `fd://` in the flags the local socket accepts connections and
//! never answers.

/// A dockerd according to its files and its command line; only root sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineFact {
    /// Containers with a running process.
    pub running: usize,
    /// There may be more containers, and a swarm: dockerd does not run, or its data root is unknown
    /// or unreadable, and containers are there.
    pub unknown: bool,
    /// The running daemon's command line.
    pub command_line: Vec<String>,
    /// `--live-restore` on the command line of the running daemon.
    pub live_restore_flag: Option<bool>,
    /// The node is in a swarm.
    pub swarm: bool,
    /// Its swarm certificate, PEM; the role is its OU.
    pub swarm_certificate: String,
}

impl EngineFact {
    /// The number of running containers; `None` if unknown.
    #[must_use]
    pub fn containers(&self) -> Option<usize> {
        (!self.unknown).then_some(self.running)
    }

    /// Adds one record; false if its form is wrong.
    pub(super) fn record(&mut self, fields: &[&str]) -> bool {
        match fields {
            ["containers", running] => match running.parse() {
                Ok(running) => self.running = running,
                Err(_) => return false,
            },
            // The values that Go's flag package accepts as true.
            ["live-restore", value] => {
                let on = matches!(*value, "1" | "t" | "T" | "true" | "TRUE" | "True");
                self.live_restore_flag = Some(on);
            }
            ["unknown"] => self.unknown = true,
            ["command", words @ ..] => {
                self.command_line = words.iter().map(|word| (*word).to_owned()).collect();
            }
            ["swarm"] => self.swarm = true,
            ["swarm-certificate", line] => {
                self.swarm_certificate.push_str(line);
                self.swarm_certificate.push('\n');
            }
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::EngineFact;
    use crate::facts::{FactRequest, NodeFacts};
    use crate::script::Script;
    use crate::shells::{SHELLS, run};

    fn look(shell: &[&str], root: &Path, arguments: &[&str]) -> EngineFact {
        let mut script = Script::default();
        let root = root.to_str().unwrap();
        let words: Vec<&str> = std::iter::once(root)
            .chain(arguments.iter().copied())
            .collect();
        script.call("engine_records", &words);
        let output = run(shell, script.text("test").expose());
        let facts = NodeFacts::parse(&output.stdout, &FactRequest::default());
        let facts = facts.unwrap_or_else(|error| panic!("{shell:?}: {error}: {output:?}"));
        facts.engine.expect("records of the engine")
    }

    fn container(root: &Path, name: &str, state: &str) {
        let directory = root.join("containers").join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let text = format!(
            "{{\"StreamConfig\":{{}},\"State\":{{{state},\"ExitCode\":0,\"Health\":null}},\"ID\":\"{name}\",\"Config\":{{\"Labels\":{{\"x\":\"\\\"State\\\":{{\\\"Running\\\":true,\\\"Pid\\\":1\"}}}}}}"
        );
        std::fs::write(directory.join("config.v2.json"), text).unwrap();
    }

    /// A live process counts, wherever the data are; labels and dead ones do not.
    #[test]
    fn containers_that_run_are_counted_in_every_shell() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("it's data");
        let own = std::process::id();
        container(
            &data,
            "a",
            &format!("\"Running\":true,\"Paused\":false,\"Dead\":false,\"Pid\":{own}"),
        );
        container(&data, "b", "\"Running\":true,\"Paused\":true,\"Pid\":1");
        container(
            &data,
            "c",
            "\"Running\":true,\"Paused\":false,\"Pid\":4194399",
        );
        container(&data, "d", "\"Running\":false,\"Paused\":false,\"Pid\":0");
        for shell in SHELLS {
            let found = look(shell, &data, &["dockerd", "--live-restore"]);
            assert_eq!(found.containers(), Some(2), "{shell:?}");
            assert_eq!((found.live_restore_flag, found.swarm), (Some(true), false));
            assert_eq!(found.command_line, ["dockerd", "--live-restore"]);
            let found = look(shell, &data, &["dockerd", "--live-restore=false"]);
            assert_eq!(found.live_restore_flag, Some(false));
        }
    }

    /// A missing or unreadable directory does not show whether there are containers.
    #[test]
    fn data_that_cannot_be_read_are_not_none() {
        let root = tempfile::tempdir().unwrap();
        for shell in SHELLS {
            let found = look(shell, &root.path().join("gone"), &["dockerd"]);
            assert_eq!(found.containers(), None, "{shell:?}");
        }
    }

    #[test]
    fn a_swarm_is_told_from_its_files() {
        let root = tempfile::tempdir().unwrap();
        let swarm = root.path().join("swarm/certificates");
        std::fs::create_dir_all(&swarm).unwrap();
        std::fs::create_dir(root.path().join("containers")).unwrap();
        // `docker swarm leave` leaves an empty directory.
        let found = look(SHELLS[0], root.path(), &[]);
        assert_eq!(found, EngineFact::default());
        std::fs::write(root.path().join("swarm/docker-state.json"), "{}").unwrap();
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(swarm.join("swarm-node.crt"), pem).unwrap();
        for shell in SHELLS {
            let found = look(shell, root.path(), &[]);
            assert!(found.swarm, "{shell:?}");
            assert_eq!(found.swarm_certificate, pem);
        }
    }
}
