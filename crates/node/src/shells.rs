//! The shells that tests run scripts in.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

pub(crate) const SHELLS: [&[&str]; 3] = [&["dash"], &["bash", "--posix"], &["busybox", "ash"]];

/// What a shell makes of its standard input.
pub(crate) fn run(shell: &[&str], text: &[u8]) -> Output {
    run_with(shell, text, &[])
}

/// As [`run`], with more in its environment.
pub(crate) fn run_with(shell: &[&str], text: &[u8], environment: &[(&str, &str)]) -> Output {
    let mut child = Command::new(shell[0])
        .args(&shell[1..])
        .env_remove("SUDO_USER")
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("apt-get install dash bash busybox");
    // A shell that has read enough closes its input.
    let _ = child.stdin.take().unwrap().write_all(text);
    child.wait_with_output().unwrap()
}
