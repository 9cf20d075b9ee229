//! `dockerd --validate` and a dry start of dockerd.
//!
//! In a transaction, dockerd reads a private copy of daemon.json in which the TLS files are those
//! that are staged. Before anything is staged, it is asked the same without TLS, and nothing is
//! written. A dockerd without `--validate` (before 23.0) gets the dry start alone.

use super::facts::STATE;
use super::report::Report;
use super::script::{Script, call};

/// What dockerd is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validation {
    pub staged: Starts,
    /// Without TLS: its files are not there before they are staged.
    pub planned: Starts,
    /// What dockerd starts with there, as far as is known. If it rejects that, too, it cannot be
    /// asked about other settings.
    pub works: Launch,
    /// The paths of CA, certificate and key on the node.
    pub files: [String; 3],
}

/// The two ways to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Starts {
    /// As systemd will start it, for `--validate`.
    pub launch: Launch,
    /// The same for the dry start, without its listeners, data, state and pid file.
    pub dry: Launch,
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

/// The step of a [`Report`] in which dockerd refuses.
pub const STEP: &str = "validate";

impl Validation {
    /// The calls of a transaction; they fail when dockerd refuses.
    #[must_use]
    pub fn calls(&self) -> String {
        self.calls_of(&self.staged)
    }

    /// Asks before anything is staged; [`refusal`] reads the answer.
    #[must_use]
    pub fn script(&self) -> Script {
        let mut script = Script::default();
        script.call("ask_aside", &[&self.calls_of(&self.planned)]);
        script
    }

    fn calls_of(&self, starts: &Starts) -> String {
        let of = |function: &str, files: &[String], launch: &Launch| {
            let arguments: Vec<&str> = std::iter::once(&launch.settings)
                .chain(files)
                .chain(&launch.command_line)
                .map(String::as_str)
                .collect();
            call(function, &arguments)
        };
        format!(
            "{} && {} && {}",
            of("works_with", &[], &self.works),
            of("validate", &self.files, &starts.launch),
            of("dry_start", &self.files, &starts.dry)
        )
    }
}

/// Why dockerd would not start, from the answer to [`Validation::script`].
#[must_use]
pub fn refusal(answer: &[u8]) -> Option<String> {
    let (step, message) = Report::parse(answer).failed?;
    (step == STEP).then_some(message)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;
    use crate::shells::{SHELLS, run_with};
    use crate::transaction::{Bytes, StagedFile, Transaction, Undo};
    use base::secret::Secret;

    fn validation(root: &Path) -> Validation {
        let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
        let launch = |arguments: &[&str], settings: &str| Launch {
            command_line: [at("dockerd")]
                .into_iter()
                .chain(arguments.iter().map(|word| (*word).to_owned()))
                .collect(),
            settings: settings.to_owned(),
        };
        Validation {
            staged: Starts {
                launch: launch(&["-H", "it's"], "{\"a\": \"100%\"}"),
                dry: launch(&["--dry"], "{\"dry\": 1}"),
            },
            planned: Starts {
                launch: launch(&["--planned"], "{\"a\": 2}"),
                dry: launch(&["--dry-planned"], "{\"dry\": 2}"),
            },
            works: launch(&["--works", "it's"], "{}"),
            files: [at("tls/ca.pem"), at("tls/cert.pem"), at("tls/key.pem")],
        }
    }

    fn run(shell: &[&str], root: &Path, dockerd: &str, script: &Script) -> Vec<u8> {
        let program = root.join("dockerd");
        std::fs::write(&program, format!("#!/bin/sh\n{dockerd}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let state = root.join("state");
        let environment = [
            ("DTLS_STATE", state.to_str().unwrap()),
            ("DOCKER_TLS_VERIFY", "1"),
        ];
        run_with(shell, script.text("run1").expose(), &environment).stdout
    }

    /// What was reported, and whether the file was renamed.
    fn outcome(shell: &[&str], root: &Path, dockerd: &str) -> (Report, bool) {
        let transaction = Transaction {
            files: vec![StagedFile {
                missing_from: None,
                directory: root.join("tls").to_str().unwrap().to_owned(),
                directory_mode: 0o700,
                name: "cert.pem".to_owned(),
                mode: 0o444,
                account: "root".to_owned(),
                before: None,
                keeps_owner: false,
                bytes: Bytes::Given(Secret::from("staged".to_owned())),
            }],
            validation: Some(validation(root)),
            ..Transaction::default()
        };
        let report = Report::parse(&run(shell, root, dockerd, &transaction.execute()));
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
                        "--config-file {state}/daemon.json --data-root {state}/dry/data --exec-root {state}/dry/exec --pidfile {state}/dry/pid --containerd {state}/dry/file/containerd -H unix://{state}/dry/socket --dry\n"
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

    /// The same answer, from memory: nothing of it is left, not even its directory.
    #[test]
    fn what_is_planned_is_asked_about_without_tls_and_without_a_file() {
        let log = "{ printf '%s|' \"$@\"; cat /proc/self/mountinfo; } >\"${0%/*}/seen\"";
        let bad = "case $(cat \"$2\") in *dry*) echo failed to start daemon: invalid mirror: x; exit 1 ;; esac";
        for shell in SHELLS {
            for has_state in [false, true] {
                let root = tempfile::tempdir().unwrap();
                if has_state {
                    std::fs::create_dir(root.path().join("state")).unwrap();
                }
                let dockerd =
                    format!("[ \"$1\" != --validate ] || exit 0\n{log}\n{bad}\n{NO_DIRECTORY}");
                let script = validation(root.path()).script();
                let said = run(shell, root.path(), &dockerd, &script);
                assert_eq!(
                    refusal(&said).as_deref(),
                    Some(
                        "dockerd would not start with the new daemon.json and flags: invalid mirror: x"
                    ),
                    "{shell:?} {}",
                    String::from_utf8_lossy(&said)
                );
                let mut left: Vec<_> = std::fs::read_dir(root.path())
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name())
                    .collect();
                left.sort();
                let expected: &[&str] = if has_state {
                    &["dockerd", "seen", "state"]
                } else {
                    &["dockerd", "seen"]
                };
                assert_eq!(left, expected, "{shell:?}");
                let state = root.path().join("state");
                assert!(!has_state || std::fs::read_dir(state).unwrap().next().is_none());
                // The last to be asked was what works.
                let seen = std::fs::read_to_string(root.path().join("seen")).unwrap();
                assert!(seen.contains("|--works|it's|"), "{shell:?} {seen}");

                let script = validation(root.path()).script();
                let said = run(shell, root.path(), NO_DIRECTORY, &script);
                assert_eq!(refusal(&said), None, "{shell:?}");
                assert!(Report::parse(&said).done, "{shell:?}");
            }
        }
    }

    /// One that rejects the settings with which it runs would reject others for the same reason.
    #[test]
    fn a_dockerd_that_rejects_what_works_is_not_asked() {
        for shell in SHELLS {
            let root = tempfile::tempdir().unwrap();
            let dockerd = "[ \"$1\" != --validate ] || exit 0
                case \"$(cat \"$2\") $*\" in *--works*|*dry*) echo no address of eth0; exit 1 ;; esac";
            let (report, renamed) = outcome(shell, root.path(), dockerd);
            assert!(report.done && renamed, "{shell:?} {report:?}");
        }
    }
}
