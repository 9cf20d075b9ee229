//! Reports: renders events for people and for programs.
//!
//! [`plain`] prints lines, [`live`] adds what is running now on a terminal, [`json`] writes the
//! events themselves, to standard output or to a log.

use base::event::{Event, Renderer};

mod audit;
mod certificates;
mod clean;
pub mod commands;
pub mod contexts;
mod ending;
mod findings;
pub mod json;
mod layout;
pub mod live;
pub mod masked;
pub mod plain;
mod plan;
mod timings;
mod verdict;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Failures and the result.
    Quiet,
    Normal,
    /// Every connection and every fact, unshortened.
    Verbose,
}

/// The style of text output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    pub colour: bool,
    pub verbosity: Verbosity,
    /// Columns; `None` if lines may have any length.
    pub width: Option<usize>,
    /// Prints timings at the end.
    pub timings: bool,
}

/// Whether colours may be used: `CLICOLOR_FORCE`, `NO_COLOR` (no-color.org) and
/// `TERM`, looked up through `variable`.
#[must_use]
pub fn wants_colour(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if set("NO_COLOR").is_some() {
        return false;
    }
    if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    terminal && set("TERM").is_some_and(|value| value != "dumb")
}

/// Rows of words in columns; where they do not fit, a list.
#[must_use]
pub fn table<const COLUMNS: usize>(
    rows: &[[String; COLUMNS]],
    width: Option<usize>,
) -> Vec<String> {
    let rows: Vec<Vec<layout::Cell>> = rows
        .iter()
        .map(|row| row.iter().map(|text| text.as_str().into()).collect())
        .collect();
    layout::table(&rows, width, 0, false)
}

/// The first names of many, and the number of the others.
#[must_use]
pub fn some_of(names: &[&str], most: usize) -> String {
    layout::some_of(names, most)
}

/// Passes events to several renderers.
pub struct Several(pub Vec<Box<dyn Renderer>>);

impl std::fmt::Debug for Several {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Several({})", self.0.len())
    }
}

impl Renderer for Several {
    fn event(&mut self, event: &Event) {
        for renderer in &mut self.0 {
            renderer.event(event);
        }
    }
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        layout::paint(self.colour, Some(code), text)
    }

    fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

#[cfg(test)]
mod tests {
    use super::wants_colour;

    #[test]
    fn the_environment_decides_about_colours() {
        let colour = |terminal, variables: &[(&str, &str)]| {
            wants_colour(terminal, |name| {
                let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
                Some((*value).to_owned())
            })
        };
        let term = ("TERM", "xterm");
        assert!(colour(true, &[term]));
        assert!(!colour(false, &[term]));
        assert!(!colour(true, &[term, ("NO_COLOR", "1")]));
        assert!(colour(true, &[term, ("NO_COLOR", "")]));
        assert!(colour(false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!colour(
            false,
            &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]
        ));
        assert!(!colour(true, &[("TERM", "dumb")]));
        assert!(!colour(true, &[]));
    }
}
