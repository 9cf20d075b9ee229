//! Dialogues with a fake sudo whose output and timing the test sets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::*;
use crate::{BoxFuture, DialError, ExitStatus, Stream};
use base::secret::Secret;

const LIMITS: Limits = Limits {
    deadline: Duration::from_secs(300),
    max_output: 1 << 20,
};

/// The node's end of one process.
struct Sudo {
    stdin: DuplexStream,
    stdout: DuplexStream,
    stderr: UnboundedSender<Vec<u8>>,
    prompt: String,
    marker: String,
}

impl Sudo {
    fn says(&self, text: &str) {
        self.stderr.send(text.as_bytes().to_vec()).unwrap();
    }

    async fn reads_line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            let byte = self.stdin.read_u8().await.unwrap();
            if byte == b'\n' {
                return String::from_utf8(line).unwrap();
            }
            line.push(byte);
        }
    }
}

type Behaviour = Box<dyn Fn(Sudo) -> BoxFuture<'static, ExitStatus> + Send + Sync>;

/// Every command is sudo; `sudo -n` always requires a password.
struct Fake {
    behaviour: Behaviour,
    commands: Mutex<Vec<String>>,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Fake")
    }
}

impl Connection for Fake {
    fn run<'a>(
        &'a self,
        command: &'a str,
        _: &'a [u8],
        _: Limits,
    ) -> BoxFuture<'a, Result<Output, ConnectionError>> {
        self.commands.lock().unwrap().push(command.to_owned());
        Box::pin(async {
            Ok(Output {
                status: ExitStatus::Code(1),
                stdout: Vec::new(),
                stderr: b"sudo: a password is required\n".to_vec(),
            })
        })
    }

    fn open<'a>(&'a self, command: &'a str) -> BoxFuture<'a, Result<Process, ConnectionError>> {
        self.commands.lock().unwrap().push(command.to_owned());
        let after = |begin: &str, end: &str| {
            let rest = command.split(begin).nth(1).unwrap();
            rest.split(end).next().unwrap().to_owned()
        };
        let (stdin, theirs) = duplex(1 << 16);
        let (stdout, ours) = duplex(1 << 16);
        let (sender, stderr) = unbounded_channel();
        let sudo = Sudo {
            stdin: theirs,
            stdout,
            stderr: sender,
            prompt: format!("[{}] ", after(" sh '[", "] ")),
            marker: after("echo ", ";").replace("\"\"", ""),
        };
        let work = tokio::spawn((self.behaviour)(sudo));
        Box::pin(async move {
            Ok(Process {
                stdin: Box::new(stdin),
                stdout: Box::new(ours),
                stderr,
                exit: Box::pin(async move { Ok((work.await.unwrap(), Vec::new())) }),
            })
        })
    }

    fn dial<'a>(
        &'a self,
        _: &'a str,
        _: u16,
        _: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn Stream>, DialError>> {
        unreachable!("nothing is dialled")
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn description(&self) -> String {
        "node1".to_owned()
    }
}

/// A run with the password "geheim" and the script "script".
async fn run<F>(
    behaviour: impl Fn(Sudo) -> F + Send + Sync + 'static,
) -> (Fake, Result<Output, BecomeError>)
where
    F: Future<Output = ExitStatus> + Send + 'static,
{
    let fake = Fake {
        behaviour: Box::new(move |sudo| Box::pin(behaviour(sudo))),
        commands: Mutex::default(),
    };
    let password = SudoPassword::new(Secret::from("geheim".to_owned()));
    let mut r#become = Become::new(Some(Arc::new(password)));
    r#become.patience = Duration::from_secs(1);
    let result = r#become.run(&fake, "exec /bin/sh", b"script", LIMITS).await;
    (fake, result)
}

#[tokio::test]
async fn the_password_follows_the_prompt_and_the_script_the_marker() {
    let (fake, result) = run(|mut sudo| async move {
        let (prompt, marker) = (sudo.prompt.clone(), sudo.marker.clone());
        sudo.says("We trust you have received the usual lecture.\n");
        let early = tokio::time::timeout(Duration::from_millis(100), sudo.stdin.read_u8()).await;
        assert!(early.is_err(), "sent before the prompt");
        // In pieces, as a network may deliver it.
        for piece in [&prompt[..7], &prompt[7..20], &prompt[20..]] {
            sudo.says(piece);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(sudo.reads_line().await, "geheim");
        sudo.stdout
            .write_all(b"message of the day\n")
            .await
            .unwrap();
        // The marker on standard error is not the marker.
        sudo.says(&format!("{marker}\n"));
        let early = tokio::time::timeout(Duration::from_millis(100), sudo.stdin.read_u8()).await;
        assert!(early.is_err(), "sent before the marker");
        let marker = format!("{marker}\nfirst ");
        for piece in marker.as_bytes().chunks(9) {
            sudo.stdout.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut script = String::new();
        sudo.stdin.read_to_string(&mut script).await.unwrap();
        assert_eq!(script, "script");
        sudo.stdout.write_all(b"last").await.unwrap();
        ExitStatus::Code(7)
    })
    .await;
    let output = result.unwrap();
    assert_eq!(output.stdout, b"first last");
    assert_eq!(output.status, ExitStatus::Code(7));
    let commands = fake.commands.lock().unwrap();
    assert_eq!(commands.len(), 2);
    assert!(commands.iter().all(|command| !command.contains("geheim")));
}

#[tokio::test]
async fn another_question_gets_no_answer() {
    let (_, result) = run(|mut sudo| async move {
        sudo.says("Verification code: ");
        let mut heard = Vec::new();
        sudo.stdin.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"", "something was sent");
        ExitStatus::Code(1)
    })
    .await;
    let error = result.unwrap_err();
    assert!(error.to_string().contains("Verification code:"), "{error}");
    assert!(error.hint().unwrap().contains("second factor"));
}

#[tokio::test]
async fn a_node_that_repeats_the_password_gets_it_not_shown() {
    let (_, result) = run(|mut sudo| async move {
        let prompt = sudo.prompt.clone();
        sudo.says(&prompt);
        let password = sudo.reads_line().await;
        sudo.says(&format!("sh: {password}: not found\n"));
        std::future::pending::<()>().await;
        ExitStatus::Code(127)
    })
    .await;
    let error = result.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("sh: (the password): not found"), "{shown}");
    assert!(!shown.contains("geheim"), "{shown}");
}

#[tokio::test]
async fn a_flood_instead_of_a_question_ends() {
    let (_, result) = run(|mut sudo| async move {
        while sudo.stdout.write_all(&[b'x'; 4096]).await.is_ok() {}
        ExitStatus::Code(0)
    })
    .await;
    assert!(
        matches!(result, Err(BecomeError::NoAnswer { .. })),
        "{result:?}"
    );
}

/// On a node whose host key is not verified, sudo is not made to ask.
#[tokio::test]
async fn no_password_goes_to_a_node_that_is_not_verified() {
    let fake = Fake {
        behaviour: Box::new(|_| unreachable!("sudo -S is not to be started")),
        commands: Mutex::default(),
    };
    let limits = Limits {
        deadline: Duration::from_secs(5),
        max_output: 1 << 16,
    };
    let root = Become::without_password();
    let result = root.run(&fake, "sh", b"script", limits).await;
    let error = result.unwrap_err();
    assert!(matches!(error, BecomeError::Unverified), "{error}");
    assert!(error.hint().unwrap().contains("known_hosts"));
    let commands = fake.commands.lock().unwrap();
    assert!(commands.iter().all(|command| !command.contains("sudo -S")));
}
