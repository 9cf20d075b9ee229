//! Where everything that is wrong is collected while an inventory is read.
//!
//! Every part of the reading adds to one [`Problems`]; at the end they become
//! [`Problem`]s with file, line, column and the piece of the file.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use miette::{NamedSource, SourceSpan};

use super::problem::{Piece, Problem};
use super::source::{Sources, Span};

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
        let mut texts = HashMap::new();
        let mut problems = Vec::with_capacity(self.drafts.len());
        for mut draft in std::mem::take(&mut self.drafts) {
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
                shown: Some(Piece {
                    source: Arc::clone(&text.0),
                    span: SourceSpan::from(start..end),
                    column,
                }),
            });
        }
        problems
    }
}
