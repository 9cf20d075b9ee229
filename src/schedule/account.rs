//! The account that a schedule runs as, and the files that it must be able to trust.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::ScheduleError;
use super::systemd;

/// Maximum symbolic links on a path, as in the kernel (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// An account of this machine.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
}

impl Account {
    /// Looks it up through the name service, as systemd does.
    pub(super) fn find(name: &str) -> Result<Self, ScheduleError> {
        let none = || ScheduleError::NoAccount(name.to_owned());
        let line = systemd::output("getent", &["passwd", "--", name]).map_err(|_| none())?;
        Self::parse(line.trim_end()).ok_or_else(none)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = PathBuf::from(fields.nth(1)?);
        home.is_absolute().then_some(Self {
            name,
            uid,
            gid,
            home,
        })
    }

    /// The journal directory of its runs: docs/journal.md.
    pub(super) fn state(&self) -> PathBuf {
        self.home.join(".local/state/dtls-deploy")
    }

    /// Creates that directory as the account itself, which may have links there.
    pub(super) fn make_state(&self) -> Result<(), ScheduleError> {
        let state = self.state();
        let output = Command::new("mkdir")
            .args(["-p", "-m", "0700", "--"])
            .arg(&state)
            .uid(self.uid)
            .gid(self.gid)
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .map_err(ScheduleError::file(&state))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(ScheduleError::file(&state)(std::io::Error::other(said)))
    }

    /// Requires that only root and this account can change it: each directory on the path, each
    /// link and its target, and the file.
    pub(super) fn check(&self, path: &Path) -> Result<(), ScheduleError> {
        let named = std::path::absolute(path).map_err(ScheduleError::file(path))?;
        let mut here = PathBuf::from("/");
        let mut rest: Vec<OsString> = parts(&named);
        let mut links = 0;
        self.judge(&here, rest.is_empty())?;
        while let Some(part) = rest.pop() {
            if part == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&part);
            let found = self.judge(&next, rest.is_empty())?;
            if !found.is_symlink() {
                here = next;
                continue;
            }
            links += 1;
            let target = std::fs::read_link(&next).map_err(ScheduleError::file(&next))?;
            if links > MOST_LINKS {
                let error = io::Error::from(rustix::io::Errno::LOOP);
                return Err(ScheduleError::file(&next)(error));
            }
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            rest.extend(parts(&target));
        }
        // `..` in a link can lead to a directory that is only on the path.
        self.judge(&here, true).map(drop)
    }

    /// Checks one component of the path, without following links.
    fn judge(&self, place: &Path, is_last: bool) -> Result<Metadata, ScheduleError> {
        let found = place
            .symlink_metadata()
            .map_err(ScheduleError::file(place))?;
        // The mode of a link has no meaning. In a sticky directory only the owner of a file can
        // rename it.
        let is_open = !found.is_symlink()
            && (open_to(&found) != 0 || is_open_by_list(place, &found))
            && (is_last || !found.is_dir() || found.mode() & 0o1000 == 0);
        let why = if found.uid() != 0 && found.uid() != self.uid {
            format!("it belongs to the account number {}", found.uid())
        } else if is_open {
            format!("its mode is {:04o}", found.mode() & 0o7777)
        } else {
            return Ok(found);
        };
        Err(ScheduleError::Unsafe {
            path: place.to_owned(),
            user: self.name.clone(),
            why,
        })
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    #[cfg(test)]
    pub(super) fn this(uid: u32) -> Self {
        Self {
            name: "me".to_owned(),
            uid,
            gid: 0,
            home: PathBuf::from("/"),
        }
    }
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    });
    parts.collect()
}

/// Whether an ACL lets other accounts write. The group's bits are then its mask (acl(5)).
fn is_open_by_list(place: &Path, found: &Metadata) -> bool {
    let size = rustix::fs::getxattr(place, "system.posix_acl_access", &mut [0_u8; 0][..]);
    found.mode() & 0o020 != 0 && size.is_ok_and(|size| size > 0)
}

/// The mode bits by which others may write. Debian's group staff owns /usr/local, and its members
/// count as root (Debian Policy, 9.1.2).
fn open_to(found: &Metadata) -> u32 {
    const STAFF: u32 = 50;
    let group = if [0, STAFF].contains(&found.gid()) {
        0
    } else {
        0o020
    };
    found.mode() & (0o002 | group)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_account_is_a_line_of_seven_fields() {
        let account = Account::parse("ubuntu:x:1000:1001:,,,:/home/ubuntu:/bin/bash").unwrap();
        assert_eq!((account.uid, account.gid), (1000, 1001));
        assert_eq!(
            account.state(),
            Path::new("/home/ubuntu/.local/state/dtls-deploy")
        );
        assert!(Account::parse("nobody:x:1:1::").is_none());
        assert!(Account::parse("ubuntu:x:many:1001::/home/ubuntu:").is_none());
    }

    #[test]
    fn what_others_could_change_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let owner = directory.path().metadata().unwrap().uid();
        let account = Account::this(owner);
        let file = directory.path().join("inventory.yaml");
        std::fs::write(&file, "").unwrap();
        let mode = |path: &Path, mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(path, permissions).unwrap();
        };
        mode(&file, 0o644);
        account.check(&file).unwrap();
        mode(&file, 0o666);
        assert!(
            account
                .check(&file)
                .unwrap_err()
                .to_string()
                .contains("0666")
        );
        mode(&file, 0o644);
        mode(directory.path(), 0o777);
        assert!(account.check(&file).is_err());
        mode(directory.path(), 0o1777);
        account.check(&file).unwrap();
        assert!(account.check(&directory.path().join("none")).is_err());
    }
}
