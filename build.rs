//! Tells the program which commit it is built from, for `--version`.
//!
//! Only a release gets it: another commit would otherwise build everything
//! again all day long. `DTLS_DEPLOY_COMMIT` in the environment counts first, for
//! builds from an archive.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=DTLS_DEPLOY_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let commit = std::env::var("DTLS_DEPLOY_COMMIT")
        .ok()
        .filter(|commit| !commit.is_empty())
        .or_else(of_release)
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=DTLS_DEPLOY_COMMIT={commit}");
}

/// The commit of a release's sources, with `-modified` where they differ from
/// it; none outside of a repository.
fn of_release() -> Option<String> {
    if std::env::var("PROFILE").ok()? != "release" {
        return Some("unknown (a development build)".to_owned());
    }
    for moves in ["HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", moves]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let is_clean = git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(commit + if is_clean { "" } else { "-modified" })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
