//! A rollover of the CA that is not finished, in the words that every command has for it.
//!
//! Comes in: what the CA's node and the others show. Goes out: which step is next, and the command
//! that takes it. Called by every plan, by `status` and by `doctor`.

use super::{Authority, Rollover, STEPS};
use inventory::Inventory;

/// Where a rollover has stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    pub seen: String,
    /// The command that goes on with it.
    pub command: String,
}

impl UnderWay {
    /// What is left to do of one; `None` where none is under way.
    #[must_use]
    pub fn read(
        authority: &Authority,
        rollover: Option<&Rollover>,
        inventory: &Inventory,
    ) -> Option<Self> {
        let seen = match rollover {
            Some(rollover) => {
                let done = STEPS.get(usize::from(rollover.step));
                format!(
                    "a rollover of the CA is under way, and step {} of {} is next: {}",
                    rollover.step,
                    STEPS.len() - 1,
                    done.copied().unwrap_or_default()
                )
            }
            None if authority.is_rolled_over => {
                "a rollover of the CA has done its last step, and is not ended".to_owned()
            }
            None => return None,
        };
        let path = inventory.path.display().to_string();
        let path = shlex::try_quote(&path).unwrap_or(std::borrow::Cow::Borrowed(&path));
        Some(Self {
            seen,
            command: format!("dtls-deploy rotate --ca {path}"),
        })
    }

    /// In one sentence.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}; {} goes on with it", self.seen, self.command)
    }
}
