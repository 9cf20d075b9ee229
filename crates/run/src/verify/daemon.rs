//! Checks on the daemon's own node: its own pair as a client's, and the socket of local users.

use super::record::{DAEMON_TOOLS, TOOL_DEADLINE, find_record};
use crate::session::Node;
use base::event::{Check, Proof, Verdict};
use docker::tls::{ClientMode, DaemonMode};
use inventory::Host;
use node::script::Script;
use pki::Role;
use plan::host::address::daemon_address;
use plan::host::guard;
use plan::host::leaf::location as leaf_location;

/// Tries its own pair as a client's, and the socket of local users.
pub(super) async fn from_daemon(node: &Node, daemon: &Host, is_guarded: bool) -> Vec<Proof> {
    let (directory, files) = leaf_location(daemon, Role::Daemon);
    let address = daemon_address(daemon);
    let mut script = Script::default();
    let asks = daemon.settings.daemon_mode == DaemonMode::TlsVerify;
    if asks {
        script.call(
            "prove_identity",
            &[
                ClientMode::TlsVerify.word(),
                DAEMON_TOOLS,
                &address.url(),
                &address.host,
                &address.port.to_string(),
                &format!("{directory}/{}", files.ca),
                &format!("{directory}/{}", files.cert),
                &format!("{directory}/{}", files.key),
            ],
        );
    }
    if daemon.settings.local_socket {
        script.call("prove_socket", &[&daemon.settings.unit]);
    }
    if is_guarded {
        call_guard(&mut script, daemon);
    }
    let proof = |check, verdict, seen: String| Proof {
        from: daemon.name.clone(),
        to: daemon.name.clone(),
        check,
        verdict,
        seen,
    };
    let output = match node.run(daemon.as_root, &script, TOOL_DEADLINE).await {
        Ok(output) => output,
        Err(error) => {
            return vec![proof(
                Check::ServerAsClient,
                Verdict::NotProved,
                error.to_string(),
            )];
        }
    };
    let mut proofs = Vec::new();
    let (verdict, seen) = match find_record(&output, "identity") {
        Ok((outcome, tool, said)) => match outcome.as_str() {
            "accepted" => (Verdict::Failed, format!("{tool}: it was accepted")),
            "refused" if refused_by_tls(&said) => {
                (Verdict::Proved, format!("{tool}: {}", tls_words(&said)))
            }
            _ => (Verdict::NotProved, format!("{tool}: {said}")),
        },
        Err(seen) => (Verdict::NotProved, seen),
    };
    if asks {
        proofs.push(proof(Check::ServerAsClient, verdict, seen));
    }
    if daemon.settings.local_socket {
        let (verdict, seen) = judge(&output, "socket");
        proofs.push(proof(Check::LocalSocket, verdict, seen));
    }
    if is_guarded {
        let (verdict, seen) = judge(&output, "guard");
        proofs.push(proof(Check::Guard, verdict, seen));
    }
    proofs
}

/// What a check on the daemon's own node came to.
type Judged = (Verdict, String);

/// Whether the daemon answers on the socket that local users have, if the inventory declares it, and
/// whether it asks its guard, if it is to have one.
pub async fn local(
    node: &Node,
    daemon: &Host,
    is_guarded: bool,
) -> (Option<Judged>, Option<Judged>) {
    let mut script = Script::default();
    if daemon.settings.local_socket {
        script.call("prove_socket", &[&daemon.settings.unit]);
    }
    if is_guarded {
        call_guard(&mut script, daemon);
    }
    if script.is_empty() {
        return (None, None);
    }
    let output = node.run(daemon.as_root, &script, TOOL_DEADLINE).await;
    let judged = |word| match &output {
        Ok(output) => judge(output, word),
        Err(error) => (Verdict::NotProved, error.to_string()),
    };
    (
        daemon.settings.local_socket.then(|| judged("socket")),
        is_guarded.then(|| judged("guard")),
    )
}

/// Whether the daemon answers on the socket that local users have.
pub(super) async fn local_socket(node: &Node, daemon: &Host) -> Judged {
    let mut script = Script::default();
    script.call("prove_socket", &[&daemon.settings.unit]);
    match node.run(daemon.as_root, &script, TOOL_DEADLINE).await {
        Ok(output) => judge(&output, "socket"),
        Err(error) => (Verdict::NotProved, error.to_string()),
    }
}

fn call_guard(script: &mut Script, daemon: &Host) {
    let files = guard::files(daemon).into_iter();
    let files: Vec<String> = files
        .map(|(directory, name)| format!("{directory}/{name}"))
        .collect();
    let words = std::iter::once(guard::PLUGIN).chain(files.iter().map(String::as_str));
    script.call("prove_guard", &words.collect::<Vec<_>>());
}

/// What `prove_socket` or `prove_guard` saw.
fn judge(output: &[u8], word: &str) -> Judged {
    match find_record(output, word) {
        Ok((outcome, tool, said)) => match outcome.as_str() {
            "accepted" => (Verdict::Proved, format!("{tool} {said}").trim().to_owned()),
            "unproved" => (Verdict::NotProved, said),
            _ if tool == "node" => (Verdict::Failed, said),
            _ => (Verdict::Failed, format!("{tool}: {said}")),
        },
        Err(seen) => (Verdict::NotProved, seen),
    }
}

/// Only an alert from the daemon means that it rejected the client. docker words it "remote error:
/// tls: bad certificate", OpenSSL and curl "alert bad certificate".
pub(super) fn refused_by_tls(said: &str) -> bool {
    let said = said.to_lowercase();
    ["remote error: tls: ", "alert "].iter().any(|sent| {
        said.split(sent).skip(1).any(|alert| {
            [
                "bad certificate",
                "unsupported certificate",
                "certificate required",
                "certificate unknown",
                "unknown ca",
            ]
            .iter()
            .any(|name| alert.starts_with(name))
        })
    })
}

/// The part of a tool's message about how TLS ended.
pub(super) fn tls_words(said: &str) -> &str {
    said.rfind("tls: ")
        .or_else(|| said.rfind("alert "))
        .and_then(|at| said.get(at..))
        .unwrap_or(said)
}

#[cfg(test)]
mod tests {
    use super::refused_by_tls;

    #[test]
    fn only_an_alert_of_the_daemons_is_a_refusal() {
        for said in [
            "error during connect: Get https://node3:2376/v1.24/version: remote error: tls: bad certificate",
            "curl: (56) OpenSSL SSL_read: error:0A000412:SSL routines::sslv3 alert bad certificate, errno 0",
            "curl: (56) OpenSSL SSL_read: error:0A00045C:SSL routines::tlsv13 alert certificate required, errno 0",
        ] {
            assert!(refused_by_tls(said), "{said}");
        }
        for said in [
            "curl: (58) could not load PEM client certificate, OpenSSL error error:02001002",
            "tls: failed to verify certificate: x509: cannot validate certificate for 10.0.0.12",
            "x509: certificate signed by unknown authority",
            "curl: (7) Failed to connect to node3 port 2376: Connection refused",
            "remote error: tls: handshake failure",
        ] {
            assert!(!refused_by_tls(said), "{said}");
        }
    }
}
