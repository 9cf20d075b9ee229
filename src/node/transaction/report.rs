//! What a transaction's script says: records in, a [`Report`] out.

/// What a transaction's script reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The script ran to its end.
    pub done: bool,
    /// Step and message of the first failure.
    pub failed: Option<(String, String)>,
    /// The unit's new InvocationID.
    pub restarted: Option<String>,
    /// Milliseconds that the restart took, unit files read anew included.
    pub restart_took: Option<u64>,
    /// Microseconds for which the daemon was away by it, as systemd has it.
    pub away: Option<u64>,
    /// Everything is as it was before.
    pub undone: bool,
    /// It is not: the daemon did not come back with its old files.
    pub undo_failed: bool,
    /// The script on the node that tries it again.
    pub by_hand: Option<String>,
    /// Last lines of the unit's journal.
    pub journal: Vec<String>,
    /// Other records, for the functions that answer with one.
    pub records: Vec<Vec<String>>,
}

impl Report {
    #[must_use]
    pub fn parse(output: &[u8]) -> Self {
        let mut report = Self::default();
        for line in String::from_utf8_lossy(output).lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            match fields.as_slice() {
                ["done"] => report.done = true,
                ["failed", step, message] => {
                    report
                        .failed
                        .get_or_insert_with(|| ((*step).to_owned(), (*message).to_owned()));
                }
                ["restarted", _, invocation] => report.restarted = Some((*invocation).to_owned()),
                ["took", milliseconds] => report.restart_took = milliseconds.parse().ok(),
                ["away", microseconds] => report.away = microseconds.parse().ok(),
                ["undone"] => report.undone = true,
                ["undo-failed"] => report.undo_failed = true,
                ["undo-failed", by_hand] => {
                    report.undo_failed = true;
                    report.by_hand = Some((*by_hand).to_owned());
                }
                ["journal", line] => report.journal.push((*line).to_owned()),
                fields => report
                    .records
                    .push(fields.iter().map(|field| (*field).to_owned()).collect()),
            }
        }
        report
    }
}
