//! Modules: what a task in a playbook can do.
//!
//! A module names the facts it needs of a host and the changes that bring the host to the wanted
//! state; apply executes them. A new module is one file here, one line in [`of`], and one entry in
//! the playbook's table of words.

mod ca;
mod ca_rollover;
mod certificate;
mod client;
mod command;
mod daemon_json;
mod docker_context;
mod forget;
mod former_drop_in;
mod guard;
mod identity;
mod init_script;
mod live_restore;
mod loaded_unit;
mod push;
mod restart;
mod rollback;
mod service;
mod shared;
mod socket_override;
mod systemd_override;
mod verify;
mod wait_for;

pub use guard::outdated_policies;
use shared::Module;

use crate::playbook::Word;

/// The code behind a word of a playbook.
#[must_use]
pub fn of(word: Word) -> &'static dyn Module {
    match word {
        Word::Ca => &ca::Ca,
        Word::CaRollover => &ca_rollover::CaRollover,
        Word::Certificate => &certificate::Certificate,
        Word::Client => &client::Client,
        Word::Command => &command::Command,
        Word::DaemonJson => &daemon_json::DaemonJson,
        Word::DockerContext => &docker_context::DockerContext,
        Word::Forget => &forget::Forget,
        Word::Guard => &guard::Guard,
        Word::LiveRestore => &live_restore::LiveRestore,
        Word::Push => &push::Push,
        Word::Restart => &restart::Restart,
        Word::Rollback => &rollback::Rollback,
        Word::Service => &service::Service,
        Word::SystemdOverride => &systemd_override::SystemdOverride,
        Word::Verify => &verify::Verify,
        Word::WaitFor => &wait_for::WaitFor,
    }
}
