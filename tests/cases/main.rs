//! Tables whose rows are files: each file is a test of its own, named after it,
//! and a new one needs no build.
//!
//! `cargo nextest run --test cases plan::restart` takes some of them.

// Helpers of tests are tests: what is not as expected ends them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod harness;
mod inventory;
mod plan;
// Also of tests that are no files; not all of it is needed here.
#[allow(dead_code)]
#[path = "../support/plan/mod.rs"]
mod plan_support;

fn main() -> std::process::ExitCode {
    let tables = [
        plan::cases(),
        plan::doctor(),
        plan::status(),
        inventory::broken(),
        inventory::good(),
        inventory::shipped(),
        inventory::ansible(),
        inventory::single(),
    ];
    harness::run(&tables.into_iter().flatten().collect::<Vec<_>>())
}
