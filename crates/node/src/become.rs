//! Root on a node, through sudo if the login account is not root.
//!
//! `sudo -n` comes first and costs nothing if it works. If a password is required, `sudo -S` asks
//! with a prompt that holds a nonce, and the shell that it starts prints a marker made of another:
//! the password is sent after the prompt and never twice, the input after the marker, and neither
//! can be mistaken for the other.

mod dialogue;
mod error;
mod password;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(super) use self::dialogue::nonce;
use self::dialogue::{Dialogue, Heard};
use super::begin::word;
use super::{Connection, ConnectionError, Limits, Marker, Output, Process};
use base::shell::quote;

pub use self::error::BecomeError;
pub use self::password::SudoPassword;

/// Limit for sudo to ask, and again to check the answer: PAM may query other servers, and waits
/// some seconds after a wrong password.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Not asked yet, or `sudo -n` works.
const QUIET: u8 = 0;
const WANTS_PASSWORD: u8 = 1;
const WRONG_PASSWORD: u8 = 2;

/// How commands become root on one node, and what is known about it so far.
#[derive(Debug)]
pub struct Become {
    password: Option<Arc<SudoPassword>>,
    /// There may be a password, but not for this host.
    withheld: bool,
    known: AtomicU8,
    patience: Duration,
}

/// The command line that runs `program`, a shell command, as root without a prompt, from any login
/// shell. The kernel or `id` tells whether it is root already.
fn quiet_command(program: &str) -> String {
    format!(
        "exec /bin/sh -c 'p=$(printf \"$1\"); e=; while read -r w _ e _; do case $w in Uid:) break ;; esac; done </proc/self/status; [ \"${{e:-$(id -u)}}\" = 0 ] && exec /bin/sh -c \"$p\"; LC_ALL=C; export LC_ALL; exec sudo -n -- /bin/sh -c \"$p\"' sh {}",
        word(program)
    )
}

/// The command line that runs `program` as root and may prompt for a password.
fn asking_command(program: &str, prompt: &str) -> String {
    format!(
        "exec /bin/sh -c 'LC_ALL=C; export LC_ALL; exec sudo -S -p \"$1\" -- /bin/sh -c \"$(printf \"$2\")\"' sh {} {}",
        quote(prompt),
        word(program)
    )
}

impl Become {
    /// For a node whose account has this password, if any.
    #[must_use]
    pub fn new(password: Option<Arc<SudoPassword>>) -> Self {
        Self {
            password,
            withheld: false,
            known: AtomicU8::new(QUIET),
            patience: ANSWER_DEADLINE,
        }
    }

    /// For a node whose host key is not verified: no password is sent there.
    #[must_use]
    pub fn without_password() -> Self {
        Self {
            withheld: true,
            ..Self::new(None)
        }
    }

    /// Runs the shell command `program` as root, feeds it `stdin` and collects its output.
    ///
    /// # Errors If it could not be started. A program that fails is not an error.
    pub async fn run(
        &self,
        connection: &dyn Connection,
        program: &str,
        stdin: &[u8],
        limits: Limits,
    ) -> Result<Output, BecomeError> {
        let begun = Instant::now();
        if self.known.load(Ordering::Relaxed) == QUIET {
            let marker = Marker::new()?;
            let command = quiet_command(&marker.before(program));
            let mut output = connection.run(&command, stdin, limits).await?;
            if marker.cut(&mut output) {
                return Ok(output);
            }
            match self.judge(&output.stderr)? {
                Said::WantsPassword => {}
                Said::Refusal => {
                    return Err(BecomeError::refused(&output.stderr, &output.status));
                }
                Said::Other => {
                    return Err(BecomeError::NotBegun {
                        status: output.status,
                        stderr: output.stderr,
                    });
                }
            }
        }
        let left = limits.deadline.saturating_sub(begun.elapsed());
        let work = async {
            let process = self.ask(connection, program).await?;
            collect(process, stdin, limits.max_output, connection).await
        };
        tokio::time::timeout(left, work).await.unwrap_or_else(|_| {
            Err(BecomeError::Connection(ConnectionError::Timeout {
                node: connection.description(),
                after: limits.deadline,
            }))
        })
    }

    /// Starts the shell command `program` as root and returns its streams; it is running by then.
    pub async fn open(
        &self,
        connection: &dyn Connection,
        program: &str,
    ) -> Result<Process, BecomeError> {
        if self.known.load(Ordering::Relaxed) != QUIET {
            return self.ask(connection, program).await;
        }
        let marker = Marker::new()?;
        let command = quiet_command(&marker.before(program));
        let mut dialogue =
            Dialogue::start(connection, &command, nonce()?, marker, self.patience).await?;
        match dialogue.until_prompts(1).await {
            Ok(_) => Ok(dialogue.process_from_marker()),
            Err(BecomeError::Refused { said })
                if self.judge(said.as_bytes())? == Said::WantsPassword =>
            {
                self.ask(connection, program).await
            }
            Err(error) => Err(error),
        }
    }

    /// The meaning of the output of a shell that did not start.
    fn judge(&self, stderr: &[u8]) -> Result<Said, BecomeError> {
        let said = String::from_utf8_lossy(stderr);
        let wants = [
            "a password is required",
            // sudo-rs, current and 0.2.5.
            "interactive authentication is required",
            "PAM error: Authentication token manipulation error",
        ];
        if wants.iter().any(|words| said.contains(words)) {
            if self.withheld {
                return Err(BecomeError::Unverified);
            }
            if self.password.is_none() {
                return Err(BecomeError::NoPassword);
            }
            self.known.store(WANTS_PASSWORD, Ordering::Relaxed);
            return Ok(Said::WantsPassword);
        }
        let refuses = ["sudo", "Sorry, "];
        if refuses.iter().any(|words| said.contains(words)) {
            return Ok(Said::Refusal);
        }
        Ok(Said::Other)
    }

    /// Starts `program` with the password; it is running when this returns.
    async fn ask(
        &self,
        connection: &dyn Connection,
        program: &str,
    ) -> Result<Process, BecomeError> {
        if self.known.load(Ordering::Relaxed) == WRONG_PASSWORD {
            return Err(BecomeError::WrongPassword);
        }
        let password = self.password.as_ref().ok_or(BecomeError::NoPassword)?;
        let unusable = |byte: &u8| matches!(byte, b'\n' | b'\r' | 0);
        if password.secret().expose().iter().any(unusable) {
            return Err(BecomeError::UnusablePassword);
        }
        // pam_faillock counts an unanswered prompt as a failure.
        if let Some(hosts) = password.given_up() {
            return Err(refused_elsewhere(&hosts));
        }
        let (prompt, marker) = (nonce()?, Marker::new()?);
        let command = asking_command(&marker.before(program), &format!("[{prompt}] "));
        let dialogue = Dialogue::start(connection, &command, prompt, marker, self.patience).await?;
        let answered = self.answer(dialogue, password, connection).await;
        // A node that echoes its input must not get the password printed.
        answered.map_err(|error| error.without(password.secret()))
    }

    /// Leads the dialogue to the marker.
    async fn answer(
        &self,
        mut dialogue: Dialogue,
        password: &SudoPassword,
        connection: &dyn Connection,
    ) -> Result<Process, BecomeError> {
        if dialogue.until_prompts(1).await? == Heard::Prompt {
            let turn = password.turn().await.map_err(|by| refused_elsewhere(&by))?;
            dialogue.send(password.secret()).await;
            // sudo's only reaction to a closed input at the second prompt comes when the dialogue
            // ends.
            let heard = match dialogue.until_prompts(2).await {
                Ok(Heard::Prompt) => Err(BecomeError::WrongPassword),
                heard => heard,
            };
            match heard {
                Ok(_) => password.accepted(),
                Err(BecomeError::WrongPassword) => {
                    self.known.store(WRONG_PASSWORD, Ordering::Relaxed);
                    password.refused(connection.description());
                }
                Err(_) => {}
            }
            drop(turn);
            heard?;
        }
        Ok(dialogue.process_from_marker())
    }
}

fn refused_elsewhere(hosts: &[String]) -> BecomeError {
    BecomeError::RefusedElsewhere {
        hosts: hosts.join(" and "),
    }
}

#[derive(PartialEq, Eq)]
enum Said {
    WantsPassword,
    Refusal,
    /// Not from sudo.
    Other,
}

/// Writes to and reads from a process at the same time, to its end.
async fn collect(
    process: Process,
    input: &[u8],
    limit: usize,
    connection: &dyn Connection,
) -> Result<Output, BecomeError> {
    let Process {
        mut stdin,
        stdout,
        stderr: _,
        exit,
    } = process;
    let feed = async {
        // A program may end without reading its input.
        let _ = stdin.write_all(input).await;
        let _ = stdin.shutdown().await;
    };
    let read = async {
        let mut kept = Vec::new();
        let more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        // `exit` reports how the connection ended.
        let _ = stdout.take(more).read_to_end(&mut kept).await;
        if kept.len() > limit {
            return Err(ConnectionError::OutputTooLarge {
                node: connection.description(),
                limit,
            });
        }
        let (status, stderr) = exit.await?;
        Ok(Output {
            status,
            stdout: kept,
            stderr,
        })
    };
    let feed = std::pin::pin!(feed);
    let read = std::pin::pin!(read);
    match futures::future::select(read, feed).await {
        futures::future::Either::Left((output, _)) => Ok(output?),
        futures::future::Either::Right(((), read)) => Ok(read.await?),
    }
}
