//! `dockerd --validate` inside a node's transaction.
//!
//! Comes in: how dockerd will be started, from the plan. Goes out: one call of
//! the prelude, between staging and the first rename. dockerd reads a private
//! copy of daemon.json there, in which the TLS files are those that are staged;
//! a dockerd without the flag (before 23.0) is not asked.

use super::facts::STATE;
use super::script::call;

/// What dockerd shall be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validation {
    /// The program and its arguments, as systemd will pass them.
    pub command_line: Vec<String>,
    /// The new daemon.json; its TLS files are named as [`TlsFile::link`] says.
    pub settings: String,
    /// The paths of CA, certificate and key on the node.
    pub files: [String; 3],
}

/// The files that dockerd loads when it validates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    Authority,
    Certificate,
    Key,
}

impl TlsFile {
    pub const ALL: [Self; 3] = [Self::Authority, Self::Certificate, Self::Key];

    /// Its key in daemon.json.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Authority => "tlscacert",
            Self::Certificate => "tlscert",
            Self::Key => "tlskey",
        }
    }

    /// The path that leads to it, staged or not, while dockerd validates.
    #[must_use]
    pub fn link(self) -> String {
        format!("{STATE}/validate/{}", self.key())
    }
}

impl Validation {
    /// The call; it fails when dockerd refuses.
    #[must_use]
    pub fn call(&self) -> String {
        let arguments: Vec<&str> = std::iter::once(self.settings.as_str())
            .chain(self.files.iter().map(String::as_str))
            .chain(self.command_line.iter().map(String::as_str))
            .collect();
        call("validate", &arguments)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::transaction::{Bytes, Report, StagedFile, Transaction, Undo};
    use base::secret::Secret;

    /// What was reported, and whether the file was renamed.
    fn outcome(shell: &[&str], root: &Path, dockerd: &str) -> (Report, bool) {
        let program = root.join("dockerd");
        std::fs::write(&program, format!("#!/bin/sh\n{dockerd}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
        let transaction = Transaction {
            files: vec![StagedFile {
                missing_from: None,
                directory: at("tls"),
                directory_mode: 0o700,
                name: "cert.pem".to_owned(),
                mode: 0o444,
                account: "root".to_owned(),
                before: None,
                bytes: Bytes::Given(Secret::from("staged".to_owned())),
            }],
            validation: Some(Validation {
                command_line: vec![at("dockerd"), "-H".to_owned(), "it's".to_owned()],
                settings: "{\"a\": \"100%\"}".to_owned(),
                files: [at("tls/ca.pem"), at("tls/cert.pem"), at("tls/key.pem")],
            }),
            ..Transaction::default()
        };
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .env("DTLS_STATE", at("state"))
            .env("DOCKER_TLS_VERIFY", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("apt-get install dash bash busybox");
        let text = transaction.execute().text("run1");
        let mut input = child.stdin.take().unwrap();
        input.write_all(text.expose()).unwrap();
        drop(input);
        let report = Report::parse(&child.wait_with_output().unwrap().stdout);
        assert!(!root.join("state/validate").exists(), "{shell:?}");
        (report, root.join("tls/cert.pem").exists())
    }

    const SHELLS: [&[&str]; 3] = [&["dash"], &["bash", "--posix"], &["busybox", "ash"]];

    #[test]
    fn dockerd_sees_the_staged_files_and_the_units_flags() {
        for shell in SHELLS {
            let root = tempfile::tempdir().unwrap();
            let look = "cd \"${0%/*}\"; { printf '%s|' \"$1\" \"$2\" \"$4\" \"$5\" \"${DOCKER_TLS_VERIFY-none}\"; cat \"$3\" \"${3%/*}/tlscert\"; readlink \"${3%/*}/tlskey\"; } >seen";
            let (report, renamed) = outcome(shell, root.path(), look);
            assert!(report.done && renamed, "{shell:?} {report:?}");
            let seen = std::fs::read_to_string(root.path().join("seen")).unwrap();
            let key = root.path().join("tls/key.pem");
            let expected = format!(
                "--validate|--config-file|-H|it's|none|{{\"a\": \"100%\"}}staged{}\n",
                key.display()
            );
            assert_eq!(seen, expected, "{shell:?}");
        }
    }

    #[test]
    fn a_dockerd_that_cannot_be_asked_is_not() {
        for shell in SHELLS {
            let root = tempfile::tempdir().unwrap();
            let old = "printf \"Status: unknown flag: --validate\\nSee 'dockerd --help'., Code: 125\\n\"; exit 125";
            let (report, renamed) = outcome(shell, root.path(), old);
            assert!(report.done && renamed, "{shell:?} {report:?}");
        }
    }

    #[test]
    fn what_dockerd_refuses_is_said_in_its_words_and_undone() {
        let cases = [
            (
                "echo warning; echo \"unable to configure the Docker daemon with file $3: bad\tthing\" >&2; exit 1",
                "dockerd refuses the new settings: bad thing",
            ),
            (
                "printf \"Status: unknown flag: --bogus\\nSee 'dockerd --help'., Code: 125\\n\"; exit 125",
                "dockerd refuses the new settings: Status: unknown flag: --bogus",
            ),
        ];
        for shell in SHELLS {
            for (dockerd, said) in cases {
                let root = tempfile::tempdir().unwrap();
                let (report, renamed) = outcome(shell, root.path(), dockerd);
                assert!(
                    report.undo == Undo::Done && !renamed,
                    "{shell:?} {report:?}"
                );
                let failed = ("validate".to_owned(), said.to_owned());
                assert_eq!(report.failed, Some(failed), "{shell:?}");
                assert!(!root.path().join("tls").exists(), "{shell:?}");
            }
        }
    }
}
