//! Hosts that could not be looked at: SSH, sudo, the shell there.
//!
//! Comes in: what kept a host from being connected to or asked. Goes out: one
//! finding a host. Pure; called by [`super`].

use super::findings::{Findings, finding};
use crate::event::{Failure, FailureKind, Severity, Topic};

pub(super) fn check(findings: &mut Findings, failures: &[Failure]) {
    for failure in failures {
        let topic = match failure.kind {
            _ if failure.step == "connect" => Topic::Ssh,
            FailureKind::Unreachable | FailureKind::TimedOut => Topic::Ssh,
            _ if is_of_sudo(&failure.message) => Topic::Sudo,
            _ => Topic::Tools,
        };
        let mut seen = failure.message.clone();
        for cause in &failure.causes {
            seen.push_str(": ");
            seen.push_str(cause);
        }
        let advice = failure.hint.clone();
        let advice = advice.unwrap_or_else(|| format!("look at {}", failure.host));
        let mut found = finding(Severity::Error, topic, &failure.host, seen, advice);
        found.refused_by_deploy = true;
        findings.add(found);
    }
}

/// All of `BecomeError`'s sentences begin with it but one.
fn is_of_sudo(message: &str) -> bool {
    message.starts_with("sudo ") || message.starts_with("the password for sudo ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::BecomeError;
    use crate::session::NodeError;

    fn topic_of(failure: Failure) -> (Topic, String) {
        let mut findings = Findings::default();
        check(&mut findings, &[failure]);
        let found = &findings.sorted(&[])[0];
        assert!(found.refused_by_deploy && !found.mended_by_deploy);
        (found.topic, found.advice.clone())
    }

    #[test]
    fn what_sudo_says_is_told_apart_from_ssh_and_from_the_shell() {
        for error in [
            BecomeError::NoPassword,
            BecomeError::WrongPassword,
            BecomeError::UnusablePassword,
            BecomeError::Refused {
                said: "x".to_owned(),
            },
        ] {
            let failure = NodeError::Become(error).failure("a", "read facts");
            let (topic, advice) = topic_of(failure);
            assert_eq!(topic, Topic::Sudo);
            assert!(!advice.is_empty());
        }
        let shell = NodeError::Shell {
            status: "exit code 1".to_owned(),
            said: "no".to_owned(),
        };
        assert_eq!(topic_of(shell.failure("a", "read facts")).0, Topic::Tools);
        let connect = Failure {
            step: "connect".to_owned(),
            kind: FailureKind::Unreachable,
            ..NodeError::Become(BecomeError::NoPassword).failure("a", "")
        };
        assert_eq!(topic_of(connect).0, Topic::Ssh);
    }
}
