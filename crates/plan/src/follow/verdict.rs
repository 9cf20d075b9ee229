//! The decision about one change of a client, and how daemons influence it.

use std::collections::BTreeSet;

use crate::not_followed::Why;
use crate::reach::{Daemon, Serving};
use inventory::Host;

/// The decision about one change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Daemons that must be confirmed first.
    pub after: BTreeSet<String>,
    /// Daemons because of which it is dropped.
    pub because: BTreeSet<(String, Why)>,
}

impl Verdict {
    pub(super) fn join(&mut self, other: Self) {
        self.after.extend(other.after);
        self.because.extend(other.because);
    }

    pub(super) fn after(daemon: &Host) -> Self {
        Self {
            after: [daemon.name.clone()].into(),
            ..Self::default()
        }
    }

    pub(super) fn keep(daemon: &Host, why: Why) -> Self {
        Self {
            because: [(daemon.name.clone(), why)].into(),
            ..Self::default()
        }
    }
}

/// Whether a daemon works with a change: now, and after its own change. `None` if unknown.
pub(super) struct Fits {
    pub old: Option<bool>,
    pub new: Option<bool>,
}

/// Whether a client keeps a set of CA, certificate and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Kept,
    Removed,
    /// The rollback of the run that created it removes it.
    Undone,
}

/// Something that a daemon accepts today is replaced.
pub(super) fn gives_way(
    host: &Host,
    daemon: &Daemon,
    fits: impl Fn(&Serving) -> Fits,
    (why, rest): (Why, Rest),
) -> Verdict {
    let known = match daemon {
        Daemon::Unreachable => return Verdict::keep(host, Why::Unreachable),
        // A run that removes only the client means it.
        Daemon::NotInRun if rest != Rest::Kept => return Verdict::default(),
        Daemon::NotInRun => return Verdict::keep(host, Why::NotInRun),
        Daemon::Known(known) => known,
    };
    let now = fits(&known.now);
    if now.old == Some(false) {
        return Verdict::default();
    }
    let later = known.after.as_ref().filter(|_| !known.refused);
    let later = later.map(|after| after.mode.is_none() || fits(after).new == Some(true));
    match (now.new == Some(true), later) {
        (true, None | Some(true)) => Verdict::default(),
        (_, Some(true)) => Verdict::after(host),
        _ if known.refused => Verdict::keep(host, Why::Refused),
        // The client did not reach this daemon with these files before that run.
        _ if rest == Rest::Undone => Verdict::default(),
        _ => Verdict::keep(host, why),
    }
}
