//! The end of a run as text: the checks, what an interruption left, and the recap host by host.

use super::layout::{self, Cell, plural, some_of};
use super::{Style, Verbosity};
use base::event::{Check, HostRecap, Proof, Sample, StoppedHost, Verdict};

/// Up to this many hosts each have their own lines; of more, only failed ones do.
pub(super) const FEW: usize = 20;
/// Clients named in one line of the checks.
const CLIENTS: usize = 2;
/// Hosts named in one line of the recap before the rest are counted.
const NAMES: usize = 3;

/// One line for each daemon and check if all clients agree, otherwise one for each client. With
/// many hosts, only failed checks and a count.
pub(super) fn proofs(style: Style, proofs: &[Proof], sampled: Option<Sample>) -> Vec<String> {
    if proofs.is_empty() {
        return Vec::new();
    }
    let mut proofs = proofs.to_vec();
    proofs.sort_by(|left, right| key(left).cmp(&key(right)));
    let daemons = proofs
        .iter()
        .map(|proof| proof.to.as_str())
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    let brief = match style.verbosity {
        Verbosity::Quiet => true,
        Verbosity::Normal => daemons > FEW,
        Verbosity::Verbose => false,
    };
    let mut rows = Vec::new();
    let mut rest = proofs.as_slice();
    while let Some(first) = rest.first() {
        let same = rest
            .iter()
            .take_while(|proof| {
                proof.to == first.to
                    && proof.check == first.check
                    && proof.verdict == first.verdict
                    && (proof.verdict == Verdict::Proved || proof.check == Check::Name)
                    && proof.verdict != Verdict::Failed
                    && (proof.check != Check::Role || proof.seen == first.seen)
            })
            .count()
            .max(1);
        let (group, tail) = rest.split_at(same);
        rest = tail;
        // Not every name of a certificate has to be in use.
        let is_aside =
            first.verdict == Verdict::NotReached && style.verbosity != Verbosity::Verbose;
        if (brief && first.verdict.is_fine()) || is_aside {
            continue;
        }
        let from = if group.len() > CLIENTS && first.check != Check::Name {
            format!("{} clients", group.len())
        } else {
            let mut names: Vec<&str> = group.iter().map(|proof| proof.from.as_str()).collect();
            names.dedup();
            names.join(", ")
        };
        rows.push(vec![
            verdict(first.verdict),
            first.to.as_str().into(),
            match group.len() {
                names @ 2.. if first.check == Check::Name => {
                    format!("serves it under {names} of its other names").into()
                }
                _ => Check::title(first.check).into(),
            },
            format!("from {from}").into(),
            if first.check == Check::Name {
                let seen: Vec<&str> = group.iter().map(|proof| proof.seen.as_str()).collect();
                seen.join(", ").into()
            } else {
                first.seen.as_str().into()
            },
        ]);
    }
    let mut lines = Vec::new();
    if !rows.is_empty() {
        lines.push(style.bold("Checks:"));
        lines.extend(layout::table(&rows, style.width, 0, style.colour));
    }
    if let Some(sample) = sampled {
        for text in left_out(&sample) {
            lines.extend(layout::wrap(&text, style.width));
        }
    }
    lines
}

/// The sort order of rows: groups names of a certificate with the same result, and clients with the
/// same role.
fn key(proof: &Proof) -> (&str, Check, u8, &str, &str, &str) {
    let of_names = match (proof.check, proof.verdict) {
        (Check::Name, Verdict::Proved) => 1,
        (Check::Name, Verdict::NotReached) => 2,
        _ => 0,
    };
    let role = if proof.check == Check::Role {
        proof.seen.as_str()
    } else {
        ""
    };
    (
        &proof.to,
        proof.check,
        of_names,
        role,
        &proof.from,
        &proof.seen,
    )
}

fn verdict(verdict: Verdict) -> Cell {
    match verdict {
        Verdict::Proved => Cell::painted("ok", "32"),
        Verdict::NotProved => Cell::painted("not checked", "33"),
        Verdict::Unreachable => Cell::painted("unreachable", "33"),
        Verdict::Failed => Cell::painted("FAILED", "31"),
        Verdict::NotReached => "not reached".into(),
    }
}

fn left_out(sample: &Sample) -> Vec<String> {
    let Sample {
        tried,
        all,
        without_refusals,
    } = sample;
    let mut texts = Vec::new();
    if tried < all {
        texts.push(format!(
            "{tried} of {all} pairs of a client and a daemon were tried; dtls_verify: full tries them all"
        ));
    }
    if !without_refusals.is_empty() {
        let names: Vec<String> = without_refusals
            .iter()
            .map(|name| layout::shorten(name))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        texts.push(format!(
            "Whether other clients are rejected was not checked on {}: dtls_verify is own",
            some_of(&names, 5)
        ));
    }
    texts
}

/// What is done and what is not, host by host.
pub(super) fn stopped(style: Style, hosts: &[StoppedHost], next: Option<&str>) -> Vec<String> {
    let mut lines = vec![String::new(), style.bold("Interrupted:")];
    if hosts.is_empty() {
        lines.push("  nothing was changed".to_owned());
    }
    let listed = |names: &[String]| {
        if names.is_empty() {
            return "nothing".to_owned();
        }
        let names: Vec<String> = names.iter().map(|name| layout::shorten(name)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        some_of(&names, 5)
    };
    let mut rows = Vec::new();
    for host in hosts {
        rows.push(vec![
            host.host.as_str().into(),
            Cell::painted("done", "32"),
            listed(&host.done).into(),
        ]);
        rows.push(vec![
            "".into(),
            Cell::painted("not done", "33"),
            listed(&host.not_done).into(),
        ]);
    }
    lines.extend(layout::table(&rows, style.width, 2, style.colour));
    lines.push(match next {
        Some(next) => format!("Run {next} to complete it."),
        None => "Run the same command again to complete it.".to_owned(),
    });
    lines
}

/// "1.25s".
fn seconds(milliseconds: u64) -> String {
    let rest = (milliseconds % 1000).div_ceil(10);
    let whole = milliseconds / 1000 + rest / 100;
    format!("{whole}.{:02}s", rest % 100)
}

/// For many hosts: how many daemons were unavailable, and which ones longest.
pub(super) fn outages(hosts: &[HostRecap]) -> String {
    let away = || hosts.iter().filter(|host| host.restarts > 0);
    let Some(longest) = away().max_by_key(|host| host.away_milliseconds) else {
        return String::new();
    };
    let down: Vec<&str> = away()
        .filter(|host| host.still_away)
        .map(|host| host.host.as_str())
        .collect();
    if !down.is_empty() {
        let count = plural(away().count(), "daemon");
        return format!("; {count} restarted, STILL DOWN: {}", down.join(", "));
    }
    if away().count() == 1 {
        return format!(
            "; 1 daemon restarted, away {}",
            seconds(longest.away_milliseconds)
        );
    }
    format!(
        "; {} restarted, away {} in all, {} at most ({})",
        plural(away().count(), "daemon"),
        seconds(away().map(|host| host.away_milliseconds).sum()),
        seconds(longest.away_milliseconds),
        longest.host
    )
}

fn went_wrong(host: &HostRecap) -> bool {
    host.failed > 0
        || host.not_proved > 0
        || host.unreachable
        || host.not_done > 0
        || host.skipped > 0
}

/// One line for each host if there are few; of many, only failed hosts, and changed ones if these
/// are few; hosts with the same counts share a line.
pub(super) fn recap(style: Style, hosts: &[HostRecap]) -> Vec<String> {
    let changed = hosts.iter().filter(|host| host.changed > 0).count();
    let all = style.verbosity == Verbosity::Verbose || hosts.len() <= FEW;
    let is_shown = |host: &HostRecap| match style.verbosity {
        Verbosity::Quiet => went_wrong(host),
        _ => all || went_wrong(host) || (host.changed > 0 && changed <= FEW),
    };
    let mut groups: Vec<(Vec<&str>, &str, String)> = Vec::new();
    for host in hosts.iter().filter(|host| is_shown(host)) {
        let colour = if went_wrong(host) {
            "31"
        } else if host.changed > 0 {
            "33"
        } else {
            "32"
        };
        let counts = counts(host);
        let alike = groups
            .iter_mut()
            .find(|(_, _, same)| !all && *same == counts);
        match alike {
            Some((names, ..)) => names.push(&host.host),
            None => groups.push((vec![&host.host], colour, counts)),
        }
    }
    let rows: Vec<Vec<Cell>> = groups
        .into_iter()
        .map(|(names, colour, counts)| {
            let names = some_of(&names, NAMES);
            vec![Cell::painted(names, colour), counts.into()]
        })
        .collect();
    let mut lines = vec![String::new()];
    lines.extend(layout::table(&rows, style.width, 0, style.colour));
    lines
}

/// "changed=7 ok=8 ...".
fn counts(host: &HostRecap) -> String {
    let of = |word: &str, count: usize| match count {
        0 => String::new(),
        count => format!(" {word}={count}"),
    };
    let away = match host.restarts {
        0 => String::new(),
        count if host.still_away => format!(" restarts={count} away=STILL"),
        count => format!(" restarts={count} away={}", seconds(host.away_milliseconds)),
    };
    format!(
        "changed={} ok={} not-checked={} failed={} unreachable={}{}{}{away}",
        host.changed,
        host.proved,
        host.not_proved,
        host.failed,
        u8::from(host.unreachable),
        of("not-done", host.not_done),
        of("skipped", host.skipped)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, restarts: usize, away_milliseconds: u64) -> HostRecap {
        HostRecap {
            host: name.to_owned(),
            changed: 1,
            restarts,
            away_milliseconds,
            ..HostRecap::default()
        }
    }

    #[test]
    fn a_host_that_is_not_proved_is_shown_and_not_green() {
        let mut hosts = vec![host("fine", 0, 0); 30];
        for host in &mut hosts {
            host.changed = 0;
        }
        hosts[7].host = "doubtful".to_owned();
        hosts[7].not_proved = 1;
        let style = Style {
            colour: true,
            verbosity: Verbosity::Normal,
            width: None,
            timings: false,
        };
        let lines = recap(style, &hosts);
        let shown: Vec<_> = lines
            .iter()
            .filter(|line| line.contains("doubtful"))
            .collect();
        assert_eq!(shown.len(), 1, "{lines:?}");
        assert!(shown[0].contains("\u{1b}[31m"), "{shown:?}");
        assert!(!lines.iter().any(|line| line.contains("fine")), "{lines:?}");
    }

    #[test]
    fn a_time_away_is_rounded_up() {
        assert_eq!(seconds(0), "0.00s");
        assert_eq!(seconds(1), "0.01s");
        assert_eq!(seconds(1270), "1.27s");
        assert_eq!(seconds(1999), "2.00s");
    }

    #[test]
    fn of_many_daemons_the_sum_and_the_longest_are_said() {
        let hosts = [host("a", 1, 400), host("b", 2, 1100), host("c", 0, 0)];
        let said = outages(&hosts);
        assert_eq!(
            said,
            "; 2 daemons restarted, away 1.50s in all, 1.10s at most (b)"
        );
        assert_eq!(outages(&hosts[1..]), "; 1 daemon restarted, away 1.10s");
        assert_eq!(outages(&hosts[2..]), "");
        let mut hosts = hosts;
        hosts[1].still_away = true;
        assert_eq!(outages(&hosts), "; 2 daemons restarted, STILL DOWN: b");
    }

    #[test]
    fn names_of_a_certificate_are_one_line_and_those_that_fail_one_each() {
        let of = |from: &str, verdict, seen: &str| Proof {
            from: from.to_owned(),
            to: "node3".to_owned(),
            check: Check::Name,
            verdict,
            seen: seen.to_owned(),
        };
        let proofs = vec![
            of("node1", Verdict::NotReached, "nowhere: no such name"),
            of("node1", Verdict::Proved, "node3"),
            of(
                "node1",
                Verdict::Failed,
                "other: another machine answers there",
            ),
            of("node3", Verdict::Proved, "127.0.0.1"),
        ];
        let style = |verbosity| Style {
            timings: false,
            colour: false,
            verbosity,
            width: None,
        };
        let name = "node3  serves it under another of its names  from";
        let names = "node3  serves it under 2 of its other names  from";
        let sample = base::event::Sample {
            tried: 2,
            all: 400,
            without_refusals: vec!["node3".to_owned(), "node4".to_owned()],
        };
        let lines = super::proofs(style(Verbosity::Verbose), &proofs, Some(sample));
        let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
        let expected = [
            "Checks:".to_owned(),
            format!("FAILED       {name} node1         other: another machine answers there"),
            format!("ok           {names} node1, node3  node3, 127.0.0.1"),
            format!("not reached  {name} node1         nowhere: no such name"),
            "2 of 400 pairs of a client and a daemon were tried; dtls_verify: full tries them all"
                .to_owned(),
            "Whether other clients are rejected was not checked on node3, node4: dtls_verify is own".to_owned(),
        ];
        assert_eq!(lines, expected);
        // A name that resolves to nothing is hidden by default.
        for verbosity in [Verbosity::Quiet, Verbosity::Normal] {
            let lines = super::proofs(style(verbosity), &proofs, None);
            assert!(lines.iter().all(|line| !line.starts_with("not reached")));
            assert!(lines.iter().any(|line| line.starts_with("FAILED")));
        }
    }
}
