//! Timings as text: a row for each host, a column for each phase.

use std::collections::BTreeMap;

use super::Style;
use super::layout::{self, Cell};
use base::event::Phase;

/// Up to this many hosts each have a row; of more, the slowest.
const FEW: usize = 20;

/// The waiting times of a run.
#[derive(Debug, Default)]
pub(super) struct Timings(BTreeMap<String, BTreeMap<Phase, u128>>);

impl Timings {
    /// Adds a wait that has ended; waits of the same phase add up.
    pub(super) fn add(&mut self, host: &str, phase: Phase, milliseconds: u128) {
        let host = self.0.entry(host.to_owned()).or_default();
        *host.entry(phase).or_default() += milliseconds;
    }

    /// The table. Phases that no host has are left out.
    pub(super) fn lines(&self, style: Style) -> Vec<String> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let phases: Vec<Phase> = Phase::ALL
            .into_iter()
            .filter(|phase| self.0.values().any(|host| host.contains_key(phase)))
            .collect();
        let mut hosts: Vec<(&str, &BTreeMap<Phase, u128>)> = self
            .0
            .iter()
            .map(|(name, waits)| (name.as_str(), waits))
            .collect();
        let all = hosts.len();
        if all > FEW {
            hosts.sort_by_key(|(_, waits)| std::cmp::Reverse(waits.values().sum::<u128>()));
            hosts.truncate(FEW);
        }
        let mut rows = vec![row("", &phases, |phase| phase.title().to_owned())];
        for (name, waits) in hosts {
            rows.push(row(name, &phases, |phase| {
                waits
                    .get(&phase)
                    .map(|wait| seconds(*wait))
                    .unwrap_or_default()
            }));
        }
        // The host that the others waited for.
        rows.push(row("longest", &phases, |phase| {
            let longest = self.0.values().filter_map(|host| host.get(&phase)).max();
            longest.map(|wait| seconds(*wait)).unwrap_or_default()
        }));
        let title = if all > FEW {
            format!("Waited for, in seconds, {FEW} of {all} hosts:")
        } else {
            "Waited for, in seconds:".to_owned()
        };
        let mut lines = vec![String::new(), style.bold(&title)];
        lines.extend(layout::table(&rows, style.width, 0, style.colour));
        lines
    }
}

fn row(name: &str, phases: &[Phase], cell: impl Fn(Phase) -> String) -> Vec<Cell> {
    let cells = phases.iter().map(|phase| Cell::from(cell(*phase)));
    std::iter::once(Cell::from(name)).chain(cells).collect()
}

fn seconds(milliseconds: u128) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Verbosity;

    fn style() -> Style {
        Style {
            colour: false,
            verbosity: Verbosity::Normal,
            width: None,
            timings: true,
        }
    }

    #[test]
    fn waits_add_up_and_what_nobody_waited_for_has_no_column() {
        let mut timings = Timings::default();
        timings.add("a", Phase::Facts, 120);
        timings.add("a", Phase::Facts, 30);
        timings.add("bb", Phase::Restart, 1203);
        assert_eq!(
            timings.lines(style()).join("\n"),
            "
Waited for, in seconds:
         facts  restart
a        0.150  
bb              1.203
longest  0.150  1.203"
        );
    }

    #[test]
    fn of_many_hosts_those_that_took_longest_are_shown() {
        let mut timings = Timings::default();
        for number in 0..1000 {
            timings.add(&format!("n{number:04}"), Phase::Facts, number);
        }
        let lines = timings.lines(style());
        assert_eq!(lines[1], "Waited for, in seconds, 20 of 1000 hosts:");
        assert!(lines[3].starts_with("n0999"), "{}", lines[3]);
        assert_eq!(lines.len(), 3 + 20 + 1);
    }
}
