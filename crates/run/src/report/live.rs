//! The live view on a terminal: plain lines, and below them what is running now: the step, the
//! batch and a count, and one spinner for each host if there are few, otherwise the slowest hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Style;
use super::plain::{Channel, Text};
use base::event::{Event, Renderer};
use node::visible;

/// Maximum number of spinners: more would push the results off a small screen.
const MOST: usize = 10;
/// Number of slowest hosts to show.
const LAGGARDS: usize = 3;

/// Prints a line above the spinners.
type Print = Box<dyn FnMut(Channel, &str) + Send>;

pub struct Live {
    bars: MultiProgress,
    text: Text<Print>,
    hosts: usize,
    spinners: BTreeMap<String, ProgressBar>,
    /// Busy hosts, with the time since when, if they are many.
    working: BTreeMap<String, Instant>,
    total: Option<ProgressBar>,
    /// Hosts whose facts have not been counted yet.
    unread: BTreeSet<String>,
    /// The current step, and the number of steps.
    step: Option<(u8, u8)>,
    /// The hosts that restart, by batch.
    batches: Vec<Vec<String>>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Live")
    }
}

impl Live {
    #[must_use]
    pub fn new(style: Style) -> Self {
        let bars = MultiProgress::new();
        let lines = bars.clone();
        Self {
            bars,
            text: Text::new(
                style,
                Box::new(move |channel, line: &str| lines.suspend(|| channel.print(line))),
            ),
            hosts: 0,
            spinners: BTreeMap::new(),
            working: BTreeMap::new(),
            total: None,
            unread: BTreeSet::new(),
            step: None,
            batches: Vec::new(),
        }
    }

    /// Shows the step and the batch of this host.
    fn name_place(&self, host: &str) {
        let Some(total) = &self.total else { return };
        let batch = self
            .batches
            .iter()
            .position(|hosts| hosts.iter().any(|known| known == host));
        let mut parts = Vec::new();
        if let Some((number, of)) = self.step {
            parts.push(format!("step {number} of {of}"));
        }
        match batch {
            Some(batch) => parts.push(format!("batch {} of {}", batch + 1, self.batches.len())),
            None if self.batches.len() > 1 => return,
            None => {}
        }
        parts.push("changes".to_owned());
        total.set_prefix(parts.join(", "));
    }

    /// A host has begun a task.
    fn begin(&mut self, host: &str, what: &str) {
        if self.hosts > MOST {
            self.working
                .entry(host.to_owned())
                .or_insert_with(Instant::now);
            self.name_laggards();
            return;
        }
        let bars = &self.bars;
        let spinner = self.spinners.entry(host.to_owned()).or_insert_with(|| {
            let spinner = bars.add(ProgressBar::new_spinner());
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix} {elapsed:.dim} {wide_msg}")
            {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner.set_prefix(visible(host));
            spinner
        });
        spinner.set_message(visible(what));
    }

    /// A host is idle.
    fn end(&mut self, host: &str) {
        if let Some(spinner) = self.spinners.remove(host) {
            spinner.finish_and_clear();
        }
        if self.working.remove(host).is_some() {
            self.name_laggards();
        }
    }

    /// Counts a host that was read, or has failed before that.
    fn read(&mut self, host: &str) {
        if self.unread.remove(host) {
            self.advance();
        }
    }

    fn advance(&self) {
        if let Some(total) = &self.total {
            total.inc(1);
        }
    }

    fn name_laggards(&self) {
        let Some(total) = self.total.as_ref().filter(|_| self.hosts > MOST) else {
            return;
        };
        let mut working: Vec<_> = self.working.iter().collect();
        working.sort_unstable_by_key(|(_, since)| **since);
        let shown = if working.len() <= LAGGARDS + 1 {
            working.len()
        } else {
            LAGGARDS
        };
        let names = working.iter().take(shown);
        let mut text: Vec<String> = names.map(|(name, _)| visible(name)).collect();
        // The rest is only counted: this is reported again with every host that begins or ends.
        if working.len() > shown {
            let last = text.pop().unwrap_or_default();
            text.push(format!("{last} and {} more", working.len() - shown));
        }
        total.set_message(text.join(", "));
    }

    /// One line for all hosts.
    fn count(&mut self, length: usize, of: &str) {
        let total = self.bars.add(ProgressBar::new(length as u64));
        let template = if self.hosts > MOST {
            "{bar:20} {pos}/{len} {prefix} {elapsed} {wide_msg:.dim}"
        } else {
            "{pos}/{len} {prefix} {elapsed}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            total.set_style(style);
        }
        total.set_prefix(of.to_owned());
        total.tick();
        self.total = Some(total);
    }

    fn clear(&mut self) {
        for (_, spinner) in std::mem::take(&mut self.spinners) {
            spinner.finish_and_clear();
        }
        self.working.clear();
        self.unread.clear();
        if let Some(total) = self.total.take() {
            total.finish_and_clear();
        }
    }
}

impl Renderer for Live {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Run { hosts, .. } => {
                self.text.event(event);
                self.hosts = hosts.len();
                self.count(hosts.len(), "hosts: facts");
                self.unread = hosts.iter().cloned().collect();
                if self.hosts <= MOST {
                    for host in hosts {
                        self.begin(host, "connecting");
                    }
                }
                return;
            }
            Event::Connected { host, .. } => self.begin(host, "reading facts"),
            Event::Facts { host, .. } => {
                self.read(host);
                self.end(host);
            }
            Event::Changed { host, .. } => {
                self.advance();
                self.end(host);
            }
            Event::Started { host, what } => {
                self.begin(host, what);
                self.name_place(host);
            }
            Event::Failed(failure) => {
                self.read(&failure.host);
                self.end(&failure.host);
            }
            Event::Plan { .. }
            | Event::Step { .. }
            | Event::Stopped { .. }
            | Event::Abandoned { .. }
            | Event::Error(_)
            | Event::Status { .. }
            | Event::Doctor { .. }
            | Event::Audit { .. }
            | Event::Recap { .. } => self.clear(),
            Event::NotBegun { hosts, .. } => {
                for host in hosts {
                    self.end(host);
                }
            }
            Event::Warning { .. }
            | Event::Danger { .. }
            | Event::Interrupted { .. }
            | Event::Waited { .. }
            | Event::Act { .. }
            | Event::ActEnded { .. }
            | Event::Access { .. }
            | Event::Certificate(_)
            | Event::Checked { .. }
            | Event::Finding(_)
            | Event::Audited(_)
            | Event::Sampled { .. }
            | Event::Proof(_) => {}
        }
        self.text.event(event);
        match event {
            Event::Step {
                number,
                of,
                stopped: false,
                ..
            } => self.step = Some((*number, *of)),
            Event::Plan { batches, .. } => {
                let restarts = batches.iter().find(|play| play.restarts);
                self.batches = restarts.map(|play| play.hosts.clone()).unwrap_or_default();
            }
            _ => {}
        }
        if let Event::Plan { changes, .. } = event
            && !changes.is_empty()
        {
            self.count(changes.len(), "changes");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Verbosity;
    use base::event::{Failure, FailureKind, PlannedBatches, PlannedChange, SCHEMA};

    fn live() -> Live {
        let mut live = Live::new(Style {
            colour: false,
            verbosity: Verbosity::Quiet,
            width: None,
            timings: false,
        });
        live.event(&Event::Run {
            schema: SCHEMA,
            version: String::new(),
            run: String::new(),
            inventory: "i.yaml".to_owned(),
            playbook: "rotate".to_owned(),
            hosts: ["a", "b", "c"].map(str::to_owned).to_vec(),
            contexts: Vec::new(),
            check: false,
        });
        live
    }

    fn failed(host: &str) -> Event {
        Event::Failed(Failure {
            host: host.to_owned(),
            kind: FailureKind::Failed,
            step: "restart".to_owned(),
            message: "the unit did not come up".to_owned(),
            causes: Vec::new(),
            detail: Vec::new(),
            hint: None,
        })
    }

    fn read(host: &str) -> Event {
        Event::Facts {
            host: host.to_owned(),
            milliseconds: 1,
        }
    }

    fn position(live: &Live) -> Option<(u64, Option<u64>)> {
        let total = live.total.as_ref()?;
        Some((total.position(), total.length()))
    }

    #[test]
    fn the_count_does_not_run_ahead_of_the_work() {
        let mut live = live();
        assert_eq!(position(&live), Some((0, Some(3))));
        for (event, count) in [
            (read("a"), 1),
            (read("a"), 1),
            (failed("b"), 2),
            (failed("b"), 2),
            (read("c"), 3),
        ] {
            live.event(&event);
            assert_eq!(position(&live), Some((count, Some(3))), "{event:?}");
        }
        let change = |host: &str| PlannedChange {
            host: host.to_owned(),
            task: "daemon".to_owned(),
            what: "docker.service".to_owned(),
            reasons: Vec::new(),
            diff: None,
        };
        live.event(&Event::Plan {
            changes: vec![change("a"), change("a"), change("c")],
            batches: Vec::new(),
        });
        assert_eq!(position(&live), Some((0, Some(3))));
        let changed = Event::Changed {
            host: "a".to_owned(),
            what: "docker.service".to_owned(),
        };
        // What failed is not done, however often it is reported.
        for (event, count) in [(changed, 1), (failed("c"), 1), (failed("c"), 1)] {
            live.event(&event);
            assert_eq!(position(&live), Some((count, Some(3))), "{event:?}");
        }
    }

    #[test]
    fn few_hosts_have_their_step_and_batch_too() {
        let mut live = live();
        live.event(&Event::Step {
            number: 2,
            of: 6,
            what: "every client trusts both".to_owned(),
            stopped: false,
            next: None,
            following: Vec::new(),
        });
        live.event(&Event::Plan {
            changes: vec![PlannedChange {
                host: "b".to_owned(),
                task: "daemon".to_owned(),
                what: "docker.service".to_owned(),
                reasons: Vec::new(),
                diff: None,
            }],
            batches: vec![PlannedBatches {
                play: "daemons".to_owned(),
                restarts: true,
                hosts: vec![vec!["a".to_owned()], vec!["b".to_owned(), "c".to_owned()]],
            }],
        });
        live.event(&Event::Started {
            host: "b".to_owned(),
            what: "restarting docker".to_owned(),
        });
        let total = live.total.as_ref().unwrap();
        assert_eq!(total.prefix(), "step 2 of 6, batch 2 of 2, changes");
    }
}
