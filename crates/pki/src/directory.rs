//! Whether a directory is one in which a CA may live.
//!
//! Once that is known, paths below it can be used without looking at each step again.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

/// As many symbolic links as Linux follows in one path.
const LINKS: usize = 40;
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Why a directory cannot be trusted or used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("{} is not an absolute path", .0.display())]
    Relative(PathBuf),
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("{} can be written to by other accounts (mode {mode:04o})", path.display())]
    Writable { path: PathBuf, mode: u32 },
    #[error("{} belongs to the account with uid {owner}, and this runs as uid {us}", path.display())]
    Foreign { path: PathBuf, owner: u32, us: u32 },
    #[error("{} is a symbolic link that belongs to the account with uid {owner}", path.display())]
    ForeignLink { path: PathBuf, owner: u32 },
    #[error("{} leads through too many symbolic links", .0.display())]
    Links(PathBuf),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl DirectoryError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Relative(_) => Some("give dtls_ca_dir as an absolute path".to_owned()),
            Self::Writable { path, .. } => Some(format!(
                "anyone who can write there can replace the CA key: chmod go-w {}",
                path.display()
            )),
            Self::Foreign { owner: 0, .. } => Some(
                "root should run it: set ansible_become: true for the CA host, or choose a \
                 dtls_ca_dir of the account that runs it"
                    .to_owned(),
            ),
            Self::Foreign { .. } => Some(
                "that account should run it: set ansible_user to it and ansible_become: false for \
                 the CA host, or choose another dtls_ca_dir"
                    .to_owned(),
            ),
            Self::ForeignLink { .. } => {
                Some("its owner can point it elsewhere: name the directory itself".to_owned())
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Some(
                "the account that runs this may not: set ansible_become: true for the CA host, or \
                 choose a dtls_ca_dir of that account"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// The directory at `path`, free of symbolic links, created with mode 0700
/// (missing parents 0755) if it is not there.
pub(crate) fn prepare(path: &Path) -> Result<PathBuf, DirectoryError> {
    prepare_as(path, rustix::process::geteuid().as_raw())
}

fn prepare_as(path: &Path, us: u32) -> Result<PathBuf, DirectoryError> {
    if !path.is_absolute() {
        return Err(DirectoryError::Relative(path.to_owned()));
    }
    let (mut at, missing) = walk(path, us)?;
    let count = missing.len();
    for (position, name) in missing.into_iter().enumerate() {
        let mode = if position + 1 == count { 0o700 } else { 0o755 };
        let parent = at.clone();
        at.push(name);
        DirBuilder::new()
            .mode(mode)
            .create(&at)
            .map_err(|source| failed(&at, source))?;
        sync(&parent)?;
    }
    let metadata = fs::symlink_metadata(&at).map_err(|source| failed(&at, source))?;
    check_own(&at, &metadata, us)?;
    Ok(at)
}

/// Requires that this account owns the directory and that no other account can write to it.
pub(crate) fn check_own(path: &Path, metadata: &Metadata, us: u32) -> Result<(), DirectoryError> {
    if !metadata.is_dir() {
        return Err(DirectoryError::NotADirectory(path.to_owned()));
    }
    if metadata.uid() != us {
        return Err(DirectoryError::Foreign {
            path: path.to_owned(),
            owner: metadata.uid(),
            us,
        });
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(DirectoryError::Writable {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
        });
    }
    Ok(())
}

/// Makes the names in a directory last over a crash.
pub(crate) fn sync(path: &Path) -> Result<(), DirectoryError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| failed(path, source))
}

/// Follows the path step by step as far as it exists: the last directory that
/// does, and the names that are missing below it.
fn walk(path: &Path, us: u32) -> Result<(PathBuf, Vec<OsString>), DirectoryError> {
    let mut pending: VecDeque<OsString> = names(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let metadata = match fs::symlink_metadata(&next) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut missing = vec![name];
                missing.extend(pending);
                if missing.iter().any(|name| name == "..") {
                    return Err(failed(&next, error));
                }
                return Ok((at, missing));
            }
            Err(error) => return Err(failed(&next, error)),
        };
        let ours = metadata.uid() == 0 || metadata.uid() == us;
        if metadata.is_symlink() {
            if !ours {
                return Err(DirectoryError::ForeignLink {
                    path: next,
                    owner: metadata.uid(),
                });
            }
            links += 1;
            if links > LINKS {
                return Err(DirectoryError::Links(path.to_owned()));
            }
            let target = fs::read_link(&next).map_err(|source| failed(&next, source))?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for name in names(&target).into_iter().rev() {
                pending.push_front(name);
            }
            continue;
        }
        if !metadata.is_dir() {
            return Err(DirectoryError::NotADirectory(next));
        }
        if !ours {
            return Err(DirectoryError::Foreign {
                path: next,
                owner: metadata.uid(),
                us,
            });
        }
        // In a sticky directory only the owner of a name can move it, and
        // every name on the way belongs to root or to us.
        let mode = metadata.mode();
        if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
            return Err(DirectoryError::Writable {
                path: next,
                mode: mode & 0o7777,
            });
        }
        at = next;
    }
    Ok((at, Vec::new()))
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn failed(path: &Path, source: io::Error) -> DirectoryError {
    DirectoryError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_missing_directory_is_made_with_its_parents() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("etc/dtls/ca");
        let made = prepare(&path).unwrap();
        assert_eq!(made, fs::canonicalize(&path).unwrap());
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&root.path().join("etc")) & WRITABLE_BY_OTHERS, 0);
        assert_eq!(prepare(&path).unwrap(), made);
    }

    #[test]
    fn a_directory_others_can_write_to_is_refused_at_any_level() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("parent/ca");
        prepare(&path).unwrap();
        for (target, bits, allowed) in [
            (path.clone(), 0o770, false),
            (path.clone(), 0o1777, false),
            (path.clone(), 0o755, true),
            (root.path().join("parent"), 0o777, false),
            (root.path().join("parent"), 0o1777, true),
        ] {
            let before = mode(&target);
            chmod(&target, bits);
            let result = prepare(&path);
            assert_eq!(result.is_ok(), allowed, "{bits:o}: {result:?}");
            if let Err(error) = result {
                assert!(error.hint().unwrap().contains("chmod go-w"), "{error:?}");
            }
            chmod(&target, before);
        }
    }

    #[test]
    fn links_of_ours_are_followed_and_files_are_not_directories() {
        let root = tempfile::tempdir().unwrap();
        let real = prepare(&root.path().join("real/ca")).unwrap();
        symlink("real", root.path().join("link")).unwrap();
        assert_eq!(prepare(&root.path().join("link/ca")).unwrap(), real);
        symlink("loop", root.path().join("loop")).unwrap();
        assert!(matches!(
            prepare(&root.path().join("loop/ca")),
            Err(DirectoryError::Links(_))
        ));
        fs::write(root.path().join("file"), "").unwrap();
        assert!(matches!(
            prepare(&root.path().join("file")),
            Err(DirectoryError::NotADirectory(_))
        ));
        assert!(matches!(
            prepare(Path::new("etc/ca")),
            Err(DirectoryError::Relative(_))
        ));
    }

    #[test]
    fn what_belongs_to_another_account_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let us = rustix::process::geteuid().as_raw();
        // Seen from another account, the directory of this one is foreign.
        let error = prepare_as(root.path(), us + 1).unwrap_err();
        assert!(matches!(error, DirectoryError::Foreign { .. }), "{error:?}");
        assert!(error.hint().is_some());
    }
}
