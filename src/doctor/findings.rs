//! The results of `doctor`'s checks: findings, and what is fine.

use std::collections::BTreeSet;

use base::event::{Finding, FindingCounts, Severity, Topic};

/// How deploy treats a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeployFixes {
    /// The next deployment fixes it.
    Now,
    /// A deployment would fix it, but refuses the host for another reason, or keeps a client
    /// unchanged because of a daemon.
    Later,
    /// Deploy does not fix it.
    Never,
}

/// All results so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<Finding>,
    fine: Vec<(String, Topic, String)>,
    /// Paths that a finding covers, by host.
    subjects: BTreeSet<(String, String)>,
}

/// A finding that deploy does not fix.
pub(super) fn finding(
    severity: Severity,
    topic: Topic,
    host: &str,
    seen: impl Into<String>,
    advice: impl Into<String>,
) -> Finding {
    Finding {
        severity,
        host: host.to_owned(),
        topic,
        seen: seen.into(),
        advice: advice.into(),
        mended_by_deploy: false,
        refused_by_deploy: false,
    }
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        let is_same = |known: &Finding| known.host == finding.host && known.seen == finding.seen;
        if !self.found.iter().any(is_same) {
            self.found.push(finding);
        }
    }

    /// A finding that deploy may fix.
    pub(super) fn add_with_fix(&mut self, mut finding: Finding, fix: DeployFixes) {
        match fix {
            DeployFixes::Now => finding.mended_by_deploy = true,
            DeployFixes::Later => finding
                .advice
                .push_str("; deploy fixes it once nothing else prevents it on this host"),
            DeployFixes::Never => {}
        }
        self.add(finding);
    }

    /// A check without a finding.
    pub(super) fn fine(&mut self, host: &str, topic: Topic, what: impl Into<String>) {
        self.fine.push((host.to_owned(), topic, what.into()));
    }

    /// The finding covers this path: it is not reported again.
    pub(super) fn covers(&mut self, host: &str, path: &str) {
        self.subjects.insert((host.to_owned(), path.to_owned()));
    }

    pub(super) fn is_covered(&self, host: &str, path: &str) -> bool {
        self.subjects.contains(&(host.to_owned(), path.to_owned()))
    }

    /// Whether a host has an error in one of these topics: its consequences need no finding of
    /// their own.
    pub(super) fn has_error(&self, host: &str, topics: &[Topic]) -> bool {
        self.found.iter().any(|known| {
            known.severity == Severity::Error && known.host == host && topics.contains(&known.topic)
        })
    }

    pub(super) fn has(&self, host: &str, topic: Topic) -> bool {
        let mut found = self.found.iter();
        found.any(|known| known.host == host && known.topic == topic)
    }

    pub(super) fn checked(&self) -> &[(String, Topic, String)] {
        &self.fine
    }

    /// The worst first, then by host, in the inventory's order of `hosts`.
    pub(super) fn sorted(&self, hosts: &[&str]) -> Vec<Finding> {
        let place = |name: &str| hosts.iter().position(|host| *host == name);
        let mut found = self.found.clone();
        found.sort_by_key(|one| (one.severity, place(&one.host), one.topic));
        found
    }

    pub(super) fn counts(&self, hosts: usize) -> FindingCounts {
        let count = |severity| {
            let same = self.found.iter().filter(|one| one.severity == severity);
            same.count()
        };
        FindingCounts {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            notes: count(Severity::Note),
            hosts,
            checks: self.found.len() + self.fine.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_and_the_worst_first() {
        let mut findings = Findings::default();
        let note = finding(Severity::Note, Topic::Clock, "a", "late", "wait");
        let error = finding(Severity::Error, Topic::Disk, "b", "full", "make room");
        findings.add(note.clone());
        findings.add_with_fix(error.clone(), DeployFixes::Now);
        findings.add(error);
        findings.add(finding(Severity::Error, Topic::Disk, "a", "full", "-"));
        findings.fine("a", Topic::Ssh, "connected");
        let sorted = findings.sorted(&["b", "a"]);
        let told: Vec<(&str, bool)> = sorted
            .iter()
            .map(|one| (one.host.as_str(), one.mended_by_deploy))
            .collect();
        assert_eq!(told, [("b", true), ("a", false), ("a", false)]);
        let counts = findings.counts(2);
        assert_eq!(
            (counts.errors, counts.warnings, counts.notes, counts.checks),
            (2, 0, 1, 4)
        );
        assert!(findings.has_error("b", &[Topic::Disk]));
        assert!(!findings.has_error("a", &[Topic::Clock]) && findings.has("a", Topic::Clock));
    }

    #[test]
    fn what_deploy_would_do_is_said() {
        let mut findings = Findings::default();
        let one = finding(Severity::Error, Topic::Files, "a", "x", "chmod");
        findings.add_with_fix(one, DeployFixes::Later);
        let found = &findings.sorted(&[])[0];
        assert!(!found.mended_by_deploy && found.advice.contains("once nothing else"));
    }
}
