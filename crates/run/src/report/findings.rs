//! The findings of `doctor` as text: a table, the worst first, each with its hint below, and a
//! summary line.

use std::collections::BTreeMap;

use super::layout::{Cell, plural, some_of, table, wrap};
use super::{Style, Verbosity};
use base::event::{Finding, FindingCounts, Severity};

/// Findings that differ only in the host share a line from this number on.
const MANY: usize = 4;
/// Hosts named in such a line before the rest are counted.
const NAMES: usize = 3;

/// The table; `-q` hides notes.
pub(super) fn findings(style: Style, findings: &[Finding]) -> Vec<String> {
    let shown = findings.iter().filter(|finding| {
        style.verbosity != Verbosity::Quiet || finding.severity != Severity::Note
    });
    let rows: Vec<Vec<Cell>> = groups(shown, style).iter().flat_map(rows).collect();
    table(&rows, style.width, 0, style.colour)
}

/// Findings that differ only in the host, in the order of the first of each. Few are not grouped,
/// and none with `-v`.
fn groups<'a>(
    findings: impl Iterator<Item = &'a Finding>,
    style: Style,
) -> Vec<(&'a Finding, Vec<&'a str>)> {
    let alike = |one: &Finding| {
        let without = |text: &str| text.replace(&one.host, "#");
        let effect = (one.mended_by_deploy, one.refused_by_deploy);
        (
            one.severity,
            one.topic,
            without(&one.seen),
            without(&one.advice),
            effect,
        )
    };
    let all: Vec<&Finding> = findings.collect();
    let mut places: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (place, finding) in all.iter().enumerate() {
        places.entry(alike(finding)).or_default().push(place);
    }
    let is_whole = style.verbosity == Verbosity::Verbose;
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for places in places.into_values() {
        if is_whole || places.len() < MANY {
            groups.extend(places.into_iter().map(|place| vec![place]));
        } else {
            groups.push(places);
        }
    }
    groups.sort();
    let of = |places: Vec<usize>| {
        let members: Vec<&Finding> = places
            .iter()
            .filter_map(|place| all.get(*place).copied())
            .collect();
        let hosts = members.iter().map(|one| one.host.as_str()).collect();
        Some((*members.first()?, hosts))
    };
    groups.into_iter().filter_map(of).collect()
}

fn rows((finding, hosts): &(&Finding, Vec<&str>)) -> Vec<Vec<Cell>> {
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
        some_of(hosts, NAMES).into(),
        finding.topic.word().into(),
        seen.next().unwrap_or_default().into(),
    ]];
    rows.extend(seen.map(|line| vec![empty(), empty(), empty(), line.into()]));
    rows.push(vec![
        empty(),
        empty(),
        empty(),
        advice(finding, hosts.len()).into(),
    ]);
    rows
}

fn advice(finding: &Finding, hosts: usize) -> String {
    let is_example = hosts > 1 && finding.advice.contains(&finding.host);
    let example = if is_example { "for example: " } else { "" };
    let mut text = format!("-> {example}{}", finding.advice);
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

#[cfg(test)]
mod tests {
    use super::*;
    use base::event::Topic;

    fn finding(host: &str, seen: &str) -> Finding {
        Finding {
            severity: Severity::Warning,
            host: host.to_owned(),
            topic: Topic::Disk,
            seen: seen.to_owned(),
            advice: format!("look at it: ssh {host} df"),
            mended_by_deploy: false,
            refused_by_deploy: true,
        }
    }

    #[test]
    fn equal_findings_of_many_hosts_are_one_line() {
        let hosts: Vec<String> = (1..=25)
            .map(|number| format!("docker{number:02}"))
            .collect();
        let mut all: Vec<Finding> = hosts
            .iter()
            .map(|host| finding(host, &format!("the disk of {host} is full")))
            .collect();
        all.insert(3, finding("vault", "the clock is wrong"));
        let style = |verbosity| Style {
            colour: false,
            verbosity,
            width: None,
            timings: false,
        };
        let lines = findings(style(Verbosity::Normal), &all);
        let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
        assert_eq!(
            lines,
            [
                "warning  docker01, docker02, docker03 and 22 more  disk  the disk of docker01 is full",
                "-> for example: look at it: ssh docker01 df (deploy skips this host until then)",
                "warning  vault                                     disk  the clock is wrong",
                "-> look at it: ssh vault df (deploy skips this host until then)",
            ]
        );
        let lines = findings(style(Verbosity::Verbose), &all);
        assert_eq!(lines.len(), 52);
        let lines = findings(style(Verbosity::Normal), &all[..3]);
        assert_eq!(lines.len(), 6);
    }
}
