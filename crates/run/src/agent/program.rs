//! The binary that is copied to the CA node, and its name there.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustix::fs::{Mode, OFlags};

/// A smaller binary with only the CA's part, a third of the size. It is copied instead of the whole
/// program if it is installed next to it, or in `../lib/dtls-deploy`.
pub const COMPANION: &str = "dtls-deploy-agent";

/// The guard of a daemon, installed next to the companion.
const GUARD: &str = "dtls-deploy-guard";

/// Maximum bytes: far above any static build.
const LARGEST: u64 = 512 << 20;

/// This program, even if its file was renamed or removed.
const OWN: &str = "/proc/self/exe";

/// The binary to copy. Its bytes are read only when needed: most runs find it on the CA node.
#[derive(Debug, Clone)]
pub struct Program {
    /// Opened at the start: later, connections may have used all file descriptors.
    file: Arc<File>,
    pub sha256: String,
}

impl Program {
    /// Opens a binary: the one at `path`, or the companion, or this program.
    pub fn read(path: Option<PathBuf>) -> std::io::Result<Self> {
        if let Some(path) = path {
            return Self::from_file(base::file::open(&path, LARGEST)?);
        }
        let own = File::open(OWN)?;
        let companion = std::env::current_exe().ok().and_then(|at| {
            let directory = at.parent()?.to_owned();
            companion(&directory, own.metadata().ok()?.uid(), COMPANION)
        });
        Self::from_file(companion.unwrap_or(own))
    }

    /// The bytes of the guard binary, if it is installed next to the companion.
    #[must_use]
    pub fn guard() -> Option<Vec<u8>> {
        let own = File::open(OWN).ok()?.metadata().ok()?.uid();
        let at = std::env::current_exe().ok()?;
        let mut bytes = Vec::new();
        let file = companion(at.parent()?, own, GUARD)?;
        file.take(LARGEST).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    fn from_file(mut opened: File) -> std::io::Result<Self> {
        let mut digest = digest::Context::new(&digest::SHA256);
        let mut piece = vec![0; 256 * 1024];
        loop {
            let count = opened.read(&mut piece)?;
            let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else {
                break;
            };
            digest.update(read);
        }
        let sha256 = base::hex(digest.finish().as_ref());
        Ok(Self {
            file: Arc::new(opened),
            sha256,
        })
    }

    /// Size in bytes.
    pub(super) fn size(&self) -> std::io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads its bytes from an offset, up to the length of `piece`; 0 at the end.
    pub(super) fn read_at(&self, piece: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.file.read_at(piece, offset)
    }

    /// Its path on the CA node; only the account that runs it can write there.
    #[must_use]
    pub fn directory(privileged: bool) -> &'static str {
        if privileged {
            "/var/lib/dtls-deploy/bin"
        } else {
            "~/.local/share/dtls-deploy/bin"
        }
    }

    /// Its path in the form in which facts are requested.
    #[must_use]
    pub fn path(&self, privileged: bool) -> String {
        format!("{}/{}", Self::directory(privileged), self.sha256)
    }
}

/// The binaries installed with a program in `directory` that `owner` owns.
fn companion(directory: &Path, owner: u32, name: &str) -> Option<File> {
    [directory.to_owned(), directory.join("../lib/dtls-deploy")]
        .iter()
        .find_map(|place| trusted(&place.join(name), owner))
}

/// It handles the CA's passphrase, so it must not be a file that another account could have put
/// into a shared directory.
fn trusted(path: &Path, owner: u32) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let found = file.metadata().ok()?;
    let own = found.uid() == owner || found.uid() == 0;
    (found.is_file() && own && found.mode() & 0o022 == 0).then_some(file)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn text(file: Option<File>) -> Option<String> {
        let mut text = String::new();
        file?.read_to_string(&mut text).unwrap();
        Some(text)
    }

    fn put(path: &Path, content: &str, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn beside_the_program_comes_before_the_library_directory() {
        let root = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let bin = root.path().join("bin");
        fs::create_dir(&bin).unwrap();
        assert_eq!(text(companion(&bin, own, COMPANION)), None);
        put(
            &root.path().join("lib/dtls-deploy").join(COMPANION),
            "library",
            0o755,
        );
        assert_eq!(
            text(companion(&bin, own, COMPANION)).as_deref(),
            Some("library")
        );
        put(&bin.join(COMPANION), "beside", 0o755);
        assert_eq!(
            text(companion(&bin, own, COMPANION)).as_deref(),
            Some("beside")
        );
    }

    #[test]
    fn one_that_others_could_have_written_is_none() {
        let root = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let path = root.path().join(COMPANION);
        put(&path, "mine", 0o775);
        assert_eq!(text(trusted(&path, own)), None, "writable by a group");
        put(&path, "mine", 0o757);
        assert_eq!(text(trusted(&path, own)), None, "writable by everybody");
        put(&path, "mine", 0o755);
        assert_eq!(text(trusted(&path, own)).as_deref(), Some("mine"));
        // Only root can give a file to another owner.
        if own == 0 {
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            assert_eq!(text(trusted(&path, own)), None, "of another account");
            assert_eq!(
                text(trusted(&path, 65_534)).as_deref(),
                Some("mine"),
                "of the account whose program this is"
            );
        }
        let link = root.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(text(trusted(&link, 65_534)), None, "a link");
        assert_eq!(text(trusted(root.path(), own)), None, "a directory");
    }
}
