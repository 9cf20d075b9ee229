//! Reports: events drawn for people and for programs.
//!
//! [`plain`] prints a line an event, [`live`] adds what is going on right now
//! where there is a terminal, [`json`] prints the events themselves.

pub mod json;
pub mod live;
pub mod plain;

/// Which colours may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    pub colour: bool,
    /// Show every connection and every fact.
    pub verbose: bool,
    pub diff: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn yellow(self, text: &str) -> String {
        self.paint("33", text)
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
