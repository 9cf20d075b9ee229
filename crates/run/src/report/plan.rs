//! The plan as text: host by host, what changes and why. Hosts with the same changes are shown
//! once.

use super::contexts::Contexts;
use super::layout::{self, Cell, plural, shorten, some_of};
use super::{Style, Verbosity};
use base::event::{PlannedBatches, PlannedChange, Repeated};

/// Hosts named in a heading before the rest are counted.
const NAMES: usize = 3;
/// Batches of a play that are listed.
const BATCHES: usize = 6;
/// Changes of one task for one reason before the rest are counted.
const ALIKE: usize = 6;

/// The lines of a plan.
pub(super) fn lines(
    style: Style,
    check: bool,
    contexts: &Contexts,
    changes: &[PlannedChange],
    batches: &[PlannedBatches],
) -> Vec<String> {
    if changes.is_empty() {
        return vec![style.green("Nothing to change.")];
    }
    let hosts = by_host(changes);
    let heading = format!(
        "{} on {}",
        plural(changes.len(), "change"),
        plural(hosts.len(), "host")
    );
    let mut lines = vec![style.bold(&if check {
        format!("{heading} would be made:")
    } else {
        format!("{heading}:")
    })];
    let exact = style.verbosity == Verbosity::Verbose;
    for (names, changes) in alike(hosts, exact) {
        let changes: Vec<&PlannedChange> = changes.iter().collect();
        let itself = names.first().filter(|_| names.len() > 1).copied();
        let most = if style.verbosity == Verbosity::Verbose {
            usize::MAX - 1
        } else {
            NAMES
        };
        let mut names_shown = some_of(&names, most);
        if names.len() > 1 {
            names_shown = format!("{names_shown} (each of {} hosts)", names.len());
        }
        for line in layout::wrap(&names_shown, style.width) {
            lines.push(style.bold(&line));
        }
        let rows = rows(style, contexts, &changes, itself);
        lines.extend(layout::table(&rows, style.width, 2, style.colour));
    }
    for play in batches {
        lines.extend(layout::wrap(&in_batches(style, play), style.width));
    }
    for change in changes {
        if let Some(diff) = &change.diff {
            lines.push(String::new());
            let what = contexts.named(&change.what);
            lines.push(style.bold(&format!("{} {what}", change.host)));
            lines.extend(diff.lines().map(|line| match line.chars().next() {
                Some('+') => style.green(line),
                Some('-') => style.red(line),
                _ => style.dim(line),
            }));
        }
    }
    lines.push(String::new());
    lines
}

/// "restarts in 3 batches: node3; node4, node5; 12 hosts".
fn in_batches(style: Style, play: &PlannedBatches) -> String {
    let what = if play.restarts {
        "restarts"
    } else {
        play.play.as_str()
    };
    let batches: Vec<String> = play
        .hosts
        .iter()
        .map(|hosts| {
            if hosts.len() > NAMES && style.verbosity != Verbosity::Verbose {
                return plural(hosts.len(), "host");
            }
            hosts.join(", ")
        })
        .collect();
    let batches: Vec<&str> = batches.iter().map(String::as_str).collect();
    let shown = if style.verbosity == Verbosity::Verbose || batches.len() <= BATCHES {
        batches.join("; ")
    } else {
        let (first, _) = batches.split_at(BATCHES);
        format!("{}; and so on", first.join("; "))
    };
    format!("{what} in {} batches: {shown}", batches.len())
}

/// In the order of first mention.
fn by_host(changes: &[PlannedChange]) -> Vec<(&str, Vec<&PlannedChange>)> {
    let mut places = std::collections::HashMap::new();
    let mut hosts: Vec<(&str, Vec<&PlannedChange>)> = Vec::new();
    for change in changes {
        let place = *places.entry(change.host.as_str()).or_insert_with(|| {
            hosts.push((change.host.as_str(), Vec::new()));
            hosts.len() - 1
        });
        if let Some((_, own)) = hosts.get_mut(place) {
            own.push(change);
        }
    }
    hosts
}

/// Replaces each host's own name in a line for many hosts.
const ITSELF: &str = "it";

/// A change's subject without the host's own name: "client certificate for it". Hosts whose
/// subjects differ only in that have the same change.
fn without_name(what: &str, host: &str) -> String {
    let words = what.split(' ').map(|word| match word.strip_suffix(host) {
        Some(before) if before.is_empty() || before.ends_with('@') => format!("{before}{ITSELF}"),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Hosts, and the changes of each of them.
type Group<'a> = (Vec<&'a str>, Vec<Vec<&'a PlannedChange>>);

/// Groups hosts with identical changes, ignoring their own names, and the dates in the reasons
/// unless `exact`. A group's changes have the ranges of these dates.
fn alike<'a>(
    hosts: Vec<(&'a str, Vec<&'a PlannedChange>)>,
    exact: bool,
) -> Vec<(Vec<&'a str>, Vec<PlannedChange>)> {
    let mut places = std::collections::HashMap::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    let key = |reason: &'a String| {
        if exact {
            vec![reason.as_str()]
        } else {
            around_dates(reason).0
        }
    };
    for (host, changes) in hosts {
        let same: Vec<(&str, String, Vec<_>)> = changes
            .iter()
            .map(|change| {
                (
                    change.task.as_str(),
                    without_name(&change.what, host),
                    change.reasons.iter().map(key).collect(),
                )
            })
            .collect();
        let place = *places.entry(same).or_insert_with(|| {
            groups.push((Vec::new(), Vec::new()));
            groups.len() - 1
        });
        if let Some((names, all)) = groups.get_mut(place) {
            names.push(host);
            all.push(changes);
        }
    }
    let merged = groups.into_iter().map(|(names, all)| {
        let first = all.first().into_iter().flatten().enumerate();
        let changes = first.map(|(index, change)| {
            let same: Vec<_> = all.iter().filter_map(|own| own.get(index)).collect();
            let reasons = (0..change.reasons.len())
                .map(|reason| ranged(same.iter().filter_map(|one| one.reasons.get(reason))));
            PlannedChange {
                host: change.host.clone(),
                task: change.task.clone(),
                what: change.what.clone(),
                reasons: reasons.collect(),
                diff: None,
            }
        });
        let changes = changes.collect();
        (names, changes)
    });
    merged.collect()
}

/// Bytes of a date such as 2027-03-01.
const DATE: usize = 10;

/// The parts of a text around its dates, and the dates.
fn around_dates(text: &str) -> (Vec<&str>, Vec<&str>) {
    let is_date = |part: &&str| {
        let mut bytes = part.bytes().enumerate();
        bytes.all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
    };
    let (mut parts, mut dates) = (Vec::new(), Vec::new());
    let (mut begin, mut at) = (0, 0);
    while at < text.len() {
        let date = text.get(at..at + DATE).filter(is_date);
        if let Some(date) = date {
            parts.push(text.get(begin..at).unwrap_or_default());
            dates.push(date);
            begin = at + DATE;
        }
        at += if date.is_some() { DATE } else { 1 };
    }
    parts.push(text.get(begin..).unwrap_or_default());
    (parts, dates)
}

/// Texts that differ only in their dates as one text: "expires on 2027-03-01 to 2027-03-09".
fn ranged<'a>(mut texts: impl Iterator<Item = &'a String>) -> String {
    let (parts, dates) = texts
        .next()
        .map(|text| around_dates(text))
        .unwrap_or_default();
    let mut ranges: Vec<(&str, &str)> = dates.iter().map(|date| (*date, *date)).collect();
    for text in texts {
        for ((first, last), date) in ranges.iter_mut().zip(around_dates(text).1) {
            *first = date.min(first);
            *last = date.max(last);
        }
    }
    let mut ranges = ranges.into_iter().map(|(first, last)| {
        if first == last {
            first.to_owned()
        } else {
            format!("{first} to {last}")
        }
    });
    let with_dates = parts
        .into_iter()
        .map(|part| format!("{part}{}", ranges.next().unwrap_or_default()));
    with_dates.collect()
}

/// `itself` is the host whose changes also stand for those of others.
fn rows(
    style: Style,
    contexts: &Contexts,
    changes: &[&PlannedChange],
    itself: Option<&str>,
) -> Vec<Vec<Cell>> {
    let verbose = style.verbosity == Verbosity::Verbose;
    let mut rows = Vec::new();
    let mut rest = changes;
    while let Some(first) = rest.first() {
        let same = rest
            .iter()
            .take_while(|change| change.task == first.task && change.reasons == first.reasons)
            .count();
        let (group, tail) = rest.split_at(same.max(1));
        rest = tail;
        let subjects = subjects(contexts, group, itself);
        let shown = if verbose || subjects.len() <= ALIKE {
            subjects.len()
        } else {
            NAMES
        };
        for what in subjects.iter().take(shown) {
            rows.push(if verbose {
                vec![what.as_str().into(), first.reasons.join("; ").into()]
            } else {
                vec![
                    shorten(what).into(),
                    shorten(&folded(&first.reasons)).into(),
                ]
            });
        }
        if subjects.len() > shown {
            let text = format!("and {} more, for the same reason", subjects.len() - shown);
            rows.push(vec![Cell::painted(text, "2"), "".into()]);
        }
    }
    rows
}

/// What changes, with all files of a docker context combined.
fn subjects(contexts: &Contexts, changes: &[&PlannedChange], itself: Option<&str>) -> Vec<String> {
    let mut subjects = Vec::new();
    let mut rest = changes;
    while let Some((first, _)) = rest.split_first() {
        let file = contexts.file(&first.what);
        let is_of_same = |change: &&&PlannedChange| {
            let other = contexts.file(&change.what);
            let same = file.as_ref().zip(other.as_ref());
            same.is_some_and(|(one, other)| {
                (one.name, one.directory) == (other.name, other.directory)
            })
        };
        let count = rest.iter().take_while(is_of_same).count().max(1);
        subjects.push(match (&file, itself) {
            (Some(file), _) if count > 1 => file.of_several(count),
            (Some(_), _) | (None, None) => contexts.named(&first.what),
            (None, Some(host)) => without_name(&first.what, host),
        });
        rest = rest.get(count..).unwrap_or_default();
    }
    subjects
}

/// Reasons that several files share are listed once.
fn folded(reasons: &[String]) -> String {
    let mut left: Vec<&str> = reasons.iter().map(String::as_str).collect();
    let mut said = Vec::new();
    for same in Repeated::ALL {
        let count = left.iter().filter(|reason| same.is(reason)).count();
        if count > 2 {
            left.retain(|reason| !same.is(reason));
            said.push(same.of_many(count));
        }
    }
    said.extend(left.into_iter().map(str::to_owned));
    said.join("; ")
}
