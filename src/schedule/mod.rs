//! `dtls-deploy schedule`: runs that a systemd timer starts.
//!
//! ```text
//! install ──> credential ──> trial inside a unit like the later one ──> units, timer
//! status, run-now, remove <── what was installed: /etc/dtls-deploy/schedule/NAME
//! ```
//!
//! All of it happens on the machine that will run the schedule, as root.

mod account;
mod credential;
mod cron;
mod ending;
mod error;
mod escape;
mod follow;
mod install;
mod place;
mod reads;
mod remove;
mod status;
mod systemd;
mod units;

pub use error::ScheduleError;
pub use install::{Request, install};
pub use place::{Schedule, name_of};
pub use reads::{Reads, Recorded};
pub use remove::remove;
pub use status::{run_now, status};

/// The subcommand that a schedule runs; none: the deployment itself, which renews what is due.
const SUBCOMMAND: Option<&str> = Some("rotate");

/// A schedule has its own options: another account may be able to write next to the inventory.
const NO_DEFAULTS: &str = "--no-defaults";

/// The words that start a scheduled run.
pub(crate) fn run_words(program: &str, inventory: &str) -> Vec<String> {
    let words = [
        Some(program),
        SUBCOMMAND,
        Some(inventory),
        Some(NO_DEFAULTS),
    ];
    words.into_iter().flatten().map(str::to_owned).collect()
}
