//! JSON lines: one event a line on standard output, for programs.

use std::io::Write as _;

use crate::event::{Event, Renderer};

#[derive(Debug, Default)]
pub struct Json;

impl Renderer for Json {
    fn event(&mut self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            // A reader that has gone away is no reason to stop half-way.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    }
}
