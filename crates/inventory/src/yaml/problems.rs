//! Collects all problems while an inventory is read.
//!
//! Every part of the reader adds to one [`Problems`]; at the end they become
//! [`Problem`]s with file, line, column and an excerpt of the file.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// Problems of one file that are shown; an inventory may have any number of them.
const MOST_SHOWN: usize = 40;
/// Bytes of a line that is shown: each of its errors repeats it.
const LONGEST_LINE: usize = 600;

use miette::{NamedSource, SourceSpan};

use super::problem::{Piece, Problem};
use super::source::{Sources, Span, shown};

/// A problem before its text is at hand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Draft {
    span: Option<Span>,
    file: Option<String>,
    message: String,
    label: &'static str,
    help: Option<String>,
    warning: bool,
    /// Quotes nothing from the file.
    without_content: bool,
}

/// Where problems are collected, with the texts they are in.
#[derive(Debug, Default)]
pub struct Problems {
    pub sources: Sources,
    drafts: Vec<Draft>,
    seen: HashSet<Draft>,
}

impl Problems {
    pub fn error(
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
            without_content: false,
        });
    }

    /// An error about a text of the wrong kind. Message and help quote nothing from it.
    pub fn shape_error(&mut self, span: Span, message: impl Into<String>, help: Option<String>) {
        let message = message.into();
        self.push(Draft {
            span: Some(span),
            file: None,
            message,
            label: "here",
            help,
            warning: false,
            without_content: true,
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
            without_content: false,
        });
    }

    /// An error about a file as a whole.
    pub fn file_error(
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
            without_content: false,
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
            without_content: false,
        });
    }

    /// A problem of a value that many hosts share is reported once. Names of files are untrusted
    /// too: control characters in them are escaped.
    fn push(&mut self, mut draft: Draft) {
        draft.message = shown(&draft.message);
        draft.file = draft.file.map(|file| shown(&file));
        draft.help = draft.help.map(|help| shown(&help));
        if self.seen.insert(draft.clone()) {
            self.drafts.push(draft);
        }
    }

    /// Drops problems at these positions: they do not affect anything in use.
    pub(crate) fn forgive(&mut self, places: &[Span]) {
        let is_in = |span: Span| {
            places.iter().any(|place| {
                place.source == span.source && place.start <= span.start && span.end <= place.end
            })
        };
        self.drafts.retain(|draft| !draft.span.is_some_and(is_in));
    }

    pub(crate) fn has_errors_in(&self, source: usize) -> bool {
        self.drafts
            .iter()
            .any(|draft| draft.span.is_some_and(|span| span.source == source))
    }

    /// Whether anything but warnings was collected.
    #[must_use]
    pub fn has_errors(&self) -> bool {
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

    /// Removes what could show part of a text of the wrong kind; a general message always remains.
    fn withhold(&mut self) {
        let withheld = |draft: &Draft| {
            let source = self.sources.get(draft.span?.source)?;
            (!source.is_recognized()).then_some(source)
        };
        let explained: HashSet<usize> = self
            .drafts
            .iter()
            .filter(|draft| draft.without_content)
            .filter_map(|draft| Some(draft.span?.source))
            .collect();
        let mut drafts = Vec::new();
        for draft in &self.drafts {
            let Some(source) = withheld(draft) else {
                drafts.push(draft.clone());
                continue;
            };
            let explained = draft
                .span
                .is_some_and(|span| explained.contains(&span.source));
            if draft.without_content {
                let (line, column) = draft
                    .span
                    .map_or((0, 0), |span| source.line_and_column(span.start));
                let message = format!(
                    "`{}`, line {line}, column {column}: {}",
                    source.name, draft.message
                );
                drafts.push(Draft {
                    message,
                    ..draft.clone()
                });
            } else if !explained {
                drafts.push(Draft {
                    message: format!("`{}` is not what it has to be", source.name),
                    help: None,
                    ..draft.clone()
                });
            }
        }
        self.drafts = drafts;
    }

    /// What was collected, in the order of files and lines.
    #[must_use]
    pub fn finish(mut self) -> Vec<Problem> {
        self.withhold();
        self.drafts
            .sort_by_key(|draft| draft.span.map(|span| (span.source, span.start)));
        let mut texts = HashMap::new();
        let mut drafts = std::mem::take(&mut self.drafts);
        let left_out = drafts.len().saturating_sub(MOST_SHOWN);
        if left_out > 0 {
            // An error decides about the run: warnings go first.
            drafts.sort_by_key(|draft| draft.warning);
            drafts.truncate(MOST_SHOWN);
        }
        let mut problems = Vec::with_capacity(drafts.len());
        for mut draft in drafts {
            draft.message = self.sources.without_secrets(draft.message);
            draft.help = draft.help.map(|help| self.sources.without_secrets(help));
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
                shown: (source.is_recognized() && is_readable(text.0.inner(), start)).then(|| {
                    Piece {
                        source: Arc::clone(&text.0),
                        span: SourceSpan::from(start..end),
                        column,
                    }
                }),
            });
        }
        if left_out > 0 {
            problems.push(Problem {
                file: problems
                    .first()
                    .map(|of| of.file.clone())
                    .unwrap_or_default(),
                line: 0,
                column: 0,
                message: format!("{left_out} more problems are not shown"),
                help: Some("fix the first ones".to_owned()),
                warning: problems.iter().all(|of| of.warning),
                label: "",
                shown: None,
            });
        }
        problems
    }
}

/// Whether the line is short enough to be shown with its error.
fn is_readable(text: &str, at: usize) -> bool {
    let bytes = text.as_bytes();
    let (before, after) = bytes.split_at(at.min(bytes.len()));
    let ends = |byte: &u8| *byte == b'\n';
    let before = before.iter().rev().take_while(|byte| !ends(byte));
    let after = after.iter().take_while(|byte| !ends(byte));
    before.chain(after).take(LONGEST_LINE + 1).count() <= LONGEST_LINE
}
