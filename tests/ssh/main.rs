//! What needs real sshd instances, the shells that nodes have, or their sudo:
//! connections, and the scripts that run on nodes. Root, but no lab.
//!
//! One binary, so that the library is linked once. Names of tests begin with
//! their module: `cargo nextest run --test ssh logins`.

// Helpers of tests are tests: what is not as expected ends them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::format_push_string
)]

mod channels;
mod completions;
mod found_pairs;
mod host_keys;
mod hostile_inventories;
mod live_restore;
mod logins;
mod node_scripts;
mod own_steps;
mod scale;
mod settle;
mod shell;
mod ssh_support;
mod sshd_versions;
mod sudo_versions;
mod ways;
