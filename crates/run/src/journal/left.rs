//! Changes that earlier runs left unfinished.
//!
//! Each is reported once: the run that has checked it adds a line to its journal.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use time::OffsetDateTime;

use super::place::newest;
use super::record::{self, Ending, OpenAct, Record};

/// The last line of a journal is searched in this many bytes; a longer one, such as the recap of a
/// thousand hosts, makes it read the whole file.
const TAIL: u64 = 16 * 1024;

/// A run that ended during a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub run: String,
    pub begun: OffsetDateTime,
    /// Ended by a second Ctrl-C, as opposed to without a trace.
    pub is_abandoned: bool,
    pub acts: Vec<OpenAct>,
    path: PathBuf,
}

/// The runs that left something unfinished, the oldest first. Unreadable journals are skipped: no
/// run depends on them.
#[must_use]
pub(crate) fn left_behind(directory: &Path, inventory: &Path) -> Vec<Left> {
    let inventory = inventory.canonicalize();
    let Ok(inventory) = inventory else {
        return Vec::new();
    };
    let mut found: Vec<Left> = newest(directory)
        .unwrap_or_default()
        .into_iter()
        .filter(|path| !is_done_with(path).unwrap_or(true))
        .filter_map(|path| Record::read(&path).ok().flatten())
        .filter(|record| record.inventory == inventory && record.adopted.is_empty())
        .filter_map(|record| {
            let (is_abandoned, acts) = match record.ending() {
                Ending::Silent(acts) => (false, acts),
                Ending::Abandoned(acts) => (true, acts),
                _ => return None,
            };
            (!acts.is_empty()).then_some(Left {
                run: record.run,
                begun: record.begun,
                is_abandoned,
                acts,
                path: record.path,
            })
        })
        .collect();
    found.reverse();
    found
}

/// A journal's last line, as far as it shows whether the run completed.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Last {
    Recap,
    Adopted,
    Error,
    #[serde(other)]
    Other,
}

/// Whether the last line shows that the run completed; most journals need no further reading.
fn is_done_with(path: &Path) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let last = text.lines().next_back().unwrap_or_default();
    let last = serde_json::from_str(last);
    Ok(matches!(
        last,
        Ok(Last::Recap | Last::Adopted | Last::Error)
    ))
}

impl Left {
    /// Marks the journal as checked.
    pub fn adopt(&self, by: &str) -> std::io::Result<()> {
        let mut file = File::options().append(true).read(true).open(&self.path)?;
        let mut text = record::adopted(by, super::now());
        text.push('\n');
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            // A crash has cut off the last line.
            text.insert(0, '\n');
        }
        file.write_all(text.as_bytes())?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;
    use base::event::{Event, Events, SCHEMA};

    #[test]
    fn the_last_line_is_read_as_json_and_not_as_text() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (last, is_done) in [
            (r#"{"event":"recap","hosts":[]}"#, true),
            (
                r#"{"time":"2026-01-01T00:00:00Z", "by":"next", "event":"adopted"}"#,
                true,
            ),
            (r#"{ "event" : "error", "kind":"locked" }"#, true),
            (
                r#"{"event":"act","host":"a","step":"{\"event\":\"recap\""}"#,
                false,
            ),
            (r#"{"event":"changed","host":"recap"}"#, false),
            (r#"{"event":"recap","hosts":[{"#, false),
        ] {
            std::fs::write(file.path(), format!("{{}}\n{last}")).unwrap();
            assert_eq!(is_done_with(file.path()).unwrap(), is_done, "{last}");
        }
    }

    #[tokio::test]
    async fn a_run_that_is_gone_is_told_of_once_and_one_at_work_never() {
        let directory = tempfile::tempdir().unwrap();
        let inventory = directory.path().join("i.yaml");
        std::fs::write(&inventory, "").unwrap();
        let runs = directory.path().join("runs");
        let journal = Journal::kept_in(Some(runs.clone()));
        let events = Events::new(journal.renderer().unwrap());
        events.emit(Event::Run {
            schema: SCHEMA,
            version: String::new(),
            run: "20260101T000000Z-me@here-1".to_owned(),
            inventory: inventory.to_str().unwrap().to_owned(),
            playbook: "deploy".to_owned(),
            hosts: Vec::new(),
            contexts: Vec::new(),
            check: false,
        });
        let what = vec!["/etc/docker/daemon.json".to_owned()];
        let act = journal.act(&events, "node3", "changing files", what);
        let act = act.await.unwrap();
        assert_eq!(left_behind(&runs, &inventory), [], "it is at work");
        // The file as a crash leaves it.
        let path = newest(&runs).unwrap().remove(0);
        let mut text = std::fs::read_to_string(&path).unwrap();
        drop(act);
        text.push_str("{\"event\":\"cha");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &text).unwrap();
        let left = left_behind(&runs, &inventory);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].acts[0].host, "node3");
        assert!(
            left_behind(&runs, directory.path()).is_empty(),
            "another inventory"
        );
        left[0].adopt("next").unwrap();
        assert_eq!(left_behind(&runs, &inventory), []);
        let record = Record::read(&path).unwrap().unwrap();
        assert_eq!(record.adopted, ["next"]);
    }
}
