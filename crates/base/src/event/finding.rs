//! The events of `doctor`: one problem or risk.

use serde::{Deserialize, Serialize};

/// A problem on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub severity: Severity,
    pub host: String,
    pub topic: Topic,
    pub seen: String,
    /// What to do about it.
    pub advice: String,
    /// The next deployment fixes it.
    pub mended_by_deploy: bool,
    /// Until it is fixed, deploy skips this host.
    pub refused_by_deploy: bool,
}

/// The severity; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something does not work, or accepts clients that it must reject.
    Error,
    /// It works, but not for long, or not in all circumstances.
    Warning,
    /// Worth knowing; no action needed.
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
    /// The installed docker and its kind.
    Docker,
    /// The systemd unit and its drop-ins.
    Unit,
    DaemonJson,
    /// dockerd, or systemd for it, on TCP without TLS.
    PlainTcp,
    /// The address that dockerd must listen on.
    Listen,
    /// The daemon's authorization plugin, and what it allows.
    Guard,
    Ca,
    Certificate,
    /// How clients resolve the daemon's name.
    Name,
    /// The connection from a client to a daemon.
    Reach,
    /// Other differences from the deployed state.
    Drift,
    /// What must be settled before a run.
    Run,
}

impl Topic {
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

/// The number of findings, and where they were looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingCounts {
    pub errors: usize,
    pub warnings: usize,
    pub notes: usize,
    /// Hosts that were selected.
    pub hosts: usize,
    /// The number of checks, with or without a finding.
    pub checks: usize,
}
