//! Reasons that are given of many files in the same words.
//!
//! Modules give one for each file, and the report says them once with a count: it knows a
//! reason by the words that it is made of here, also when it reads a journal.

/// The words after a file's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeated {
    Changes,
    DiffersFromRead,
    ChangedSinceStart,
}

impl Repeated {
    /// In the order in which the report says them.
    pub const ALL: [Self; 3] = [
        Self::Changes,
        Self::DiffersFromRead,
        Self::ChangedSinceStart,
    ];

    /// Of one file, and of several.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Changes => (" changes", "files change"),
            Self::DiffersFromRead => (
                " differs from what dockerd last read",
                "files differ from what dockerd last read",
            ),
            Self::ChangedSinceStart => (
                " has changed since dockerd was started",
                "files have changed since dockerd was started",
            ),
        }
    }

    /// The reason, of one file.
    #[must_use]
    pub fn of(self, path: &str) -> String {
        format!("{path}{}", self.words().0)
    }

    #[must_use]
    pub fn is(self, reason: &str) -> bool {
        reason.ends_with(self.words().0)
    }

    /// The same of so many files.
    #[must_use]
    pub fn of_many(self, count: usize) -> String {
        format!("{count} {}", self.words().1)
    }
}
