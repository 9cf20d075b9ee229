//! End to end, on the lab: real sshd, systemd, dockerd, docker CLI and openssl.
//!
//! Run by `make test`, which brings the lab up. Without the lab these tests
//! fail; they are never skipped.

// Helpers of tests are tests: what is not as expected ends them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]
// A command on a node needs a lab that is up, which only a `Lab` says.
#![allow(clippy::unused_self)]

mod accounts;
mod adopt;
mod authority_end;
mod backup;
mod batches;
mod claims;
mod containers;
mod daemon;
mod defaults;
mod distributions;
mod doctor;
mod drift;
mod equivalent;
mod exit_codes;
mod follow;
mod guard;
mod guide_b;
mod guide_c;
mod history;
mod hostile;
mod identities;
mod interoperation;
mod interrupt;
mod keeps_its_word;
mod key_types;
mod lab;
mod lock;
mod modes;
mod output;
mod owner;
mod package;
#[path = "../support/page.rs"]
mod page;
mod playbooks;
mod preflight;
#[path = "../support/random.rs"]
mod random;
mod reality;
mod recovery;
mod revoke;
mod rollover;
mod rotate;
mod schedule;
mod secrets;
#[path = "../support/spelling.rs"]
mod spelling;
mod status;
mod sysv;
mod unreachable;
mod vagrant;
mod watch;
mod ways;
