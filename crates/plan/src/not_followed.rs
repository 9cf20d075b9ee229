//! What a run leaves unchanged on a client, and because of which daemon.
//!
//! Created by [`super::follow`] during planning, and by apply for daemons whose change was not
//! confirmed; shown as a note of the client.

use super::Note;

/// Files of a client that stay unchanged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotFollowed {
    /// The client's host.
    pub client: String,
    /// Contexts, and paths of other files.
    pub what: Vec<String>,
    pub daemon: String,
    pub why: Why,
}

/// Why a daemon is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It cannot reach its wanted state.
    Refused,
    /// It did not answer.
    Unreachable,
    /// Excluded by `--limit` or the playbook.
    NotInRun,
    /// It is in service, and would reject the client's new certificate.
    Rejects,
    /// It is in service with a certificate that the client would no longer trust.
    Untrusted,
    /// It listens at another address, and this run does not change that.
    Elsewhere,
    /// Its change failed or was undone.
    Failed,
    /// Its change was not begun.
    Skipped,
    /// What was to be removed is still there.
    NotRemoved,
}

impl NotFollowed {
    /// Reports each once.
    #[must_use]
    pub fn new(client: &str, mut what: Vec<String>, daemon: String, why: Why) -> Self {
        let mut said = std::collections::BTreeSet::new();
        what.retain(|one| said.insert(one.clone()));
        Self {
            client: client.to_owned(),
            what,
            daemon,
            why,
        }
    }

    /// What to do where nothing may be kept: a rollback.
    #[must_use]
    pub fn hint(&self) -> String {
        let daemon = &self.daemon;
        match self.why {
            Why::Refused => format!("fix what {daemon} is refused for"),
            Why::Unreachable => format!("start {daemon} first, or take it out of the inventory"),
            Why::NotInRun => "run it without --limit".to_owned(),
            _ => "deploy instead of going back".to_owned(),
        }
    }

    /// Why, in a clause.
    #[must_use]
    pub fn because(&self) -> String {
        let daemon = &self.daemon;
        match self.why {
            Why::Refused => format!("{daemon} was refused"),
            Why::Unreachable => format!("{daemon} did not answer"),
            Why::NotInRun => format!("{daemon} is not part of this run"),
            Why::Rejects => format!("{daemon} is in service and rejects what would replace it"),
            Why::Untrusted => {
                format!("{daemon} is in service with a certificate that only this CA file verifies")
            }
            Why::Elsewhere => {
                format!("{daemon} does not listen at its new address yet: deploy first")
            }
            Why::Failed => format!("the change of {daemon} failed"),
            Why::Skipped => format!("the change of {daemon} was skipped"),
            Why::NotRemoved => format!("the deployment on {daemon} was not removed"),
        }
    }

    /// For the report.
    #[must_use]
    pub fn note(&self) -> Note {
        Note {
            host: self.client.clone(),
            text: self.to_string(),
            danger: false,
        }
    }
}

impl std::fmt::Display for NotFollowed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = self.what.join(", ");
        write!(
            formatter,
            "kept as it is: {what}, because {}",
            self.because()
        )
    }
}
