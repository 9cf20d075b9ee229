//! A failure at every step of every node's transaction, on the lab.
//!
//! docs/faults.md says what is proved and how. `make faults` runs the whole
//! matrix; an ordinary test run takes cells from all over it.

// Helpers of tests are tests: what is not as expected ends them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod cell;
mod fault;
mod invariants;
// Also the end-to-end tests'; not all of it is needed here.
#[allow(dead_code)]
#[path = "../e2e/lab.rs"]
mod lab;
mod matrix;
mod node;
mod scenario;
mod steps;
mod whole_runs;

use fault::Fault;
use matrix::{Bench, Known};
use scenario::Scenario;

/// How many cells an ordinary test run takes.
const REPRESENTATIVE: usize = 16;

/// Cells from all over the matrix, by rule: each fault meets every n-th step,
/// each beginning at another one.
#[test]
fn failures_at_steps_all_over_the_matrix() {
    let mut bench = Bench::new();
    let counted: usize = Scenario::ALL
        .into_iter()
        .map(|scenario| bench.steps(scenario).len())
        .sum();
    let stride = (counted * Fault::ALL.len()).div_ceil(REPRESENTATIVE);
    let mut broken = Vec::new();
    bench.cells(
        &Scenario::ALL,
        |_, fault, index, _| {
            let begin = Fault::ALL
                .into_iter()
                .position(|known| known == fault)
                .unwrap();
            (index + begin * stride / Fault::ALL.len()) % stride == stride / 2
        },
        |done| broken.extend(done.outcome.broken.clone()),
    );
    assert!(broken.is_empty(), "{broken:#?}");
}

/// `make faults`. What is done already is not done again, unless `FAULTS_FRESH`
/// is set; `FAULTS_ONLY` names scenarios and faults, separated by spaces,
/// and `FAULTS_STEP` is a part of the step's text.
#[test]
#[ignore = "two hours: `make faults`"]
fn the_whole_matrix() {
    let mut known = Known::open(std::env::var_os("FAULTS_FRESH").is_some());
    let only = std::env::var("FAULTS_ONLY").unwrap_or_default();
    let only: Vec<&str> = only.split_whitespace().collect();
    let part = std::env::var("FAULTS_STEP").unwrap_or_default();
    let is_asked_for = |names: &[&str], name: &str| {
        let mentioned = only.iter().any(|word| names.contains(word));
        !mentioned || only.contains(&name)
    };
    let scenarios: Vec<Scenario> = Scenario::ALL
        .into_iter()
        .filter(|scenario| is_asked_for(&Scenario::ALL.map(Scenario::name), scenario.name()))
        .collect();
    let already = Known::open(false);
    let mut bench = Bench::new();
    bench.cells(
        &scenarios,
        |scenario, fault, _, step| {
            is_asked_for(&Fault::ALL.map(Fault::name), fault.name())
                && step.label().contains(&part)
                && !already.has(scenario, fault, step)
        },
        |done| {
            known.add(done);
            known.table();
        },
    );
    println!("{}", known.table());
    let broken = known.broken().len();
    assert!(
        broken == 0,
        "{broken} cells are broken: target/faults.md says which and how"
    );
}
