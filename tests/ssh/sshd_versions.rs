//! Real sshd of several Debian releases, old and new, from Debian's packages.
//!
//! Each release is unpacked once into `target/lab/debian-SUITE` (mmdebstrap, 5 s
//! to 25 s) and its sshd started in a chroot there, on this machine's loopback. Needs
//! root and mmdebstrap; what cannot be unpacked fails the test.

use std::fs;
use std::time::Duration;

use crate::ssh_support::debian::system;
use crate::ssh_support::{LIMITS, Setup, Sshd, keygen, public, works};
use node::Target;
use tokio::io::AsyncReadExt as _;

/// Every kind of host key and login key that the release has by default, a
/// script, a process, and a dialled port.
async fn speaks_with(suite: &str, version: &str) {
    let root = system(suite);
    let sshd = Sshd::with(&Setup {
        host_keys: &["ed25519", "rsa", "ecdsa"],
        root: Some(&root),
        ..Setup::default()
    });
    let mut accepted = String::new();
    let mut keys = Vec::new();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let key = keygen(sshd.dir.path(), &format!("login_{kind}"), kind, "");
        accepted.push_str(&public(&key));
        accepted.push('\n');
        keys.push(key);
    }
    fs::write(sshd.path("authorized_keys"), accepted).unwrap();
    for (host, key) in ["ed25519", "rsa", "ecdsa"].iter().zip(&keys) {
        let line = format!("{} {}\n", sshd.known_as(), sshd.host_key(host));
        let target = Target {
            identity_files: vec![key.clone()],
            ..sshd.bare_target(sshd.write_known_hosts(&line))
        };
        let connection = works(&target, &sshd.context()).await;
        let input: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let output = connection.run("exec cat", &input, LIMITS).await.unwrap();
        assert!(output.stdout == input, "{host}: what cat gave back");
        let mut stream = connection
            .dial("127.0.0.1", sshd.port, Duration::from_secs(5))
            .await
            .unwrap();
        let mut banner = vec![0; "SSH-2.0-".len() + version.len()];
        stream.read_exact(&mut banner).await.unwrap();
        assert_eq!(
            String::from_utf8_lossy(&banner),
            format!("SSH-2.0-{version}")
        );
        connection.close().await;
    }
}

#[tokio::test]
async fn debian_11() {
    speaks_with("bullseye", "OpenSSH_8.4").await;
}

#[tokio::test]
async fn debian_13() {
    speaks_with("trixie", "OpenSSH_10.0").await;
}

/// Whatever is newest: the version moves, so only its beginning is known.
#[tokio::test]
async fn debian_unstable() {
    speaks_with("sid", "OpenSSH_1").await;
}
