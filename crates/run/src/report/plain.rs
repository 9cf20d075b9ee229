//! Text lines for people: the plan with its reasons, what was done, the checks, and a recap.

use std::collections::BTreeSet;

use super::contexts::Contexts;
use super::layout::{plural, shorten, some_of, wrap};
use super::timings::Timings;
use super::{Style, Verbosity, audit, certificates, clean, ending, findings, plan, verdict};
use base::event::{
    Audited, CertificateCounts, CertificateStatus, Error, Event, Failure, Finding, PlannedBatches,
    PlannedChange, Proof, Renderer, Sample,
};

/// The output of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The progress and result of the run: standard output.
    Output,
    /// Why there is no run: standard error.
    Error,
}

impl Channel {
    /// Prints a line. A closed output is no reason to stop half-way.
    pub fn print(self, line: &str) {
        match self {
            Self::Output => base::output::print(&format!("{line}\n")),
            Self::Error => base::output::error(&format!("{line}\n")),
        }
    }
}

/// Renders events as text and passes the lines to `print`.
pub struct Text<P: FnMut(Channel, &str) + Send> {
    style: Style,
    print: P,
    proofs: Vec<Proof>,
    /// What the checks leave out.
    sampled: Option<Sample>,
    certificates: Vec<CertificateStatus>,
    findings: Vec<Finding>,
    audited: Vec<Audited>,
    timings: Timings,
    check: bool,
    /// None with `-v`, which shows paths.
    contexts: Contexts,
    /// With `-v`, only certificates are shown with the names of contexts.
    of_copies: Contexts,
    /// What the last lines repeat.
    heard: verdict::Heard,
    /// Every host of the run.
    hosts: BTreeSet<String>,
    /// Hosts that have failed so far: before a plan, those that it leaves out.
    missing: BTreeSet<String>,
}

impl<P: FnMut(Channel, &str) + Send> std::fmt::Debug for Text<P> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Text")
    }
}

/// Text straight to the standard streams.
#[must_use]
pub fn plain(style: Style) -> Text<impl FnMut(Channel, &str) + Send> {
    Text::new(style, Channel::print)
}

impl<P: FnMut(Channel, &str) + Send> Text<P> {
    pub fn new(style: Style, print: P) -> Self {
        Self {
            style,
            print,
            proofs: Vec::new(),
            sampled: None,
            certificates: Vec::new(),
            findings: Vec::new(),
            audited: Vec::new(),
            timings: Timings::default(),
            check: false,
            contexts: Contexts::default(),
            of_copies: Contexts::default(),
            heard: verdict::Heard::default(),
            hosts: BTreeSet::new(),
            missing: BTreeSet::new(),
        }
    }

    fn line(&mut self, text: &str) {
        (self.print)(Channel::Output, text.trim_end());
    }

    fn lines(&mut self, lines: &[String]) {
        for line in lines {
            self.line(line);
        }
    }

    /// A coloured word, then text wrapped at its column.
    fn said(&mut self, indent: usize, code: &str, word: &str, text: &str) {
        let room = self.style.width;
        // Continuation lines are indented by two more columns.
        let room = room.map(|width| width.saturating_sub(indent + 2));
        let lines = wrap(&format!("{word} {text}"), room);
        for (index, line) in lines.iter().enumerate() {
            let line = match line.strip_prefix(word) {
                Some(rest) if index == 0 => format!("{}{rest}", self.style.paint(code, word)),
                _ if index > 0 => format!("  {line}"),
                // The terminal is narrower than the word.
                _ => line.clone(),
            };
            self.line(&format!("{}{line}", " ".repeat(indent)));
        }
    }

    /// Omits causes and hints that were already reported for a similar failure.
    fn failed(&mut self, failure: &Failure, known: verdict::Known) {
        let word = format!("{}: {}", failure.host, verdict::words(failure.kind));
        self.said(
            0,
            "31",
            &word,
            &format!("({}): {}", failure.step, failure.message),
        );
        if !known.cause {
            for cause in &failure.causes {
                self.said(2, "2", "Caused by:", cause);
            }
            for line in &failure.detail {
                for line in wrap(line, self.style.width.map(|width| width.saturating_sub(4))) {
                    self.line(&format!("    {line}"));
                }
            }
        }
        if let Some(hint) = failure.hint.as_ref().filter(|_| !known.hint) {
            self.said(2, "33", "Hint:", hint);
        }
    }

    fn error(&mut self, error: &Error) {
        let mut line = |text: &str| (self.print)(Channel::Error, text);
        line(&format!("Error: {}", error.message));
        for cause in &error.causes {
            line(&format!("Caused by: {cause}"));
        }
        if let Some(hint) = &error.hint {
            line(&format!("Hint: {hint}"));
        }
    }

    fn changed(&mut self, host: &str, what: &str) {
        let what = match self.style.verbosity {
            Verbosity::Quiet => return,
            // With many hosts the plan and the recap show it; a line for each would hide the failed
            // ones.
            Verbosity::Normal if self.hosts.len() > ending::FEW => return,
            Verbosity::Normal => shorten(what),
            Verbosity::Verbose => what.to_owned(),
        };
        self.said(0, "33", "changed", &format!("{host}: {what}"));
    }

    /// The end of the report, and the timings below it.
    fn last(&mut self, lines: &[String]) {
        self.lines(lines);
        if self.style.timings {
            let timings = std::mem::take(&mut self.timings);
            self.lines(&timings.lines(self.style));
        }
    }

    fn verbosely(&mut self, text: &str) {
        if self.style.verbosity == Verbosity::Verbose {
            let text = self.style.dim(text);
            self.line(&text);
        }
    }
}

/// What an interruption waits for, and what it leaves behind.
fn interrupted(waiting: &[String]) -> String {
    let names: Vec<&str> = waiting.iter().map(String::as_str).collect();
    match names.as_slice() {
        [] => "no new step begins".to_owned(),
        names => format!(
            "waiting until {} finish or undo the current step. Interrupt again to exit at once",
            some_of(names, 5)
        ),
    }
}

/// Which hosts are left unchanged, and which failures caused it.
fn not_begun(play: &str, hosts: &[String], because: &[String]) -> String {
    let names = |hosts: &[String]| {
        let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
        some_of(&names, 5)
    };
    format!(
        "{} ({play}), because {} failed before",
        names(hosts),
        names(because)
    )
}

fn abandoned(hosts: &[String]) -> String {
    let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
    match names.as_slice() {
        [] => "no step is under way on any node".to_owned(),
        names => format!(
            "{} finish or undo the current step by themselves. The next run checks the outcome",
            some_of(names, 5)
        ),
    }
}

impl<P: FnMut(Channel, &str) + Send> Text<P> {
    /// The event as this report shows it: without control sequences, and with the names of
    /// contexts.
    fn readable(&mut self, event: &Event) -> Event {
        let is_verbose = self.style.verbosity == Verbosity::Verbose;
        if let Event::Run { contexts, .. } = event {
            let contexts = Contexts::of(contexts);
            if is_verbose {
                self.of_copies = contexts;
            } else {
                self.contexts = contexts;
            }
        }
        let mut event = clean::clean(event);
        match &mut event {
            Event::Certificate(certificate) if is_verbose => self.of_copies.name_in(certificate),
            event => self.contexts.name(event),
        }
        event
    }

    fn warned(&mut self, colour: &str, word: &str, host: Option<&str>, text: &str) {
        let host = host.map(|host| format!("{host}: ")).unwrap_or_default();
        self.said(0, colour, word, &format!("{host}{text}"));
    }

    fn step(&mut self, event: &Event) {
        let Event::Step {
            number,
            of,
            what,
            stopped,
            next,
            following,
        } = event
        else {
            return;
        };
        if *stopped {
            let meanwhile = ::plan::meanwhile(*number);
            let mut text = format!(
                "the CA rollover has stopped at step {number} of {of}: {what}. Until it is finished, {meanwhile}."
            );
            // The last line names the command if something failed.
            if !self.heard.has_failed() {
                let next = next.as_deref().unwrap_or("the same command");
                text = format!("{text} To finish it, run {next}.");
            }
            self.warned("33", "incomplete:", None, &text);
        } else if self.style.verbosity != Verbosity::Quiet {
            self.said(0, "1", &format!("Step {number} of {of}:"), what);
            if !following.is_empty() {
                let count = plural(following.len(), "step");
                self.line(&format!(
                    "Then {count}, each planned when the one before is done:"
                ));
                let room = self.style.width.map(|width| width.saturating_sub(2));
                for line in following.iter().flat_map(|step| wrap(step, room)) {
                    self.line(&format!("  {line}"));
                }
            }
        }
    }

    fn status(&mut self, counts: &CertificateCounts, milliseconds: u128) {
        let rows = std::mem::take(&mut self.certificates);
        let mut lines = certificates::certificates(self.style, &rows);
        lines.extend(certificates::counts(
            self.style,
            &rows,
            counts,
            milliseconds,
        ));
        lines.extend(self.heard.after_status(self.style, counts));
        self.last(&lines);
    }

    fn planned(&mut self, changes: &[PlannedChange], batches: &[PlannedBatches]) {
        let style = self.style;
        if changes.is_empty() && !self.missing.is_empty() {
            if self.hosts.is_subset(&self.missing) {
                let why = "every host was refused or could not be reached";
                self.said(0, "31", "nothing was changed:", why);
            } else {
                self.said(0, "33", "nothing to change", "on the other hosts");
            }
            return;
        }
        // In a run of several plans, only the checks after the last one count.
        self.proofs.clear();
        self.sampled = None;
        if style.verbosity != Verbosity::Quiet || self.check {
            self.lines(&plan::lines(
                style,
                self.check,
                &self.contexts,
                changes,
                batches,
            ));
        }
    }
}

impl<P: FnMut(Channel, &str) + Send> Renderer for Text<P> {
    fn event(&mut self, event: &Event) {
        let style = self.style;
        let quiet = style.verbosity == Verbosity::Quiet;
        let event = self.readable(event);
        let known = self.heard.hear(&event);
        match &event {
            Event::Run {
                inventory,
                playbook,
                hosts,
                check,
                ..
            } => {
                self.check = *check;
                self.hosts = hosts.iter().cloned().collect();
                if !quiet {
                    let rest = format!("{inventory}, {}", plural(hosts.len(), "host"));
                    self.said(0, "1", playbook, &rest);
                }
            }
            Event::Connected {
                host,
                address,
                milliseconds,
            } => self.verbosely(&format!(
                "{host}: connected to {address} in {milliseconds} ms"
            )),
            Event::Facts { host, milliseconds } => {
                self.verbosely(&format!("{host}: facts read in {milliseconds} ms"));
            }
            Event::Warning { host, text } => self.warned("33", "warning:", host.as_deref(), text),
            Event::Danger { host, text } => self.warned("31", "danger:", host.as_deref(), text),
            Event::Plan { changes, batches } => self.planned(changes, batches),
            step @ Event::Step { .. } => self.step(step),
            Event::Started { host, what } => self.verbosely(&format!("{host}: {what}")),
            Event::Changed { host, what } => self.changed(host, what),
            Event::Access { host, what } => {
                if !quiet {
                    self.said(0, "32", "ok", &format!("{host}: {what}"));
                }
            }
            Event::Waited {
                host,
                phase,
                milliseconds,
            } => self.timings.add(host, *phase, *milliseconds),
            // For programs and for the journal: people see the result.
            Event::Act { .. } | Event::ActEnded { .. } => {}
            Event::Failed(failure) => {
                self.missing.insert(failure.host.clone());
                self.failed(failure, known);
            }
            Event::NotBegun {
                play,
                hosts,
                because,
            } => self.said(0, "33", "skipped:", &not_begun(play, hosts, because)),
            Event::Sampled(sample) => self.sampled = Some(sample.clone()),
            Event::Proof(proof) => self.proofs.push(proof.clone()),
            Event::Certificate(certificate) => self.certificates.push((**certificate).clone()),
            Event::Status {
                certificates,
                milliseconds,
            } => self.status(certificates, *milliseconds),
            Event::Checked { host, topic, what } => {
                self.verbosely(&format!("ok {host} {}: {what}", topic.word()));
            }
            Event::Audited(audited) => self.audited.push((**audited).clone()),
            Event::Audit { .. } => self.last(&audit::entries(style, &self.audited)),
            Event::Finding(finding) => self.findings.push((**finding).clone()),
            Event::Doctor {
                found,
                milliseconds,
            } => {
                let rows = std::mem::take(&mut self.findings);
                let mut lines = findings::findings(style, &rows);
                lines.extend(findings::counts(style, found, *milliseconds));
                self.last(&lines);
            }
            Event::Interrupted { waiting } => {
                self.said(0, "1", "interrupted:", &interrupted(waiting));
            }
            Event::Abandoned { hosts } => {
                self.said(0, "1", "interrupted:", &abandoned(hosts));
            }
            Event::Stopped { hosts, next } => {
                self.lines(&ending::stopped(style, hosts, next.as_deref()));
            }
            Event::Error(error) => self.error(error),
            Event::Recap {
                hosts,
                milliseconds,
                next,
            } => {
                let proofs = std::mem::take(&mut self.proofs);
                let mut lines = ending::proofs(style, &proofs, self.sampled.take());
                lines.extend(ending::recap(style, hosts));
                let last = (*milliseconds, next.as_ref());
                lines.extend(self.heard.lines(style, hosts, &proofs, last));
                self.last(&lines);
            }
        }
    }
}
