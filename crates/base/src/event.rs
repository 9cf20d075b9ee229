//! Events: the progress of a run.
//!
//! Everything that does work emits them; the renderers in [`run::report`] only draw them. They
//! carry no secret: texts, names and hashes of public files.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize};

mod audited;
mod certificate;
mod finding;
mod repeated;
mod timing;

pub use audited::Audited;
pub use certificate::{
    CertificateCounts, CertificateRole, CertificateSource, CertificateState, CertificateStatus,
    CertificateText,
};
pub use finding::{Finding, FindingCounts, Severity, Topic};
pub use repeated::Repeated;
pub use timing::Phase;

/// The version of the JSON form, incremented when a field changes its meaning.
pub const SCHEMA: u32 = 1;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first event of a run.
    Run {
        schema: u32,
        version: String,
        run: String,
        inventory: String,
        playbook: String,
        hosts: Vec<String>,
        /// Names of docker contexts, whose paths contain only their hashes.
        #[serde(default)]
        contexts: Vec<String>,
        check: bool,
    },
    Connected {
        host: String,
        address: String,
        #[serde(deserialize_with = "milliseconds")]
        milliseconds: u128,
    },
    /// The first facts of a host have arrived: they end what [`Self::Connected`] begins for it. The
    /// time is also in a
    /// [`Self::Waited`], which counts every reading, including later ones.
    Facts {
        host: String,
        #[serde(deserialize_with = "milliseconds")]
        milliseconds: u128,
    },
    /// How long a part of the work on a host took. Times of several hosts overlap.
    Waited {
        host: String,
        phase: Phase,
        #[serde(deserialize_with = "milliseconds")]
        milliseconds: u128,
    },
    Warning {
        host: Option<String>,
        text: String,
    },
    /// Declared in the inventory, and unsafe.
    Danger {
        host: Option<String>,
        text: String,
    },
    Plan {
        changes: Vec<PlannedChange>,
        /// Plays whose hosts are split into batches.
        batches: Vec<PlannedBatches>,
    },
    /// A step of several begins, or is where the run stops.
    Step {
        number: u8,
        /// How many there are.
        of: u8,
        /// What holds when it is done.
        what: String,
        /// The run ends before it is done.
        stopped: bool,
        /// The command that continues the run then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<String>,
        /// What the later steps do, in a read-only run.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        following: Vec<String>,
    },
    /// A host has begun a task that takes a while.
    Started {
        host: String,
        what: String,
    },
    Changed {
        host: String,
        what: String,
    },
    /// `check-access`: whether this machine can manage a host.
    Access {
        host: String,
        what: String,
    },
    /// Something is about to change. With a journal, this is on its disk before the node or the CA
    /// is contacted.
    Act {
        host: String,
        /// The current step: "restarting docker".
        step: String,
        /// What changes, as in the plan.
        what: Vec<String>,
    },
    /// It has ended, successfully or not: later events tell.
    ActEnded {
        host: String,
        step: String,
    },
    Failed(Failure),
    /// Too many hosts have failed: these stay unchanged in this play.
    NotBegun {
        play: String,
        hosts: Vec<String>,
        /// The hosts that failed.
        because: Vec<String>,
    },
    /// Before the checks, if not every client is tried with every daemon.
    Sampled(Sample),
    Proof(Proof),
    /// A certificate in one place, of `status`; the most urgent first.
    Certificate(Box<CertificateStatus>),
    /// The last event of `status`.
    Status {
        certificates: CertificateCounts,
        #[serde(deserialize_with = "milliseconds")]
        milliseconds: u128,
    },
    /// Something that `doctor` has checked without a finding.
    Checked {
        host: String,
        topic: Topic,
        what: String,
    },
    /// Something that `doctor` has found; the worst first.
    Finding(Box<Finding>),
    /// The last event of `doctor`.
    Doctor {
        found: FindingCounts,
        #[serde(deserialize_with = "milliseconds")]
        milliseconds: u128,
    },
    /// A request to a daemon, of `audit`; the oldest first.
    Audited(Box<Audited>),
    /// The last event of `audit`.
    Audit {
        entries: usize,
        #[serde(deserialize_with = "milliseconds")]
        milliseconds: u128,
    },
    /// The run was asked to stop: no new step begins.
    Interrupted {
        /// Hosts whose current step is still awaited.
        waiting: Vec<String>,
    },
    /// Interrupted a second time: the program ends now; the last event.
    Abandoned {
        /// Hosts that continue their current step unobserved.
        hosts: Vec<String>,
    },
    /// What an interrupted run has done and what it has not.
    Stopped {
        hosts: Vec<StoppedHost>,
        /// The command that continues it, if it is a different one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<String>,
    },
    /// The run ends early, or cannot begin: the last event.
    Error(Error),
    /// The last event of a run that was carried out.
    Recap {
        hosts: Vec<HostRecap>,
        #[serde(deserialize_with = "milliseconds")]
        milliseconds: u128,
        /// What remains to be done although the run succeeded, for instance a backup of a new CA.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedChange {
    pub host: String,
    pub task: String,
    pub what: String,
    pub reasons: Vec<String>,
    /// A unified diff, if `--diff` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

impl PlannedChange {
    /// What changes and why, without any content of files.
    #[must_use]
    pub fn without_diff(&self) -> Self {
        Self {
            diff: None,
            ..self.clone()
        }
    }
}

/// The hosts of a play, batch by batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedBatches {
    pub play: String,
    /// It restarts daemons.
    pub restarts: bool,
    pub hosts: Vec<Vec<String>>,
}

/// What an interrupted run has done on one host and what it has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoppedHost {
    pub host: String,
    pub done: Vec<String>,
    pub not_done: Vec<String>,
}

/// Why there was no run, or why it ended before its recap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    pub kind: ErrorKind,
    /// The host it is about, if any.
    pub host: Option<String>,
    /// The file and position, for an error in a file.
    pub place: Option<Place>,
    /// The failed step.
    pub step: String,
    /// What was seen.
    pub message: String,
    /// The causes, each of the one before.
    pub causes: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

/// A position in a file; line and column count from 1, and 0 means none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub file: String,
    pub line: usize,
    /// In characters.
    pub column: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The command line asks for something impossible.
    Usage,
    /// The inventory is wrong.
    Inventory,
    /// The playbook is wrong.
    Playbook,
    /// There is no passphrase for the CA's key, or none that can be read.
    Passphrase,
    /// Another run holds the CA's lock.
    Locked,
    /// Restarts would stop running containers, and no user agreed to it.
    ContainersRunning,
    /// The journal cannot be written.
    Journal,
    /// The CA node or its agent failed.
    Authority,
    /// Stopped by the operator before anything was changed.
    Interrupted,
    /// An unexpected internal error.
    Internal,
}

/// Something that went wrong on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub host: String,
    pub kind: FailureKind,
    /// The failed step.
    pub step: String,
    /// What was seen.
    pub message: String,
    /// The causes, each of the one before.
    pub causes: Vec<String>,
    /// More details, for instance the unit's journal.
    pub detail: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The connection failed or broke; no change was under way there.
    Unreachable,
    /// Connected, but there was no answer in time; no change was under way there.
    TimedOut,
    /// It cannot reach the declared state; nothing was changed there.
    Refused,
    /// A change failed, and everything is as it was before.
    Undone,
    /// A change failed.
    Failed,
    /// A change was begun, and its outcome is unknown.
    Unknown,
    /// A change failed and could not be undone: check this host now.
    UndoFailed,
}

/// One check of which clients are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The node it was tried from.
    pub from: String,
    /// The daemon it was tried on.
    pub to: String,
    pub check: Check,
    pub verdict: Verdict,
    pub seen: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The client's own certificate is accepted.
    Accepted,
    /// The client shows no certificate, according to its mode, and is accepted.
    LetInWithout,
    /// The client shows no certificate, according to its mode, and is rejected.
    KeptOut,
    /// The client may request what its role includes, and nothing else.
    Role,
    /// A certificate that is revoked is rejected.
    Revoked,
    /// The served certificate is the issued one, of the right CA and name.
    Served,
    /// It trusts the CAs that it should and no other; reported only on failure.
    Authorities,
    /// The same under another name or address of the certificate.
    Name,
    /// A client without a certificate is rejected.
    NoCertificate,
    /// Every client is accepted, as the inventory declares.
    Open,
    /// A client with a certificate of an unknown CA is rejected.
    MadeUp,
    /// Plain HTTP is rejected on the TLS port.
    PlainHttp,
    /// Port 2375 is closed.
    Port2375,
    /// The daemon's own certificate is not accepted as a client's.
    ServerAsClient,
    /// The local socket answers.
    LocalSocket,
    /// Its guard is complete, and dockerd asks it.
    Guard,
    /// The policy of its guard names the client; reported only on failure.
    Policy,
    /// A daemon without TLS no longer listens on its TCP port.
    Closed,
    /// Nothing that was deployed is left on the host.
    Removed,
}

impl Check {
    pub const ALL: [Self; 19] = [
        Self::Accepted,
        Self::LetInWithout,
        Self::KeptOut,
        Self::Role,
        Self::Revoked,
        Self::Served,
        Self::Authorities,
        Self::Name,
        Self::NoCertificate,
        Self::Open,
        Self::MadeUp,
        Self::PlainHttp,
        Self::Port2375,
        Self::ServerAsClient,
        Self::LocalSocket,
        Self::Guard,
        Self::Policy,
        Self::Closed,
        Self::Removed,
    ];

    /// The column's heading in the table.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Accepted => "accepts the client's certificate",
            Self::LetInWithout => "accepts the client without a certificate, as declared",
            Self::KeptOut => "rejects the client without a certificate, as declared",
            Self::Role => "holds the client to its role",
            Self::Revoked => "rejects the revoked certificate",
            Self::Served => "serves the issued certificate",
            Self::Authorities => "accepts clients of its own CAs only",
            Self::Name => "serves it under another of its names",
            Self::Open => "accepts everyone, as declared",
            Self::NoCertificate => "rejects clients without a certificate",
            Self::MadeUp => "rejects clients of an unknown CA",
            Self::PlainHttp => "rejects plain HTTP",
            Self::Port2375 => "does not listen on port 2375",
            Self::ServerAsClient => "rejects its own certificate as a client's",
            Self::LocalSocket => "answers on its local socket",
            Self::Guard => "asks its guard about each request",
            Self::Policy => "names the client in the policy of its guard",
            Self::Closed => "does not listen on its TCP port",
            Self::Removed => "has no files of the deployment left",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Proved,
    /// The check was not made. Not a pass.
    NotProved,
    /// The check was not made, because the daemon or the node to try it from was not reached. Not a
    /// pass, and counted with the checks that were not made.
    Unreachable,
    Failed,
    /// A name in a certificate that cannot be reached from here and need not be: reported, but not
    /// counted.
    NotReached,
}

impl Verdict {
    /// Whether this verdict is no failure.
    #[must_use]
    pub const fn is_fine(self) -> bool {
        matches!(self, Self::Proved | Self::NotReached)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecap {
    pub host: String,
    pub changed: usize,
    pub proved: usize,
    pub not_proved: usize,
    pub failed: usize,
    /// Planned changes that were not made, because of a failure here or an
    /// interruption.
    pub not_done: usize,
    /// Planned changes that were not begun, because another host failed.
    #[serde(default)]
    pub skipped: usize,
    pub unreachable: bool,
    /// How often its docker restarted.
    #[serde(default)]
    pub restarts: usize,
    /// How long its docker was unavailable in total.
    #[serde(default)]
    pub away_milliseconds: u64,
    /// It did not come back.
    #[serde(default)]
    pub still_away: bool,
}

/// serde cannot read a `u128` in a tagged enumeration.
fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    u64::deserialize(deserializer).map(u128::from)
}

/// Draws events.
pub trait Renderer: Send {
    fn event(&mut self, event: &Event);
}

/// Where events go; cheap to clone.
#[derive(Clone)]
pub struct Events(Arc<Mutex<Box<dyn Renderer>>>);

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Events")
    }
}

/// What verification leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The number of pairs of a client and a daemon that are tried.
    pub tried: usize,
    /// The number of all pairs.
    pub all: usize,
    /// Daemons whose rejections are not tried.
    pub without_refusals: Vec<String>,
}

/// Collected events, in order.
#[derive(Debug, Clone, Default)]
pub struct Aside(Arc<Mutex<Vec<Event>>>);

impl Aside {
    /// Takes them out.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Renderer for Aside {
    fn event(&mut self, event: &Event) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event.clone());
    }
}

impl Events {
    /// Events that are collected until they are taken.
    #[must_use]
    pub fn aside() -> (Self, Aside) {
        let aside = Aside::default();
        (Self::new(Box::new(aside.clone())), aside)
    }

    #[must_use]
    pub fn new(renderer: Box<dyn Renderer>) -> Self {
        Self(Arc::new(Mutex::new(renderer)))
    }

    // Taken by value: an event is handed on.
    #[allow(clippy::needless_pass_by_value)]
    pub fn emit(&self, event: Event) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .event(&event);
    }
}

impl Events {
    /// Reports how long something took that has just ended.
    pub fn waited(&self, host: &str, phase: Phase, since: std::time::Instant) {
        self.emit(Event::Waited {
            host: host.to_owned(),
            phase,
            milliseconds: since.elapsed().as_millis(),
        });
    }
}

/// A renderer that passes events on.
impl Renderer for Events {
    fn event(&mut self, event: &Event) {
        self.emit(event.clone());
    }
}
