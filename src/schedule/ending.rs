//! How a unit's last run ended, in words.

use std::collections::BTreeMap;

/// How a unit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    /// The exit code for a program that reports the unit's result.
    pub(super) code: u8,
    pub(super) text: String,
}

impl Ending {
    pub(super) fn fine() -> Self {
        Self {
            code: 0,
            text: exit_code(0),
        }
    }

    /// `None`: it has not run since the last boot.
    pub(super) fn of(properties: &BTreeMap<String, String>) -> Option<Self> {
        let property = |name: &str| properties.get(name).map_or("", String::as_str);
        let status: u8 = property("ExecMainStatus").parse().unwrap_or(1);
        let result = property("Result");
        // CLD_EXITED and similar, wait(2).
        let (code, text) = match property("ExecMainCode") {
            "1" if result == "timeout" => (1, "it did not end in time, and was stopped".to_owned()),
            "1" => (status, exit_code(status)),
            "2" | "3" => (1, format!("ended by signal {status} ({result})")),
            _ if result == "success" => return None,
            _ => (1, format!("not started ({result})")),
        };
        Some(Self { code, text })
    }
}

fn exit_code(code: u8) -> String {
    format!("exit code {code}: {}", meaning(code))
}

/// The meaning of an exit code: the program's own, docs/exit-codes.md, and those of systemd for a
/// program that it could not start, systemd.exec(5).
fn meaning(code: u8) -> &'static str {
    match code {
        0 => "everything is as declared, and every check passed",
        1 => "internal error",
        2 => "inventory, passphrase or journal cannot be used; nothing was changed",
        4 => "a change failed on some host, or a host was refused or did not answer in time",
        5 => "some host could not be reached",
        6 => "everything was done, but a check failed or could not be made",
        7 => "another run held the CA's lock",
        8 => "a restart would stop running containers, and no one agreed to it",
        130 => "interrupted; the next run completes it",
        200 => "systemd found no working directory",
        203 => "systemd cannot start the program: is it still there?",
        217 => "systemd does not find the account",
        226 => "systemd cannot set up the unit's view of the file system",
        228 => "systemd cannot set up the filter of system calls",
        243 => "systemd cannot read the passphrase's credential: install the schedule again",
        _ => "the log says more",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use run::Exit;

    fn ending(pairs: &[(&str, &str)]) -> Option<Ending> {
        let pairs = pairs.iter();
        Ending::of(
            &pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn a_run_ends_in_words() {
        let of = |code, status, result| {
            ending(&[
                ("ExecMainCode", code),
                ("ExecMainStatus", status),
                ("Result", result),
            ])
        };
        assert_eq!(of("0", "0", "success"), None);
        assert_eq!(of("1", "0", "success").unwrap().code, 0);
        let failed = of("1", "4", "exit-code").unwrap();
        assert!(failed.code == 4 && failed.text.starts_with("exit code 4: a change failed"));
        let killed = of("2", "9", "signal").unwrap();
        assert!(killed.code == 1 && killed.text.contains("signal 9"));
        let missing = of("0", "0", "resources").unwrap();
        assert!(missing.code == 1 && missing.text.contains("resources"));
    }

    #[test]
    fn every_code_of_a_run_has_a_meaning() {
        for exit in [
            Exit::Fine,
            Exit::Internal,
            Exit::Usage,
            Exit::Failed,
            Exit::Unreachable,
            Exit::NotProved,
            Exit::Locked,
            Exit::ContainersRunning,
            Exit::Interrupted,
        ] {
            assert_ne!(meaning(exit as u8), meaning(99), "{exit:?}");
        }
    }
}
