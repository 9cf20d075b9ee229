//! Commands, kept processes and dialled ports over a connection to a real sshd.

use std::time::{Duration, Instant};

use crate::ssh_support::{LIMITS, Sshd, free_port};
use node::{Connection, ConnectionError, DialError, ExitStatus, Limits, LocalConnection};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| u8::try_from(index % 251).expect("small"))
        .collect()
}

/// What both kinds of connection must do alike.
async fn behaves(connection: &dyn Connection) {
    let output = connection
        .run("cat; echo err >&2; exit 3", b"hello", LIMITS)
        .await
        .expect("it runs");
    assert_eq!(output.status, ExitStatus::Code(3));
    assert_eq!(output.stdout, b"hello");
    assert_eq!(output.stderr, b"err\n");

    let output = connection
        .run("kill -TERM $$", b"", LIMITS)
        .await
        .expect("it runs");
    assert_eq!(output.status, ExitStatus::Signal("TERM".to_owned()));

    let input = pattern(5 << 20);
    let output = connection
        .run("cat", &input, LIMITS)
        .await
        .expect("it runs");
    assert_eq!(output.stdout, input);

    let output = connection
        .run("exit 0", &input, LIMITS)
        .await
        .expect("unread input is no error");
    assert!(output.status.success());

    let limits = Limits {
        deadline: Duration::from_millis(300),
        ..LIMITS
    };
    let start = Instant::now();
    let error = connection
        .run("sleep 20", b"", limits)
        .await
        .expect_err("a deadline");
    assert!(matches!(error, ConnectionError::Timeout { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(15));

    for flood in ["yes", "yes >&2"] {
        let limits = Limits {
            max_output: 1 << 20,
            ..LIMITS
        };
        let error = connection
            .run(flood, b"", limits)
            .await
            .expect_err("a flood");
        assert!(
            matches!(error, ConnectionError::OutputTooLarge { .. }),
            "{error}"
        );
    }
    let output = connection
        .run("echo still here", b"", LIMITS)
        .await
        .expect("it runs");
    assert_eq!(output.stdout, b"still here\n");
    streams(connection).await;
}

/// Kept processes and dialled ports.
async fn streams(connection: &dyn Connection) {
    let mut process = connection
        .open("while read l; do echo \"<$l>\"; done; echo bye >&2; exit 7")
        .await
        .expect("open");
    let mut lines = BufReader::new(process.stdout).lines();
    for word in ["one", "two"] {
        process
            .stdin
            .write_all(format!("{word}\n").as_bytes())
            .await
            .expect("written");
        process.stdin.flush().await.expect("flushed");
        assert_eq!(
            lines.next_line().await.expect("read"),
            Some(format!("<{word}>"))
        );
    }
    drop(process.stdin);
    assert_eq!(lines.next_line().await.expect("read"), None);
    let (status, stderr) = process.exit.await.expect("an end");
    assert_eq!(
        (status, stderr.as_slice()),
        (ExitStatus::Code(7), &b"bye\n"[..])
    );

    let mut process = connection.open("cat").await.expect("open");
    let input = pattern(3 << 20);
    let (sent, received) = tokio::join!(
        async {
            process.stdin.write_all(&input).await?;
            process.stdin.shutdown().await
        },
        async {
            let mut all = Vec::new();
            process.stdout.read_to_end(&mut all).await.map(|_| all)
        }
    );
    sent.expect("sent");
    assert!(received.expect("received") == input);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (stream, accepted) = tokio::join!(
        connection.dial("127.0.0.1", port, Duration::from_secs(5)),
        listener.accept()
    );
    let (mut near, mut far) = (stream.expect("dialled"), accepted.expect("accepted").0);
    near.write_all(b"ping").await.expect("written");
    let mut four = [0; 4];
    far.read_exact(&mut four).await.expect("read");
    far.write_all(b"pong").await.expect("written");
    near.read_exact(&mut four).await.expect("read");
    assert_eq!(&four, b"pong");
    drop(far);
    assert_eq!(near.read(&mut four).await.expect("the end"), 0);

    let error = connection
        .dial("127.0.0.1", free_port(), Duration::from_secs(5))
        .await
        .expect_err("closed");
    assert!(matches!(error, DialError::Refused { .. }), "{error}");
    let error = connection
        .dial("no-such-host.invalid", 1, Duration::from_secs(10))
        .await
        .expect_err("no name");
    assert!(
        matches!(error, DialError::NameNotResolved { .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_over_ssh() {
    let sshd = Sshd::start();
    let connection = sshd.connect().await;
    let expected = format!("root@node1 (127.0.0.1:{})", sshd.port);
    assert_eq!(connection.description(), expected);
    behaves(&*connection).await;
    connection.close().await;
    let error = connection
        .run("true", b"", LIMITS)
        .await
        .expect_err("closed");
    assert!(matches!(error, ConnectionError::Closed { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine() {
    behaves(&LocalConnection::new("here")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_deadline_ends_the_whole_process_group() {
    let limits = Limits {
        deadline: Duration::from_millis(200),
        ..LIMITS
    };
    let marker = format!("31{}", std::process::id());
    let command = format!("sleep {marker} & sleep {marker}; true");
    let _ = LocalConnection::new("here")
        .run(&command, b"", limits)
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let left = std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .any(|entry| {
            std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| line == format!("sleep\0{marker}\0").as_bytes())
        });
    assert!(!left);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_share_a_connection_within_max_sessions() {
    let sshd = Sshd::start();
    let connection = sshd.connect().await;
    let runs = (0..40).map(|index| {
        let connection = connection.clone();
        async move {
            let command = format!("sleep 0.02; echo {index}");
            connection
                .run(&command, b"", LIMITS)
                .await
                .map(|output| output.stdout)
        }
    });
    for (index, output) in futures::future::join_all(runs)
        .await
        .into_iter()
        .enumerate()
    {
        assert_eq!(output.expect("it runs"), format!("{index}\n").into_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_flood_closes_its_channel_and_nothing_else() {
    let sshd = Sshd::start();
    let connection = sshd.connect().await;
    let mut flood = connection.open("yes").await.expect("open");
    let end = tokio::time::timeout(Duration::from_secs(10), flood.exit)
        .await
        .expect("an end");
    assert!(
        matches!(end, Err(ConnectionError::OutputTooLarge { .. })),
        "{end:?}"
    );
    let output = connection
        .run("echo ok", b"", LIMITS)
        .await
        .expect("it runs");
    assert_eq!(output.stdout, b"ok\n");
    let mut all = Vec::new();
    flood
        .stdout
        .read_to_end(&mut all)
        .await
        .expect_err("the reader is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_run_closes_its_channel() {
    let sshd = Sshd::start();
    let connection = sshd.connect().await;
    let alive = sshd.path("alive");
    let command = format!("touch {0}; cat; rm {0}", alive.display());
    for _ in 0..12 {
        // Waits for stdin, which never comes: `open` keeps it open.
        let process = connection.open(&command).await.expect("open");
        while !alive.exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(process);
        let gone = async {
            while alive.exists() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone)
            .await
            .expect("the script notices");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_dies_says_so_at_once() {
    let sshd = Sshd::start();
    let connection = sshd.connect().await;
    let start = Instant::now();
    let (result, ()) = tokio::join!(connection.run("echo begun; sleep 20", b"", LIMITS), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        sshd.kill_sessions();
    });
    assert!(
        matches!(result, Err(ConnectionError::Closed { .. })),
        "{result:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_forwarding_and_refused_sessions_are_told_apart() {
    let sshd = Sshd::config("AllowTcpForwarding no\nMaxSessions 1");
    let connection = sshd.connect().await;
    let error = connection
        .dial("127.0.0.1", 1, Duration::from_secs(5))
        .await
        .expect_err("forbidden");
    assert!(matches!(error, DialError::Forbidden { .. }), "{error}");
    let _first = connection.open("cat").await.expect("the only session");
    let error = connection
        .run("true", b"", LIMITS)
        .await
        .expect_err("one session only");
    assert!(
        matches!(&error, ConnectionError::Refused { reason, .. } if reason.contains("open failed")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_dials_get_their_own_answers() {
    let sshd = Sshd::start();
    let connection = sshd.connect().await;
    let dials = (0..40).map(|index| {
        let connection = connection.clone();
        async move {
            let host = if index % 2 == 0 {
                "127.0.0.1"
            } else {
                "no-such-host.invalid"
            };
            connection.dial(host, 1, Duration::from_secs(10)).await
        }
    });
    for (index, result) in futures::future::join_all(dials)
        .await
        .into_iter()
        .enumerate()
    {
        let error = result.expect_err("nothing there");
        match index % 2 {
            0 => assert!(
                matches!(error, DialError::Refused { .. }),
                "{index} {error}"
            ),
            _ => assert!(
                matches!(error, DialError::NameNotResolved { .. }),
                "{index} {error}"
            ),
        }
    }
}
