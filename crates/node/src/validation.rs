//! `dockerd --validate` and a dry start of dockerd, inside a node's transaction.
//!
//! dockerd reads a private copy of daemon.json there, in which the TLS files are those that are
//! staged; a dockerd without `--validate` (before 23.0) gets the dry start alone.

use super::facts::STATE;
use super::script::call;

/// What dockerd is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validation {
    /// As systemd will start it.
    pub launch: Launch,
    /// The same for the dry start, without its listeners, data, state and pid file.
    pub dry: Launch,
    /// The paths of CA, certificate and key on the node.
    pub files: [String; 3],
}

/// What a dockerd is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program and its arguments.
    pub command_line: Vec<String>,
    /// The new daemon.json; its TLS files are named as [`TlsFile::link`] says.
    pub settings: String,
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
    /// The calls; they fail when dockerd refuses.
    #[must_use]
    pub fn calls(&self) -> String {
        let of = |function: &str, launch: &Launch| {
            let arguments: Vec<&str> = std::iter::once(&launch.settings)
                .chain(&self.files)
                .chain(&launch.command_line)
                .map(String::as_str)
                .collect();
            call(function, &arguments)
        };
        format!(
            "{} && {}",
            of("validate", &self.launch),
            of("dry_start", &self.dry)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;
    use crate::shells::{SHELLS, run_with};
    use crate::transaction::{Bytes, Report, StagedFile, Transaction, Undo};
    use base::secret::Secret;

    /// What was reported, and whether the file was renamed.
    fn outcome(shell: &[&str], root: &Path, dockerd: &str) -> (Report, bool) {
        let program = root.join("dockerd");
        std::fs::write(&program, format!("#!/bin/sh\n{dockerd}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
        let launch = |arguments: &[&str], settings: &str| Launch {
            command_line: [at("dockerd")]
                .into_iter()
                .chain(arguments.iter().map(|word| (*word).to_owned()))
                .collect(),
            settings: settings.to_owned(),
        };
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
                launch: launch(&["-H", "it's"], "{\"a\": \"100%\"}"),
                dry: launch(&["--dry"], "{\"dry\": 1}"),
                files: [at("tls/ca.pem"), at("tls/cert.pem"), at("tls/key.pem")],
            }),
            ..Transaction::default()
        };
        let text = transaction.execute().text("run1");
        let environment = [("DTLS_STATE", &*at("state")), ("DOCKER_TLS_VERIFY", "1")];
        let output = run_with(shell, text.expose(), &environment);
        let report = Report::parse(&output.stdout);
        assert!(!root.join("state/validate").exists(), "{shell:?}");
        (report, root.join("tls/cert.pem").exists())
    }

    #[test]
    fn dockerd_sees_the_staged_files_and_the_units_flags() {
        for shell in SHELLS {
            let root = tempfile::tempdir().unwrap();
            let look = "[ \"$1\" = --validate ] || exit 0; cd \"${0%/*}\"; { printf '%s|' \"$1\" \"$2\" \"$4\" \"$5\" \"${DOCKER_TLS_VERIFY-none}\"; cat \"$3\" \"${3%/*}/tlscert\"; readlink \"${3%/*}/tlskey\"; } >seen";
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

    /// It lacks what only its unit sets, for example the PATH in which docker-proxy lies.
    #[test]
    fn a_dockerd_that_rejects_empty_settings_is_not_asked() {
        for shell in SHELLS {
            let root = tempfile::tempdir().unwrap();
            let lacks = "echo 'invalid userland-proxy-path'; exit 1";
            let (report, renamed) = outcome(shell, root.path(), lacks);
            assert!(report.done && renamed, "{shell:?} {report:?}");
        }
    }

    /// As dockerd 20.10, which has no `--validate`, ends a start with a bad registry mirror.
    const BAD_MIRROR: &str = "case $1 in --validate) echo 'unknown flag: --validate'; exit 125 ;; esac
        case $(cat \"$2\") in *dry*) echo failed to start daemon: invalid mirror: x; exit 1 ;; esac";
    const NO_DIRECTORY: &str =
        "echo \"failed to start daemon: mkdir ${DOCKER_TMPDIR%/*}: not a directory\"; exit 1";

    #[test]
    fn what_ends_a_dry_start_is_refused() {
        for shell in SHELLS {
            let root = tempfile::tempdir().unwrap();
            let (report, renamed) =
                outcome(shell, root.path(), &format!("{BAD_MIRROR}\n{NO_DIRECTORY}"));
            assert!(
                report.undo == Undo::Done && !renamed,
                "{shell:?} {report:?}"
            );
            let said =
                "dockerd would not start with the new daemon.json and flags: invalid mirror: x";
            let failed = ("validate".to_owned(), said.to_owned());
            assert_eq!(report.failed, Some(failed), "{shell:?}");
        }
    }

    #[test]
    fn a_dry_start_that_comes_to_its_end_or_is_impossible_there_is_no_refusal() {
        let log = "printf '%s\\n' \"$@\" >\"${0%/*}/words\"";
        for shell in SHELLS {
            for dockerd in [
                format!("{log}\n{NO_DIRECTORY}"),
                format!("{BAD_MIRROR}\necho no network; exit 1"),
            ] {
                let root = tempfile::tempdir().unwrap();
                let (report, renamed) = outcome(
                    shell,
                    root.path(),
                    &format!("[ \"$1\" != --validate ] || exit 0\n{dockerd}"),
                );
                assert!(report.done && renamed, "{shell:?} {report:?}");
                if let Ok(words) = std::fs::read_to_string(root.path().join("words")) {
                    let state = format!("{}/state/validate", root.path().display());
                    let places = format!(
                        "--config-file {state}/daemon.json --data-root {state}/dry/data --exec-root {state}/dry/exec --pidfile {state}/dry/pid -H unix://{state}/dry/socket --dry\n"
                    );
                    assert_eq!(words, places.replace(' ', "\n"), "{shell:?}");
                }
            }
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
                let dockerd = format!("[ \"$(cat \"$3\")\" != {{}} ] || exit 0; {dockerd}");
                let (report, renamed) = outcome(shell, root.path(), &dockerd);
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
