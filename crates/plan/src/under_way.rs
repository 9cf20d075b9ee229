//! An unfinished rollover of the CA, as every command words it.

use super::{Authority, NEXT_ONLY, Rollover, STEPS};

/// Where a rollover has stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    pub seen: String,
    /// The command that continues it.
    pub command: String,
}

impl UnderWay {
    /// What is left to do; `None` if no rollover is under way.
    #[must_use]
    pub fn read(authority: &Authority, rollover: Option<&Rollover>) -> Option<Self> {
        let seen = match rollover {
            Some(rollover) => {
                let done = STEPS.get(usize::from(rollover.step));
                let meanwhile = if rollover.expired {
                    String::new()
                } else {
                    format!(". Until it is finished, {}", meanwhile(rollover.step))
                };
                format!(
                    "a rollover of the CA is under way, and step {} of {} is next: {}{meanwhile}",
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
        Some(Self {
            seen,
            command: "dtls-deploy rotate --ca INVENTORY".to_owned(),
        })
    }

    /// In one sentence.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}. To finish it, run {}", self.seen, self.command)
    }
}

/// What holds as long as this step is not done.
#[must_use]
pub fn meanwhile(step: u8) -> &'static str {
    if step > NEXT_ONLY {
        "daemons trust the new CA only, and clients keep their access"
    } else {
        "both CAs are valid, and clients keep their access"
    }
}
