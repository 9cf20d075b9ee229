//! The live view for a terminal: the plain lines, and below them what is going
//! on right now, a spinner a host while there are few and a count when there
//! are many.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Style;
use super::plain::Text;
use crate::event::{Event, Renderer};

/// More spinners than this push the results off a small screen.
const MOST: usize = 10;

/// Prints a line above the spinners.
type Print = Box<dyn FnMut(&str) + Send>;

pub struct Live {
    bars: MultiProgress,
    text: Text<Print>,
    spinners: BTreeMap<String, ProgressBar>,
    waiting: BTreeSet<String>,
    total: Option<ProgressBar>,
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
                None,
                Box::new(move |line: &str| {
                    // Above the spinners; `suspend` also prints empty lines.
                    lines.suspend(|| println!("{line}"));
                }),
            ),
            spinners: BTreeMap::new(),
            waiting: BTreeSet::new(),
            total: None,
        }
    }

    fn spin(&mut self, host: &str, what: &str) {
        if self.spinners.len() < MOST || self.spinners.contains_key(host) {
            let bars = &self.bars;
            let spinner = self.spinners.entry(host.to_owned()).or_insert_with(|| {
                let spinner = bars.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg}") {
                    spinner.set_style(style);
                }
                spinner.enable_steady_tick(Duration::from_millis(100));
                spinner.set_prefix(host.to_owned());
                spinner
            });
            spinner.set_message(what.to_owned());
        }
    }

    fn stop(&mut self, host: &str) {
        if let Some(spinner) = self.spinners.remove(host) {
            spinner.finish_and_clear();
        }
    }

    fn clear(&mut self) {
        for (_, spinner) in std::mem::take(&mut self.spinners) {
            spinner.finish_and_clear();
        }
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
                self.waiting = hosts.iter().cloned().collect();
                if hosts.len() > MOST {
                    let total = self.bars.add(ProgressBar::new(hosts.len() as u64));
                    if let Ok(style) =
                        ProgressStyle::with_template("{bar:30} {pos}/{len} hosts {msg}")
                    {
                        total.set_style(style);
                    }
                    self.total = Some(total);
                } else {
                    for host in hosts {
                        self.spin(host, "connecting");
                    }
                }
                return;
            }
            Event::Connected { host, .. } => self.spin(host, "reading facts"),
            Event::Facts { host, .. } => {
                self.stop(host);
                self.waiting.remove(host);
                if let Some(total) = &self.total {
                    total.inc(1);
                    let names: Vec<&str> =
                        self.waiting.iter().take(3).map(String::as_str).collect();
                    total.set_message(names.join(" "));
                }
            }
            Event::Started { host, what } => self.spin(host, what),
            Event::Changed { host, .. } => self.stop(host),
            Event::Failed(failure) => self.stop(&failure.host),
            Event::Plan { .. }
            | Event::Stopped { .. }
            | Event::Abandoned { .. }
            | Event::Error(_)
            | Event::Recap { .. } => self.clear(),
            Event::Warning { .. } | Event::Interrupted { .. } | Event::Proof(_) => {}
        }
        self.text.event(event);
    }
}
