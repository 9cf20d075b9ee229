//! The lock on a CA directory: one changing run at a time.
//!
//! That is why it is a `flock` and not a file that exists.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// How often a waiting agent tries again.
const RETRY: Duration = Duration::from_millis(50);

/// How long a holder may take to write who it is.
const NAMING: Duration = Duration::from_secs(2);

/// Who holds a lock, as the lock file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub holder: String,
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
}

/// A lock that is held. Dropping it gives it back.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// What came of asking.
#[derive(Debug)]
pub enum Taken {
    Ours(Lock),
    Held(Holder),
}

impl Lock {
    /// Takes the lock of this file, which is created with mode 0600 if it is
    /// missing; asks until `wait` is over or `give_up` says so. The file is
    /// never removed: two processes could lock two files of one name.
    pub fn take(
        path: &Path,
        ours: &Holder,
        wait: Duration,
        give_up: &dyn Fn() -> bool,
    ) -> io::Result<Taken> {
        let started = Instant::now();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if started.elapsed() >= wait || give_up() => {
                    let holder = read(&mut file);
                    // It has just been taken, or is just being given back.
                    let is_nameless = holder.holder.is_empty() && started.elapsed() < wait + NAMING;
                    if is_nameless && !give_up() {
                        sleep(RETRY);
                        continue;
                    }
                    return Ok(Taken::Held(holder));
                }
                Err(TryLockError::WouldBlock) => sleep(RETRY),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        // Written in place: a rename would put another file under the name.
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&serde_json::to_vec(ours)?)?;
        Ok(Taken::Ours(Self { file }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock goes with the descriptor; what is left of the text would
        // only be read while someone else holds the lock.
        let _ = self.file.set_len(0);
    }
}

/// What the holder wrote; empty while it is being written.
fn read(file: &mut File) -> Holder {
    let mut text = String::new();
    let _ = file.rewind();
    let _ = file.take(64 * 1024).read_to_string(&mut text);
    serde_json::from_str(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn holder(name: &str) -> Holder {
        Holder {
            holder: name.to_owned(),
            since: Some(datetime!(2026-01-01 00:00 UTC)),
        }
    }

    fn take(path: &Path, name: &str, wait: Duration) -> Taken {
        Lock::take(path, &holder(name), wait, &|| false).unwrap()
    }

    #[test]
    fn one_holds_it_and_the_other_hears_who() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".lock");
        let Taken::Ours(first) = take(&path, "first", Duration::ZERO) else {
            panic!("a free lock was not given");
        };
        match take(&path, "second", Duration::ZERO) {
            Taken::Held(who) => assert_eq!(who, holder("first")),
            Taken::Ours(_) => panic!("the lock was given twice"),
        }
        drop(first);
        assert!(matches!(
            take(&path, "second", Duration::ZERO),
            Taken::Ours(_)
        ));
    }

    #[test]
    fn whoever_waits_gets_it_when_it_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".lock");
        let first = take(&path, "first", Duration::ZERO);
        let other = path.clone();
        let waiting = std::thread::spawn(move || {
            matches!(
                take(&other, "second", Duration::from_secs(60)),
                Taken::Ours(_)
            )
        });
        sleep(Duration::from_millis(120));
        drop(first);
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn a_link_in_place_of_the_lock_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".lock");
        std::os::unix::fs::symlink("/tmp/elsewhere", &path).unwrap();
        assert!(Lock::take(&path, &holder("x"), Duration::ZERO, &|| false).is_err());
    }
}
