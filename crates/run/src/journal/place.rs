//! Where journals are kept: one directory per account, one file per run.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use super::JournalError;

/// The number of journals to keep.
pub const KEPT: usize = 200;

/// `$XDG_STATE_HOME/dtls-deploy/runs`, `~/.local/state` if the variable is not set; a relative path
/// is ignored (XDG Base Directory Specification). `None` if there is no home either.
#[must_use]
pub fn directory(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(variable(name)?);
        path.is_absolute().then_some(path)
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("dtls-deploy/runs"))
}

/// All journals, the newest first: their names begin with the time.
pub fn newest(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            paths.push(path);
        }
    }
    paths.sort_unstable_by(|left, right| right.cmp(left));
    Ok(paths)
}

/// Creates a journal, locked for as long as it is open, and removes the oldest ones.
pub(super) fn create(directory: &Path, run: &str) -> Result<(PathBuf, File), JournalError> {
    let path = directory.join(format!("{run}.jsonl"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| JournalError::io(directory, &error))?;
    for old in newest(directory).unwrap_or_default().iter().skip(KEPT - 1) {
        // One journal too many is no reason to stop the run.
        let _ = std::fs::remove_file(old);
    }
    let file = File::options()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| JournalError::io(&path, &error))?;
    // A file system without locks: no other run will take this one for dead.
    let _ = file.lock();
    // The name must also survive a power failure.
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| JournalError::io(directory, &error))?;
    Ok((path, file))
}

/// Whether journals can be created there, as far as that shows without writing.
pub(super) fn try_out(directory: &Path) -> Result<(), JournalError> {
    let there = directory.ancestors().find(|place| place.exists());
    let there = there.unwrap_or(directory);
    let failed = |error: std::io::Error| JournalError::io(there, &error);
    if !there.metadata().map_err(failed)?.is_dir() {
        return Err(failed(std::io::ErrorKind::NotADirectory.into()));
    }
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(CWD, there, wanted, AtFlags::EACCESS).map_err(|error| failed(error.into()))
}

/// Whether the run that writes this journal is still active.
pub(super) fn is_at_work(file: &File) -> bool {
    let free = file.try_lock_shared().is_ok();
    if free {
        let _ = file.unlock();
    }
    !free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_follows_from_the_environment() {
        let of = |variables: &[(&str, &str)]| {
            directory(|name| {
                let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
                Some((*value).into())
            })
        };
        let home = ("HOME", "/root");
        let runs = |path: &str| Some(PathBuf::from(path));
        assert_eq!(of(&[home]), runs("/root/.local/state/dtls-deploy/runs"));
        assert_eq!(
            of(&[home, ("XDG_STATE_HOME", "/s")]),
            runs("/s/dtls-deploy/runs")
        );
        assert_eq!(
            of(&[home, ("XDG_STATE_HOME", "s")]),
            runs("/root/.local/state/dtls-deploy/runs")
        );
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_place_is_tried_and_nothing_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let runs = directory.path().join("state/runs");
        try_out(&runs).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        std::fs::write(directory.path().join("file"), "").unwrap();
        assert!(try_out(&directory.path().join("file/runs")).is_err());
    }

    #[test]
    fn a_name_is_given_once_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let runs = directory.path();
        for number in 0..KEPT {
            std::fs::write(runs.join(format!("2026{number:04}.jsonl")), "").unwrap();
        }
        let (path, file) = create(runs, "20270000").unwrap();
        assert!(create(runs, "20270000").is_err());
        let found = newest(runs).unwrap();
        assert!(found.len() <= KEPT, "{}", found.len());
        assert_eq!(found[0], path);
        assert!(!runs.join("20260000.jsonl").exists());
        let other = File::open(&path).unwrap();
        assert!(is_at_work(&other));
        drop(file);
        assert!(!is_at_work(&other));
    }
}
