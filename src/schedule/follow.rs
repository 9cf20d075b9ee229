//! Starts a unit and follows it until it ends.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::ending::Ending;
use super::error::ScheduleError;
use super::systemd;

const LOOK_EVERY: Duration = Duration::from_millis(400);

/// Starts a unit, or follows its current run.
pub(super) fn follow(unit: &str, line: &mut dyn FnMut(&str)) -> Result<Ending, ScheduleError> {
    let before = systemd::show(unit)?;
    if before
        .get("ActiveState")
        .is_some_and(|state| state == "activating")
    {
        line("a run is under way already: what it says from now on");
    }
    let mut log = Log::from_now(unit);
    // Returns when the unit has ended.
    let mut starting = Command::new("systemctl")
        .args(["start", "--", unit])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Its output is in the log.
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| ScheduleError::Program {
            program: "systemctl start".to_owned(),
            said: error.to_string(),
        })?;
    let status = loop {
        let status = starting
            .try_wait()
            .map_err(|error| ScheduleError::Program {
                program: "systemctl start".to_owned(),
                said: error.to_string(),
            })?;
        if let Some(status) = status {
            break status;
        }
        log.read(line);
        std::thread::sleep(LOOK_EVERY);
    };
    // Its last output is still in the journal's queue.
    let _ = systemd::output("journalctl", &["--sync"]);
    log.read(line);
    if status.success() {
        return Ok(Ending::fine());
    }
    // systemd keeps the result of a failed unit. If it was stopped, its last step is still under
    // way.
    let shown = loop {
        let shown = systemd::show(unit)?;
        let state = shown.get("ActiveState").map_or("", String::as_str);
        if !["activating", "deactivating"].contains(&state) {
            break shown;
        }
        log.read(line);
        std::thread::sleep(LOOK_EVERY);
    };
    let _ = systemd::output("journalctl", &["--sync"]);
    log.read(line);
    let ending = Ending::of(&shown).filter(|ending| ending.code != 0);
    ending.ok_or_else(|| ScheduleError::NotStarted {
        unit: unit.to_owned(),
    })
}

/// What the unit itself and systemd report from now on.
struct Log<'a> {
    unit: &'a str,
    /// The journal entry after which the next lines begin; `None`: no journal.
    cursor: Option<String>,
}

impl<'a> Log<'a> {
    fn from_now(unit: &'a str) -> Self {
        let mut log = Self { unit, cursor: None };
        // Of all units, so that there is one.
        let last = [
            "--quiet",
            "--no-pager",
            "--output=cat",
            "--lines=1",
            "--show-cursor",
        ];
        if let Ok(text) = systemd::output("journalctl", &last) {
            log.lines(&text, &mut |_| {});
        }
        log
    }

    fn read(&mut self, line: &mut dyn FnMut(&str)) {
        let Some(cursor) = &self.cursor else {
            return;
        };
        let after = format!("--after-cursor={cursor}");
        let arguments = [
            "--quiet",
            "--no-pager",
            "--output=cat",
            "--show-cursor",
            &after,
            "--unit",
            self.unit,
        ];
        // A machine without a journal: the result is known anyway.
        if let Ok(text) = systemd::output("journalctl", &arguments) {
            self.lines(&text, line);
        }
    }

    fn lines(&mut self, text: &str, line: &mut dyn FnMut(&str)) {
        for text in text.lines() {
            match text.strip_prefix("-- cursor: ") {
                Some(cursor) => self.cursor = Some(cursor.to_owned()),
                None => line(text),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_lines_begin_where_the_last_ended() {
        let mut log = Log {
            unit: "x.service",
            cursor: None,
        };
        let mut said = Vec::new();
        log.lines("one\ntwo\n-- cursor: s=1;i=2\n", &mut |line| {
            said.push(line.to_owned());
        });
        assert_eq!(said, ["one", "two"]);
        assert_eq!(log.cursor.as_deref(), Some("s=1;i=2"));
        // Without new entries, no cursor is printed.
        log.lines("", &mut |_| {});
        assert_eq!(log.cursor.as_deref(), Some("s=1;i=2"));
    }
}
