//! `schedule remove`: removes timer, units and passphrase.
//!
//! The journals of its runs stay: `dtls-deploy history` shows them.

use super::error::ScheduleError;
use super::install;
use super::place::{self, Place};
use super::systemd;

/// Removes a schedule. A current run continues to its end.
///
/// # Errors If there is no such schedule, or if part of it cannot be removed: removing can then be
/// repeated.
pub fn remove(wanted: &str, say: &mut dyn FnMut(&str)) -> Result<(), ScheduleError> {
    systemd::check()?;
    if !rustix::process::geteuid().is_root() {
        return Err(ScheduleError::NotRoot);
    }
    let record = place::find(wanted)?;
    let place = Place::of(&record.name);
    systemd::systemctl(&["disable", "--now", "--quiet", "--", &place.timer()])?;
    for unit in [
        place.trial(),
        place.failed(),
        place.service(),
        place.timer(),
    ] {
        install::remove(&place.unit_path(&unit))?;
    }
    systemd::systemctl(&["daemon-reload"])?;
    // systemd remembers the name of a failed unit.
    let _ = systemd::systemctl(&["reset-failed", "--", &place.service()]);
    let _ = systemd::systemctl(&["reset-failed", "--", &place.failed()]);
    place.remove()?;
    say(&format!(
        "removed: the schedule {}, its units and its passphrase",
        record.name
    ));
    Ok(())
}
