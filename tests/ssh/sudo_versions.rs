//! sudo of several Debian releases, and sudo-rs, each with a password: over the
//! sshd of the same release, in a chroot. See `sshd_versions.rs`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use crate::ssh_support::debian::{PASSWORD, system};
use crate::ssh_support::{LIMITS, Setup, Sshd, works};
use base::secret::Secret;
use node::{Become, BecomeError, SudoPassword, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// `directory` is where that sudo lies.
async fn becomes_root(suite: &str, directory: &str) {
    let root = system(suite);
    let sshd = Sshd::with(&Setup {
        root: Some(&root),
        config: format!("SetEnv PATH={directory}:/usr/bin:/bin SHLVL=2"),
        ..Setup::default()
    });
    // sshd reads the file as the account.
    fs::set_permissions(sshd.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let target = Target {
        user: Some("ubuntu".to_owned()),
        ..sshd.target()
    };
    let connection = works(&target, &sshd.context()).await;
    let password = |text: &str| {
        Become::new(Some(Arc::new(SudoPassword::new(Secret::from(
            text.to_owned(),
        )))))
    };

    let script = b"echo began; id -u; echo complaint >&2; exit 3\n";
    // First the wrong one: sudo may remember the right one for a while.
    let wrong = password("something else");
    for _ in 0..2 {
        let error = wrong
            .run(&*connection, "exec /bin/sh", script, LIMITS)
            .await
            .unwrap_err();
        assert!(matches!(error, BecomeError::WrongPassword), "{error}");
    }
    let error = Become::new(None)
        .open(&*connection, "exec cat")
        .await
        .unwrap_err();
    assert!(matches!(error, BecomeError::NoPassword), "{error}");

    let right = password(PASSWORD);
    for _ in 0..2 {
        let output = right
            .run(&*connection, "exec /bin/sh", script, LIMITS)
            .await
            .unwrap();
        assert_eq!(output.stdout, b"began\n0\n");
        // sudo-rs leaves the end of its prompt before it.
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.lines().last(), Some("complaint"), "{said}");
        assert_eq!(output.status.to_string(), "exit code 3");
    }
    let mut process = right.open(&*connection, "exec cat").await.unwrap();
    let sent: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut heard = Vec::new();
    let feed = async {
        process.stdin.write_all(&sent).await.unwrap();
        process.stdin.shutdown().await.unwrap();
    };
    let ((), read) = tokio::join!(feed, process.stdout.read_to_end(&mut heard));
    read.unwrap();
    assert!(heard == sent, "{} bytes came back", heard.len());
    assert!(process.exit.await.unwrap().0.success());
    connection.close().await;
}

#[tokio::test]
async fn debian_11() {
    becomes_root("bullseye", "/usr/bin").await;
}

#[tokio::test]
async fn debian_13() {
    becomes_root("trixie", "/usr/bin").await;
}

#[tokio::test]
async fn debian_unstable() {
    becomes_root("sid", "/usr/bin").await;
}

#[tokio::test]
async fn sudo_rs_of_debian_13() {
    becomes_root("trixie", "/usr/lib/cargo/bin").await;
}

#[tokio::test]
async fn sudo_rs_of_debian_unstable() {
    becomes_root("sid", "/usr/lib/cargo/bin").await;
}
