//! Hosts that could not be checked: SSH, sudo, the login shell.

use super::findings::{Findings, finding};
use base::event::{Severity, Topic};
use run::session::{Barrier, Missing};

pub(super) fn check<'a>(findings: &mut Findings, missing: impl Iterator<Item = &'a Missing>) {
    for Missing { barrier, failure } in missing {
        let topic = match barrier {
            Barrier::Connection => Topic::Ssh,
            Barrier::Become => Topic::Sudo,
            Barrier::Answer => Topic::Tools,
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

#[cfg(test)]
mod tests {
    use super::*;
    use node::{BecomeError, ConnectionError};
    use run::session::NodeError;

    fn topic_of(error: &NodeError) -> (Topic, String) {
        let mut findings = Findings::default();
        let mut missing = error.missing("a");
        "reworded".clone_into(&mut missing.failure.message);
        check(&mut findings, std::iter::once(&missing));
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
            let (topic, advice) = topic_of(&NodeError::Become(error));
            assert_eq!(topic, Topic::Sudo);
            assert!(!advice.is_empty());
        }
        let shell = NodeError::Shell {
            status: "exit code 1".to_owned(),
            said: "no".to_owned(),
        };
        assert_eq!(topic_of(&shell).0, Topic::Tools);
        let closed = NodeError::Connection(ConnectionError::Closed {
            node: "a".to_owned(),
            reason: "it was closed".to_owned(),
        });
        assert_eq!(topic_of(&closed).0, Topic::Ssh);
    }
}
