//! Interruption: what the first Ctrl-C stops, and what it waits for.
//!
//! A step that has begun on a node is never cut off: its script would continue there unobserved.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use base::event::{Event, Events};

/// Time for readers of the events, at the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the run must stop, and which steps are under way; cheap to clone.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    asked: watch::Sender<bool>,
    /// Steps under way, by host.
    steps: Mutex<BTreeMap<String, usize>>,
}

impl Default for Interrupt {
    fn default() -> Self {
        Self(Arc::new(Inner {
            asked: watch::Sender::new(false),
            steps: Mutex::default(),
        }))
    }
}

/// A step that is under way on a host, until it is dropped.
#[derive(Debug)]
pub struct UnderWay {
    interrupt: Interrupt,
    host: String,
}

impl Interrupt {
    /// Prevents new steps from now on; returns the busy hosts.
    pub fn ask(&self) -> Vec<String> {
        let steps = self.0.steps.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.asked.send_replace(true);
        steps.keys().cloned().collect()
    }

    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.0.asked.borrow()
    }

    /// Hosts on which a step is under way.
    #[must_use]
    pub fn under_way(&self) -> Vec<String> {
        let steps = self.0.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.keys().cloned().collect()
    }

    /// Begins a step that an interruption waits for; `None` once nothing may begin.
    #[must_use]
    pub fn begin(&self, host: &str) -> Option<UnderWay> {
        let mut steps = self.0.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_asked() {
            return None;
        }
        Some(self.count(&mut steps, host))
    }

    /// Begins a step that completes an earlier one, so an interruption waits for it too.
    #[must_use]
    pub fn finish(&self, host: &str) -> UnderWay {
        let mut steps = self.0.steps.lock().unwrap_or_else(PoisonError::into_inner);
        self.count(&mut steps, host)
    }

    fn count(&self, steps: &mut BTreeMap<String, usize>, host: &str) -> UnderWay {
        *steps.entry(host.to_owned()).or_default() += 1;
        UnderWay {
            interrupt: self.clone(),
            host: host.to_owned(),
        }
    }

    /// The result of work that changes nothing and may be cancelled; `None` if the interruption
    /// comes first.
    pub async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut asked = self.0.asked.subscribe();
        tokio::select! {
            biased;
            // The sender lives as long as `self`, so this ends only when asked.
            _ = asked.wait_for(|asked| *asked) => None,
            result = work => Some(result),
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut steps = self
            .interrupt
            .0
            .steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = steps.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                steps.remove(&self.host);
            }
        }
    }
}

/// The signals that interrupt a run: SIGINT, SIGTERM and SIGHUP.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` under nohup: the run is to survive its terminal.
    hangup: Option<Signal>,
}

impl Signals {
    /// Catches these signals from now on, so that they do not end the process. Call it within a
    /// runtime.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if ignores_hangup() {
                None
            } else {
                Some(signal(SignalKind::hangup())?)
            },
        })
    }

    async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether this program was started with SIGHUP ignored: the lowest bit of
/// `SigIgn` in proc(5).
fn ignores_hangup() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask & 1 == 1)
    })
}

/// Emits the event, unless the reader has stopped reading: the end of the program does not wait for
/// it.
async fn tell(events: &Events, event: Event) {
    let events = events.clone();
    let told = tokio::task::spawn_blocking(move || events.emit(event));
    let _ = tokio::time::timeout(PATIENCE, told).await;
}

/// The first signal stops the run in an orderly way; on the second this returns, and the caller
/// ends the process at once.
pub async fn listen(mut signals: Signals, interrupt: Interrupt, events: Events) {
    signals.next().await;
    let waiting = interrupt.ask();
    tell(&events, Event::Interrupted { waiting }).await;
    signals.next().await;
    let hosts = interrupt.under_way();
    tell(&events, Event::Abandoned { hosts }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_has_begun_is_known_and_nothing_else_begins() {
        let interrupt = Interrupt::default();
        let step = interrupt.begin("node3").unwrap();
        let second = interrupt.begin("node3").unwrap();
        drop(second);
        assert_eq!(interrupt.ask(), ["node3"]);
        assert!(interrupt.begin("node4").is_none());
        drop(step);
        assert!(interrupt.under_way().is_empty());
        assert_eq!(interrupt.or(std::future::ready(1)).await, None);
    }

    #[tokio::test]
    async fn without_an_interruption_work_has_its_result() {
        let interrupt = Interrupt::default();
        assert_eq!(interrupt.or(std::future::ready(1)).await, Some(1));
        let waiting = interrupt.or(std::future::pending::<()>());
        let ((), asked) = tokio::join!(
            async {
                interrupt.ask();
            },
            waiting
        );
        assert_eq!(asked, None);
    }
}
