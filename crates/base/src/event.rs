//! Events: what a run tells while it works.
//!
//! Everything that works emits them; the renderers in [`run::report`] only
//! draw them. They carry no secret: texts, names and hashes of public files.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize};

mod certificate;
mod finding;
mod repeated;
mod timing;

pub use certificate::{
    CertificateCounts, CertificateRole, CertificateSource, CertificateState, CertificateStatus,
    CertificateText,
};
pub use finding::{Finding, FindingCounts, Severity, Topic};
pub use repeated::Repeated;
pub use timing::Phase;

/// The version of the JSON form; a field that changes its meaning raises it.
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
    /// The facts of a host are there for the first time: with them its part in the
    /// beginning of a run ends, as [`Self::Connected`] begins it. The same time is a
    /// [`Self::Waited`], too, which counts every reading, the later ones included.
    Facts {
        host: String,
        #[serde(deserialize_with = "milliseconds")]
        milliseconds: u128,
    },
    /// How long a part of the work on a host was waited for. What happens on
    /// several hosts at one time overlaps.
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
    /// As declared, and unsafe.
    Danger {
        host: Option<String>,
        text: String,
    },
    Plan {
        changes: Vec<PlannedChange>,
        /// Plays whose hosts are not all taken at one time.
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
        /// The command that continues with it then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<String>,
        /// What the steps after it do, where nothing is carried out.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        following: Vec<String>,
    },
    /// A host has begun to do something that takes a while.
    Started {
        host: String,
        what: String,
    },
    Changed {
        host: String,
        what: String,
    },
    /// `check-access`: what this machine may do with a host.
    Access {
        host: String,
        what: String,
    },
    /// Something is about to be changed. Where there is a journal, this is on
    /// its disk before the node or the CA hears of it.
    Act {
        host: String,
        /// What is done, as it is going on: "restarting docker".
        step: String,
        /// What changes, as in the plan.
        what: Vec<String>,
    },
    /// It has come to an end, well or not: what follows says how.
    ActEnded {
        host: String,
        step: String,
    },
    Failed(Failure),
    /// Too many hosts have failed: these are left as they are in this play.
    NotBegun {
        play: String,
        hosts: Vec<String>,
        /// The hosts that failed.
        because: Vec<String>,
    },
    /// Before the proofs, where not every client is tried with every daemon.
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
    /// Something that `doctor` has checked and found fine.
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
    /// The run was asked to stop: no new step begins.
    Interrupted {
        /// Hosts whose current step is waited for.
        waiting: Vec<String>,
    },
    /// Asked a second time: the program ends now, the last event.
    Abandoned {
        /// Hosts that go on with their current step alone.
        hosts: Vec<String>,
    },
    /// What an interrupted run has done and what not.
    Stopped {
        hosts: Vec<StoppedHost>,
        /// The command that continues, where it is not the same one.
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
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedChange {
    pub host: String,
    pub task: String,
    pub what: String,
    pub reasons: Vec<String>,
    /// A unified diff, where `--diff` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

impl PlannedChange {
    /// What changes and why, without a word of what files hold.
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
    /// Daemons are restarted in it.
    pub restarts: bool,
    pub hosts: Vec<Vec<String>>,
}

/// What an interrupted run has done on one host and what not.
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
    /// The host it is about, where it is about one.
    pub host: Option<String>,
    /// Where in which file, for a mistake in one.
    pub place: Option<Place>,
    /// What was being done.
    pub step: String,
    /// What was seen.
    pub message: String,
    /// Why, each the cause of the one before.
    pub causes: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

/// A place in a file; line and column count from 1, and 0 is no place.
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
    /// The command line asks for something that cannot be.
    Usage,
    /// The inventory is wrong.
    Inventory,
    /// The playbook is wrong.
    Playbook,
    /// There is no passphrase for the CA's key, or none that can be read.
    Passphrase,
    /// Another run holds the CA's lock.
    Locked,
    /// Restarts would stop running containers, and no one agreed to it.
    ContainersRunning,
    /// The journal cannot be written.
    Journal,
    /// The CA node or what runs there failed.
    Authority,
    /// Stopped by the operator before anything was changed.
    Interrupted,
    /// Something that should always work did not.
    Internal,
}

/// Something that went wrong on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub host: String,
    pub kind: FailureKind,
    /// What was being done.
    pub step: String,
    /// What was seen.
    pub message: String,
    /// Why, each the cause of the one before.
    pub causes: Vec<String>,
    /// More of what was seen, the unit's journal for instance.
    pub detail: Vec<String>,
    /// What to do next.
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Could not be connected to, or the connection broke; no change was under
    /// way there.
    Unreachable,
    /// Is connected and did not answer in time; no change was under way there.
    TimedOut,
    /// Cannot be brought to the declared state; nothing was changed there.
    Refused,
    /// A change failed, and everything there is as it was before.
    Undone,
    /// A change failed.
    Failed,
    /// A change was begun, and its outcome is not known.
    Unknown,
    /// A change failed and could not be undone: check this host now.
    UndoFailed,
}

/// One check of who is accepted.
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
    /// The client shows no certificate, as its mode says, and is accepted.
    LetInWithout,
    /// The client shows no certificate, as its mode says, and is rejected.
    KeptOut,
    /// The client may request what its role includes, and nothing else.
    Role,
    /// A certificate that is revoked is rejected.
    Revoked,
    /// The served certificate is the issued one, of the right CA and name.
    Served,
    /// It trusts the CAs that it should and no other; told only where it does not.
    Authorities,
    /// The same under another name or address of the certificate.
    Name,
    /// Without a certificate no one is accepted.
    NoCertificate,
    /// Everyone is accepted, as the inventory declares.
    Open,
    /// Nor with one of a CA that no one knows.
    MadeUp,
    /// Plain HTTP is refused on the TLS port.
    PlainHttp,
    /// Port 2375 is closed.
    Port2375,
    /// The daemon's own certificate is not good for a client.
    ServerAsClient,
    /// The local socket answers.
    LocalSocket,
    /// Its guard is complete, and dockerd asks it.
    Guard,
    /// A daemon without TLS does not listen on its TCP port any more.
    Closed,
    /// Nothing that was deployed is left on the host.
    Removed,
}

impl Check {
    /// Every check there is.
    pub const ALL: [Self; 18] = [
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
            Self::Closed => "does not listen on its TCP port",
            Self::Removed => "has no files of the deployment left",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Proved,
    /// It could not be tried. Not a pass.
    NotProved,
    /// It could not be tried, because the daemon or the node it is tried from was not reached.
    /// Not a pass, and counted with those that are not proved.
    Unreachable,
    Failed,
    /// A name of a certificate that leads nowhere from here, and that no one has
    /// to use: said, and not counted.
    NotReached,
}

impl Verdict {
    /// Whether everything is as it must be, as far as this says.
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
    /// How often its docker was restarted.
    #[serde(default)]
    pub restarts: usize,
    /// For how long it was away by that, in all.
    #[serde(default)]
    pub away_milliseconds: u64,
    /// It did not come back.
    #[serde(default)]
    pub still_away: bool,
}

/// serde reads no `u128` out of a tagged enumeration.
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

/// What a proof leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Pairs of a client and a daemon that are tried.
    pub tried: usize,
    /// All that there are.
    pub all: usize,
    /// Daemons at which no one tries whether others are refused.
    pub without_refusals: Vec<String>,
}

/// Events that were set aside, in their order.
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
    /// Events that are kept until someone takes them.
    #[must_use]
    pub fn aside() -> (Self, Aside) {
        let aside = Aside::default();
        (Self::new(Box::new(aside.clone())), aside)
    }

    #[must_use]
    pub fn new(renderer: Box<dyn Renderer>) -> Self {
        Self(Arc::new(Mutex::new(renderer)))
    }

    // Taken by value: an event is made to be given away.
    #[allow(clippy::needless_pass_by_value)]
    pub fn emit(&self, event: Event) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .event(&event);
    }
}

impl Events {
    /// Says how long something was waited for that has just ended.
    pub fn waited(&self, host: &str, phase: Phase, since: std::time::Instant) {
        self.emit(Event::Waited {
            host: host.to_owned(),
            phase,
            milliseconds: since.elapsed().as_millis(),
        });
    }
}

/// Events that go elsewhere too.
impl Renderer for Events {
    fn event(&mut self, event: &Event) {
        self.emit(event.clone());
    }
}
