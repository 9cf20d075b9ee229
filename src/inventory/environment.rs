//! What reading an inventory needs from the outside: home, name, files.
//!
//! Passed in by whoever calls [`super::load`], so that a test chooses them;
//! [`Environment::of_process`] is what the program uses.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The surroundings of the run.
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
}

/// What kind of file a path leads to, symbolic links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file, or a pipe that can be read.
    File {
        /// Somebody may execute it.
        executable: bool,
    },
    Directory,
}

/// Access to files, read-only.
pub trait Files: fmt::Debug + Send + Sync {
    /// What the path leads to; none when there is nothing.
    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>>;
    /// At most `limit` bytes of a file and one more if it is longer.
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>>;
    /// The names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
}

impl Environment {
    /// The surroundings of this process.
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
    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        use std::os::unix::fs::PermissionsExt;
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Some(FileKind::Directory)),
            Ok(metadata) => Ok(Some(FileKind::File {
                executable: metadata.permissions().mode() & 0o111 != 0,
            })),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        std::fs::File::open(path)?
            .take(limit)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}

/// Files that exist only in memory, for tests: whole path to content.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles(pub BTreeMap<PathBuf, Vec<u8>>);

impl Files for MemoryFiles {
    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        if self.0.contains_key(path) {
            return Ok(Some(FileKind::File { executable: false }));
        }
        let inside = self
            .0
            .keys()
            .any(|file| file != path && file.starts_with(path));
        Ok(inside.then_some(FileKind::Directory))
    }

    fn read(&self, path: &Path, _limit: usize) -> io::Result<Vec<u8>> {
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names: Vec<String> = self
            .0
            .keys()
            .filter_map(|file| file.strip_prefix(path).ok())
            .filter_map(|inside| inside.components().next())
            .map(|name| name.as_os_str().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}
