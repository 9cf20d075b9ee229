//! A client as its people have it: with its own files, with the tool they use, in
//! the mode that the inventory gives it.
//!
//! Private keys stay on the node.

use super::daemon::{refused_by_tls, tls_words};
use super::{Attempt, DEADLINE, tool_record};
use base::event::{Check, Proof, Verdict};
use node::DialError;
use node::script::Script;
use pki::Role;
use plan::host::leaf::location as leaf_location;

/// What a client proves its identity with: what its people use comes first.
const TOOLS: &str = "docker curl openssl";

impl Attempt<'_> {
    pub(super) async fn as_client(&self) -> Proof {
        let mode = self.client.settings.client_mode;
        let (directory, files) = leaf_location(self.client, Role::Client);
        let (url, port) = (self.address.url(), self.address.port.to_string());
        let arguments = [
            mode.word(),
            TOOLS,
            &url,
            &self.address.host,
            &port,
            &format!("{directory}/{}", files.ca),
            &format!("{directory}/{}", files.cert),
            &format!("{directory}/{}", files.key),
        ];
        let mut script = Script::default();
        // As the account whose files they are.
        script.call("prove_identity", &arguments);
        let is_let_in = mode.is_let_in(self.daemon.settings.daemon_mode);
        let check = match (is_let_in, mode.shows_certificate()) {
            (false, _) => Check::KeptOut,
            (true, true) => Check::Accepted,
            (true, false) => Check::LetInWithout,
        };
        let record = tool_record(self.node, self.client.as_root, &script, "identity").await;
        let (verdict, seen) = match record {
            Ok((outcome, tool, said)) => judge(is_let_in, &outcome, &tool, said),
            // The client did not answer.
            Err(seen) => (Verdict::Unreachable, seen),
        };
        if is_let_in && verdict == Verdict::Failed {
            return self.if_reached(check, seen).await;
        }
        self.proof(check, verdict, seen)
    }

    /// A tool that fails does not say in a form that can be relied on whether it has reached the
    /// daemon: a connection from the same node does.
    async fn if_reached(&self, check: Check, seen: String) -> Proof {
        let (host, port) = (&self.address.host, self.address.port);
        match self.node.connection.dial(host, port, DEADLINE).await {
            // Where sshd does not forward, the tool's word is all there is.
            Ok(_) | Err(DialError::Forbidden { .. }) => self.proof(check, Verdict::Failed, seen),
            Err(error) => self.unreached(check, &error.into()),
        }
    }
}

/// What the tool saw, against what the modes predict.
fn judge(is_let_in: bool, outcome: &str, tool: &str, said: String) -> (Verdict, String) {
    match (outcome, is_let_in) {
        ("accepted", true) => (Verdict::Proved, format!("{tool} {said}").trim().to_owned()),
        ("accepted", false) => (
            Verdict::Failed,
            format!("{tool}: it was accepted").trim().to_owned(),
        ),
        ("unproved", _) => (Verdict::NotProved, said),
        // Nothing is known of the daemon, and whether the client is served is not known either.
        ("unusable", _) => (Verdict::Unreachable, said),
        ("refused", false) if refused_by_tls(&said) => {
            (Verdict::Proved, format!("{tool}: {}", tls_words(&said)))
        }
        // It got no further, and not because of the daemon.
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
