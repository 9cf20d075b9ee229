//! What needs neither the lab nor an sshd: pure functions, tables of cases,
//! files in temporary directories, and the built program on its own.
//!
//! One binary, so that the library is linked once. Names of tests begin with
//! their module: `cargo nextest run --test fast pki::crash`.

// Helpers of tests are tests: what is not as expected ends them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod ci;
mod docs;
mod fuzz;
mod inventory_hostile;
mod memory;
mod packaging;
#[path = "../support/page.rs"]
mod page;
mod pages;
mod pki;
mod plan;
// Also of the cases in files; not all of it is needed here.
#[allow(dead_code)]
#[path = "../support/plan/mod.rs"]
mod plan_support;
mod playbook;
mod properties;
#[path = "../support/random.rs"]
mod random;
mod report;
mod schema;
#[path = "../support/spelling.rs"]
mod spelling;
mod status_html;
mod troubleshooting;
mod wording;
mod words;
