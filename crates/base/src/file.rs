//! Local files that an operator or an inventory names, read as untrusted input.
//!
//! The target of a path is checked before it is opened, so that no FIFO blocks and no device is
//! touched, and again once it is open. [`Beneath`] also keeps the path inside one directory.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Maximum symbolic links on a path, as in the kernel (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// Maximum names in a directory.
const MOST_NAMES: usize = 100_000;

/// Does not block, and does not acquire a controlling terminal.
const READING: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Why a file is not read.
#[derive(Debug)]
pub enum FileFault {
    Missing,
    /// What it is instead of a regular file.
    Kind(&'static str),
    /// Larger than allowed.
    TooLarge(u64),
    /// A link on the path leads out of the directory.
    Outside,
    Io(io::Error),
}

impl fmt::Display for FileFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str("it does not exist"),
            Self::Kind(kind) => write!(formatter, "it is {kind}, not a regular file"),
            Self::TooLarge(limit) => write!(formatter, "it is larger than {}", size(*limit)),
            Self::Outside => {
                formatter.write_str("a symbolic link leads out of the directory it must be in")
            }
            Self::Io(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for FileFault {}

impl From<io::Error> for FileFault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing,
            _ => Self::Io(error),
        }
    }
}

impl From<Errno> for FileFault {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl From<FileFault> for io::Error {
    fn from(fault: FileFault) -> Self {
        match fault {
            FileFault::Io(error) => error,
            FileFault::Missing => Self::new(io::ErrorKind::NotFound, fault),
            fault => Self::other(fault),
        }
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        mebibytes if mebibytes >= 1 << 20 => format!("{} MiB", mebibytes >> 20),
        bytes => format!("{bytes} bytes"),
    }
}

/// Opens a regular file of at most `limit` bytes; links are followed.
pub fn open(path: &Path, limit: u64) -> Result<File, FileFault> {
    judge(&std::fs::metadata(path)?, limit)?;
    let file = File::from(rustix::fs::open(path, READING, Mode::empty())?);
    judge(&file.metadata()?, limit)?;
    Ok(file)
}

/// Reads a regular file of at most `limit` bytes; links are followed.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileFault> {
    read_all(open(path, limit)?, limit)
}

/// The same as text.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileFault> {
    String::from_utf8(read(path, limit)?).map_err(|_| not_text())
}

/// Reads a text without following links out of the directory that its path names: a file that may
/// be part of an unreviewed change.
pub fn read_in_place(path: &Path, limit: u64) -> Result<String, FileFault> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().ok_or(FileFault::Missing)?;
    let bytes = Beneath::open(directory)?.read(Path::new(name), limit)?;
    String::from_utf8(bytes).map_err(|_| not_text())
}

/// Reads a file that the operator named on the command line: a regular file, or a pipe that this
/// process inherited, as in `<(program)`.
pub fn read_named(path: &Path, limit: u64) -> Result<Vec<u8>, FileFault> {
    let is_inherited = ["/dev/fd", "/proc/self/fd"]
        .iter()
        .any(|directory| path.parent() == Some(Path::new(directory)));
    if is_inherited && std::fs::metadata(path)?.file_type().is_fifo() {
        return read_all(File::open(path)?, limit);
    }
    read(path, limit)
}

fn not_text() -> FileFault {
    FileFault::Io(io::Error::new(
        io::ErrorKind::InvalidData,
        "it is not UTF-8 text",
    ))
}

/// Reads what [`open`] has opened.
pub fn read_all(file: File, limit: u64) -> Result<Vec<u8>, FileFault> {
    let length = file.metadata()?.len().min(limit);
    // One allocation: a growing buffer would leave copies of a secret behind.
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0).saturating_add(1));
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(FileFault::TooLarge(limit));
    }
    Ok(bytes)
}

/// Whether it is a regular file of at most `limit` bytes, sparse ones included.
fn judge(found: &Metadata, limit: u64) -> Result<(), FileFault> {
    if !found.is_file() {
        return Err(FileFault::Kind(kind_of(found)));
    }
    if found.len() > limit {
        return Err(FileFault::TooLarge(limit));
    }
    Ok(())
}

fn kind_of(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File {
        /// An account may execute it.
        executable: bool,
    },
    Directory,
}

/// The target of a path, following links; none if there is nothing.
///
/// # Errors If it is neither a file nor a directory, or cannot be determined.
pub fn kind(path: &Path) -> Result<Option<FileKind>, FileFault> {
    present(std::fs::metadata(path).map_err(FileFault::from))
}

fn present(found: Result<Metadata, FileFault>) -> Result<Option<FileKind>, FileFault> {
    match found {
        Ok(found) if found.is_dir() => Ok(Some(FileKind::Directory)),
        Ok(found) if found.is_file() => Ok(Some(FileKind::File {
            executable: found.mode() & 0o111 != 0,
        })),
        Ok(found) => Err(FileFault::Kind(kind_of(&found))),
        Err(FileFault::Missing) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The names in a directory, sorted; links are followed.
pub fn list(path: &Path) -> Result<Vec<String>, FileFault> {
    let flags = READING.union(OFlags::DIRECTORY);
    names_in(rustix::fs::open(path, flags, Mode::empty())?)
}

fn names_in(directory: OwnedFd) -> Result<Vec<String>, FileFault> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if names.len() == MOST_NAMES {
            return Err(FileFault::Io(io::Error::other(format!(
                "it has more than {MOST_NAMES} entries"
            ))));
        }
        names.push(String::from_utf8_lossy(name).into_owned());
    }
    names.sort();
    Ok(names)
}

/// A directory that paths cannot leave.
///
/// Links are resolved here and not by the kernel's `openat2`, which kernels before 5.6 and many
/// containers do not have: so that it works the same everywhere. Each directory on the path stays
/// open, so that moving one during resolution does not lead out either.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
    /// The beginning that absolute links must have.
    real: PathBuf,
}

/// Where a path ends.
enum Destination {
    Directory(OwnedFd),
    /// A file in a directory.
    Other(OwnedFd, OsString, Metadata),
}

impl Beneath {
    /// Opens the directory itself; links to it are followed.
    pub fn open(directory: &Path) -> Result<Self, FileFault> {
        let named = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        let flags = path_only().difference(OFlags::NOFOLLOW) | OFlags::DIRECTORY;
        Ok(Self {
            root: rustix::fs::open(named, flags, Mode::empty())?,
            real: named.canonicalize()?,
        })
    }

    /// The target of a path in it; none if there is nothing.
    ///
    /// # Errors If it leads out, or to something that is neither a file nor a directory.
    pub fn kind(&self, path: &Path) -> Result<Option<FileKind>, FileFault> {
        present(self.find(path).and_then(|found| match found {
            Destination::Directory(directory) => Ok(File::from(directory).metadata()?),
            Destination::Other(_, _, found) => Ok(found),
        }))
    }

    /// Reads a regular file in it of at most `limit` bytes.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, FileFault> {
        match self.find(path)? {
            Destination::Directory(_) => Err(FileFault::Kind("a directory")),
            Destination::Other(directory, name, found) => {
                judge(&found, limit)?;
                let flags = READING | OFlags::NOFOLLOW;
                let file = rustix::fs::openat(directory, name, flags, Mode::empty())?;
                let file = File::from(file);
                judge(&file.metadata()?, limit)?;
                read_all(file, limit)
            }
        }
    }

    /// The names in a directory in it, sorted.
    pub fn list(&self, path: &Path) -> Result<Vec<String>, FileFault> {
        match self.find(path)? {
            Destination::Directory(directory) => {
                let flags = READING | OFlags::DIRECTORY;
                names_in(rustix::fs::openat(directory, ".", flags, Mode::empty())?)
            }
            Destination::Other(..) => Err(FileFault::Missing),
        }
    }

    fn find(&self, path: &Path) -> Result<Destination, FileFault> {
        let mut way = vec![self.root.try_clone()?];
        let mut rest = parts(path)?;
        let mut links = 0;
        while let Some(part) = rest.pop() {
            let Some(here) = way.last() else {
                return Err(FileFault::Outside);
            };
            if part == ".." {
                way.pop();
                if way.is_empty() {
                    return Err(FileFault::Outside);
                }
                continue;
            }
            let next = rustix::fs::openat(here, &part, path_only(), Mode::empty())?;
            let next = File::from(next);
            let found = next.metadata()?;
            if found.is_symlink() {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target = rustix::fs::readlinkat(&next, "", Vec::new())?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    way.truncate(1);
                    rest.extend(self.inside(&target)?);
                } else {
                    rest.extend(parts(&target)?);
                }
            } else if found.is_dir() {
                way.push(next.into());
            } else if rest.is_empty() {
                let directory = here.as_fd().try_clone_to_owned()?;
                return Ok(Destination::Other(directory, part, found));
            } else {
                return Err(FileFault::Missing);
            }
        }
        way.pop()
            .map(Destination::Directory)
            .ok_or(FileFault::Outside)
    }

    /// The parts of an absolute link that leads back into the directory.
    fn inside(&self, target: &Path) -> Result<Vec<OsString>, FileFault> {
        let inside = target.strip_prefix(&self.real);
        parts(inside.map_err(|_| FileFault::Outside)?)
    }
}

/// Opens nothing in a way that has side effects.
fn path_only() -> OFlags {
    OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// The parts of a relative path, the last one first.
fn parts(path: &Path) -> Result<Vec<OsString>, FileFault> {
    let mut parts = Vec::new();
    for component in path.components().rev() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => parts.push(OsString::from("..")),
            Component::Normal(name) => parts.push(checked(name)?),
            Component::RootDir | Component::Prefix(_) => return Err(FileFault::Outside),
        }
    }
    Ok(parts)
}

fn checked(name: &OsStr) -> Result<OsString, FileFault> {
    if name.as_bytes().contains(&0) {
        return Err(FileFault::Missing);
    }
    Ok(name.to_owned())
}

/// Opens a log for appending, created with mode 0600 if it is missing. It must be a regular file of
/// this account, not a link, and not readable or writable by others.
pub fn append(path: &Path) -> Result<File, FileFault> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    let file = match opened {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(FileFault::Kind("a symbolic link")),
        Err(Errno::ISDIR) => return Err(FileFault::Kind("a directory")),
        // The error of a FIFO without a reader.
        Err(Errno::NXIO) => return Err(FileFault::Kind("a FIFO or a socket")),
        Err(error) => return Err(error.into()),
    };
    let found = file.metadata()?;
    judge(&found, u64::MAX)?;
    let refuse = |why: String| Err(FileFault::Io(io::Error::other(why)));
    if found.uid() != rustix::process::geteuid().as_raw() {
        return refuse(format!("it belongs to the account number {}", found.uid()));
    }
    if found.mode() & 0o027 != 0 {
        let mode = found.mode() & 0o7777;
        return refuse(format!(
            "its mode {mode:04o} lets others read or write it: chmod 600"
        ));
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
