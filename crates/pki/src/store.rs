//! The CA directory on disk.
//!
//! No file is readable by others for a moment.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::thread;

use super::directory::{self, DirectoryError};
use super::encoding::hex;
use super::ledger::{self, Event, Ledger, LedgerError};
use super::protocol::FileFact;
use base::secret::Secret;

/// The CA key, encrypted.
pub const CA_KEY: &str = "ca-key.pem";
pub const CA_CERTIFICATE: &str = "ca.pem";
/// The last serial number, as `openssl x509 -CAserial` writes it.
pub const CA_SERIAL: &str = "ca.srl";
pub const LEDGER: &str = ".ledger.jsonl";
/// The CA that will follow, while a rollover is under way: `next/ca.pem` and
/// `next/ca-key.pem`.
pub const NEXT: &str = "next";
/// CAs that were followed by another, the oldest in `retired/1/`.
pub const RETIRED: &str = "retired";
/// Says that a rollover is over and that no one has been told yet.
pub const ROLLED_OVER: &str = ".rolled-over";
pub const LOCK: &str = ".lock";

/// Mode of a private key.
pub(crate) const KEY_MODE: u32 = 0o400;
/// Mode of what may be read by all.
pub(crate) const CERTIFICATE_MODE: u32 = 0o444;

/// What a file has while it is written: `.` before its name, this behind.
const UNFINISHED: &str = ".unfinished";
/// Larger than any file a CA directory should hold but the ledger, in bytes.
const LARGEST: u64 = 1 << 20;

/// A CA directory that can be trusted.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
}

/// A file to write.
#[derive(Debug)]
pub struct NewFile<'a> {
    /// Relative to the directory.
    pub name: &'a str,
    pub content: &'a [u8],
    pub mode: u32,
}

/// Why the CA directory could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{name:?} cannot be the name of an issued file: {reason}")]
    Name { name: String, reason: &'static str },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl StoreError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(error) => error.hint(),
            Self::Ledger(error) => error.hint().map(str::to_owned),
            Self::Name { .. } => Some("change dtls_issued_name".to_owned()),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => Some(
                "make room on the CA node and run again: no file is left half-written".to_owned(),
            ),
            Self::Io { .. } => None,
        }
    }
}

impl Store {
    /// The store in this directory, created if it is missing. Nothing is
    /// written before the lock is held.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            directory: directory::prepare(path)?,
        })
    }

    #[must_use]
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.directory.join(LOCK)
    }

    /// Permission bits of a file or of the directory itself (`""`); `None` if
    /// there is none.
    #[must_use]
    pub fn mode(&self, name: &str) -> Option<u32> {
        fs::symlink_metadata(self.directory.join(name))
            .ok()
            .map(|metadata| metadata.mode() & 0o7777)
    }

    /// A file's bytes; `None` if there is none.
    pub fn read(&self, name: &str) -> Result<Option<Secret>, StoreError> {
        let path = self.directory.join(name);
        let failed = |source| failed(&path, source);
        let file = match open_nofollow(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(failed(io::Error::other(
                "it is not a file of a CA directory",
            )));
        }
        // Allocated once, so that no copy of a key is left behind by growing.
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len() + 1).unwrap_or_default());
        file.take(LARGEST).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(Secret::new(bytes)))
    }

    /// Where a file of the directory is.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The ledger's bytes; `None` if there is no ledger.
    pub(crate) fn ledger_bytes(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.directory.join(LEDGER);
        let mut bytes = Vec::new();
        match open_nofollow(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path, error)),
        }
    }

    /// Appends events and syncs them. A torn last line is removed before, and
    /// an event that could not be written as a whole is removed.
    pub fn append(&self, events: &[Event]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let path = self.directory.join(LEDGER);
        let failed = |source| failed(&path, source);
        let mut text = ledger::lines(events)?;
        let before = self.ledger_bytes()?;
        let existed = before.is_some();
        let before = before.unwrap_or_default();
        let mut length = before.len();
        if before.last().is_some_and(|byte| *byte != b'\n') {
            if Ledger::parse_bytes(&before)?.torn_line().is_some() {
                length = before
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(0, |end| end + 1);
            } else {
                text.insert(0, '\n');
            }
        }
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(failed)?;
        let written = file
            .set_len(length)
            .and_then(|()| file.write_all(text.as_bytes()))
            .and_then(|()| file.sync_all());
        if let Err(error) = written {
            let _ = file.set_len(length);
            return Err(failed(error));
        }
        if !existed {
            directory::sync(&self.directory)?;
        }
        Ok(())
    }

    /// Writes files, one after another in this order: after a crash the first
    /// ones are new and the others as they were, each of them whole.
    pub fn write(&self, files: &[NewFile<'_>]) -> Result<(), StoreError> {
        let mut directories = BTreeSet::new();
        let mut staged = Vec::with_capacity(files.len());
        for file in files {
            self.make_parents(file.name, &mut directories)?;
            let path = self.directory.join(file.name);
            directories.extend(path.parent().map(Path::to_owned));
            staged.push((unfinished_name(&path)?, path, file));
        }
        let result = many_at_once(&staged, |(unfinished, _, file)| {
            stage(unfinished, file.content, file.mode).map_err(|e| failed(unfinished, e))
        })
        .and_then(|()| {
            staged.iter().try_for_each(|(unfinished, path, _)| {
                fs::rename(unfinished, path).map_err(|source| failed(path, source))
            })
        });
        if result.is_err() {
            for (unfinished, _, _) in &staged {
                let _ = fs::remove_file(unfinished);
            }
        }
        result?;
        let directories: Vec<PathBuf> = directories.into_iter().collect();
        many_at_once(&directories, |path| Ok(directory::sync(path)?))
    }

    /// Removes a file, and the directories that are empty without it.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.remove_all(&[name])
    }

    /// Removes files, and the directories that are empty without them.
    pub(crate) fn remove_all(&self, names: &[&str]) -> Result<(), StoreError> {
        let mut touched = BTreeSet::new();
        for name in names {
            let path = self.directory.join(name);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&path, error)),
            }
            let mut parent = path.parent();
            while let Some(directory) = parent.filter(|parent| *parent != self.directory) {
                if fs::remove_dir(directory).is_err() {
                    break;
                }
                touched.remove(directory);
                parent = directory.parent();
            }
            touched.insert(parent.unwrap_or(&self.directory).to_owned());
        }
        let touched: Vec<PathBuf> = touched.into_iter().collect();
        many_at_once(&touched, |path| Ok(directory::sync(path)?))
    }

    /// Removes what an interrupted run left half-written here and in the
    /// directories of these names.
    pub fn clean<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<(), StoreError> {
        let mut directories = BTreeSet::from([self.directory.clone()]);
        directories.extend(
            names.filter_map(|name| self.directory.join(name).parent().map(Path::to_owned)),
        );
        for directory in directories {
            let Ok(entries) = fs::read_dir(&directory) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name.starts_with('.') && name.ends_with(UNFINISHED) {
                    fs::remove_file(entry.path()).map_err(|e| failed(&entry.path(), e))?;
                }
            }
        }
        Ok(())
    }

    /// Names below a directory, sorted; none where it is not there.
    #[must_use]
    pub fn names_in(&self, directory: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.directory.join(directory)) else {
            return Vec::new();
        };
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// What lies in the directory itself, and which of these names exist.
    pub fn list<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<FileFact>, StoreError> {
        let mut paths: BTreeSet<String> = names.map(str::to_owned).collect();
        for entry in fs::read_dir(&self.directory).map_err(|e| failed(&self.directory, e))? {
            let entry = entry.map_err(|e| failed(&self.directory, e))?;
            paths.insert(entry.file_name().to_string_lossy().into_owned());
        }
        Ok(paths
            .into_iter()
            .filter_map(|path| {
                let metadata = fs::symlink_metadata(self.directory.join(&path)).ok()?;
                Some(FileFact {
                    mode: metadata.mode() & 0o7777,
                    size: metadata.len(),
                    is_directory: metadata.is_dir(),
                    path,
                })
            })
            .collect())
    }

    /// The directories a name leads through, each of them ours and closed to
    /// others. Where one is made, the one above it is to be synced.
    fn make_parents(&self, name: &str, to_sync: &mut BTreeSet<PathBuf>) -> Result<(), StoreError> {
        let us = rustix::process::geteuid().as_raw();
        let mut at = self.directory.clone();
        let Some((parents, _)) = name.rsplit_once('/') else {
            return Ok(());
        };
        for component in parents.split('/') {
            let parent = at.clone();
            at.push(component);
            match DirBuilder::new().mode(0o700).create(&at) {
                Ok(()) => drop(to_sync.insert(parent)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let metadata = fs::symlink_metadata(&at).map_err(|e| failed(&at, e))?;
                    directory::check_own(&at, &metadata, us)?;
                }
                Err(error) => return Err(failed(&at, error)),
            }
        }
        Ok(())
    }
}

/// Does this with each, on several threads where they are many: a file system
/// commits what is synced at the same time together.
fn many_at_once<T: Sync>(
    all: &[T],
    work: impl Fn(&T) -> Result<(), StoreError> + Sync,
) -> Result<(), StoreError> {
    const THREADS: usize = 16;
    if all.len() < THREADS {
        return all.iter().try_for_each(work);
    }
    thread::scope(|scope| {
        let running: Vec<_> = all
            .chunks(all.len().div_ceil(THREADS))
            .map(|some| scope.spawn(|| some.iter().try_for_each(&work)))
            .collect();
        // Every one has ended before the first error is reported.
        let results: Vec<_> = running
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect();
        results.into_iter().try_for_each(|result| {
            result.unwrap_or_else(|_| {
                Err(StoreError::Io {
                    path: PathBuf::new(),
                    source: io::Error::other("a thread that wrote ended early"),
                })
            })
        })
    })
}

/// A name in the same directory that no other writer uses.
fn unfinished_name(path: &Path) -> Result<PathBuf, StoreError> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random)
        .map_err(|_| failed(path, io::Error::other("the system gave no random numbers")))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(path.with_file_name(format!(".{name}.{}{UNFINISHED}", hex(&random))))
}

fn stage(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    // The umask may have taken bits away.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

fn open_nofollow(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

fn failed(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io {
        path: path.to_owned(),
        source,
    }
}
