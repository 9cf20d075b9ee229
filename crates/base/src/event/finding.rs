//! What `doctor` tells of one thing that is wrong, or may go wrong.

use serde::{Deserialize, Serialize};

/// Something that was found on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub severity: Severity,
    pub host: String,
    pub topic: Topic,
    pub seen: String,
    /// What to do about it.
    pub advice: String,
    /// The next deploy does it.
    pub mended_by_deploy: bool,
    /// Until it is fixed, deploy skips this host.
    pub refused_by_deploy: bool,
}

/// How bad it is; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something does not work, or accepts clients that it must reject.
    Error,
    /// It works, and will not for long, or not under all circumstances.
    Warning,
    /// Worth knowing, and no reason to do anything.
    Note,
}

impl Severity {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// What it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Reaching the host from here.
    Ssh,
    Sudo,
    /// Its shell, its tools.
    Tools,
    Clock,
    Disk,
    /// Modes and owners.
    Files,
    /// `SELinux`, `AppArmor`.
    Confinement,
    /// Which docker is there, and of what kind.
    Docker,
    /// The systemd unit and its drop-ins.
    Unit,
    DaemonJson,
    /// dockerd, or systemd for it, on TCP without TLS.
    PlainTcp,
    /// Where dockerd must listen.
    Listen,
    /// The daemon's authorization plugin, and what it allows.
    Guard,
    Ca,
    Certificate,
    /// What clients take the daemon's name for.
    Name,
    /// The way from a client to a daemon.
    Reach,
    /// What else is not as deployed.
    Drift,
    /// What has to be settled before a run.
    Run,
}

impl Topic {
    /// Every topic there is.
    pub const ALL: [Self; 19] = [
        Self::Ssh,
        Self::Sudo,
        Self::Tools,
        Self::Clock,
        Self::Disk,
        Self::Files,
        Self::Confinement,
        Self::Docker,
        Self::Unit,
        Self::DaemonJson,
        Self::PlainTcp,
        Self::Listen,
        Self::Guard,
        Self::Ca,
        Self::Certificate,
        Self::Name,
        Self::Reach,
        Self::Drift,
        Self::Run,
    ];

    /// As in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ssh => "ssh",
            Self::Sudo => "sudo",
            Self::Tools => "tools",
            Self::Clock => "clock",
            Self::Disk => "disk",
            Self::Files => "files",
            Self::Confinement => "confinement",
            Self::Docker => "docker",
            Self::Unit => "unit",
            Self::DaemonJson => "daemon_json",
            Self::PlainTcp => "plain_tcp",
            Self::Listen => "listen",
            Self::Guard => "guard",
            Self::Ca => "ca",
            Self::Certificate => "certificate",
            Self::Name => "name",
            Self::Reach => "reach",
            Self::Drift => "drift",
            Self::Run => "run",
        }
    }
}

/// How much was found, and where it was looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingCounts {
    pub errors: usize,
    pub warnings: usize,
    pub notes: usize,
    /// Hosts that were checked, or were to be.
    pub hosts: usize,
    /// What was checked, and found fine or not.
    pub checks: usize,
}
