//! The certificates of `status` as text: a table, the most urgent first, and a summary line.

use super::layout::{Cell, table, wrap};
use super::{Style, Verbosity};
use base::event::{
    CertificateCounts, CertificateSource, CertificateState, CertificateStatus, CertificateText,
};

/// Characters of the bar that shows the elapsed part of the validity period.
const BAR: usize = 10;
/// Minimum columns for a table of certificates.
const ROOM: usize = 100;
const LEGEND: &str = "[###-------]: the part of the validity period that has passed";
const HEADING: [&str; 6] = [
    "STATE",
    "HOST",
    "CERTIFICATE",
    "EXPIRES IN",
    "VALIDITY",
    "DETAILS",
];

/// The table. Copies in docker contexts without a fault are shown only with `-v`, and with `-q` all
/// rows without a fault are hidden.
pub(super) fn certificates(style: Style, certificates: &[CertificateStatus]) -> Vec<String> {
    let verbose = style.verbosity == Verbosity::Verbose;
    let shown = certificates.iter().filter(|one| is_shown(style, one));
    let mut rows: Vec<Vec<Cell>> = shown.map(|one| row(one, verbose)).collect();
    // On a narrow terminal the rows are not split into columns.
    if !rows.is_empty() && style.width.is_none_or(|width| width >= ROOM) {
        let titles = HEADING.map(|title| Cell::painted(title, "1"));
        rows.insert(0, titles.to_vec());
    }
    let has_bar = shown_bars(style, certificates);
    let mut lines = table(&rows, style.width, 0, style.colour);
    if has_bar && style.verbosity != Verbosity::Quiet {
        lines.extend(wrap(LEGEND, style.width));
    }
    lines
}

/// Whether a row has a bar.
fn shown_bars(style: Style, certificates: &[CertificateStatus]) -> bool {
    let mut shown = certificates.iter().filter(|one| is_shown(style, one));
    shown.any(|one| one.certificate.is_some())
}

fn is_shown(style: Style, one: &CertificateStatus) -> bool {
    let calm = one.state == CertificateState::Fine;
    match style.verbosity {
        Verbosity::Quiet => !calm,
        Verbosity::Normal => !calm || one.source != CertificateSource::Context,
        Verbosity::Verbose => true,
    }
}

fn row(one: &CertificateStatus, verbose: bool) -> Vec<Cell> {
    let colour = match one.state {
        CertificateState::Revoked | CertificateState::Expired | CertificateState::Broken => "31",
        CertificateState::Unknown | CertificateState::Due | CertificateState::Unlisted => "33",
        CertificateState::Fine => "32",
    };
    let (days, bar) = match &one.certificate {
        Some(text) => (left(text), bar(text.used)),
        None => ("-".to_owned(), String::new()),
    };
    vec![
        Cell::painted(one.state.word(), colour),
        match &one.identity {
            Some(identity) => format!("{identity}@{}", one.host).into(),
            None => one.host.as_str().into(),
        },
        format!("{} {}", one.role.word(), one.source.word()).into(),
        days.into(),
        Cell::painted(bar, colour),
        said(one, verbose).into(),
    ]
}

fn left(text: &CertificateText) -> String {
    match text.days_left {
        -1 => "today".to_owned(),
        days if days < 0 => format!("{} d ago", -days - 1),
        days => format!("{days} d"),
    }
}

/// `[######----]`: the elapsed part of the validity period.
fn bar(used: u8) -> String {
    let full = (usize::from(used) * BAR).div_ceil(100).min(BAR);
    format!("[{}{}]", "#".repeat(full), "-".repeat(BAR - full))
}

/// The fault first, then the certificate's data.
fn said(one: &CertificateStatus, verbose: bool) -> String {
    let mut parts = one.drift.clone();
    parts.extend(one.due.clone());
    parts.extend(one.allowed.as_ref().map(|role| format!("role {role}")));
    if let Some(text) = &one.certificate {
        let word = if text.days_left < 0 {
            "expired"
        } else {
            "expires"
        };
        let end = format!("{word} on {}", text.not_after.date());
        if !parts.contains(&end) {
            parts.push(end);
        }
        parts.push(text.subject.clone());
        if !text.sans.is_empty() {
            parts.push(text.sans.join(" "));
        }
        parts.push(format!("issued by {}", text.issuer));
        if verbose {
            parts.push(format!("serial {}", text.serial));
        }
    }
    let word = match one.source {
        CertificateSource::Served => "at",
        CertificateSource::Disk | CertificateSource::Context | CertificateSource::Ledger => "in",
    };
    parts.push(format!("{word} {}", super::layout::shorten(&one.place)));
    parts.push(format!("held by {}", one.holder));
    parts.join("; ")
}

/// The number in each state, and the number of hidden rows.
pub(super) fn counts(
    style: Style,
    certificates: &[CertificateStatus],
    counts: &CertificateCounts,
    milliseconds: u128,
) -> Vec<String> {
    let hidden = certificates.iter().filter(|one| !is_shown(style, one));
    let fine = match hidden.count() {
        0 => "fine".to_owned(),
        _ if style.verbosity == Verbosity::Quiet => "fine".to_owned(),
        hidden => format!("fine ({hidden} not shown without -v)"),
    };
    let words = [
        (counts.revoked, "revoked and still accepted"),
        (counts.expired, "expired"),
        (counts.broken, "broken"),
        (counts.unknown, "unknown"),
        (counts.due, "due"),
        (counts.unlisted, "not in the inventory any more"),
        (counts.fine, &fine),
    ];
    let said: Vec<String> = words
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let said = if said.is_empty() {
        "no certificate".to_owned()
    } else {
        said.join(", ")
    };
    #[allow(clippy::cast_precision_loss)] // exact below 2^53
    let seconds = milliseconds as f64 / 1000.0;
    wrap(&format!("{said}; took {seconds:.2} s"), style.width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_only_at_the_end() {
        assert_eq!(bar(0), "[----------]");
        assert_eq!(bar(1), "[#---------]");
        assert_eq!(bar(50), "[#####-----]");
        assert_eq!(bar(90), "[#########-]");
        assert_eq!(bar(91), "[##########]");
        assert_eq!(bar(100), "[##########]");
    }
}
