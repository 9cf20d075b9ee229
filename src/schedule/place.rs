//! The files of a schedule, and its record.

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::ScheduleError;
use super::escape;

const SCHEDULES: &str = "/etc/dtls-deploy/schedule";
const UNITS: &str = "/etc/systemd/system";
/// Units there disappear with the next boot, whatever the result of the test.
const TRIAL_UNITS: &str = "/run/systemd/system";
const RECORD: &str = "schedule.json";

/// The record of a schedule, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    pub name: String,
    /// Absolute.
    pub inventory: PathBuf,
    /// The account of its runs.
    pub user: String,
    /// In systemd's format.
    pub on_calendar: String,
    /// Whether the passphrase is encrypted with this machine's key.
    pub encrypted: bool,
}

/// The name of an inventory's schedule: its file's, without the ending.
pub fn name_of(inventory: &Path) -> Result<String, ScheduleError> {
    let stem = inventory.file_stem().unwrap_or_default();
    let name = stem.to_string_lossy().into_owned();
    check(name)
}

/// A valid unit name; systemd allows 255 bytes in all.
pub(super) fn check(name: String) -> Result<String, ScheduleError> {
    let fits = escape::unit_name(&name).len() < 200 && escape::directory_name(&name).len() < 200;
    if name.is_empty() || !fits || name.contains(|character: char| character.is_control()) {
        return Err(ScheduleError::Name(name));
    }
    Ok(name)
}

/// All paths and unit names of one schedule.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) directory: PathBuf,
    unit: String,
}

impl Place {
    pub(super) fn of(name: &str) -> Self {
        Self {
            directory: Path::new(SCHEDULES).join(escape::directory_name(name)),
            unit: format!("dtls-deploy-{}", escape::unit_name(name)),
        }
    }

    pub(super) fn service(&self) -> String {
        format!("{}.service", self.unit)
    }

    pub(super) fn timer(&self) -> String {
        format!("{}.timer", self.unit)
    }

    /// The unit started when a run fails.
    pub(super) fn failed(&self) -> String {
        format!("{}-failed.service", self.unit)
    }

    /// Like the service, except that it changes nothing.
    pub(super) fn trial(&self) -> String {
        format!("{}-trial.service", self.unit)
    }

    pub(super) fn unit_path(&self, unit: &str) -> PathBuf {
        let directory = if unit == self.trial() {
            TRIAL_UNITS
        } else {
            UNITS
        };
        Path::new(directory).join(unit)
    }

    /// The passphrase's file; `new`: until it is tested.
    pub(super) fn credential(&self, encrypted: bool, new: bool) -> PathBuf {
        let name = match (encrypted, new) {
            (true, false) => "ca-passphrase.cred",
            (false, false) => "ca-passphrase",
            (true, true) => "ca-passphrase.cred.new",
            (false, true) => "ca-passphrase.new",
        };
        self.directory.join(name)
    }

    /// Creates the directory; returns whether it was missing.
    pub(super) fn make(&self) -> Result<bool, ScheduleError> {
        let missing = !self.directory.exists();
        if let Some(parent) = self.directory.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .map_err(ScheduleError::file(parent))?;
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(ScheduleError::file(&self.directory))?;
        Ok(missing)
    }

    /// Removes it and, with the last schedule, its parent directories.
    pub(super) fn remove(&self) -> Result<(), ScheduleError> {
        std::fs::remove_dir_all(&self.directory).map_err(ScheduleError::file(&self.directory))?;
        // A directory that is not empty stays.
        for above in self.directory.ancestors().skip(1).take(2) {
            if std::fs::remove_dir(above).is_err() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn record(&self) -> Result<Option<Schedule>, ScheduleError> {
        let path = self.directory.join(RECORD);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ScheduleError::file(&path)(error)),
        };
        let record = serde_json::from_slice(&bytes)
            .map_err(|error| ScheduleError::file(&path)(error.into()))?;
        Ok(Some(record))
    }

    pub(super) fn keep(&self, record: &Schedule) -> Result<(), ScheduleError> {
        let path = self.directory.join(RECORD);
        let text = serde_json::to_string_pretty(record)
            .map_err(|error| ScheduleError::file(&path)(error.into()))?;
        write(&path, text.as_bytes(), 0o600)
    }
}

/// All schedules of this machine, by name.
pub(super) fn all() -> Result<Vec<Schedule>, ScheduleError> {
    let path = Path::new(SCHEDULES);
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ScheduleError::file(path)(error)),
    };
    let mut records = Vec::new();
    for entry in entries {
        let place = Place {
            directory: entry.map_err(ScheduleError::file(path))?.path(),
            unit: String::new(),
        };
        records.extend(place.record()?);
    }
    records.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(records)
}

/// The schedule of this name, or of this inventory.
pub(super) fn find(wanted: &str) -> Result<Schedule, ScheduleError> {
    let records = all()?;
    let path = std::path::absolute(wanted).unwrap_or_default();
    records
        .iter()
        .find(|record| record.name == wanted)
        .or_else(|| records.iter().find(|record| record.inventory == path))
        .cloned()
        .ok_or_else(|| ScheduleError::Unknown {
            name: wanted.to_owned(),
            known: records.into_iter().map(|record| record.name).collect(),
        })
}

/// Replaces a file atomically: a reader sees the old or the new one.
pub(super) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), ScheduleError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".dtls-new");
    let new = PathBuf::from(name);
    let failed = || ScheduleError::file(path);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed()(error)),
        _ => {}
    }
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)
        .map_err(failed())?;
    file.write_all(content).map_err(failed())?;
    file.sync_all().map_err(failed())?;
    std::fs::rename(&new, path).map_err(failed())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_schedule_is_named_after_its_inventory() {
        let name = |path: &str| name_of(Path::new(path)).ok();
        assert_eq!(name("/srv/lab.yaml").as_deref(), Some("lab"));
        assert_eq!(name("my lab.v2.yml").as_deref(), Some("my lab.v2"));
        assert_eq!(name("/"), None);
        assert_eq!(name(&format!("/{}.yaml", "a".repeat(201))), None);
        assert_eq!(name("/a\nb.yaml"), None);
    }

    #[test]
    fn units_of_two_schedules_never_meet() {
        let (one, other) = (Place::of("x"), Place::of("x-failed"));
        assert_eq!(one.failed(), "dtls-deploy-x-failed.service");
        assert_eq!(other.service(), "dtls-deploy-x\\x2dfailed.service");
    }

    #[test]
    fn a_file_is_written_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(path.with_extension("dtls-new"), "left by a dead one").unwrap();
        for content in ["one", "two"] {
            write(&path, content.as_bytes(), 0o600).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
