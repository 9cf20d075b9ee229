//! Calls systemd's own programs.
//!
//! Only this file and `credential` do so.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::ScheduleError;

/// The oldest systemd that passes credentials to units.
const OLDEST: u32 = 247;

/// The output of a program; an error contains its last lines.
pub(super) fn output(program: &str, arguments: &[&str]) -> Result<String, ScheduleError> {
    let failed = |said: String| ScheduleError::Program {
        program: format!("{program} {}", arguments.first().unwrap_or(&"")),
        said,
    };
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("SYSTEMD_COLORS", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        return Err(failed(if said.is_empty() {
            output.status.to_string()
        } else {
            said.to_owned()
        }));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Requires that systemd runs this machine, `sd_booted(3)`, and is recent enough.
pub(super) fn check() -> Result<(), ScheduleError> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Err(ScheduleError::NoSystemd);
    }
    let said = output("systemctl", &["--version"])?;
    match version(&said) {
        Some(old) if old < OLDEST => Err(ScheduleError::OldSystemd(old)),
        _ => Ok(()),
    }
}

/// `systemd 252 (252.39-1~deb12u2)`.
fn version(said: &str) -> Option<u32> {
    let number = said.split_whitespace().nth(1)?;
    let digits = number.split(|character: char| !character.is_ascii_digit());
    digits.into_iter().next()?.parse().ok()
}

pub(super) fn systemctl(arguments: &[&str]) -> Result<(), ScheduleError> {
    output("systemctl", arguments).map(drop)
}

/// Some properties of a unit, as systemctl shows them.
pub(super) fn show(unit: &str) -> Result<BTreeMap<String, String>, ScheduleError> {
    let properties = "ActiveState,Result,ExecMainCode,ExecMainStatus,ExecMainStartTimestamp,NextElapseUSecRealtime,LastTriggerUSec";
    let text = output("systemctl", &["show", "--property", properties, "--", unit])?;
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

/// Requires a time that a timer understands.
pub(super) fn check_calendar(text: &str) -> Result<(), ScheduleError> {
    let wrong = |said: &str| ScheduleError::Calendar(text.to_owned(), said.to_owned());
    if text.contains(['\n', '\r', '%']) {
        return Err(wrong("it has characters that no time has"));
    }
    match output("systemd-analyze", &["calendar", "--", text]) {
        Ok(_) => Ok(()),
        Err(ScheduleError::Program { said, .. }) => {
            Err(wrong(said.lines().next().unwrap_or_default()))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_distributions_are_read() {
        assert_eq!(version("systemd 252 (252.39-1~deb12u2)\n+PAM"), Some(252));
        assert_eq!(version("systemd 257~rc1 (x)"), Some(257));
        assert_eq!(version(""), None);
    }
}
