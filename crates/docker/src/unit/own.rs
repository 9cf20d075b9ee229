//! The text of dtls-deploy's drop-in: its own lines, and those of an operator.

use super::syntax::{is_continued, without_mark};
use pki::sha256_hex;

/// What `systemctl edit` writes.
pub(super) const OPERATORS_DROP_IN: &str = "override.conf";

/// The beginning of the last line of a drop-in that is entirely dtls-deploy's; the SHA-256 of the lines
/// before it follows, so that the file itself tells whether someone has edited it.
const OWN_MARK: &str =
    "# Made by dtls-deploy from the unit's other files. Change those: this file follows them. ";

/// Whether dtls-deploy created this drop-in.
#[must_use]
pub fn is_own(text: &str) -> bool {
    text.lines().any(|line| line.starts_with(OWN_MARK))
}

/// Whether a drop-in that dtls-deploy created is unchanged.
#[must_use]
pub fn is_unedited(text: &str) -> bool {
    is_own(text) && marked(&unmarked(text)) == text
}

/// The drop-in with the line that marks it as dtls-deploy's.
pub(super) fn marked(text: &str) -> String {
    format!("{text}{OWN_MARK}{}\n", sha256_hex(text.as_bytes()))
}

/// The drop-in without that line.
pub(super) fn unmarked(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !line.starts_with(OWN_MARK)).collect()
}

/// A comment in the drop-in: the sockets that `hosts` in daemon.json had.
const HOSTS_MARK: &str = "# \"hosts\" in daemon.json before dtls-deploy: ";

/// Whether a line is a comment that dtls-deploy writes.
pub(super) fn is_own_comment(line: &str) -> bool {
    line.starts_with(OWN_MARK) || line.starts_with(HOSTS_MARK)
}

/// The sockets that `hosts` in daemon.json had before the drop-in with this text.
#[must_use]
pub fn remembered_hosts(own: &str) -> Vec<String> {
    let marked = own.lines().find_map(|line| line.strip_prefix(HOSTS_MARK));
    let words = marked.unwrap_or_default().split_whitespace();
    words.map(str::to_owned).collect()
}

/// A drop-in without its ExecStart: everything else in it is an operator's. `None` if only headings
/// are left.
#[must_use]
pub fn without_exec_start(own: &str) -> Option<String> {
    let mut text = String::new();
    let mut in_service = false;
    let mut continued = false;
    for line in without_mark(own).lines() {
        let trimmed = line.trim();
        if continued {
            continued = is_continued(trimmed);
            continue;
        }
        if trimmed.starts_with('[') {
            in_service = trimmed == "[Service]";
        }
        if is_own_comment(line) {
            continue;
        }
        let name = trimmed.split('=').next().unwrap_or_default().trim();
        if in_service && name == "ExecStart" && trimmed.contains('=') {
            continued = is_continued(trimmed);
            continue;
        }
        text.push_str(line);
        text.push('\n');
    }
    let is_empty = text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim().starts_with('['));
    (!is_empty).then_some(text)
}

/// `own` with its ExecStart lines replaced by the reset and the new one.
pub(super) fn with_exec_start(own: &str, exec_start: &str, remembered: &[String]) -> String {
    let mut addition = format!("ExecStart=\nExecStart={exec_start}\n");
    if !remembered.is_empty() {
        addition = format!("{HOSTS_MARK}{}\n{addition}", remembered.join(" "));
    }
    let mut lines: Vec<String> = Vec::new();
    let mut in_service = false;
    let mut continued = false;
    let mut place = None;
    for line in without_mark(own).lines() {
        let trimmed = line.trim();
        if continued {
            continued = is_continued(trimmed);
            continue;
        }
        if trimmed.starts_with('[') {
            in_service = trimmed == "[Service]";
            lines.push(format!("{line}\n"));
            if in_service && place.is_none() {
                place = Some((lines.len(), false));
            }
            continue;
        }
        if line.starts_with(HOSTS_MARK) {
            continue;
        }
        let is_exec_start = in_service
            && trimmed
                .split_once('=')
                .is_some_and(|(name, _)| name.trim() == "ExecStart");
        if is_exec_start {
            continued = is_continued(trimmed);
            // Where the first one stood, rather than right below the heading.
            if !matches!(place, Some((_, true))) {
                place = Some((lines.len(), true));
            }
            continue;
        }
        lines.push(format!("{line}\n"));
    }
    match place {
        Some((at, _)) => lines.insert(at, addition),
        None => lines.push(format!("[Service]\n{addition}")),
    }
    lines.concat()
}
