//! Reasons that apply to many files in the same words.
//!
//! Modules give one for each file, and the report combines them with a count. It recognises these
//! reasons by their words, also when it reads a journal.

/// The words after a file's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeated {
    Changes,
    DiffersFromRead,
    ChangedSinceStart,
}

impl Repeated {
    /// In the order of the report.
    pub const ALL: [Self; 3] = [
        Self::Changes,
        Self::DiffersFromRead,
        Self::ChangedSinceStart,
    ];

    /// The words for one file, and for several.
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

    /// The reason for one file.
    #[must_use]
    pub fn of(self, path: &str) -> String {
        format!("{path}{}", self.words().0)
    }

    #[must_use]
    pub fn is(self, reason: &str) -> bool {
        reason.ends_with(self.words().0)
    }

    /// The reason for several files.
    #[must_use]
    pub fn of_many(self, count: usize) -> String {
        format!("{count} {}", self.words().1)
    }
}
