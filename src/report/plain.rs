//! Lines of text for people: what is planned and why, what was done, what is
//! proved, and a recap.

use std::io::Write as _;

use comfy_table::{ContentArrangement, Table, presets};

use super::Style;
use crate::event::{
    Check, Event, Failure, FailureKind, HostRecap, PlannedChange, Proof, Renderer, Verdict,
};

/// Draws events as text; the lines go to whatever `print` is.
pub struct Text<P: FnMut(&str) + Send> {
    style: Style,
    print: P,
    proofs: Vec<Proof>,
    check: bool,
    width: Option<u16>,
}

impl<P: FnMut(&str) + Send> std::fmt::Debug for Text<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Text")
    }
}

/// Text straight to standard output.
#[must_use]
pub fn plain(style: Style) -> Text<impl FnMut(&str) + Send> {
    Text::new(style, None, |line: &str| {
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    })
}

impl<P: FnMut(&str) + Send> Text<P> {
    pub fn new(style: Style, width: Option<u16>, print: P) -> Self {
        Self {
            style,
            print,
            proofs: Vec::new(),
            check: false,
            width,
        }
    }

    fn line(&mut self, text: &str) {
        for line in text.lines() {
            (self.print)(line.trim_end());
        }
        if text.is_empty() {
            (self.print)("");
        }
    }

    fn table(&mut self, rows: Vec<Vec<String>>) {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .add_rows(rows);
        if let Some(width) = self.width {
            table.set_width(width);
        }
        let text = table.to_string();
        self.line(&text);
    }

    fn plan(&mut self, changes: &[PlannedChange]) {
        let style = self.style;
        if changes.is_empty() {
            self.line(&style.green("Nothing to change."));
            return;
        }
        let hosts: std::collections::BTreeSet<&str> =
            changes.iter().map(|change| change.host.as_str()).collect();
        let heading = format!(
            "{} on {}",
            plural(changes.len(), "change"),
            plural(hosts.len(), "host")
        );
        self.line(&style.bold(&if self.check {
            format!("{heading} would be made:")
        } else {
            format!("{heading}:")
        }));
        let rows = changes
            .iter()
            .map(|change| {
                vec![
                    change.host.clone(),
                    change.what.clone(),
                    change.reasons.join("; "),
                ]
            })
            .collect();
        self.table(rows);
        for change in changes {
            if let Some(diff) = &change.diff {
                self.line("");
                self.line(&style.bold(&format!("{} {}", change.host, change.what)));
                for line in diff.lines() {
                    let painted = match line.chars().next() {
                        Some('+') => style.green(line),
                        Some('-') => style.red(line),
                        _ => style.dim(line),
                    };
                    self.line(&painted);
                }
            }
        }
        self.line("");
    }

    fn failed(&mut self, failure: &Failure) {
        let style = self.style;
        let word = match failure.kind {
            FailureKind::Unreachable => "unreachable",
            FailureKind::TimedOut => "does not answer",
            FailureKind::Unknown => "OUTCOME UNKNOWN",
            FailureKind::Refused => "cannot be planned",
            FailureKind::Undone => "failed, everything is as it was",
            FailureKind::Failed => "FAILED",
            FailureKind::UndoFailed => "FAILED AND NOT UNDONE",
        };
        self.line(&format!(
            "{} {}: {}",
            style.red(&format!("{}: {word}", failure.host)),
            style.dim(&format!("({})", failure.step)),
            failure.message
        ));
        for cause in &failure.causes {
            self.line(&format!("  {} {cause}", style.dim("caused by:")));
        }
        for line in &failure.detail {
            self.line(&format!("    {line}"));
        }
        if let Some(hint) = &failure.hint {
            self.line(&format!("  {} {hint}", style.yellow("hint:")));
        }
    }

    /// One line a daemon and check where all clients agree, one a client where
    /// they do not.
    fn proofs(&mut self) {
        if self.proofs.is_empty() {
            return;
        }
        let style = self.style;
        let mut proofs = std::mem::take(&mut self.proofs);
        proofs.sort_by(|left, right| {
            (&left.to, left.check, &left.from).cmp(&(&right.to, right.check, &right.from))
        });
        self.line(&style.bold("Proof:"));
        let mut rows = Vec::new();
        let mut rest = proofs.as_slice();
        while let Some(first) = rest.first() {
            let same = rest
                .iter()
                .take_while(|proof| {
                    proof.to == first.to
                        && proof.check == first.check
                        && proof.verdict == first.verdict
                        && (proof.verdict == Verdict::Proved)
                })
                .count()
                .max(1);
            let (group, tail) = rest.split_at(same);
            rest = tail;
            let from = if group.len() > 2 {
                format!("{} clients", group.len())
            } else {
                let names: Vec<&str> = group.iter().map(|proof| proof.from.as_str()).collect();
                names.join(", ")
            };
            let verdict = match first.verdict {
                Verdict::Proved => style.green("proved"),
                Verdict::NotProved => style.yellow("not proved"),
                Verdict::Failed => style.red("FAILED"),
            };
            rows.push(vec![
                verdict,
                first.to.clone(),
                Check::title(first.check).to_owned(),
                format!("from {from}"),
                first.seen.clone(),
            ]);
        }
        self.table(rows);
    }

    fn recap(&mut self, hosts: &[HostRecap], milliseconds: u128) {
        let style = self.style;
        self.line("");
        let mut rows = Vec::new();
        for host in hosts {
            let name = if host.failed > 0 || host.unreachable {
                style.red(&host.host)
            } else if host.changed > 0 {
                style.yellow(&host.host)
            } else {
                style.green(&host.host)
            };
            rows.push(vec![
                name,
                format!("changed={}", host.changed),
                format!("proved={}", host.proved),
                format!("not-proved={}", host.not_proved),
                format!("failed={}", host.failed),
                format!("unreachable={}", u8::from(host.unreachable)),
            ]);
        }
        self.table(rows);
        let seconds = milliseconds / 1000;
        let rest = (milliseconds % 1000) / 10;
        self.line(&style.dim(&format!("took {seconds}.{rest:02} s")));
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        format!("{count} {word}")
    } else {
        format!("{count} {word}s")
    }
}

impl<P: FnMut(&str) + Send> Renderer for Text<P> {
    fn event(&mut self, event: &Event) {
        let style = self.style;
        match event {
            Event::Run {
                inventory,
                playbook,
                hosts,
                check,
                ..
            } => {
                self.check = *check;
                self.line(&format!(
                    "{} {inventory}, {}",
                    style.bold(playbook),
                    plural(hosts.len(), "host")
                ));
            }
            Event::Connected {
                host,
                address,
                milliseconds,
            } => {
                if style.verbose {
                    self.line(&style.dim(&format!(
                        "{host}: connected to {address} in {milliseconds} ms"
                    )));
                }
            }
            Event::Facts { host, milliseconds } => {
                if style.verbose {
                    self.line(&style.dim(&format!("{host}: facts read in {milliseconds} ms")));
                }
            }
            Event::Warning { host, text } => {
                let host = host
                    .as_ref()
                    .map(|host| format!("{host}: "))
                    .unwrap_or_default();
                self.line(&format!("{} {host}{text}", style.yellow("warning:")));
            }
            Event::Plan { changes } => self.plan(changes),
            Event::Started { host, what } => {
                if style.verbose {
                    self.line(&style.dim(&format!("{host}: {what}")));
                }
            }
            Event::Changed { host, what } => {
                self.line(&format!("{} {host}: {what}", style.yellow("changed")));
            }
            Event::Failed(failure) => self.failed(failure),
            Event::Proof(proof) => self.proofs.push(proof.clone()),
            Event::Interrupted { waiting } => {
                self.line(&style.bold(&if waiting.is_empty() {
                    "interrupted".to_owned()
                } else {
                    format!(
                        "interrupted: waiting until {} finished the current step or undid it (again: leave at once)",
                        waiting.join(", ")
                    )
                }));
            }
            Event::Abandoned { hosts } => {
                self.line(&style.bold(&if hosts.is_empty() {
                    "left; no step is under way on any node".to_owned()
                } else {
                    format!(
                        "left; {} finish or undo the current step by themselves, and the next run looks at what came of it",
                        hosts.join(", ")
                    )
                }));
            }
            Event::Stopped { hosts } => {
                self.line("");
                self.line(&style.bold("Interrupted:"));
                for host in hosts {
                    self.line(&format!(
                        "  {}  done: {}; not done: {}",
                        host.host,
                        listed(&host.done),
                        listed(&host.not_done)
                    ));
                }
            }
            Event::Error(error) => {
                eprintln!("Error: {}", error.message);
                for cause in &error.causes {
                    eprintln!("Caused by: {cause}");
                }
                if let Some(hint) = &error.hint {
                    eprintln!("Hint: {hint}");
                }
            }
            Event::Recap {
                hosts,
                milliseconds,
            } => {
                self.proofs();
                self.recap(hosts, *milliseconds);
            }
        }
    }
}
