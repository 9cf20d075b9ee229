//! What is wrong with an inventory, and how it is shown.
//!
//! Every part of the reading adds to one [`Problems`]; at the end they become
//! [`Problem`]s with file, line, column and the piece of the file, which
//! `main` prints (they are miette diagnostics) and tests compare.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode, SourceSpan};

use super::source::{Sources, Span};

/// Something wrong, or doubtful, at one place of an inventory.
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
    /// What would be right, where that can be said.
    pub help: Option<String>,
    /// Whether it is only a warning.
    pub warning: bool,
    label: &'static str,
    shown: Option<(Arc<NamedSource<String>>, SourceSpan)>,
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
        self.shown
            .as_ref()
            .map(|(source, _)| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (_, span) = self.shown.as_ref()?;
        let label = Some(self.label.to_owned()).filter(|label| !label.is_empty());
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(
            label, *span,
        ))))
    }
}

/// All that is wrong with an inventory: at least one error, and the warnings
/// that came with it.
#[derive(Debug, Clone)]
pub struct InventoryErrors {
    /// The inventory as it was named.
    pub inventory: String,
    /// In the order of the files and of the lines in them.
    pub problems: Vec<Problem>,
}

impl InventoryErrors {
    /// Only those that are errors.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| !problem.warning)
    }
}

impl fmt::Display for InventoryErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.errors().count();
        let plural = if count == 1 { "" } else { "s" };
        write!(
            formatter,
            "{count} error{plural} in the inventory {}",
            self.inventory
        )
    }
}

impl std::error::Error for InventoryErrors {}

impl Diagnostic for InventoryErrors {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(
            self.problems
                .iter()
                .map(|problem| problem as &dyn Diagnostic),
        ))
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
        if handler.render_report(&mut text, problem).is_err() {
            text.push_str(&problem.message);
        }
        text.push('\n');
    }
    text
}

/// A problem before its text is at hand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Draft {
    span: Option<Span>,
    file: Option<String>,
    message: String,
    label: &'static str,
    help: Option<String>,
    warning: bool,
}

/// Where problems are collected, with the texts they are in.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) sources: Sources,
    drafts: Vec<Draft>,
    seen: HashSet<Draft>,
}

impl Problems {
    pub(crate) fn error(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: &'static str,
        help: Option<String>,
    ) {
        let message = message.into();
        self.push(Draft {
            span: Some(span),
            file: None,
            message,
            label,
            help,
            warning: false,
        });
    }

    pub(crate) fn warning(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: &'static str,
        help: Option<String>,
    ) {
        let message = message.into();
        self.push(Draft {
            span: Some(span),
            file: None,
            message,
            label,
            help,
            warning: true,
        });
    }

    /// An error about a file as a whole.
    pub(crate) fn file_error(
        &mut self,
        file: impl fmt::Display,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let (file, message) = (Some(file.to_string()), message.into());
        self.push(Draft {
            span: None,
            file,
            message,
            label: "",
            help,
            warning: false,
        });
    }

    /// A warning about a file as a whole.
    pub(crate) fn file_warning(
        &mut self,
        file: impl fmt::Display,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let (file, message) = (Some(file.to_string()), message.into());
        self.push(Draft {
            span: None,
            file,
            message,
            label: "",
            help,
            warning: true,
        });
    }

    /// The same problem of a value that many hosts share is said once.
    fn push(&mut self, draft: Draft) {
        if self.seen.insert(draft.clone()) {
            self.drafts.push(draft);
        }
    }

    pub(crate) fn has_errors_in(&self, source: usize) -> bool {
        self.drafts
            .iter()
            .any(|draft| draft.span.is_some_and(|span| span.source == source))
    }

    /// Whether anything but warnings was collected.
    pub(crate) fn has_errors(&self) -> bool {
        self.drafts.iter().any(|draft| !draft.warning)
    }

    /// The one-based line where a span begins.
    pub(crate) fn line(&self, span: Span) -> usize {
        self.sources
            .get(span.source)
            .map_or(0, |source| source.line_and_column(span.start).0)
    }

    /// `file:line` of a span, or only the line when it is in the same file.
    pub(crate) fn place(&self, span: Span, seen_from: Span) -> String {
        let line = self.line(span);
        match self.sources.get(span.source) {
            Some(source) if span.source != seen_from.source => format!("{}:{line}", source.name),
            _ => format!("line {line}"),
        }
    }

    /// What was collected, in the order of files and lines.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        self.drafts
            .sort_by_key(|draft| draft.span.map(|span| (span.source, span.start)));
        let mut texts = std::collections::HashMap::new();
        let mut problems = Vec::with_capacity(self.drafts.len());
        for draft in self.drafts {
            let place = draft
                .span
                .and_then(|span| Some((span, self.sources.get(span.source)?)));
            let Some((span, source)) = place else {
                problems.push(Problem {
                    file: draft.file.unwrap_or_default(),
                    line: 0,
                    column: 0,
                    message: draft.message,
                    help: draft.help,
                    warning: draft.warning,
                    label: draft.label,
                    shown: None,
                });
                continue;
            };
            let (shown, text) = texts.entry(span.source).or_insert_with(|| {
                let mut shown = source.shown();
                let text = std::mem::take(&mut shown.text);
                let length = text.len();
                (
                    shown,
                    (Arc::new(NamedSource::new(&source.name, text)), length),
                )
            });
            let start = shown.position(span.start).min(text.1);
            let end = shown.position(span.end).clamp(start, text.1);
            let (line, column) = source.line_and_column(span.start);
            problems.push(Problem {
                file: source.name.clone(),
                line,
                column,
                message: draft.message,
                help: draft.help,
                warning: draft.warning,
                label: draft.label,
                shown: Some((Arc::clone(&text.0), SourceSpan::from(start..end))),
            });
        }
        problems
    }
}
