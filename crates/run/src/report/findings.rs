//! The findings of `doctor` as text: a table, the worst first, each with its hint below, and a
//! summary line.

use super::layout::{Cell, plural, table, wrap};
use super::{Style, Verbosity};
use base::event::{Finding, FindingCounts, Severity};

/// The table; `-q` hides notes.
pub(super) fn findings(style: Style, findings: &[Finding]) -> Vec<String> {
    let shown = findings.iter().filter(|finding| {
        style.verbosity != Verbosity::Quiet || finding.severity != Severity::Note
    });
    let rows: Vec<Vec<Cell>> = shown.flat_map(rows).collect();
    table(&rows, style.width, 0, style.colour)
}

fn rows(finding: &Finding) -> Vec<Vec<Cell>> {
    let colour = match finding.severity {
        Severity::Error => "31",
        Severity::Warning => "33",
        Severity::Note => "2",
    };
    let empty = || Cell::from("");
    // It may show a line of a file.
    let mut seen = finding.seen.lines();
    let mut rows = vec![vec![
        Cell::painted(finding.severity.word(), colour),
        finding.host.as_str().into(),
        finding.topic.word().into(),
        seen.next().unwrap_or_default().into(),
    ]];
    rows.extend(seen.map(|line| vec![empty(), empty(), empty(), line.into()]));
    rows.push(vec![empty(), empty(), empty(), advice(finding).into()]);
    rows
}

fn advice(finding: &Finding) -> String {
    let mut text = format!("-> {}", finding.advice);
    if finding.mended_by_deploy {
        text.push_str(" (the next deploy fixes it)");
    } else if finding.refused_by_deploy {
        text.push_str(" (deploy skips this host until then)");
    }
    text
}

/// The number of findings and hosts.
pub(super) fn counts(style: Style, found: &FindingCounts, milliseconds: u128) -> Vec<String> {
    let words = [
        (found.errors, "error"),
        (found.warnings, "warning"),
        (found.notes, "note"),
    ];
    let said: Vec<String> = words
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| plural(*count, word))
        .collect();
    let looked = format!(
        "{}, {}",
        plural(found.hosts, "host"),
        plural(found.checks, "check")
    );
    #[allow(clippy::cast_precision_loss)] // exact below 2^53
    let seconds = milliseconds as f64 / 1000.0;
    let text = match (found.errors + found.warnings, said.as_slice()) {
        (0, []) => format!("Nothing found: {looked}; took {seconds:.2} s"),
        (0, notes) => format!(
            "Nothing found but {}: {looked}; took {seconds:.2} s",
            notes.join(", ")
        ),
        (_, all) => format!("{}: {looked}; took {seconds:.2} s", all.join(", ")),
    };
    wrap(&text, style.width)
}
