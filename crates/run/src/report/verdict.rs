//! The last lines of a run: the totals, the failures with their causes, what was skipped, and the
//! next command. A failed undo is the last failure named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::Style;
use super::ending::{FEW, outages};
use super::layout::{self, Cell, plural, some_of};
use base::event::{
    CertificateCounts, Check, Event, Failure, FailureKind, HostRecap, Proof, Verdict,
};
use base::shell;

/// Hosts named for one cause before the rest are counted.
const NAMES: usize = 5;
/// Hosts named in the argument of `--limit`; more would be too long to type.
const LIMITED: usize = 20;

/// What a run has reported so far and its last lines repeat.
#[derive(Debug, Default)]
pub(super) struct Heard {
    inventory: String,
    check: bool,
    playbook: String,
    /// Hosts of the run.
    hosts: usize,
    planned: usize,
    failures: Vec<Failure>,
    /// The causes so far, to detect similar ones.
    causes: BTreeSet<(String, String)>,
    /// Hints that were printed.
    hints: BTreeSet<(String, String)>,
    /// The failed hosts, and those that were skipped because of them.
    skipped: BTreeMap<Vec<String>, BTreeSet<String>>,
    interrupted: bool,
    incomplete: bool,
    /// The command that continues a rollover which has stopped.
    continues: Option<String>,
}

/// Which parts of a failure were already reported.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    pub(super) cause: bool,
    pub(super) hint: bool,
}

impl Heard {
    /// Whether something has failed so far.
    pub(super) fn has_failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Records an event. Returns the parts that need not be repeated.
    pub(super) fn hear(&mut self, event: &Event) -> Known {
        match event {
            Event::Run {
                inventory,
                check,
                hosts,
                playbook,
                ..
            } => {
                inventory.clone_into(&mut self.inventory);
                self.check = *check;
                playbook.clone_into(&mut self.playbook);
                self.hosts = hosts.len();
            }
            Event::Plan { changes, .. } => self.planned += changes.len(),
            Event::Step {
                stopped: true,
                next,
                ..
            } => {
                self.incomplete = true;
                self.continues.clone_from(next);
            }
            Event::Interrupted { .. } | Event::Stopped { .. } => self.interrupted = true,
            Event::NotBegun { hosts, because, .. } => {
                let skipped = self.skipped.entry(because.clone()).or_default();
                skipped.extend(hosts.iter().cloned());
            }
            Event::Failed(failure) => {
                self.failures.push(failure.clone());
                let cause = is_new(&mut self.causes, failure, &failure.message, || {
                    format!("{}: {}", failure.step, failure.causes.join(": "))
                });
                let hint = failure.hint.as_ref();
                return Known {
                    cause: !cause,
                    hint: hint
                        .is_some_and(|hint| !is_new(&mut self.hints, failure, hint, String::new)),
                };
            }
            _ => {}
        }
        Known::default()
    }

    /// The last lines.
    pub(super) fn lines(
        &self,
        style: Style,
        hosts: &[HostRecap],
        proofs: &[Proof],
        (milliseconds, after): (u128, Option<&String>),
    ) -> Vec<String> {
        let mut lines = self.totals(style, hosts, proofs, milliseconds);
        let mut rows = self.left_out();
        rows.extend(failed_checks(proofs));
        rows.extend(self.failed());
        lines.extend(layout::table(&rows, style.width, 2, style.colour));
        for next in self.next(proofs).iter().chain(after) {
            lines.extend(next_line(style, next));
        }
        lines
    }

    /// The next command after `status`, if something is wrong or due.
    pub(super) fn after_status(&self, style: Style, counts: &CertificateCounts) -> Vec<String> {
        let is_wrong = counts.revoked + counts.expired + counts.broken + counts.unknown > 0;
        let command = match counts.due {
            _ if is_wrong => "doctor",
            0 => return Vec::new(),
            _ => "plan",
        };
        next_line(style, &command_for(command, &self.inventory))
    }

    fn totals(
        &self,
        style: Style,
        hosts: &[HostRecap],
        proofs: &[Proof],
        milliseconds: u128,
    ) -> Vec<String> {
        let count = |is: fn(&HostRecap) -> bool| hosts.iter().filter(|host| is(host)).count();
        let changed = count(|host| host.changed > 0);
        // As in the recap: an unreachable host does not count as failed too.
        let is_gone = |name: &str| hosts.iter().any(|one| one.unreachable && one.host == name);
        let failed: BTreeSet<&str> = self
            .failures
            .iter()
            .map(|failure| failure.host.as_str())
            .filter(|name| !is_gone(name))
            .collect();
        let unreachable = count(|host| host.unreachable);
        let skipped = count(|host| host.skipped > 0);
        let mut parts = vec![plural(hosts.len(), "host")];
        parts.push(match (self.check, self.planned, changed) {
            (true, 0, _) if self.failures.is_empty() => "nothing to change".to_owned(),
            (true, 0, _) => "no changes planned".to_owned(),
            (true, planned, _) => format!("{} would be made", plural(planned, "change")),
            (false, _, 0) => "nothing changed".to_owned(),
            (false, _, changed) => format!("{changed} changed"),
        });
        let of = |count: usize, word: &str| (count > 0).then(|| format!("{count} {word}"));
        parts.extend(of(failed.len(), "failed"));
        parts.extend(of(unreachable, "unreachable"));
        parts.extend(of(skipped, "skipped"));
        let checks = Checks::of(proofs);
        let text = format!(
            "{}{}{}; took {}.{:02} s",
            parts.join(", "),
            checks.described(),
            outages(hosts),
            milliseconds / 1000,
            (milliseconds % 1000) / 10
        );
        let is_failed = !self.failures.is_empty() || unreachable > 0 || checks.failed > 0;
        let (word, colour) = if self.interrupted {
            ("Interrupted:", "33")
        } else if is_failed {
            ("Failed:", "31")
        } else if self.incomplete || skipped > 0 || checks.not_checked > 0 {
            ("Incomplete:", "33")
        } else {
            ("Done:", "32")
        };
        let mut lines = layout::wrap(&format!("{word} {text}"), style.width);
        if let Some(first) = lines.first_mut()
            && let Some(rest) = first.strip_prefix(word)
        {
            *first = format!("{}{rest}", style.paint(colour, word));
        }
        lines
    }

    fn left_out(&self) -> Vec<Vec<Cell>> {
        let rows = self.skipped.iter().map(|(because, hosts)| {
            let because: Vec<&str> = because.iter().map(String::as_str).collect();
            let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
            vec![
                Cell::painted("skipped", "33"),
                some_of(&hosts, NAMES).into(),
                format!("because {} failed", some_of(&because, NAMES)).into(),
            ]
        });
        rows.collect()
    }

    /// One row for each cause, the worst last.
    fn failed(&self) -> Vec<Vec<Cell>> {
        let mut groups: BTreeMap<(u8, String), Vec<&Failure>> = BTreeMap::new();
        let is_repeated = |failure: &&Failure| {
            let same = self
                .failures
                .iter()
                .filter(|one| one.message == failure.message);
            same.count() > 1
        };
        for failure in &self.failures {
            let same = Some(failure).filter(is_repeated);
            let cause = same.map_or_else(
                || alike(failure, &failure.message),
                |same| same.message.clone(),
            );
            let key = (severity(failure.kind), cause);
            groups.entry(key).or_default().push(failure);
        }
        let row = |group: Vec<&Failure>| {
            let first = group.first()?;
            let mut names: Vec<&str> = group.iter().map(|one| one.host.as_str()).collect();
            let mut known = BTreeSet::new();
            names.retain(|name| known.insert(*name));
            let step = if group.iter().all(|one| one.step == first.step) {
                format!("{}: ", first.step)
            } else {
                String::new()
            };
            let example = if group.iter().all(|one| one.message == first.message) {
                ""
            } else {
                "for example, "
            };
            Some(vec![
                Cell::painted(brief(first.kind), "31"),
                some_of(&names, NAMES).into(),
                format!("{step}{example}{}", first.message).into(),
            ])
        };
        groups.into_values().filter_map(row).collect()
    }

    /// The next command, if anything is left to do.
    fn next(&self, proofs: &[Proof]) -> Vec<String> {
        let worst = self.failures.iter().map(|one| severity(one.kind)).max();
        // Of hints that differ only in names and numbers, the first one.
        let mut known = BTreeSet::new();
        let hints: Vec<String> = self
            .failures
            .iter()
            .filter(|failure| Some(severity(failure.kind)) == worst)
            .filter_map(|failure| Some((failure, failure.hint.as_ref()?)))
            .filter(|(failure, hint)| is_new(&mut known, failure, hint, String::new))
            .map(|(_, hint)| hint.clone())
            .take(2)
            .collect();
        let are_away = worst.is_some() && self.failures.iter().all(|one| is_away(one.kind));
        if !hints.is_empty() {
            let mut hints = hints;
            let names_none = hints.iter().all(|hint| !hint.contains("dtls-deploy "));
            if are_away && names_none {
                // On a line of its own: a hint may be a command that is pasted.
                hints.push(format!("then run {}", self.again()));
            }
            if let Some(next) = &self.continues
                && names_none
                && !are_away
            {
                hints.push(format!("then run {next}"));
            }
            return hints;
        }
        if let Some(next) = self.continues.as_ref().filter(|_| self.has_failed()) {
            return vec![format!("fix what is reported above, then run {next}")];
        }
        let mut about: BTreeSet<&str> = self
            .failures
            .iter()
            .map(|failure| failure.host.as_str())
            .collect();
        let of_daemons = |verdicts: &[Verdict]| {
            let of = proofs
                .iter()
                .filter(|proof| verdicts.contains(&proof.verdict));
            of.map(|proof| proof.to.as_str()).collect::<Vec<_>>()
        };
        about.extend(of_daemons(&[Verdict::Failed]));
        if about.is_empty() && !self.interrupted {
            about.extend(of_daemons(&[Verdict::NotProved, Verdict::Unreachable]));
        }
        if about.is_empty() {
            return self.after_success();
        }
        if self.failures.is_empty() && are_for_policies(proofs) {
            return vec![command_for("rotate", &self.inventory)];
        }
        let command = if are_away { "check-access" } else { "doctor" };
        let limit = if self.hosts > FEW && about.len() <= LIMITED {
            let names: Vec<&str> = about.into_iter().collect();
            format!(" --limit {}", shell::quote(&names.join(",")))
        } else {
            String::new()
        };
        vec![format!("{}{limit}", command_for(command, &self.inventory))]
    }
}

impl Heard {
    /// The command that completes this run.
    fn again(&self) -> String {
        const COMMANDS: [&str; 5] = ["deploy", "rotate", "rotate --ca", "remove", "verify"];
        if self.playbook == "revoke" && !self.check {
            // A second `revoke` would also revoke what was issued since.
            return command_for("rotate", &self.inventory);
        }
        if COMMANDS.contains(&self.playbook.as_str()) && !self.check {
            format!("again: {}", command_for(&self.playbook, &self.inventory))
        } else {
            "the same command again".to_owned()
        }
    }

    /// What follows a command that has succeeded. Hosts without a deployment are reported as long
    /// as they are in the inventory.
    fn after_success(&self) -> Vec<String> {
        if self.check || self.interrupted {
            return Vec::new();
        }
        let inventory = &self.inventory;
        let command = |name| command_for(name, inventory);
        match self.playbook.as_str() {
            "remove" => vec![format!(
                "take the hosts out of {inventory}, or deploy to them again: {}",
                command("deploy")
            )],
            "adopt" => vec![format!(
                "show what a deployment would change: {}",
                command("plan")
            )],
            _ => Vec::new(),
        }
    }
}

fn next_line(style: Style, next: &str) -> Vec<String> {
    let lines = layout::wrap(&format!("Next: {next}"), style.width);
    let lines = lines.iter().enumerate();
    let lines = lines.map(|(index, line)| match (index, line.strip_prefix("Next:")) {
        (0, Some(rest)) => format!("{}{rest}", style.bold("Next:")),
        (0, None) => line.clone(),
        _ => format!("  {line}"),
    });
    lines.collect()
}

/// A command about this inventory that can be pasted.
fn command_for(command: &str, inventory: &str) -> String {
    let inventory =
        shlex::try_quote(inventory).map_or_else(|_| shell::quote(inventory), Into::into);
    format!("dtls-deploy {command} {inventory}")
}

/// Checks by their verdicts.
struct Checks {
    ok: usize,
    failed: usize,
    not_checked: usize,
}

impl Checks {
    fn of(proofs: &[Proof]) -> Self {
        let of = |verdict| proofs.iter().filter(|one| one.verdict == verdict).count();
        Self {
            ok: of(Verdict::Proved),
            failed: of(Verdict::Failed),
            not_checked: of(Verdict::NotProved) + of(Verdict::Unreachable),
        }
    }

    /// "; 8 checks ok, 1 failed".
    fn described(&self) -> String {
        if self.ok + self.failed + self.not_checked == 0 {
            return String::new();
        }
        let mut text = format!("; {} ok", plural(self.ok, "check"));
        for (count, word) in [(self.failed, "failed"), (self.not_checked, "not checked")] {
            if count > 0 {
                let _ = write!(text, ", {count} {word}");
            }
        }
        text
    }
}

/// Whether a new policy of the guard is all that the failed checks need.
fn are_for_policies(proofs: &[Proof]) -> bool {
    let failed = |proof: &&Proof| proof.verdict == Verdict::Failed;
    let pair = |proof: &Proof| (proof.from.clone(), proof.to.clone());
    let of_policies = proofs.iter().filter(failed);
    let of_policies = of_policies.filter(|proof| proof.check == Check::Policy);
    let unnamed: BTreeSet<_> = of_policies.map(pair).collect();
    let mut failed = proofs.iter().filter(failed);
    !unnamed.is_empty() && failed.all(|proof| unnamed.contains(&pair(proof)))
}

/// One row for each check that failed.
fn failed_checks(proofs: &[Proof]) -> Vec<Vec<Cell>> {
    type Names<'a> = BTreeSet<&'a str>;
    let mut groups: BTreeMap<_, (Names, Names, Names)> = BTreeMap::new();
    for proof in proofs {
        if proof.verdict == Verdict::Failed {
            let (to, from, seen) = groups.entry(proof.check).or_default();
            to.insert(&proof.to);
            from.insert(&proof.from);
            seen.insert(&proof.seen);
        }
    }
    let named = |names: BTreeSet<&str>| some_of(&names.into_iter().collect::<Vec<_>>(), NAMES);
    let row = |(check, (to, from, seen)): (base::event::Check, (_, _, Names))| {
        let example = if seen.len() > 1 { "for example, " } else { "" };
        let seen = seen.first().unwrap_or(&"");
        vec![
            Cell::painted("failed check", "31"),
            named(to).into(),
            format!("{}, from {}: {example}{seen}", check.title(), named(from)).into(),
        ]
    };
    groups.into_iter().map(row).collect()
}

/// A word of at least this length is a fingerprint, a hash or a path.
const LONG: usize = 32;

/// Whether neither this text nor a similar one was known for the same `besides`. The text itself is
/// compared too, because it may name a host other than the failed one.
fn is_new(
    known: &mut BTreeSet<(String, String)>,
    failure: &Failure,
    text: &str,
    besides: impl Fn() -> String,
) -> bool {
    let keys = [alike(failure, text), text.to_owned()].map(|text| (text, besides()));
    let is_new = !keys.iter().any(|key| known.contains(key));
    known.extend(keys);
    is_new
}

/// The text of a failure without names, numbers and long words: similar failures have one cause.
fn alike(failure: &Failure, text: &str) -> String {
    let text = text.replace(&failure.host, "#");
    let words = text.split(' ').map(|word| match word.len() {
        LONG.. => "#".to_owned(),
        _ => without_numbers(word),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A word with `#` for each number, however many digits it has.
fn without_numbers(word: &str) -> String {
    let mut text = String::new();
    for letter in word.chars() {
        match letter {
            '0'..='9' if text.ends_with('#') => {}
            '0'..='9' => text.push('#'),
            other => text.push(other),
        }
    }
    text
}

fn is_away(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Unreachable | FailureKind::TimedOut)
}

/// The worst has the highest number.
const fn severity(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::Unreachable => 0,
        FailureKind::TimedOut => 1,
        FailureKind::Refused => 2,
        FailureKind::Undone => 3,
        FailureKind::Failed => 4,
        FailureKind::Unknown => 5,
        FailureKind::UndoFailed => 6,
    }
}

/// The same, shortened for the last lines.
const fn brief(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Unreachable => "unreachable",
        FailureKind::TimedOut => "no answer",
        FailureKind::Refused => "refused",
        FailureKind::Undone => "undone",
        FailureKind::Failed => "FAILED",
        FailureKind::Unknown => "UNKNOWN",
        FailureKind::UndoFailed => "NOT UNDONE",
    }
}

pub(super) const fn words(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Unreachable => "unreachable",
        FailureKind::TimedOut => "does not answer",
        FailureKind::Refused => "refused, nothing was changed",
        FailureKind::Undone => "failed, everything is as it was",
        FailureKind::Failed => "FAILED",
        FailureKind::Unknown => "OUTCOME UNKNOWN",
        FailureKind::UndoFailed => "FAILED AND NOT UNDONE",
    }
}
