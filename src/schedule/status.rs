//! `schedule status` and `schedule run-now`.

use super::ending::Ending;
use super::error::ScheduleError;
use super::follow::follow;
use super::place::{self, Place, Schedule};
use super::systemd;

/// Shows one schedule, or all.
///
/// # Errors If there is no such schedule, or systemd does not answer.
pub fn status(wanted: Option<&str>, say: &mut dyn FnMut(&str)) -> Result<(), ScheduleError> {
    systemd::check()?;
    let schedules = match wanted {
        Some(wanted) => vec![place::find(wanted)?],
        None => place::all()?,
    };
    if schedules.is_empty() {
        say("no schedule is installed on this machine");
    }
    for schedule in schedules {
        show(&schedule, say)?;
    }
    Ok(())
}

fn show(schedule: &Schedule, say: &mut dyn FnMut(&str)) -> Result<(), ScheduleError> {
    let place = Place::of(&schedule.name);
    let (timer, service) = (
        systemd::show(&place.timer())?,
        systemd::show(&place.service())?,
    );
    let of = |properties: &std::collections::BTreeMap<String, String>, name: &str| {
        let value = properties.get(name).filter(|value| !value.is_empty());
        value.cloned().unwrap_or_else(|| "none".to_owned())
    };
    say(&format!(
        "{}: {}, as {}",
        schedule.name,
        schedule.inventory.display(),
        schedule.user
    ));
    let next = if of(&timer, "ActiveState") == "active" {
        format!(
            "{} ({})",
            of(&timer, "NextElapseUSecRealtime"),
            schedule.on_calendar
        )
    } else {
        format!(
            "none: the timer does not count; systemctl enable --now '{}'",
            place.timer()
        )
    };
    say(&format!("  next run  {next}"));
    let last = if of(&service, "ActiveState") == "activating" {
        format!("under way since {}", of(&service, "ExecMainStartTimestamp"))
    } else {
        match Ending::of(&service) {
            Some(ending) => format!(
                "{}: {}",
                of(&service, "ExecMainStartTimestamp"),
                ending.text
            ),
            // systemd keeps the time across a reboot, but not the result.
            None => match of(&timer, "LastTriggerUSec").as_str() {
                "none" | "n/a" => "none so far".to_owned(),
                time => format!("{time}: see the log"),
            },
        }
    };
    say(&format!("  last run  {last}"));
    say(&format!("  log       journalctl -u '{}'", place.service()));
    Ok(())
}

/// Starts a run now, shows its log until it ends, and returns its exit code.
pub fn run_now(wanted: &str, say: &mut dyn FnMut(&str)) -> Result<u8, ScheduleError> {
    systemd::check()?;
    let schedule = place::find(wanted)?;
    if !rustix::process::geteuid().is_root() {
        return Err(ScheduleError::NotRoot);
    }
    let ending = follow(&Place::of(&schedule.name).service(), say)?;
    say(&ending.text);
    Ok(ending.code)
}
