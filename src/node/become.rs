//! Root on a node, through sudo where the account that logged in is not root.
//!
//! Comes in: a shell command and what it reads. Goes out: its output, or the
//! process itself, running as root. Called by [`crate::session`] for scripts
//! and by [`crate::agent`] for the CA agent.
//!
//! `sudo -n` comes first and costs nothing where it works. Where a password is
//! wanted, `sudo -S` asks with a prompt that holds a nonce, and the shell that
//! it starts prints a marker made of another: the password is sent after the
//! prompt and never twice, the input after the marker, and neither can be
//! taken for the other.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::script::quote;
use super::{Connection, ConnectionError, ExitStatus, Limits, Output, Process, visible};
use crate::secret::Secret;

/// For sudo to ask, and again for it to judge the answer: PAM may ask servers
/// of its own, and waits some seconds after a wrong password.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// What may be said before the marker: messages of the day, lectures.
const MOST_SAID: usize = 64 * 1024;

/// Not asked yet, or `sudo -n` works.
const QUIET: u8 = 0;
const WANTS_PASSWORD: u8 = 1;
const WRONG_PASSWORD: u8 = 2;

/// How commands become root on one node, and what is known about it by now.
#[derive(Debug, Default)]
pub struct Become {
    password: Option<Secret>,
    known: AtomicU8,
}

/// Why nothing could be started as root.
#[derive(Debug, thiserror::Error)]
pub enum BecomeError {
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// sudo asks for a password and there is none to give.
    #[error("sudo wants a password for this account, and none was given")]
    NoPassword,
    /// sudo refused the password, which was sent once.
    #[error("sudo refused the password")]
    WrongPassword,
    /// The password holds a line break or a NUL: no prompt can take it.
    #[error("the password for sudo holds a line break or a NUL character")]
    UnusablePassword,
    /// sudo gave its reason.
    #[error("sudo did not start a shell as root: {said}")]
    Refused {
        /// Its last words.
        said: String,
    },
    /// Neither a question nor a shell within the deadline.
    #[error("sudo neither asked for a password nor started a shell within {after:?}: {said}")]
    NoAnswer {
        /// How long it was waited for.
        after: Duration,
        /// Its last words.
        said: String,
    },
}

impl BecomeError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Connection(_) => return None,
            Self::NoPassword => {
                "set ansible_become_password for this host, or let --ask-become-pass (-K) ask for it, or allow sudo without a password (NOPASSWD)"
            }
            Self::WrongPassword => {
                "it was sent once and not again, so that the account is not locked: correct ansible_become_password, or what was typed for --ask-become-pass"
            }
            Self::UnusablePassword => "passwords are one line of text",
            Self::Refused { said } if said.contains("tty") => {
                "sudoers has requiretty for this account: take it out (Defaults:ACCOUNT !requiretty), or log in as root"
            }
            Self::Refused { said } if said.contains("not found") => {
                "install sudo on the node, or log in as root"
            }
            Self::Refused { .. } => {
                "sudoers must allow this account to run /bin/sh as root; or log in as root"
            }
            Self::NoAnswer { .. } => {
                "only a password can be answered here, no second factor: allow sudo without it for this account, or log in as root"
            }
        };
        Some(text.to_owned())
    }

    fn refused(stderr: &[u8], status: &ExitStatus) -> Self {
        Self::Refused {
            said: last_words(stderr).unwrap_or_else(|| status.to_string()),
        }
    }
}

/// The command line that runs `program`, a shell command, as root without a
/// question. One line without anything that a login shell of another family
/// (fish, csh) would read differently, unless `program` holds it.
fn quiet_command(program: &str) -> String {
    format!(
        "exec /bin/sh -c '[ \"$(id -u)\" = 0 ] && exec /bin/sh -c \"$1\"; LC_ALL=C; export LC_ALL; exec sudo -n -- /bin/sh -c \"$1\"' sh {}",
        quote(program)
    )
}

/// A shell command that prints `marker` first. It stands there in two halves,
/// so that nothing which repeats the command line can be taken for it.
fn marked(program: &str, marker: &str) -> String {
    let (first, second) = marker.split_at(marker.len() / 2);
    format!("echo {first}\"\"{second}; {program}")
}

/// The command line that runs `program` as root and may ask for a password.
fn asking_command(program: &str, prompt: &str) -> String {
    format!(
        "exec /bin/sh -c 'LC_ALL=C; export LC_ALL; exec sudo -S -p \"$1\" -- /bin/sh -c \"$2\"' sh {} {}",
        quote(prompt),
        quote(program)
    )
}

impl Become {
    /// For a node whose account has this password, if any.
    #[must_use]
    pub fn new(password: Option<Secret>) -> Self {
        Self {
            password,
            known: AtomicU8::new(QUIET),
        }
    }

    /// Runs the shell command `program` as root, feeds it `stdin` and collects
    /// what it prints. `program` must print something when it starts: silence
    /// and a failure mean that sudo did not start it.
    ///
    /// # Errors
    /// When it could not be started. A program that fails is not an error.
    pub async fn run(
        &self,
        connection: &dyn Connection,
        program: &str,
        stdin: &[u8],
        limits: Limits,
    ) -> Result<Output, BecomeError> {
        let begun = Instant::now();
        if self.known.load(Ordering::Relaxed) == QUIET {
            let command = quiet_command(program);
            let output = connection.run(&command, stdin, limits).await?;
            if output.status.success() || !output.stdout.is_empty() {
                return Ok(output);
            }
            match self.judge(&output.stderr)? {
                Said::WantsPassword => {}
                Said::Refusal => {
                    return Err(BecomeError::refused(&output.stderr, &output.status));
                }
                Said::Other => return Ok(output),
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

    /// Starts the shell command `program` as root and hands over its streams;
    /// it is running when this returns.
    ///
    /// # Errors
    /// When it could not be started.
    pub async fn open(
        &self,
        connection: &dyn Connection,
        program: &str,
    ) -> Result<Process, BecomeError> {
        if self.known.load(Ordering::Relaxed) != QUIET {
            return self.ask(connection, program).await;
        }
        let marker = nonce()?;
        let command = quiet_command(&marked(program, &marker));
        let mut dialogue = Dialogue::start(connection, &command, nonce()?, marker).await?;
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

    /// What the words of a shell that did not start mean.
    fn judge(&self, stderr: &[u8]) -> Result<Said, BecomeError> {
        let said = String::from_utf8_lossy(stderr);
        // The second is sudo-rs's.
        let wants = [
            "a password is required",
            "interactive authentication is required",
        ];
        if wants.iter().any(|words| said.contains(words)) {
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
        if password.expose().iter().any(unusable) {
            return Err(BecomeError::UnusablePassword);
        }
        let (prompt, marker) = (nonce()?, nonce()?);
        let command = asking_command(&marked(program, &marker), &format!("[{prompt}] "));
        let mut dialogue = Dialogue::start(connection, &command, prompt, marker).await?;
        if dialogue.until_prompts(1).await? == Heard::Prompt {
            dialogue.send(password).await;
            // To a second question the end of its input is sudo's only answer:
            // it comes with the end of the dialogue.
            let heard = match dialogue.until_prompts(2).await {
                Ok(Heard::Prompt) => Err(BecomeError::WrongPassword),
                heard => heard,
            };
            if matches!(heard, Err(BecomeError::WrongPassword)) {
                self.known.store(WRONG_PASSWORD, Ordering::Relaxed);
            }
            heard?;
        }
        Ok(dialogue.process_from_marker())
    }
}

#[derive(PartialEq, Eq)]
enum Said {
    WantsPassword,
    Refusal,
    /// Nothing of sudo's.
    Other,
}

#[derive(PartialEq, Eq)]
enum Heard {
    Prompt,
    Marker,
}

/// With sudo, up to the marker.
struct Dialogue {
    process: Process,
    prompt: String,
    marker: String,
    /// Everything said so far.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Dialogue {
    async fn start(
        connection: &dyn Connection,
        command: &str,
        prompt: String,
        marker: String,
    ) -> Result<Self, BecomeError> {
        Ok(Self {
            process: connection.open(command).await?,
            prompt,
            marker,
            stdout: Vec::new(),
            stderr: Vec::new(),
        })
    }

    /// Listens for the prompt's `count`th appearance or the marker.
    async fn until_prompts(&mut self, count: usize) -> Result<Heard, BecomeError> {
        let end = tokio::time::Instant::now() + ANSWER_DEADLINE;
        let mut buffer = vec![0; 8192];
        let mut errors_over = false;
        loop {
            if marker_end(&self.stdout, &self.marker).is_some() {
                return Ok(Heard::Marker);
            }
            // A PAM module of its own mind may write the prompt elsewhere.
            let prompts =
                occurrences(&self.stderr, &self.prompt) + occurrences(&self.stdout, &self.prompt);
            if prompts >= count {
                return Ok(Heard::Prompt);
            }
            if self.stdout.len() + self.stderr.len() > MOST_SAID {
                return Err(self.no_answer());
            }
            let heard = async {
                tokio::select! {
                    read = self.process.stdout.read(&mut buffer) => {
                        let read = read.unwrap_or(0);
                        self.stdout.extend_from_slice(buffer.get(..read).unwrap_or_default());
                        read > 0
                    }
                    said = self.process.stderr.recv(), if !errors_over => {
                        match said {
                            Some(said) => self.stderr.extend_from_slice(&said),
                            None => errors_over = true,
                        }
                        true
                    }
                }
            };
            match tokio::time::timeout_at(end, heard).await {
                Ok(true) => {}
                Ok(false) => return Err(self.ended(count > 1).await),
                Err(_) => return Err(self.no_answer()),
            }
        }
    }

    /// Sends the password as one write. What becomes of it shows in what sudo
    /// says next.
    async fn send(&mut self, password: &Secret) {
        let mut line = zeroize::Zeroizing::new(Vec::with_capacity(password.len() + 1));
        line.extend_from_slice(password.expose());
        line.push(b'\n');
        let _ = self.process.stdin.write_all(&line).await;
        let _ = self.process.stdin.flush().await;
    }

    fn no_answer(&self) -> BecomeError {
        BecomeError::NoAnswer {
            after: ANSWER_DEADLINE,
            said: last_words(after_prompt(&self.stderr, &self.prompt))
                .unwrap_or_else(|| "nothing was said".to_owned()),
        }
    }

    /// Why the process ended before the marker.
    async fn ended(&mut self, password_sent: bool) -> BecomeError {
        let exit = tokio::time::timeout(ANSWER_DEADLINE, &mut self.process.exit);
        let (status, stderr) = match exit.await {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) => return BecomeError::Connection(error),
            Err(_) => return self.no_answer(),
        };
        let stderr = after_prompt(&stderr, &self.prompt);
        let said = String::from_utf8_lossy(stderr);
        // Where passwd_tries is 1, sudo does not ask again. sudo-rs says
        // "maximum 3 incorrect authentication attempts".
        let wrong = ["incorrect password", "incorrect authentication"];
        if password_sent && wrong.iter().any(|words| said.contains(words)) {
            BecomeError::WrongPassword
        } else {
            BecomeError::refused(stderr, &status)
        }
    }

    /// The process as if it had begun with what follows the marker.
    fn process_from_marker(self) -> Process {
        let Self {
            process,
            prompt,
            marker,
            mut stdout,
            ..
        } = self;
        let begin = marker_end(&stdout, &marker).unwrap_or(stdout.len());
        let rest = std::io::Cursor::new(stdout.split_off(begin));
        let exit = process.exit;
        Process {
            stdin: process.stdin,
            stdout: Box::new(rest.chain(process.stdout)),
            stderr: process.stderr,
            exit: Box::pin(async move {
                let (status, stderr) = exit.await?;
                Ok((status, after_prompt(&stderr, &prompt).to_vec()))
            }),
        }
    }
}

/// Feeds and reads a process at the same time, to its end.
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
        // A program may well end without reading its input.
        let _ = stdin.write_all(input).await;
        let _ = stdin.shutdown().await;
    };
    let read = async {
        let mut kept = Vec::new();
        let more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        // How the connection ended, if it did, is said by `exit`.
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

/// 128 random bits in hexadecimal.
fn nonce() -> Result<String, BecomeError> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| BecomeError::Refused {
        said: "there is no randomness for a nonce".to_owned(),
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn occurrences(text: &[u8], words: &str) -> usize {
    text.windows(words.len())
        .filter(|window| *window == words.as_bytes())
        .count()
}

/// Where the line that is the marker ends.
fn marker_end(text: &[u8], marker: &str) -> Option<usize> {
    let line = format!("{marker}\n");
    let begin = text
        .windows(line.len())
        .position(|window| window == line.as_bytes())?;
    Some(begin + line.len())
}

/// What was said after the last prompt; everything where there was none.
fn after_prompt<'a>(text: &'a [u8], prompt: &str) -> &'a [u8] {
    let closed = format!("[{prompt}] ");
    let last = text
        .windows(closed.len())
        .rposition(|window| window == closed.as_bytes());
    last.and_then(|begin| text.get(begin + closed.len()..))
        .unwrap_or(text)
}

/// The last line that says something, as it may be shown.
fn last_words(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    Some(visible(line))
}
