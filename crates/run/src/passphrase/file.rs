//! A file with a secret in its first line, named by the operator.
//!
//! A shell's pipe, such as `<(pass show ca)`, works too.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{LONGEST, PassphraseError};

/// The kernel's file system of anonymous pipes (linux/magic.h).
const PIPEFS_MAGIC: u64 = 0x5049_5045;
const OF_GROUP_AND_OTHERS: u32 = 0o077;
const OF_OTHERS: u32 = 0o007;

/// Its bytes, up to the maximum.
pub(super) fn read(path: PathBuf) -> Result<Zeroizing<Vec<u8>>, PassphraseError> {
    let closed_to = if is_credential(&path) {
        // systemd gives the unit's account access with an ACL, which shows in the group's bits
        // (systemd.exec(5)).
        OF_OTHERS
    } else {
        OF_GROUP_AND_OTHERS
    };
    read_closed_to(path, closed_to)
}

fn is_credential(path: &Path) -> bool {
    std::env::var_os("CREDENTIALS_DIRECTORY")
        .is_some_and(|directory| path.parent() == Some(Path::new(&directory)))
}

fn read_closed_to(path: PathBuf, closed_to: u32) -> Result<Zeroizing<Vec<u8>>, PassphraseError> {
    // The opened file is checked, even if the path leads elsewhere by now.
    let read = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
    let (found, file) = match read {
        Ok(read) => read,
        Err(reason) => return Err(PassphraseError::File { path, reason }),
    };
    if !is_nameless_pipe(&file, &found) {
        check(&path, &found, closed_to)?;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(4100));
    match file.take(LONGEST + 2).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(reason) => Err(PassphraseError::File { path, reason }),
    }
}

/// It has no name to find it by: only this process and the one that passed it have access.
fn is_nameless_pipe(file: &File, found: &Metadata) -> bool {
    found.file_type().is_fifo()
        && rustix::fs::fstatfs(file)
            .is_ok_and(|system| u64::try_from(system.f_type) == Ok(PIPEFS_MAGIC))
}

fn check(path: &Path, found: &Metadata, closed_to: u32) -> Result<(), PassphraseError> {
    let path = || path.to_owned();
    let kind = found.file_type();
    if !kind.is_file() && !kind.is_fifo() {
        return Err(PassphraseError::NoFile(path()));
    }
    let us = rustix::process::geteuid().as_raw();
    if found.uid() != us && found.uid() != 0 {
        return Err(PassphraseError::Foreign {
            path: path(),
            owner: found.uid(),
        });
    }
    if found.mode() & closed_to != 0 {
        return Err(PassphraseError::Open {
            path: path(),
            mode: found.mode() & 0o7777,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn text(read: Result<Zeroizing<Vec<u8>>, PassphraseError>) -> Option<String> {
        read.ok()
            .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn only_its_owner_may_read_a_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "secret\n").unwrap();
        for (mode, ours, credentials) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o440, false, true),
            (0o640, false, true),
            (0o604, false, false),
            (0o644, false, false),
            (0o602, false, false),
        ] {
            chmod(file.path(), mode);
            for (closed_to, fine) in [(OF_GROUP_AND_OTHERS, ours), (OF_OTHERS, credentials)] {
                let read = read_closed_to(file.path().to_owned(), closed_to);
                if let Err(error) = &read {
                    let wanted = format!("chmod 600 {}", file.path().display());
                    assert!(error.hint().contains(&wanted), "{error}: {}", error.hint());
                }
                assert_eq!(text(read).is_some(), fine, "{mode:o} {closed_to:o}");
            }
        }
        chmod(file.path(), 0o600);
        let link = file.path().with_extension("link");
        symlink(file.path(), &link).unwrap();
        assert_eq!(text(read(link.clone())).as_deref(), Some("secret\n"));
        fs::remove_file(link).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(file.path(), Some(65_534), None).unwrap();
            assert!(matches!(
                read(file.path().to_owned()),
                Err(PassphraseError::Foreign { owner: 65_534, .. })
            ));
        }
    }

    #[test]
    fn a_pipe_is_read_and_a_device_or_directory_is_not() {
        use std::io::Write as _;
        use std::os::fd::AsRawFd as _;

        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"from a pipe\n").unwrap();
        drop(writer);
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        assert_eq!(text(read(path.into())).as_deref(), Some("from a pipe\n"));
        for path in ["/dev/zero", "/dev/null", "/"] {
            let read = read(PathBuf::from(path));
            assert!(matches!(read, Err(PassphraseError::NoFile(_))), "{path}");
        }
        // A named pipe is treated like any other file.
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        for (mode, fine) in [("600", true), ("644", false)] {
            let made = std::process::Command::new("mkfifo")
                .args(["-m", mode])
                .arg(&fifo)
                .status();
            assert!(made.unwrap().success());
            let there = fifo.clone();
            let writing = std::thread::spawn(move || fs::write(there, "of a name\n"));
            assert_eq!(text(read(fifo.clone())).is_some(), fine, "{mode}");
            let _ = writing.join();
            fs::remove_file(&fifo).unwrap();
        }
    }

    #[test]
    fn no_more_is_read_than_a_passphrase_has() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        let bytes = read(file.path().to_owned()).unwrap();
        assert!(bytes.len() as u64 <= LONGEST + 2);
    }
}
