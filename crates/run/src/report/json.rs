//! JSON lines: one event a line, for programs. Documented in
//! docs/json-output.md.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use serde::Serialize;
use time::OffsetDateTime;

use base::event::{Event, Renderer};
use base::file::{self, FileFault};
use node::is_visible;

/// Writes events as JSON lines, the same lines to every output.
#[derive(Default)]
pub struct Json(Vec<(&'static str, Box<dyn Write + Send>)>);

impl std::fmt::Debug for Json {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Json({})", self.0.len())
    }
}

/// An event and when it happened.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Event,
    #[serde(with = "time::serde::rfc3339")]
    time: OffsetDateTime,
}

impl Json {
    /// Writes to standard output as well.
    #[must_use]
    pub fn and_standard_output(mut self) -> Self {
        self.0
            .push(("standard output", Box::new(std::io::stdout())));
        self
    }

    /// Appends to a log as well: see [`file::append`].
    ///
    /// # Errors If it cannot be opened for writing, or if other accounts can read or write it.
    pub fn and_log(mut self, path: &Path) -> Result<Self, FileFault> {
        let file = file::append(path)?;
        self.0.push(("the log", Box::new(file)));
        Ok(self)
    }
}

/// One event as a line of JSON.
///
/// # Errors If a time cannot be written, which cannot happen before the year 10000.
pub fn line(event: &Event, time: OffsetDateTime) -> serde_json::Result<String> {
    let text = serde_json::to_string(&Line { event, time })?;
    // serde_json does not escape control characters above 0x7f or invisible ones. Outside of
    // strings there are none.
    Ok(text.chars().fold(String::new(), |mut line, character| {
        if is_visible(character) {
            line.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        }
        line
    }))
}

impl Renderer for Json {
    fn event(&mut self, event: &Event) {
        if let Ok(mut line) = line(event, OffsetDateTime::now_utc()) {
            line.push('\n');
            // A closed output is no reason to stop half-way. Each line is one write: lines of two
            // runs in one log do not mix.
            for (what, place) in &mut self.0 {
                let written = place.write_all(line.as_bytes());
                base::output::note(what, written.and_then(|()| place.flush()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_still_the_same_text() {
        let text = "\u{1b}[2J\u{9b}31m\u{202e}é\n";
        let event = Event::Warning {
            host: None,
            text: text.to_owned(),
        };
        let line = line(&event, OffsetDateTime::UNIX_EPOCH).unwrap();
        assert!(line.chars().all(is_visible), "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["text"], text);
        assert_eq!(value["time"], "1970-01-01T00:00:00Z");
    }
}
