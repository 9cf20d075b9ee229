//! Two hundred nodes behind one bastion whose sshd has its defaults.
//!
//! Every node is an sshd of its own on an address of its own (127.1.0.1 to
//! 127.1.0.200), started for its connection as inetd would. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_push_string,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "a test may stop at the first surprise"
)]

mod ssh_support;

use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dtls_deploy::node::{SshContext, Target, connect};
use ssh_support::{LIMITS, Sshd};
use tokio::net::TcpListener;

const NODES: usize = 200;

/// Serves each connection to `listener` with an sshd of its own; counts them.
async fn serve(listener: TcpListener, config: String, served: Arc<AtomicUsize>) {
    while let Ok((connection, _)) = listener.accept().await {
        served.fetch_add(1, Ordering::Relaxed);
        let socket = connection.into_std().unwrap();
        socket.set_nonblocking(false).unwrap();
        let input = socket.try_clone().unwrap();
        let mut sshd = tokio::process::Command::new("/usr/sbin/sshd")
            .args(["-i", "-f", &config])
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(input)))
            .stdout(Stdio::from(std::os::fd::OwnedFd::from(socket)))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It ends with its connection.
        tokio::spawn(async move { sshd.wait().await });
    }
}

#[tokio::test]
async fn two_hundred_nodes_behind_one_bastion() {
    let bastion = Sshd::config("MaxStartups 10:30:100\nMaxSessions 10");
    let node = Sshd::start();
    let served = Arc::new(AtomicUsize::new(0));
    let port = ssh_support::free_port();
    let config = node.path("sshd_config").to_str().unwrap().to_owned();
    for number in 1..=NODES {
        let listener = TcpListener::bind(format!("127.1.0.{number}:{port}"))
            .await
            .unwrap();
        tokio::spawn(serve(listener, config.clone(), served.clone()));
    }
    let known = |sshd: &Sshd, names: &str| {
        sshd.write_known_hosts(&format!("{names} {}\n", sshd.host_key("ed25519")))
    };
    let configuration = format!(
        "Host bastion\n HostName {}\n Port {}\n User root\n IdentityFile {}\n UserKnownHostsFile {}\nHost *\n GlobalKnownHostsFile none\n",
        bastion.address,
        bastion.port,
        bastion.path("id").display(),
        known(&bastion, &bastion.known_as()).display(),
    );
    fs::write(node.path("ssh_config"), configuration).unwrap();
    let context: SshContext = node.context();
    let known_hosts = known(&node, &format!("[127.1.0.*]:{port}"));

    let begun = Instant::now();
    let connections = futures::future::join_all((1..=NODES).map(|number| {
        let target = Target {
            port: Some(port),
            user: Some("root".to_owned()),
            identity_files: vec![node.path("id")],
            known_hosts_files: vec![known_hosts.clone()],
            proxy_jump: Some("bastion".to_owned()),
            connect_timeout: Duration::from_secs(60),
            ..Target::new(format!("node{number}"), format!("127.1.0.{number}"))
        };
        let context = &context;
        async move { connect(&target, context).await.unwrap() }
    }))
    .await;
    let connected = begun.elapsed();
    let begun = Instant::now();
    let answers = futures::future::join_all(
        connections
            .iter()
            .map(|connection| connection.run("echo \"$SSH_CONNECTION\"", b"", LIMITS)),
    )
    .await;
    println!(
        "{NODES} nodes: connected in {connected:?}, ran in {:?}",
        begun.elapsed()
    );
    for (answer, number) in answers.iter().zip(1..) {
        let output = answer.as_ref().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let at = format!(" 127.1.0.{number} {port}\n");
        assert!(output.status.success() && text.ends_with(&at), "{text}");
    }
    // One login at the bastion, one connection per node, nothing dropped.
    let log = bastion.log();
    assert_eq!(log.matches("Accepted publickey").count(), 1, "{log}");
    assert!(!log.contains("drop connection"), "{log}");
    assert!(!log.contains("MaxStartups"), "{log}");
    assert_eq!(served.load(Ordering::Relaxed), NODES);
    for connection in &connections {
        connection.close().await;
    }
}
