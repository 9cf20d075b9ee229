//! The journal: records what a run is about to change on the controller's disk, before the change.
//!
//! [`dtls_deploy::history`] reads it and, if a run ended without a report, so does the next run
//! ([`left`]).
//!
//! One thread writes. Acts that arrive while it is busy share the next `fdatasync`, so that many
//! hosts need few of them. The file is locked as long as the run lives: the lock shows whether a
//! run is still active, because a process number may belong to another process by now.

pub mod left;
mod place;
pub mod record;

use std::fs::{File, Metadata};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::oneshot;

use crate::report::json;
use base::event::{Event, Events, PlannedChange, Renderer};

pub use place::{KEPT, directory, newest};

/// How long the program's end waits for the last lines to reach the disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nothing may be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error("there is no place for the journal: neither XDG_STATE_HOME nor HOME is set")]
    NoPlace,
    #[error("the journal {} cannot be written", path.display())]
    Io { path: PathBuf, reason: String },
    #[error("the journal is closed already")]
    Closed,
}

impl JournalError {
    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }

    /// The cause, if the message has none.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Io { reason, .. } => Some(reason),
            Self::NoPlace | Self::Closed => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        "nothing is changed without a journal: make room there, set XDG_STATE_HOME to a directory that can be written, or go on without one with --no-journal".to_owned()
    }
}

type Answer = Result<(), JournalError>;

enum Message {
    Begin { run: String, inventory: String },
    Line(String),
    Commit(oneshot::Sender<Answer>),
    Finish(SyncSender<()>),
}

/// The journal of this run; cheap to clone.
#[derive(Debug, Clone)]
pub struct Journal(Option<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    directory: Option<PathBuf>,
    messages: Arc<Mutex<Sender<Message>>>,
}

impl Inner {
    fn send(&self, message: Message) -> Result<(), JournalError> {
        self.messages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(message)
            .map_err(|_| JournalError::Closed)
    }
}

impl Journal {
    /// No journal: none is kept, and none is checked.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }

    /// A journal in this directory, created with the first act. `None`: there is no place for one,
    /// which the first act reports.
    #[must_use]
    pub fn kept_in(directory: Option<PathBuf>) -> Self {
        let (messages, received) = channel();
        let place = directory.clone();
        // The thread ends with the last clone of this journal.
        std::thread::spawn(move || Writer::new(place).work(&received));
        Self(Some(Inner {
            directory,
            messages: Arc::new(Mutex::new(messages)),
        }))
    }

    /// The directory of the journals.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.0.as_ref()?.directory.as_deref()
    }

    /// Checks whether a journal can be kept, without leaving one.
    pub(crate) fn try_out(&self) -> Result<(), JournalError> {
        match &self.0 {
            None => Ok(()),
            Some(inner) => {
                let directory = inner.directory.as_deref();
                place::try_out(directory.ok_or(JournalError::NoPlace)?)
            }
        }
    }

    /// The renderer that writes the run's events to the journal.
    #[must_use]
    pub fn renderer(&self) -> Option<Box<dyn Renderer>> {
        let inner = self.0.clone()?;
        Some(Box::new(Recorder(inner)))
    }

    /// Records that something is about to be changed, and returns once that is on the disk. The act
    /// ends when the returned value is dropped.
    ///
    /// # Errors If it cannot be written: the change must not be made then.
    pub async fn act<'a>(
        &self,
        events: &'a Events,
        host: &str,
        step: &str,
        what: Vec<String>,
    ) -> Result<Act<'a>, JournalError> {
        let act = Act {
            events,
            host: host.to_owned(),
            step: step.to_owned(),
        };
        events.emit(Event::Act {
            host: host.to_owned(),
            step: step.to_owned(),
            what,
        });
        if let Some(inner) = &self.0 {
            let (sender, answer) = oneshot::channel();
            inner.send(Message::Commit(sender))?;
            answer.await.map_err(|_| JournalError::Closed)??;
        }
        Ok(act)
    }

    /// Waits until the last lines are on the disk, or until the disk is too slow to wait for.
    pub fn finish(&self) {
        if let Some(inner) = &self.0 {
            let (sender, done) = sync_channel(1);
            if inner.send(Message::Finish(sender)).is_ok() {
                let _ = done.recv_timeout(PATIENCE);
            }
        }
    }
}

/// A change under way, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Act<'a> {
    events: &'a Events,
    host: String,
    step: String,
}

impl Drop for Act<'_> {
    fn drop(&mut self) {
        self.events.emit(Event::ActEnded {
            host: std::mem::take(&mut self.host),
            step: std::mem::take(&mut self.step),
        });
    }
}

struct Recorder(Inner);

impl Renderer for Recorder {
    fn event(&mut self, event: &Event) {
        if let Event::Run { run, inventory, .. } = event {
            let _ = self.0.send(Message::Begin {
                run: run.clone(),
                inventory: inventory.clone(),
            });
        }
        // A plan is kept without its diffs: it lists the changes but no content of files.
        let plan = match event {
            Event::Plan { changes, batches } => Some(Event::Plan {
                changes: changes.iter().map(PlannedChange::without_diff).collect(),
                batches: batches.clone(),
            }),
            _ => None,
        };
        if let Ok(line) = json::line(plan.as_ref().unwrap_or(event), now()) {
            let _ = self.0.send(Message::Line(line));
        }
    }
}

/// Milliseconds: more would be false precision.
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc().truncate_to_millisecond()
}

/// The state of the writing thread.
struct Writer {
    directory: Option<PathBuf>,
    /// The run's name and its inventory, once they are known.
    run: Option<(String, PathBuf)>,
    path: PathBuf,
    file: Option<File>,
    /// Lines that are not in the file yet.
    waiting: String,
    /// Lines in the file: it may be removed during the run.
    written: String,
    broken: Option<JournalError>,
}

impl Writer {
    fn new(directory: Option<PathBuf>) -> Self {
        Self {
            directory,
            run: None,
            path: PathBuf::new(),
            file: None,
            waiting: String::new(),
            written: String::new(),
            broken: None,
        }
    }

    fn work(mut self, messages: &Receiver<Message>) {
        while let Ok(first) = messages.recv() {
            let mut commits = Vec::new();
            let mut finished = Vec::new();
            for message in std::iter::once(first).chain(messages.try_iter()) {
                match message {
                    Message::Begin { run, inventory } => {
                        // Absolute: later commands may run in another directory.
                        let path = std::path::absolute(&inventory).unwrap_or_default();
                        let path = path.canonicalize().unwrap_or(path);
                        self.run = Some((run, path));
                    }
                    Message::Line(line) => {
                        self.waiting.push_str(&line);
                        self.waiting.push('\n');
                    }
                    Message::Commit(answer) => commits.push(answer),
                    Message::Finish(done) => finished.push(done),
                }
            }
            let answer = if commits.is_empty() {
                // Nothing was changed so far, so nothing is kept.
                let sync = !finished.is_empty();
                if self.file.is_some() {
                    self.write(sync)
                } else {
                    Ok(())
                }
            } else {
                self.open().and_then(|()| self.write(true))
            };
            if let Err(error) = &answer {
                self.broken = Some(error.clone());
            }
            for commit in commits {
                let _ = commit.send(answer.clone());
            }
            for done in finished {
                let _ = done.send(());
            }
        }
    }

    fn open(&mut self) -> Answer {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        if self.file.is_some() {
            return Ok(());
        }
        let directory = self.directory.as_ref().ok_or(JournalError::NoPlace)?;
        let (run, inventory) = self.run.as_ref().ok_or(JournalError::Closed)?;
        let (path, file) = place::create(directory, run)?;
        let header = record::header(run, inventory, now());
        self.waiting.insert_str(0, &format!("{header}\n"));
        self.path = path;
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, sync: bool) -> Answer {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        if sync {
            self.make_again()?;
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.write_all(self.waiting.as_bytes())
            .and_then(|()| if sync { file.sync_data() } else { Ok(()) })
            .map_err(|error| JournalError::io(&self.path, &error))?;
        self.written.push_str(&self.waiting);
        self.waiting.clear();
        Ok(())
    }

    /// Recreates the file with its whole content if it or its directory was removed: a run that has
    /// changed something leaves a history.
    fn make_again(&mut self) -> Answer {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let is = |found: &Metadata| (found.dev(), found.ino());
        let own = file.metadata().map(|found| is(&found));
        let there = std::fs::symlink_metadata(&self.path).map(|found| is(&found));
        if matches!((&own, &there), (Ok(own), Ok(there)) if own == there) {
            return Ok(());
        }
        let (Some(directory), Some((run, _))) = (&self.directory, &self.run) else {
            return Err(JournalError::Closed);
        };
        let (path, file) = place::create(directory, run)?;
        self.path = path;
        self.file = Some(file);
        self.waiting.insert_str(0, &self.written);
        self.written.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use base::event::SCHEMA;

    fn begin(events: &Events, run: &str) {
        events.emit(Event::Run {
            schema: SCHEMA,
            version: "0".to_owned(),
            run: run.to_owned(),
            inventory: "/etc/hosts".to_owned(),
            playbook: "deploy".to_owned(),
            hosts: vec!["node3".to_owned()],
            contexts: Vec::new(),
            check: false,
        });
    }

    fn journal(directory: &Path) -> (Journal, Events) {
        let journal = Journal::kept_in(Some(directory.join("state/runs")));
        let events = Events::new(journal.renderer().unwrap());
        (journal, events)
    }

    #[tokio::test]
    async fn an_act_is_in_the_file_when_it_may_begin_and_nothing_is_there_before() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, events) = journal(directory.path());
        begin(&events, "20260101T000000Z-me@here-1");
        journal.finish();
        assert!(!directory.path().join("state").exists());
        let what = vec!["/etc/docker/daemon.json".to_owned()];
        let act = journal.act(&events, "node3", "restarting docker", what);
        let act = act.await.unwrap();
        let runs = directory.path().join("state/runs");
        let path = runs.join("20260101T000000Z-me@here-1.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        let kinds: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|value| value["event"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, ["journal", "run", "act"]);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&runs), mode(&path)), (0o700, 0o600));
        drop(act);
        journal.finish();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().last().unwrap().contains("act_ended"), "{text}");
    }

    #[tokio::test]
    async fn a_journal_that_is_removed_meanwhile_is_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, events) = journal(directory.path());
        begin(&events, "20260101T000000Z-me@here-4");
        let act = journal.act(&events, "node3", "changing files", Vec::new());
        drop(act.await.unwrap());
        std::fs::remove_dir_all(directory.path().join("state")).unwrap();
        let act = journal.act(&events, "node4", "changing files", Vec::new());
        let act = act.await.unwrap();
        let path = directory
            .path()
            .join("state/runs/20260101T000000Z-me@here-4.jsonl");
        let acts = || {
            let text = std::fs::read_to_string(&path).unwrap();
            (text.matches("\"act\"").count(), text.lines().count())
        };
        assert_eq!(acts(), (2, 5));
        std::fs::remove_file(&path).unwrap();
        drop(act);
        journal.finish();
        assert_eq!(acts(), (2, 6));
    }

    #[tokio::test]
    async fn many_hosts_at_once_share_what_a_disk_takes_its_time_for() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, events) = journal(directory.path());
        begin(&events, "20260101T000000Z-me@here-2");
        let acts = (0..1000).map(|number| {
            let host = format!("node{number}");
            let (journal, events) = (&journal, &events);
            async move {
                journal
                    .act(events, &host, "changing files", Vec::new())
                    .await
                    .map(drop)
            }
        });
        for act in futures::future::join_all(acts).await {
            act.unwrap();
        }
        journal.finish();
        let path = directory
            .path()
            .join("state/runs/20260101T000000Z-me@here-2.jsonl");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.matches("\"act\"").count(), 1000);
        assert_eq!(text.matches("\"act_ended\"").count(), 1000);
    }

    #[tokio::test]
    async fn where_nothing_can_be_written_nothing_may_begin() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("state"), "a file").unwrap();
        let (journal, events) = journal(directory.path());
        begin(&events, "20260101T000000Z-me@here-3");
        for _ in 0..2 {
            let act = journal.act(&events, "node3", "changing files", Vec::new());
            let error = act.await.unwrap_err();
            assert!(error.to_string().contains("state/runs"), "{error}");
            assert!(error.hint().contains("XDG_STATE_HOME"));
        }
        let nowhere = Journal::kept_in(None);
        let act = nowhere.act(&events, "node3", "changing files", Vec::new());
        assert_eq!(act.await.unwrap_err(), JournalError::NoPlace);
    }
}
