//! The agent behind streams: a whole conversation, and every way it can end.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use pki::{
    Agent, AgentClient, AgentError, DeliveredLeaf, ErrorKind, KeyType, LeafRequest, Request,
    Response, Role, serve_with,
};
use tempfile::tempdir;

use super::{given_directory, has_begun, passphrase, start};

const MINUTE: Duration = Duration::from_secs(60);

fn hello(directory: &Path) -> Request {
    super::hello(directory, "test")
}

fn ensure() -> Request {
    super::ensure(KeyType::EcdsaP256)
}

fn issue(count: usize, key_type: KeyType) -> Request {
    let leaves = (0..count).map(|number| LeafRequest {
        host: format!("node{number}"),
        role: Role::Daemon,
        signer: pki::Signer::Current,
        common_name: format!("node{number}"),
        sans: BTreeSet::from(["10.0.0.12".parse().unwrap()]),
        key_type,
        validity_days: 365,
        key_name: format!("node{number}/key.pem"),
        certificate_name: format!("node{number}/cert.pem"),
    });
    Request::Issue {
        leaves: leaves.collect(),
        passphrase: passphrase(),
    }
}

/// An agent in a thread, and the other end of its streams.
fn agent(idle: Duration) -> (UnixStream, JoinHandle<io::Result<()>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let output = theirs.try_clone().unwrap();
    let running = thread::spawn(move || serve_with(Agent::new(), theirs, output, idle));
    (ours, running)
}

fn client(stream: UnixStream, ping_every: Duration) -> AgentClient {
    stream.set_nonblocking(true).unwrap();
    let (answers, requests) = tokio::net::UnixStream::from_std(stream)
        .unwrap()
        .into_split();
    AgentClient::remote_pinging(answers, requests, ping_every)
}

fn is_free(directory: &Path) -> bool {
    matches!(
        Agent::new().handle(hello(directory)),
        Response::Hello { .. }
    )
}

async fn conversation(mut client: AgentClient, directory: &Path) {
    assert!(matches!(
        client.call(hello(directory)).await.unwrap(),
        Response::Hello { .. }
    ));
    assert!(matches!(
        client.call(ensure()).await.unwrap(),
        Response::Authority { created: true, .. }
    ));
    let Response::Issued { leaves } = client.call(issue(60, KeyType::EcdsaP256)).await.unwrap()
    else {
        panic!("nothing issued");
    };
    assert_eq!(leaves.len(), 60);
    assert_eq!(client.call(Request::Ping).await.unwrap(), Response::Done);
    let delivered = leaves.iter().map(|leaf| DeliveredLeaf {
        host: leaf.host.clone(),
        role: leaf.role,
        serial: leaf.serial.clone(),
        replaces: Vec::new(),
    });
    let delivered = Request::Delivered {
        leaves: delivered.collect(),
        keep_keys: false,
    };
    assert_eq!(client.call(delivered).await.unwrap(), Response::Done);
    let strange = Request::Delivered {
        leaves: vec![DeliveredLeaf {
            host: "node0".to_owned(),
            role: Role::Client,
            serial: leaves[0].serial.clone(),
            replaces: Vec::new(),
        }],
        keep_keys: false,
    };
    match client.call(strange).await {
        Err(AgentError::Refused {
            kind: ErrorKind::Request,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    assert!(!is_free(directory));
    assert_eq!(client.call(Request::Bye).await.unwrap(), Response::Done);
}

#[tokio::test]
async fn a_whole_conversation_over_streams_and_in_process() {
    let directory = tempdir().unwrap();
    let (stream, running) = agent(MINUTE);
    conversation(client(stream, MINUTE), &directory.path().join("far")).await;
    running.join().unwrap().unwrap();
    assert!(is_free(&directory.path().join("far")));
    conversation(
        AgentClient::local(Agent::new()),
        &directory.path().join("near"),
    )
    .await;
    assert!(is_free(&directory.path().join("near")));
}

#[tokio::test]
async fn dropping_the_client_ends_the_agent() {
    let directory = tempdir().unwrap();
    let (stream, running) = agent(MINUTE);
    let mut client = client(stream, MINUTE);
    client.call(hello(directory.path())).await.unwrap();
    drop(client);
    tokio::task::spawn_blocking(|| running.join().unwrap().unwrap())
        .await
        .unwrap();
    assert!(is_free(directory.path()));
}

#[tokio::test]
async fn an_agent_that_is_gone_is_told_from_one_that_is_slow() {
    let (mut stream, end) = UnixStream::pair().unwrap();
    let mut client = client(end, MINUTE);
    let fake = thread::spawn(move || {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        stream.write_all(b"{\"done\"").unwrap();
    });
    match client.call(Request::Bye).await {
        Err(AgentError::Closed | AgentError::Io(_)) => {}
        other => panic!("{other:?}"),
    }
    fake.join().unwrap();
}

#[tokio::test]
async fn a_call_that_was_given_up_leaves_no_answer_to_be_mistaken() {
    let directory = tempdir().unwrap();
    let (stream, _running) = agent(MINUTE);
    let mut client = client(stream, MINUTE);
    client.call(hello(directory.path())).await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(1), client.call(ensure())).await;
    assert!(given_up.is_err());
    assert!(matches!(
        client.call(Request::State {}).await,
        Err(AgentError::OutOfStep)
    ));
}

#[tokio::test]
async fn pings_keep_a_quiet_conversation_alive() {
    let directory = tempdir().unwrap();
    let (stream, running) = agent(Duration::from_millis(500));
    let mut client = client(stream, Duration::from_millis(50));
    client.call(hello(directory.path())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(matches!(
        client.call(Request::State {}).await.unwrap(),
        Response::State { .. }
    ));
    drop(client);
    tokio::task::spawn_blocking(|| running.join().unwrap().unwrap())
        .await
        .unwrap();
}

fn line(request: &Request) -> Vec<u8> {
    let mut line = serde_json::to_vec(request).unwrap();
    line.push(b'\n');
    line
}

fn answer_text(stream: &mut UnixStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte).unwrap();
        text.extend(byte);
    }
    String::from_utf8(text).unwrap()
}

fn answer(stream: &mut UnixStream) -> Response {
    serde_json::from_str(&answer_text(stream)).unwrap()
}

#[test]
fn silence_ends_the_agent_and_frees_the_lock() {
    let directory = tempdir().unwrap();
    let (mut stream, running) = agent(Duration::from_millis(200));
    stream.write_all(&line(&hello(directory.path()))).unwrap();
    assert!(matches!(answer(&mut stream), Response::Hello { .. }));
    let error = running.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(is_free(directory.path()));
}

#[test]
fn the_end_of_the_input_stops_long_work() {
    let directory = tempdir().unwrap();
    let (mut stream, running) = agent(MINUTE);
    for request in [hello(directory.path()), ensure()] {
        stream.write_all(&line(&request)).unwrap();
        answer(&mut stream);
    }
    // About six minutes of work on one core.
    stream
        .write_all(&line(&issue(500, KeyType::Rsa4096)))
        .unwrap();
    sleep(Duration::from_millis(100));
    drop(stream);
    let _ = running.join().unwrap();
    assert!(is_free(directory.path()));
    assert!(!directory.path().join(".ledger.jsonl").exists());
    assert!(!directory.path().join("node0").exists());
}

#[test]
fn what_is_no_request_is_answered_without_repeating_it() {
    for garbage in [
        "hunter2\n",
        "{\"hunter2\":{}}\n",
        "{\"issue\":{\"passphrase\":12345678}}\n",
        "\u{0}\n",
    ] {
        let (mut stream, running) = agent(MINUTE);
        stream.write_all(garbage.as_bytes()).unwrap();
        let text = answer_text(&mut stream);
        assert!(text.contains("\"kind\":\"protocol\""), "{text}");
        assert!(
            !text.contains("hunter2") && !text.contains("345678"),
            "{text}"
        );
        running.join().unwrap().unwrap();
    }
}

/// Not a test of its own: the process that the next one kills.
#[test]
#[ignore = "started by a_killed_agent_frees_its_lock_at_once"]
fn hold_the_lock() {
    let Some(directory) = given_directory() else {
        return;
    };
    let mut agent = Agent::new();
    assert!(matches!(
        agent.handle(hello(&directory)),
        Response::Hello { .. }
    ));
    has_begun();
    sleep(MINUTE);
}

#[test]
fn a_killed_agent_frees_its_lock_at_once() {
    let directory = tempdir().unwrap();
    let mut child = start(module_path!(), "hold_the_lock", directory.path());
    assert!(!is_free(directory.path()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_free(directory.path()));
}
