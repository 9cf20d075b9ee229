//! What a transaction's script says: records in, a [`Report`] out.

use crate::answer::{self, Lines};

/// Words that another account may answer with: what it tried with its own files.
const OF_ACCOUNTS: [&str; 5] = ["identity", "role", "pair", "keyfile", "kept"];

/// A time for which a daemon was away, as its node's systemd has it: until it was ready again, or
/// until it was asked where it has not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    pub microseconds: u64,
    /// When it began, in microseconds since the node's boot: tells one from another.
    pub since: u64,
    /// It has not come back.
    pub still: bool,
}

/// What came of taking a change back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Undo {
    #[default]
    NotTried,
    /// Everything is as it was before.
    Done,
    /// It is not: the daemon did not come back with its old files.
    Failed,
}

/// What a transaction's script reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The script ran to its end.
    pub done: bool,
    /// Step and message of the first failure. The step is a word that the prelude has for it
    /// (`fail STEP MESSAGE`), and decided on; the message is for people.
    pub failed: Option<(String, String)>,
    /// The unit's new InvocationID.
    pub restarted: Option<String>,
    /// Milliseconds that the restart took, unit files read again included.
    pub restart_took: Option<u64>,
    /// For how long the daemon was away by it.
    pub away: Option<Outage>,
    pub undo: Undo,
    /// The node shuts down, and its daemon with it.
    pub stopping: bool,
    /// The script on the node that tries it again.
    pub by_hand: Option<String>,
    /// Last lines of the unit's journal.
    pub journal: Vec<String>,
    /// Other records, for the functions that answer with one.
    pub records: Vec<Vec<String>>,
}

impl Report {
    /// The change was not confirmed in time: the node has begun to undo it by itself.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.failed
            .as_ref()
            .is_some_and(|(step, _)| step == "expired")
    }

    #[must_use]
    pub fn parse(output: &[u8]) -> Self {
        let mut report = Self::default();
        let Some(mut lines) = Lines::of_answer(output) else {
            return report;
        };
        while let Some(line) = lines.next_line() {
            let Some(fields) = answer::fields(line) else {
                continue;
            };
            if let [word, account, _, said] = fields.as_slice()
                && word == b"as"
            {
                report.add_word_of(&String::from_utf8_lossy(account), said);
                continue;
            }
            report.add(&answer::texts(&fields));
        }
        report
    }

    /// What ran as another account says why it failed, and what it tried. That the node's
    /// change is done, or undone, is not for it to say.
    fn add_word_of(&mut self, account: &str, said: &[u8]) {
        // The shell that passed it on took the end of its last line away.
        let said = [said, b"\n"].concat();
        let mut lines = Lines::of_account(&said);
        while let Some(line) = lines.next_line() {
            let Some(fields) = answer::fields(line) else {
                continue;
            };
            let texts = answer::texts(&fields);
            match texts
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .as_slice()
            {
                ["failed", step, message] => {
                    self.failed.get_or_insert_with(|| {
                        ((*step).to_owned(), format!("{account}: {message}"))
                    });
                }
                [word, ..] if OF_ACCOUNTS.contains(word) => self.records.push(texts),
                _ => {}
            }
        }
    }

    fn add(&mut self, texts: &[String]) {
        let fields: Vec<&str> = texts.iter().map(String::as_str).collect();
        match fields.as_slice() {
            ["done"] => self.done = true,
            ["failed", step, message] => {
                self.failed
                    .get_or_insert_with(|| ((*step).to_owned(), (*message).to_owned()));
            }
            ["restarted", _, invocation] => self.restarted = Some((*invocation).to_owned()),
            ["took", milliseconds] => self.restart_took = milliseconds.parse().ok(),
            ["away", microseconds, since, rest @ ..] => {
                let outage = microseconds.parse().ok().zip(since.parse().ok());
                self.away = outage.map(|(microseconds, since)| Outage {
                    microseconds,
                    since,
                    still: rest == ["still"],
                });
            }
            ["undone"] => self.undo = Undo::Done,
            ["stopping"] => self.stopping = true,
            ["undo-failed"] => self.undo = Undo::Failed,
            ["undo-failed", by_hand] => {
                self.undo = Undo::Failed;
                self.by_hand = Some((*by_hand).to_owned());
            }
            ["journal", line] => self.journal.push((*line).to_owned()),
            _ => self.records.push(texts.to_vec()),
        }
    }
}
