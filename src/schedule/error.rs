//! Why a schedule cannot be installed, shown, run or removed.

use std::path::{Path, PathBuf};

use run::Exit;
use run::passphrase::PassphraseError;

#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error("a schedule is kept by root: its units and its passphrase belong to root only")]
    NotRoot,
    #[error("this machine does not run systemd, which runs schedules")]
    NoSystemd,
    #[error(
        "systemd {0} is too old: it has no credentials, in which the passphrase is handed over"
    )]
    OldSystemd(u32),
    #[error("{path} cannot be used: {reason}")]
    File {
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("there is no account {0} on this machine")]
    NoAccount(String),
    #[error("{path} could be changed by others than root and {user}: {why}")]
    Unsafe {
        path: PathBuf,
        user: String,
        why: String,
    },
    #[error("the name {0:?} is no name of a schedule")]
    Name(String),
    #[error("{0:?} is no time of systemd's: {1}")]
    Calendar(String, String),
    #[error("the schedule {name} is there already, for {inventory}")]
    Taken { name: String, inventory: PathBuf },
    #[error("there is no schedule {name}; {}", named(.known))]
    Unknown { name: String, known: Vec<String> },
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    #[error("{program} failed: {said}")]
    Program { program: String, said: String },
    #[error("the unit cannot be written: {0}")]
    Template(#[from] minijinja::Error),
    #[error("{unit} did not start")]
    NotStarted { unit: String },
}

fn named(names: &[String]) -> String {
    match names {
        [] => "none is installed".to_owned(),
        names => format!("installed: {}", names.join(", ")),
    }
}

impl ScheduleError {
    pub(super) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |reason| Self::File { path, reason }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotRoot => "run it with sudo".to_owned(),
            Self::NoSystemd => {
                "use cron, with the line above".to_owned()
            }
            Self::File { reason, .. } if reason.kind() == std::io::ErrorKind::PermissionDenied => {
                "run it with sudo".to_owned()
            }
            Self::OldSystemd(_) => {
                "use systemd 247 or later, or cron with the line above".to_owned()
            }
            Self::NoAccount(_) => "--user names the account whose SSH key is used".to_owned(),
            Self::Unsafe { .. } => {
                "the timer uses it unattended: keep it in a directory of root's, such as /usr/local/bin or /etc/dtls-deploy, or remove the write permission"
                    .to_owned()
            }
            Self::Name(_) | Self::Taken { .. } => {
                "--name NAME gives the schedule another name".to_owned()
            }
            Self::Calendar(..) => {
                "daily, weekly, or as in systemd.time(7): Mon *-*-* 03:00 for instance".to_owned()
            }
            Self::Passphrase(error) => error.hint(),
            Self::NotStarted { unit } => format!("systemctl status '{unit}' says why"),
            _ => return None,
        })
    }

    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Template(_) => Exit::Internal,
            Self::Program { .. } | Self::NotStarted { .. } => Exit::Failed,
            _ => Exit::Usage,
        }
    }
}
