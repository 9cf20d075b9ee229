//! Files that `status` writes for others.

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Replaces the file atomically: a reader gets the old or the new text. `mode` applies regardless
/// of the umask.
///
/// # Errors If it cannot be written. The file is then unchanged.
pub fn replace(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let name = path.file_name().ok_or_else(|| {
        std::io::Error::new(std::io::ErrorKind::InvalidInput, "this is no file name")
    })?;
    // node_exporter reads only names that end in .prom.
    let draft = path.with_file_name(format!(
        ".{}.{}.new",
        name.to_string_lossy(),
        std::process::id()
    ));
    let written = draw(&draft, text, mode).and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written
}

fn draw(draft: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(draft)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dtls.prom");
        for (before, after) in [(0o600, 0o644), (0o644, 0o600)] {
            std::fs::write(&path, "old").unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
            replace(&path, "new\n", after).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, after);
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        }
        // A directory cannot be replaced by a file: the draft is removed.
        std::fs::create_dir(directory.path().join("taken")).unwrap();
        replace(&directory.path().join("taken"), "new\n", 0o600).unwrap_err();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
