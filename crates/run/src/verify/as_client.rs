//! Checks as a client's users connect: with its own files, with the tools they use, in the mode
//! that the inventory sets.
//!
//! Private keys stay on the node.

use super::daemon::{refused_by_tls, tls_words};
use super::record::find_record;
use super::{Attempt, DEADLINE, output_of};
use base::event::{Check, Proof, Verdict};
use node::DialError;
use node::script::Script;
use pki::Role;
use plan::host::leaf::location as leaf_location;

/// What dockerd answers to a client that its plugin rejects (moby, pkg/authorization/authz.go).
const DENIED: &str = "authorization denied by plugin";
/// What dockerd answers about a container that does not exist (moby, daemon/container.go).
const NOTHING_THERE: &str = "No such container";

/// The tools to connect with: the ones that users have come first.
const TOOLS: &str = "docker curl openssl";
/// For an answer that is the same to every tool: the quickest comes first.
const QUICK_TOOLS: &str = "curl docker openssl";

impl Attempt<'_> {
    pub(super) async fn as_client(&self) -> Vec<Proof> {
        let mode = self.client.settings.client_mode;
        let (directory, files) = leaf_location(self.client, Role::Client);
        let (url, port) = (self.address.url(), self.address.port.to_string());
        let (ca, certificate, key) = (
            format!("{directory}/{}", files.ca),
            format!("{directory}/{}", files.cert),
            format!("{directory}/{}", files.key),
        );
        let is_guarded = self.daemon.is_guarded() && mode.shows_certificate();
        let is_revoked = is_guarded && self.expectations.revoked.contains(&self.client.holder());
        let mut arguments = vec![
            mode.word(),
            if is_revoked { QUICK_TOOLS } else { TOOLS },
            &url,
            &self.address.host,
            &port,
            &ca,
            &certificate,
            &key,
        ];
        if is_guarded && !is_revoked {
            arguments.push("guarded");
        }
        let mut script = Script::default();
        // As the account that owns the files.
        script.call("prove_identity", &arguments);
        let is_let_in = mode.is_let_in(self.daemon.settings.daemon_mode);
        let has_own_role = is_guarded && policy::Role::named(&self.client.settings.role).is_none();
        let check = match (is_let_in, mode.shows_certificate()) {
            _ if is_revoked => Check::Revoked,
            (false, _) => Check::KeptOut,
            (true, true) => Check::Accepted,
            (true, false) => Check::LetInWithout,
        };
        let output = output_of(self.node, self.client.as_root, &script).await;
        let record = output
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|output| find_record(output, "identity"));
        let (verdict, seen) = match record {
            Ok((outcome, tool, said)) if is_revoked => judge_revoked(&outcome, &tool, said),
            // A custom role may exclude the version: the user is then unknown.
            Ok((_, tool, said)) if has_own_role && said.contains(DENIED) => {
                (Verdict::NotProved, format!("{tool}: {said}"))
            }
            Ok((outcome, tool, said)) => judge(is_let_in, &outcome, &tool, said),
            // The client did not answer.
            Err(seen) => (Verdict::Unreachable, seen),
        };
        if is_let_in && !is_revoked && verdict == Verdict::Failed {
            return vec![self.if_reached(check, seen).await];
        }
        let mut proofs = vec![self.proof(check, verdict, seen)];
        if is_guarded && !is_revoked && verdict == Verdict::Proved {
            let record = output.and_then(|output| find_record(&output, "role"));
            proofs.extend(
                record
                    .ok()
                    .and_then(|(_, tool, said)| self.role(&tool, &said)),
            );
        }
        proofs
    }

    /// The daemon's answer to a request that changes it; a custom role may or may not allow it.
    fn role(&self, tool: &str, said: &str) -> Option<Proof> {
        let role = &self.client.settings.role;
        let known = policy::Role::named(role)?;
        let is_allowed = match (said.contains(NOTHING_THERE), said.contains(DENIED)) {
            (true, false) => true,
            (false, true) => false,
            _ => {
                return Some(self.proof(
                    Check::Role,
                    Verdict::NotProved,
                    format!("{tool}: {said}"),
                ));
            }
        };
        let may = known == policy::Role::Full;
        let seen = if is_allowed {
            "may change the daemon"
        } else {
            "may not change the daemon"
        };
        let verdict = if is_allowed == may {
            Verdict::Proved
        } else {
            Verdict::Failed
        };
        Some(self.proof(Check::Role, verdict, format!("{role}: {seen}")))
    }

    /// The output of a failed tool does not reliably show whether it reached the daemon: a
    /// connection from the same node does.
    async fn if_reached(&self, check: Check, seen: String) -> Proof {
        let (host, port) = (&self.address.host, self.address.port);
        match self.node.connection.dial(host, port, DEADLINE).await {
            // If sshd does not forward, only the tool's output is available.
            Ok(_) | Err(DialError::Forbidden { .. }) => self.proof(check, Verdict::Failed, seen),
            Err(error) => self.unreached(check, &error.into()),
        }
    }
}

/// The tool's result with a daemon that must reject a certificate that TLS accepts.
fn judge_revoked(outcome: &str, tool: &str, said: String) -> (Verdict, String) {
    let seen = format!("{tool}: {said}").trim().to_owned();
    match outcome {
        "accepted" => (Verdict::Failed, format!("{tool}: it was accepted")),
        "refused" if said.contains(DENIED) => (Verdict::Proved, "rejected by the guard".to_owned()),
        "refused" if refused_by_tls(&said) => {
            (Verdict::Proved, format!("{tool}: {}", tls_words(&said)))
        }
        "unusable" => (Verdict::Unreachable, said),
        _ => (Verdict::NotProved, seen),
    }
}

/// The tool's result, compared with what the modes predict.
fn judge(is_let_in: bool, outcome: &str, tool: &str, said: String) -> (Verdict, String) {
    match (outcome, is_let_in) {
        ("accepted", true) => (Verdict::Proved, format!("{tool} {said}").trim().to_owned()),
        ("accepted", false) => (
            Verdict::Failed,
            format!("{tool}: it was accepted").trim().to_owned(),
        ),
        ("unproved", _) => (Verdict::NotProved, said),
        // Nothing is known of the daemon, nor whether it serves the client.
        ("unusable", _) => (Verdict::Unreachable, said),
        ("refused", false) if refused_by_tls(&said) => {
            (Verdict::Proved, format!("{tool}: {}", tls_words(&said)))
        }
        // The tool failed, but not because of the daemon.
        (_, false) => (Verdict::NotProved, format!("{tool}: {said}")),
        (_, true) => (Verdict::Failed, format!("{tool}: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_daemons_own_refusal_keeps_somebody_out() {
        let alert = "remote error: tls: bad certificate".to_owned();
        let gone = "dial tcp: connection refused".to_owned();
        let of =
            |is_let_in, outcome, said: &String| judge(is_let_in, outcome, "docker", said.clone()).0;
        assert_eq!(of(true, "accepted", &String::new()), Verdict::Proved);
        assert_eq!(of(false, "accepted", &String::new()), Verdict::Failed);
        assert_eq!(of(false, "refused", &alert), Verdict::Proved);
        assert_eq!(of(true, "refused", &alert), Verdict::Failed);
        assert_eq!(of(false, "refused", &gone), Verdict::NotProved);
        assert_eq!(of(false, "timeout", &gone), Verdict::NotProved);
        assert_eq!(of(false, "unproved", &gone), Verdict::NotProved);
        assert_eq!(of(true, "unproved", &gone), Verdict::NotProved);
        assert_eq!(of(true, "unusable", &gone), Verdict::Unreachable);
        assert_eq!(of(true, "timeout", &gone), Verdict::Failed);
    }
}
