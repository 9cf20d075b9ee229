//! `dtls-deploy ca-agent`, and `dtls-deploy-agent`: the agent behind a pair of byte
//! streams.
//!
//! Ends, and with it frees the lock, when the input closes, at `Bye`, or when nothing has been
//! heard for [`IDLE`]: a controller that lost its network does not close anything.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::agent::Agent;
use super::failure::Failure;
use super::protocol::{ErrorKind, Request, Response};
use super::wire::{self, Lines, SecretBuffer};

/// Silence after which the controller counts as gone. It pings four times in
/// that time, and the lock is free within a minute, with some time to spare.
pub const IDLE: Duration = Duration::from_secs(44);

/// A whole program: serves the controller on standard input and output.
#[must_use]
pub fn agent_main() -> ExitCode {
    base::dumps::forbid();
    base::randomness::prepare();
    match serve(io::stdin(), io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            base::output::error(&format!("ca-agent: {error}\n"));
            ExitCode::from(1)
        }
    }
}

/// Serves one controller until it leaves.
///
/// # Errors
/// A broken output, and [`io::ErrorKind::TimedOut`] after [`IDLE`] of silence.
pub fn serve<R, W>(input: R, output: W) -> io::Result<()>
where
    R: Read + Send + 'static,
    W: Write,
{
    serve_with(Agent::new(), input, output, IDLE)
}

/// As [`serve`], with an agent and a silence of one's own choice.
pub fn serve_with<R, W>(agent: Agent, input: R, mut output: W, idle: Duration) -> io::Result<()>
where
    R: Read + Send + 'static,
    W: Write,
{
    let controller = Arc::new(Controller::new());
    let (sender, receiver) = channel();
    let seen = Arc::clone(&controller);
    // A thread of its own hears pings and the end of the input while the agent
    // works. It ends with the input or with the process.
    thread::spawn(move || {
        read(input, &sender, &seen);
        seen.left();
    });
    let watched = Arc::clone(&controller);
    let mut agent = agent.give_up_when(Arc::new(move || watched.is_gone(idle)));
    loop {
        let line = match receiver.recv_timeout(idle.saturating_sub(controller.silence())) {
            Ok(line) => line?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) if controller.silence() < idle => continue,
            Err(RecvTimeoutError::Timeout) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("nothing heard of the controller for {} s", idle.as_secs()),
                ));
            }
        };
        let request = match wire::decode(&line) {
            Ok(Request::Ping) => continue,
            Ok(request) => request,
            // Whatever this was, what follows cannot be trusted to be in step.
            Err(reason) => {
                let failure = Failure::new(
                    ErrorKind::Protocol,
                    format!("a request cannot be read: {reason}"),
                );
                return send(&mut output, &failure.into());
            }
        };
        let last = request == Request::Bye;
        let response = agent.handle(request);
        send(&mut output, &response)?;
        if last {
            return Ok(());
        }
    }
}

fn send(output: &mut impl Write, response: &Response) -> io::Result<()> {
    output.write_all(wire::encode(response)?.as_bytes())?;
    output.flush()
}

/// Cuts the input into lines until it ends.
fn read(mut input: impl Read, sender: &Sender<io::Result<SecretBuffer>>, controller: &Controller) {
    let mut chunk = Zeroizing::new([0_u8; 16 * 1024]);
    let mut lines = Lines::default();
    loop {
        let length = match input.read(chunk.as_mut_slice()) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let _ = sender.send(Err(error));
                return;
            }
        };
        controller.heard();
        if let Err(error) = lines.push(chunk.get(..length).unwrap_or_default()) {
            let _ = sender.send(Err(error));
            return;
        }
        while let Some(line) = lines.next_line() {
            if sender.send(Ok(line)).is_err() {
                return;
            }
        }
    }
}

/// What is known of the controller's life.
struct Controller {
    /// When something was last heard; `None` once the input has ended.
    heard: Mutex<Option<Instant>>,
}

impl Controller {
    fn new() -> Self {
        Self {
            heard: Mutex::new(Some(Instant::now())),
        }
    }

    fn set(&self, value: Option<Instant>) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    fn heard(&self) {
        self.set(Some(Instant::now()));
    }

    fn left(&self) {
        self.set(None);
    }

    /// Zero once the input has ended: the channel says that better.
    fn silence(&self) -> Duration {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map_or(Duration::ZERO, |heard| heard.elapsed())
    }

    fn is_gone(&self, idle: Duration) -> bool {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_none_or(|heard| heard.elapsed() > idle)
    }
}
