//! The entries of `audit` as text: a table, the oldest first, and how many there are.

use super::Style;
use super::layout::{Cell, table};
use base::event::Audited;
use time::macros::format_description;

const HEADING: [&str; 6] = [
    "TIME (UTC)",
    "DAEMON",
    "DECISION",
    "IDENTITY",
    "ROLE",
    "REQUEST",
];
/// Columns that the table needs.
const ROOM: usize = 100;

pub(super) fn entries(style: Style, entries: &[Audited]) -> Vec<String> {
    let mut rows: Vec<Vec<Cell>> = entries.iter().map(row).collect();
    if !rows.is_empty() && style.width.is_none_or(|width| width >= ROOM) {
        rows.insert(0, HEADING.map(|title| Cell::painted(title, "1")).to_vec());
    }
    let mut lines = table(&rows, style.width, 0, style.colour);
    lines.push(match entries.len() {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    });
    lines
}

fn row(entry: &Audited) -> Vec<Cell> {
    let format =
        format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let decision = entry.decision.as_deref();
    let colour = match decision {
        Some("allowed") => "32",
        Some(_) => "31",
        None => "33",
    };
    let request = match (&entry.method, &entry.path) {
        (Some(method), Some(path)) => {
            let reason = entry.reason.as_ref().map(|reason| format!(" ({reason})"));
            format!("{method} {path}{}", reason.unwrap_or_default())
        }
        _ => entry.message.clone(),
    };
    vec![
        entry.at.format(format).unwrap_or_default().into(),
        entry.host.as_str().into(),
        Cell::painted(decision.unwrap_or("-"), colour),
        or_none(&entry.identity).into(),
        or_none(&entry.role).into(),
        request.into(),
    ]
}
