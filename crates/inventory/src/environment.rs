//! The external inputs of reading an inventory: home, account, files.
//!
//! The caller of [`super::load`] passes them in, so that a test can choose them;
//! [`Environment::of_process`] is what the program uses.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::file::{self, Beneath, FileFault, FileKind};

#[derive(Debug, Clone)]
pub struct Environment {
    /// Where `~` in a path on this machine leads; none when unknown.
    pub home: Option<PathBuf>,
    /// The account that runs the program.
    pub user: Option<String>,
    /// What relative paths are relative to, as with Ansible.
    pub directory: PathBuf,
    /// How files are read.
    pub files: Arc<dyn Files>,
    /// The inventory is untrusted: it may name no local file, and none of its hosts is the local
    /// machine.
    pub untrusted: bool,
}

/// A file, and who named it.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// Named by the operator: links are followed.
    Named(&'a Path),
    /// Found next to an inventory: no link may lead out of `directory`.
    Beneath { directory: &'a Path, path: &'a Path },
}

impl Place<'_> {
    /// The whole path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Named(path) => (*path).to_owned(),
            Self::Beneath { directory, path } => directory.join(path),
        }
    }
}

/// Access to files, read-only.
pub trait Files: fmt::Debug + Send + Sync {
    /// What the path leads to; none when there is nothing.
    fn kind(&self, place: Place<'_>) -> Result<Option<FileKind>, FileFault>;
    /// A regular file of at most `limit` bytes.
    fn read(&self, place: Place<'_>, limit: u64) -> Result<Vec<u8>, FileFault>;
    /// The names in a directory, sorted.
    fn list(&self, place: Place<'_>) -> Result<Vec<String>, FileFault>;
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            home: std::env::var_os("HOME")
                .map(PathBuf::from)
                .filter(|home| home.is_absolute()),
            user: std::env::var("USER")
                .or_else(|_| std::env::var("LOGNAME"))
                .ok(),
            directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            files: Arc::new(DiskFiles),
            untrusted: false,
        }
    }

    /// A path on this machine: `~/` expanded, relative to the directory of the
    /// run. None when it needs a home that is not known.
    #[must_use]
    pub fn local_path(&self, text: &str) -> Option<PathBuf> {
        if text == "~" {
            return self.home.clone();
        }
        if let Some(rest) = text.strip_prefix("~/") {
            return self.home.as_ref().map(|home| home.join(rest));
        }
        Some(self.directory.join(text))
    }
}

/// The files of this machine.
#[derive(Debug, Clone, Copy)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn kind(&self, place: Place<'_>) -> Result<Option<FileKind>, FileFault> {
        match place {
            Place::Named(path) => file::kind(path),
            Place::Beneath { directory, path } => match Beneath::open(directory) {
                Ok(beneath) => beneath.kind(path),
                Err(FileFault::Missing) => Ok(None),
                Err(fault) => Err(fault),
            },
        }
    }

    fn read(&self, place: Place<'_>, limit: u64) -> Result<Vec<u8>, FileFault> {
        match place {
            Place::Named(path) => file::read_named(path, limit),
            Place::Beneath { directory, path } => Beneath::open(directory)?.read(path, limit),
        }
    }

    fn list(&self, place: Place<'_>) -> Result<Vec<String>, FileFault> {
        match place {
            Place::Named(path) => file::list(path),
            Place::Beneath { directory, path } => Beneath::open(directory)?.list(path),
        }
    }
}

/// Files that exist only in memory, for tests: whole path to content.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles(pub BTreeMap<PathBuf, Vec<u8>>);

impl Files for MemoryFiles {
    fn kind(&self, place: Place<'_>) -> Result<Option<FileKind>, FileFault> {
        let path = place.path();
        if self.0.contains_key(&path) {
            return Ok(Some(FileKind::File { executable: false }));
        }
        let inside = self.0.keys().any(|file| file.starts_with(&path));
        Ok(inside.then_some(FileKind::Directory))
    }

    fn read(&self, place: Place<'_>, limit: u64) -> Result<Vec<u8>, FileFault> {
        match self.0.get(&place.path()) {
            Some(bytes) if bytes.len() as u64 > limit => Err(FileFault::TooLarge(limit)),
            Some(bytes) => Ok(bytes.clone()),
            None => Err(FileFault::Missing),
        }
    }

    fn list(&self, place: Place<'_>) -> Result<Vec<String>, FileFault> {
        let path = place.path();
        let mut names: Vec<String> = self
            .0
            .keys()
            .filter_map(|file| file.strip_prefix(&path).ok())
            .filter_map(|inside| inside.components().next())
            .map(|name| name.as_os_str().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}
