//! Everything that a name can lead to, and every way that leads out.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use super::*;

const LIMIT: u64 = 1000;

/// A directory with a secret beside it, and things of every kind in it.
fn scene() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let inside = root.path().join("inside");
    std::fs::create_dir_all(inside.join("sub/deep")).unwrap();
    std::fs::write(root.path().join("secret"), "secret").unwrap();
    std::fs::write(inside.join("file"), "content").unwrap();
    std::fs::write(inside.join("sub/deep/file"), "deep").unwrap();
    std::fs::write(inside.join("large"), vec![b'x'; 1001]).unwrap();
    let sparse = File::create(inside.join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        inside.join("fifo"),
        rustix::fs::FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    drop(UnixListener::bind(inside.join("socket")).unwrap());
    root
}

/// Nothing here may be waited for.
fn at_once<T>(act: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = act();
    assert!(begun.elapsed() < Duration::from_secs(2));
    result
}

#[test]
fn only_bounded_regular_files_are_read() {
    let root = scene();
    let inside = root.path().join("inside");
    let beneath = Beneath::open(&inside).unwrap();
    symlink("/dev/zero", inside.join("zero")).unwrap();
    assert_eq!(read(&inside.join("file"), LIMIT).unwrap(), b"content");
    for (name, words) in [
        ("none", "does not exist"),
        ("file/none", "does not exist"),
        ("sub", "a directory"),
        ("fifo", "a FIFO"),
        ("socket", "a socket"),
        ("large", "larger than 1000 bytes"),
        ("sparse", "larger than 1000 bytes"),
    ] {
        let fault = at_once(|| read(&inside.join(name), LIMIT)).unwrap_err();
        assert!(fault.to_string().contains(words), "{name}: {fault}");
        let fault = at_once(|| beneath.read(Path::new(name), LIMIT)).unwrap_err();
        assert!(fault.to_string().contains(words), "{name}: {fault}");
    }
    let fault = at_once(|| read(&inside.join("zero"), LIMIT)).unwrap_err();
    assert!(fault.to_string().contains("a device"), "{fault}");
    let fault = at_once(|| read_named(Path::new("/dev/zero"), LIMIT)).unwrap_err();
    assert!(fault.to_string().contains("a device"), "{fault}");
}

#[test]
fn a_path_stays_beneath_its_directory() {
    let root = scene();
    let inside = root.path().join("inside");
    let secret = root.path().join("secret");
    // A link, and what is read through it; none: it leads out.
    let table: [(&str, PathBuf, Option<&str>); 14] = [
        ("same", "file".into(), Some("content")),
        ("down", "sub/deep/file".into(), Some("deep")),
        ("sub/up", "../file".into(), Some("content")),
        (
            "sub/round",
            "../sub/deep/../../file".into(),
            Some("content"),
        ),
        ("chain", "sub/up".into(), Some("content")),
        ("whole", inside.join("file"), Some("content")),
        ("out", "../secret".into(), None),
        ("sub/out", "../../secret".into(), None),
        ("absolute", secret.clone(), None),
        ("through", "sub/out".into(), None),
        ("back", "../inside/file".into(), None),
        ("self", "/proc/self/root".into(), None),
        ("passwd", "/etc/passwd".into(), None),
        (
            "beside",
            PathBuf::from(format!("{}-more", inside.display())),
            None,
        ),
    ];
    let beneath = Beneath::open(&inside).unwrap();
    for (name, target, expected) in &table {
        symlink(target, inside.join(name)).unwrap();
        let read = beneath.read(Path::new(name), LIMIT);
        match expected {
            Some(expected) => assert_eq!(read.unwrap(), expected.as_bytes(), "{name}"),
            None => assert!(matches!(read, Err(FileFault::Outside)), "{name}: {read:?}"),
        }
    }
    for path in ["../secret", "sub/../../secret", "/etc/passwd"] {
        let read = beneath.read(Path::new(path), LIMIT);
        assert!(matches!(read, Err(FileFault::Outside)), "{path}: {read:?}");
    }
    symlink("loop", inside.join("loop")).unwrap();
    assert!(at_once(|| beneath.read(Path::new("loop"), LIMIT)).is_err());
    symlink("..", inside.join("parent")).unwrap();
    assert!(matches!(
        beneath.list(Path::new("parent")),
        Err(FileFault::Outside)
    ));
    assert!(matches!(
        beneath.kind(Path::new("parent/secret")),
        Err(FileFault::Outside)
    ));
    assert_eq!(beneath.list(Path::new("sub/deep")).unwrap(), ["file"]);
    assert_eq!(beneath.kind(Path::new("none")).unwrap(), None);
    assert_eq!(
        beneath.kind(Path::new("sub")).unwrap(),
        Some(FileKind::Directory)
    );
    assert!(read_in_place(&inside.join("out"), LIMIT).is_err());
    assert_eq!(
        read_in_place(&inside.join("whole"), LIMIT).unwrap(),
        "content"
    );
}

/// Its links still lead nowhere else.
#[test]
fn a_directory_may_itself_be_a_link() {
    let root = scene();
    symlink("inside", root.path().join("link")).unwrap();
    symlink("../secret", root.path().join("inside/out")).unwrap();
    let beneath = Beneath::open(&root.path().join("link")).unwrap();
    assert_eq!(beneath.read(Path::new("file"), LIMIT).unwrap(), b"content");
    assert_eq!(
        beneath.read(Path::new("sub/../file"), LIMIT).unwrap(),
        b"content"
    );
    let read = beneath.read(Path::new("out"), LIMIT);
    assert!(matches!(read, Err(FileFault::Outside)), "{read:?}");
}

/// A directory that is moved while a path in it is resolved: what is read is
/// what was inside, or nothing.
#[test]
fn a_directory_that_moves_leads_nowhere_else() {
    let root = scene();
    let inside = root.path().join("inside");
    let elsewhere = root.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    symlink("sub/deep/../../file", inside.join("winding")).unwrap();
    let beneath = Beneath::open(&inside).unwrap();
    std::thread::scope(|scope| {
        let places = (inside.join("sub/deep"), elsewhere.join("deep"));
        let mover = scope.spawn(move || {
            for _ in 0..2000 {
                std::fs::rename(&places.0, &places.1).unwrap();
                std::fs::rename(&places.1, &places.0).unwrap();
            }
        });
        while !mover.is_finished() {
            match beneath.read(Path::new("winding"), LIMIT) {
                Ok(bytes) => assert_eq!(bytes, b"content"),
                Err(fault) => assert!(matches!(fault, FileFault::Missing), "{fault}"),
            }
        }
    });
}

#[test]
fn a_log_is_a_private_file_and_no_link() {
    let root = scene();
    let log = root.path().join("log");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    drop(append(&log).unwrap());
    assert_eq!(mode(&log), 0o600);
    drop(append(&log).unwrap());
    for (given, accepted) in [
        (0o640, true),
        (0o644, false),
        (0o660, false),
        (0o602, false),
    ] {
        std::fs::set_permissions(&log, std::fs::Permissions::from_mode(given)).unwrap();
        assert_eq!(append(&log).is_ok(), accepted, "{given:04o}");
        assert_eq!(mode(&log), given);
    }
    let link = root.path().join("link");
    for target in ["secret", "not-there"] {
        symlink(target, &link).unwrap();
        let fault = append(&link).unwrap_err();
        assert!(fault.to_string().contains("a symbolic link"), "{fault}");
        std::fs::remove_file(&link).unwrap();
    }
    assert!(!root.path().join("not-there").exists());
    for name in ["inside", "inside/fifo", "inside/socket"] {
        let fault = at_once(|| append(&root.path().join(name))).unwrap_err();
        assert!(matches!(fault, FileFault::Kind(_)), "{name}: {fault}");
    }
    assert!(at_once(|| append(Path::new("/dev/null"))).is_err());
}

/// `-e @<(program)`: a pipe of the operator's own, and nothing that a name in a
/// directory leads to.
#[test]
fn a_pipe_is_read_that_this_process_was_started_with() {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    for directory in ["/dev/fd", "/proc/self/fd"] {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"piped").unwrap();
        drop(writer);
        let path = PathBuf::from(format!("{directory}/{}", reader.as_raw_fd()));
        assert_eq!(read_named(&path, LIMIT).unwrap(), b"piped");
        assert!(matches!(read(&path, LIMIT), Err(FileFault::Kind(_))));
    }
    let root = scene();
    let fifo = root.path().join("inside/fifo");
    assert!(at_once(|| read_named(&fifo, LIMIT)).is_err());
}
