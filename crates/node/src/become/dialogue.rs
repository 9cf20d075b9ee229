//! The dialogue between sudo's start and the marker.

use crate::text::last_words;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::BecomeError;
use crate::begin::MOST_SAID;
use crate::{Connection, Marker, Process};
use base::secret::Secret;

#[derive(PartialEq, Eq)]
pub(super) enum Heard {
    Prompt,
    Marker,
}

/// With sudo, up to the marker.
pub(super) struct Dialogue {
    process: Process,
    prompt: String,
    marker: Marker,
    patience: Duration,
    /// All output so far.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Dialogue {
    pub(super) async fn start(
        connection: &dyn Connection,
        command: &str,
        prompt: String,
        marker: Marker,
        patience: Duration,
    ) -> Result<Self, BecomeError> {
        Ok(Self {
            process: connection.open(command).await?,
            prompt,
            marker,
            patience,
            stdout: Vec::new(),
            stderr: Vec::new(),
        })
    }

    /// Waits for the `count`th prompt or the marker.
    pub(super) async fn until_prompts(&mut self, count: usize) -> Result<Heard, BecomeError> {
        let end = tokio::time::Instant::now() + self.patience;
        let mut buffer = vec![0; 8192];
        let mut errors_over = false;
        loop {
            if self.marker.end_in(&self.stdout).is_some() {
                return Ok(Heard::Marker);
            }
            // A custom PAM module may print the prompt elsewhere.
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

    /// Sends the password in one write. sudo's next output shows the result.
    pub(super) async fn send(&mut self, password: &Secret) {
        let mut line = zeroize::Zeroizing::new(Vec::with_capacity(password.len() + 1));
        line.extend_from_slice(password.expose());
        line.push(b'\n');
        let _ = self.process.stdin.write_all(&line).await;
        let _ = self.process.stdin.flush().await;
    }

    fn no_answer(&self) -> BecomeError {
        BecomeError::NoAnswer {
            after: self.patience,
            said: last_words(after_prompt(&self.stderr, &self.prompt))
                .unwrap_or_else(|| "nothing was said".to_owned()),
        }
    }

    /// Why the process ended before the marker.
    async fn ended(&mut self, password_sent: bool) -> BecomeError {
        let exit = tokio::time::timeout(self.patience, &mut self.process.exit);
        let (status, stderr) = match exit.await {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) => return BecomeError::Connection(error),
            Err(_) => return self.no_answer(),
        };
        let stderr = after_prompt(&stderr, &self.prompt);
        let said = String::from_utf8_lossy(stderr);
        // If passwd_tries is 1, sudo does not ask again. sudo-rs says "maximum 3 incorrect
        // authentication attempts".
        let wrong = ["incorrect password", "incorrect authentication"];
        if password_sent && wrong.iter().any(|words| said.contains(words)) {
            BecomeError::WrongPassword
        } else {
            BecomeError::refused(stderr, &status)
        }
    }

    /// The process as if it had begun with what follows the marker.
    pub(super) fn process_from_marker(self) -> Process {
        let Self {
            process,
            prompt,
            marker,
            mut stdout,
            ..
        } = self;
        let begin = marker.end_in(&stdout).unwrap_or(stdout.len());
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

/// 128 random bits in hexadecimal.
pub(crate) fn nonce() -> Result<String, BecomeError> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| BecomeError::Refused {
        said: "there is no randomness for a nonce".to_owned(),
    })?;
    let hexadecimal = bytes.iter().flat_map(|byte| {
        let digit = |half: u8| char::from_digit(u32::from(half), 16);
        [digit(byte >> 4), digit(byte & 15)]
    });
    Ok(hexadecimal.flatten().collect())
}

fn occurrences(text: &[u8], words: &str) -> usize {
    text.windows(words.len())
        .filter(|window| *window == words.as_bytes())
        .count()
}

/// The output after the last prompt; all of it if there was none.
fn after_prompt<'a>(text: &'a [u8], prompt: &str) -> &'a [u8] {
    let closed = format!("[{prompt}] ");
    let last = text
        .windows(closed.len())
        .rposition(|window| window == closed.as_bytes());
    last.and_then(|begin| text.get(begin + closed.len()..))
        .unwrap_or(text)
}
