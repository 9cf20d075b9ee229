//! The CA: what it promises, what it keeps, and what the real `openssl` makes
//! of it.

mod adopt;
mod agent;
mod authority;
mod crash;
mod openssl;
mod rollover;
mod serve;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base::secret::Secret;
use pki::{AuthorityProfile, KeyType, PROTOCOL, Request, Subject};

const PASSPHRASE: &str = "correct horse battery staple";

fn passphrase() -> Secret {
    Secret::from(PASSPHRASE.to_owned())
}

/// The first request, by a holder of the lock who waits for no one.
fn hello(directory: &Path, holder: &str) -> Request {
    Request::Hello {
        protocol: PROTOCOL,
        directory: directory.to_owned(),
        holder: holder.to_owned(),
        wait_seconds: 0,
    }
}

fn ensure(key_type: KeyType) -> Request {
    Request::EnsureAuthority {
        profile: AuthorityProfile::new(Subject::named("lab CA"), key_type, 730),
        passphrase: passphrase(),
    }
}

/// Starts an ignored test in a process of its own, to be killed, when it has
/// said [`has_begun`]. `module` is its `module_path!()`.
fn start(module: &str, test: &str, directory: &Path) -> Child {
    let (_, module) = module.split_once("::").unwrap();
    let place = tempfile::tempdir().unwrap();
    let begun = place.path().join("begun");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{test}"), "--ignored"])
        .env("PKI_TEST_DIRECTORY", directory)
        .env("PKI_TEST_BEGUN", &begun)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let waiting = Instant::now();
    while !begun.exists() {
        assert!(
            waiting.elapsed() < Duration::from_secs(60),
            "{test} did not begin"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

/// The directory that [`start`] was given; none in an ordinary run of the tests.
fn given_directory() -> Option<PathBuf> {
    std::env::var_os("PKI_TEST_DIRECTORY").map(PathBuf::from)
}

fn has_begun() {
    std::fs::write(std::env::var_os("PKI_TEST_BEGUN").unwrap(), "").unwrap();
}
