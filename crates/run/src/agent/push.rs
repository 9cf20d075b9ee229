//! Copies the agent's binary to the CA node and starts it, in one exec.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::error::{StartError, WRONG_FILE};
use super::program::Program;
use crate::session::Node;
use base::shell::quote;
use node::{Process, visible};

/// Limit for the copy.
const PUSH_DEADLINE: Duration = Duration::from_secs(120);
/// Bytes read and sent at a time.
const PIECE: usize = 256 * 1024;
/// Limit for the shell's last output, once it is known to have failed.
const EXIT_DEADLINE: Duration = Duration::from_secs(5);
/// Printed by the shell when the binary has arrived: from then on its standard input is the
/// agent's.
const ARRIVED: &[u8] = b"arrived\n";

/// Wraps a script so that any login shell can start it.
pub(super) fn command(script: &str) -> String {
    format!("exec /bin/sh -c {}", quote(script))
}

/// The shell script. Nothing follows the binary on standard input until
/// [`ARRIVED`] has come back, so that a reader that reads ahead takes nothing of the agent's input;
/// an aborted transfer is too short.
fn script(directory: &str, size: u64, sha256: &str) -> String {
    format!(
        "( umask 077; d={directory}; n=\"$d/.new.$$\"; mkdir -p \"$d\" && chmod 700 \"$d\" && {{ find \"$d\" -type f -mtime +30 -exec rm -f {{}} + & head -c {size} >\"$n\"; }} && chmod 700 \"$n\" && h=$(sha256sum \"$n\") && [ \"${{h%% *}}\" = {sha256} ] || {{ rm -f \"$n\"; echo 'it did not arrive whole' >&2; exit {WRONG_FILE}; }}; mv -f \"$n\" \"$d/{sha256}\" ) || exit {WRONG_FILE}; echo arrived; exec {directory}/{sha256} ca-agent",
        directory = quote(directory),
    )
}

/// Sends the binary and starts it.
pub(super) async fn push(
    node: &Node,
    privileged: bool,
    directory: &str,
    program: &Program,
) -> Result<Process, StartError> {
    let size = program
        .size()
        .map_err(|error| StartError::Push(format!("this program cannot be read: {error}")))?;
    let script = script(directory, size, &program.sha256);
    let mut process = node.open(privileged, &command(&script)).await?;
    let arrived = async {
        if send(program, &mut process.stdin).await.is_err() {
            // The shell reports what is missing, or why it has ended.
            let _ = process.stdin.shutdown().await;
        }
        let mut said = [0; ARRIVED.len()];
        process.stdout.read_exact(&mut said).await.is_ok() && said == ARRIVED
    };
    match tokio::time::timeout(PUSH_DEADLINE, arrived).await {
        Ok(true) => Ok(process),
        Ok(false) => Err(StartError::Push(last_words(process).await)),
        Err(_) => Err(StartError::Push(format!(
            "it did not arrive within {} s",
            PUSH_DEADLINE.as_secs()
        ))),
    }
}

/// Sent in pieces: the binary is as large as everything else in memory. The node detects a part
/// that could not be read.
async fn send(
    program: &Program,
    stdin: &mut (dyn AsyncWrite + Send + Unpin),
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut sent = 0;
    loop {
        let count = program.read_at(&mut piece, sent)?;
        let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else {
            break;
        };
        stdin.write_all(read).await?;
        sent += count as u64;
    }
    stdin.flush().await
}

async fn last_words(process: Process) -> String {
    drop(process.stdin);
    match tokio::time::timeout(EXIT_DEADLINE, process.exit).await {
        Ok(Ok((status, stderr))) => {
            let said = String::from_utf8_lossy(&stderr);
            let lines: Vec<&str> = said.lines().map(str::trim).collect();
            let said = lines.join("; ");
            visible(if said.is_empty() {
                "nothing was said"
            } else {
                &said
            }) + &format!(" ({status})")
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the shell there neither went on nor ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{Child, Command, Stdio};

    use super::*;

    const PROGRAM: &[u8] = b"#!/bin/sh\necho \"$1\"\nexec cat\n";

    fn start(directory: &str, shell: &[&str]) -> Child {
        let sha256 = pki::sha256_hex(PROGRAM);
        Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &script(directory, PROGRAM.len() as u64, &sha256)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the shell starts: apt-get install dash busybox")
    }

    #[test]
    fn it_is_put_there_and_started_on_the_same_input() {
        for shell in [&["dash"][..], &["busybox", "sh"]] {
            let root = tempfile::tempdir().unwrap();
            let directory = root.path().join("it's new/bin");
            let mut child = start(directory.to_str().unwrap(), shell);
            let (mut input, mut output) =
                (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            input.write_all(PROGRAM).unwrap();
            let mut said = [0; ARRIVED.len()];
            output.read_exact(&mut said).unwrap();
            assert_eq!(said, ARRIVED);
            input.write_all(b"a request\n").unwrap();
            drop(input);
            let mut rest = String::new();
            output.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "ca-agent\na request\n", "{shell:?}");
            assert!(child.wait().unwrap().success());
            let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
            let files: Vec<_> = std::fs::read_dir(&directory).unwrap().collect();
            assert_eq!(files.len(), 1);
            let file = files[0].as_ref().unwrap();
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
    }

    #[test]
    fn what_arrives_in_part_or_altered_is_not_started() {
        let mut altered = PROGRAM.to_vec();
        altered[12] ^= 1;
        for sent in [&PROGRAM[..PROGRAM.len() - 1], &altered, b""] {
            let root = tempfile::tempdir().unwrap();
            let directory = root.path().join("bin");
            let mut child = start(directory.to_str().unwrap(), &["dash"]);
            child.stdin.take().unwrap().write_all(sent).unwrap();
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.stdout, b"");
            assert_eq!(output.status.code(), i32::try_from(WRONG_FILE).ok());
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("it did not arrive whole"), "{said}");
            assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
        }
    }
}
