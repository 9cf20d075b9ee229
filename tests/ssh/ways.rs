//! Ways to a node: plain failures, retries, jump hosts and the user's
//! configuration, against real sshd instances.

use std::fs;
use std::time::{Duration, Instant};

use crate::ssh_support::{LIMITS, Sshd, context, fails, free_port, works};
use node::{ConnectFault, HostKeyChecking, Phase, SshContext, Target, connect};

#[tokio::test(flavor = "multi_thread")]
async fn failures_before_ssh_are_told_apart() {
    let directory = tempfile::tempdir().expect("a directory");
    let context = context(directory.path());
    let mut target = Target::new("node1", "127.0.0.1");
    target.user = Some("root".to_owned());
    target.port = Some(free_port());
    target.connect_timeout = Duration::from_secs(1);
    let error = fails(&target, &context).await;
    assert!(matches!(error.fault, ConnectFault::Refused), "{error}");

    // Accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    target.port = Some(silent.local_addr().expect("an address").port());
    let error = fails(&target, &context).await;
    assert!(
        matches!(
            error.fault,
            ConnectFault::Timeout {
                phase: Phase::Handshake,
                ..
            }
        ),
        "{error}"
    );

    // Greets and then hangs; the connection is not left behind.
    let stuck = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    target.port = Some(stuck.local_addr().expect("an address").port());
    let end = std::thread::spawn(move || {
        let (mut stream, _) = stuck.accept().expect("a client");
        std::io::Write::write_all(&mut stream, b"SSH-2.0-stuck\r\n").expect("written");
        let limit = Some(Duration::from_secs(10));
        stream.set_read_timeout(limit).expect("set");
        std::io::Read::read_to_end(&mut stream, &mut Vec::new())
    });
    let error = fails(&target, &context).await;
    assert!(
        matches!(
            error.fault,
            ConnectFault::Timeout {
                phase: Phase::Handshake,
                ..
            }
        ),
        "{error}"
    );
    end.join().expect("joined").expect("the client hangs up");

    // Says something else, with an escape sequence, and hangs up.
    let rude = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    target.port = Some(rude.local_addr().expect("an address").port());
    std::thread::spawn(move || {
        for stream in rude.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut { stream }, b"Exceeded MaxStartups\x1b[2J\r\n");
        }
    });
    let error = fails(&target, &context).await;
    let text = error.to_string();
    assert!(
        text.contains("the server said \"Exceeded MaxStartups\\u{1b}[2J\""),
        "{text}"
    );
    assert!(error.hint().expect("a hint").contains("--forks"));

    target.address = "no-such-host.invalid".to_owned();
    let error = fails(&target, &context).await;
    assert!(
        matches!(error.fault, ConnectFault::NameNotResolved { .. }),
        "{error}"
    );
    for hostile in ["-oProxyCommand=id", "a;id", "$(id)", "a b"] {
        target.address = hostile.to_owned();
        let error = fails(&target, &context).await;
        assert!(
            matches!(error.fault, ConnectFault::Configuration { .. }),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_up_late_is_connected_to() {
    let sshd = Sshd::start();
    let late = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = late.local_addr().expect("an address").port();
    let real = sshd.port;
    // Cuts the first connection off, passes the second on.
    std::thread::spawn(move || {
        let mut incoming = late.incoming();
        drop(incoming.next());
        let near = incoming.next().expect("a second try").expect("a stream");
        let far = std::net::TcpStream::connect(("127.0.0.1", real)).expect("sshd");
        let (mut a, mut b) = (
            near.try_clone().expect("clone"),
            far.try_clone().expect("clone"),
        );
        std::thread::spawn(move || std::io::copy(&mut a, &mut { far }));
        let _ = std::io::copy(&mut b, &mut { near });
    });
    let mut target = sshd.target();
    target.port = Some(port);
    target.host_key_checking = Some(HostKeyChecking::Off);
    works(&target, &sshd.context()).await;
}

/// A configuration in which `jump1` and `jump2` stand for two sshds.
fn jump_config(at: &Sshd, jumps: &[&Sshd]) -> SshContext {
    let mut config = "GlobalKnownHostsFile none\n".to_owned();
    for (index, jump) in jumps.iter().enumerate() {
        let line = format!("{} {}\n", jump.known_as(), jump.host_key("ed25519"));
        let known = jump.write_known_hosts(&line);
        config.push_str(&format!(
            "Host jump{}\n HostName {}\n Port {}\n User root\n IdentityFile {}\n UserKnownHostsFile {}\n",
            index + 1, jump.address, jump.port, jump.path("id").display(), known.display()
        ));
    }
    fs::write(at.path("ssh_config"), config).expect("written");
    at.context()
}

fn logins(sshd: &Sshd) -> usize {
    sshd.log().matches("Accepted publickey").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_and_two_jumps_share_their_connections() {
    let (node, first, second) = (Sshd::start(), Sshd::start(), Sshd::start());
    let context = jump_config(&node, &[&first, &second]);
    let mut target = node.target();
    for jumps in ["jump1", "jump1,jump2", "jump1,jump2"] {
        target.proxy_jump = Some(jumps.to_owned());
        let connection = works(&target, &context).await;
        let output = connection
            .run("cat; echo $SSH_CONNECTION", &vec![b'x'; 1 << 20], LIMITS)
            .await
            .expect("it runs");
        assert!(output.stdout.len() > 1 << 20);
    }
    assert_eq!((logins(&node), logins(&second)), (3, 1));

    target.proxy_jump = Some(format!("root@127.0.0.1:{}", free_port()));
    let error = fails(&target, &context).await;
    assert!(
        matches!(error.fault, ConnectFault::JumpHost { .. }),
        "{error}"
    );
    let source = std::error::Error::source(&error)
        .expect("a cause")
        .to_string();
    assert!(source.contains("nothing listens"), "{source}");

    target.proxy_jump = Some("jump1".to_owned());
    target.port = Some(free_port());
    let error = fails(&target, &context).await;
    assert!(
        matches!(error.fault, ConnectFault::JumpRefused { .. }),
        "{error}"
    );

    let closed = Sshd::config("AllowTcpForwarding no");
    let context = jump_config(&node, &[&closed]);
    let error = fails(&target, &context).await;
    assert!(error.to_string().contains("its sshd forbids it"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_nodes_behind_one_bastion_stay_within_max_startups() {
    // sshd counts a connection for a moment longer than the login takes.
    let bastion = Sshd::config("MaxStartups 2:100:2\nMaxSessions 1");
    let node = Sshd::config("MaxStartups 12:100:12");
    let context = jump_config(&node, &[&bastion]);
    let mut target = node.target();
    target.proxy_jump = Some("jump1".to_owned());
    let all = futures::future::join_all((0..30).map(|_| connect(&target, &context))).await;
    for connection in &all {
        let connection = connection
            .as_ref()
            .unwrap_or_else(|error| panic!("{error}"));
        connection.run("true", b"", LIMITS).await.expect("it runs");
    }
    assert_eq!((logins(&node), logins(&bastion)), (30, 1));
    assert!(!bastion.log().contains("MaxStartups"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_configuration_counts_and_the_target_wins() {
    let sshd = Sshd::start();
    let known = sshd.write_known_hosts(&format!("alias {}\n", sshd.host_key("ed25519")));
    let config = format!(
        "Host web\n HostName 127.0.0.1\n Port {}\n User root\n HostKeyAlias alias\n IdentityFile {}\n \
         UserKnownHostsFile {}\n GlobalKnownHostsFile none\nHost wrong\n HostName 127.0.0.1\n Port 1\n User nobody\n \
         IdentityFile {2}\n HostKeyAlias alias\n UserKnownHostsFile {2}\n\
         Host command\n ProxyCommand touch {}\n",
        sshd.port,
        sshd.path("id").display(),
        known.display(),
        sshd.path("touched").display()
    );
    fs::write(sshd.path("ssh_config"), config).expect("written");
    let connection = works(&Target::new("node1", "web"), &sshd.context()).await;
    assert_eq!(
        connection.description(),
        format!("root@node1 (127.0.0.1:{})", sshd.port)
    );
    assert_eq!(connection.address(), "127.0.0.1".parse().ok());

    let mut target = sshd.bare_target(known);
    target.address = "wrong".to_owned();
    works(&target, &sshd.context()).await;

    let error = fails(&Target::new("node1", "command"), &sshd.context()).await;
    assert!(error.to_string().contains("ProxyCommand"), "{error}");
    assert!(!sshd.path("touched").exists());

    // Without an ssh client, what the target says is enough.
    let without = sshd.context().with_ssh_program("/no/such/program".into());
    works(&sshd.target(), &without).await;
}

/// Figures, not a test: `cargo test --test ssh ways:: -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn figures() {
    let sshd = Sshd::config("MaxStartups 100");
    let context = sshd.context();
    let mut times = Vec::new();
    for _ in 0..30 {
        let start = Instant::now();
        let connection = connect(&sshd.target(), &context).await.expect("connected");
        let connected = start.elapsed();
        connection.run("true", b"", LIMITS).await.expect("it runs");
        let first = start.elapsed().saturating_sub(connected);
        let start = Instant::now();
        connection.run("true", b"", LIMITS).await.expect("it runs");
        times.push((connected, first, start.elapsed()));
    }
    for (name, pick) in [("connect", 0), ("first true", 1), ("second true", 2)] {
        let mut one: Vec<_> = times
            .iter()
            .map(|all| [all.0, all.1, all.2][pick])
            .collect();
        one.sort();
        println!(
            "{name}: median {:?}, best {:?}, worst {:?}",
            one[15], one[0], one[29]
        );
    }
    let connection = sshd.connect().await;
    let input = vec![7; 64 << 20];
    let limits = node::Limits {
        max_output: 1 << 30,
        ..LIMITS
    };
    let start = Instant::now();
    connection
        .run("cat >/dev/null", &input, limits)
        .await
        .expect("it runs");
    println!("64 MiB in: {:?}", start.elapsed());
    let start = Instant::now();
    connection
        .run("head -c 67108864 /dev/zero", b"", limits)
        .await
        .expect("it runs");
    println!("64 MiB out: {:?}", start.elapsed());
}
