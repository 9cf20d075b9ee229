//! Problems in a file, and how they are shown.
//!
//! [`super::problems`] creates these once everything is read; `main` prints them (they are miette
//! diagnostics) and tests compare them.

use std::fmt;
use std::sync::Arc;

use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, NamedSource, Severity, SourceCode,
    SourceSpan, SpanContents,
};

/// An error or a warning at one position of an inventory.
#[derive(Clone)]
pub struct Problem {
    /// The file as it was named, or `-e`.
    pub file: String,
    /// One-based; 0 when the problem has no place in a text.
    pub line: usize,
    /// One-based, in characters; 0 when the problem has no place in a text.
    pub column: usize,
    /// What is wrong, in one sentence without its place.
    pub message: String,
    /// How to fix it, if known.
    pub help: Option<String>,
    /// Whether it is only a warning.
    pub warning: bool,
    pub(crate) label: &'static str,
    pub(crate) shown: Option<Piece>,
}

/// A position in a text as it is shown. Secrets removed from its line shift what follows them; the
/// reported column stays the real one.
#[derive(Clone)]
pub(crate) struct Piece {
    pub(crate) source: Arc<NamedSource<String>>,
    pub(crate) span: SourceSpan,
    pub(crate) column: usize,
}

impl SourceCode for Piece {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let contents = self.source.read_span(span, before, after)?;
        // The headline is made from the label alone, without lines around it.
        let alone = before == 0 && after == 0;
        let column = if alone {
            self.column.saturating_sub(1)
        } else {
            contents.column()
        };
        Ok(Box::new(MietteSpanContents::new_named(
            self.source.name().to_owned(),
            contents.data(),
            *contents.span(),
            contents.line(),
            column,
            contents.line_count(),
        )))
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
            ..
        } = self;
        write!(formatter, "{file}:{line}:{column}: {message}")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        Some(if self.warning {
            Severity::Warning
        } else {
            Severity::Error
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.shown.as_ref().map(|piece| piece as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.shown.as_ref()?.span;
        let label = Some(self.label.to_owned()).filter(|label| !label.is_empty());
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(
            label, span,
        ))))
    }
}

/// Problems as text without colours: for logs and for tests.
#[must_use]
pub fn render(problems: &[Problem], width: usize) -> String {
    let handler =
        miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
            .with_width(width)
            .with_links(false);
    let mut text = String::new();
    for problem in problems {
        let mut drawn = String::new();
        if handler.render_report(&mut drawn, problem).is_err() {
            drawn.clone_from(&problem.message);
        }
        text.push_str(&in_one_style(&drawn));
        text.push('\n');
    }
    text
}

/// A rendered problem in the form of every other error, instead of miette's own.
#[must_use]
pub fn in_one_style(drawn: &str) -> String {
    const HELP: &str = "  help: ";
    let mut text = drawn
        .replacen('×', "Error:", 1)
        .replacen('⚠', "warning:", 1);
    // The excerpt of the file comes before it.
    if let Some(at) = text.rfind(HELP) {
        text.replace_range(at..at + HELP.len(), "  Hint: ");
    }
    text
}
