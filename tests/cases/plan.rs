//! The plan as a table: small inventory, facts, playbook in; changes with
//! their reasons, refusals and notes out. What the doctor finds in the same
//! facts, and what status lists, are others.
//!
//! `tests/plan/<module>/<case>.yaml`, `tests/doctor/<case>.yaml` and
//! `tests/status/<case>.yaml` are one case each; `support/plan/case.rs` says what may stand in one. `UPDATE_CASES=1`
//! writes what came out into the `expect:` part of every case: read the
//! difference before it is committed.

use std::path::{Path, PathBuf};

use crate::harness;
use crate::plan_support::case::Case;

pub fn cases() -> Vec<harness::Case> {
    let modules = sorted("tests/plan").into_iter().map(|path| {
        let module = path.file_name().unwrap().to_str().unwrap().to_owned();
        (format!("plan::{module}"), format!("tests/plan/{module}"))
    });
    modules
        .flat_map(|(name, folder)| table(&name, &folder, |case| case.outcome().to_yaml()))
        .collect()
}

pub fn doctor() -> Vec<harness::Case> {
    table("doctor", "tests/doctor", Case::findings)
}

pub fn status() -> Vec<harness::Case> {
    table("status", "tests/status", Case::certificates)
}

fn sorted(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// One test for each file of a folder.
fn table(name: &str, folder: &str, outcome: fn(&Case) -> String) -> Vec<harness::Case> {
    let paths = sorted(folder).into_iter();
    paths
        .map(|path| {
            let case = path.file_stem().unwrap().to_str().unwrap();
            harness::Case::new(format!("{name}::{case}"), move || compare(&path, outcome))
        })
        .collect()
}

/// Compares what comes out of a case with what it expects, or writes it.
fn compare(path: &Path, outcome: fn(&Case) -> String) {
    let text = std::fs::read_to_string(path).unwrap();
    let case = Case::read(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let found = outcome(&case);
    let expected = case.expected();
    if expected == found {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_CASES").is_some(),
        "{}\n--- expected\n{expected}--- found\n{found}",
        path.display()
    );
    std::fs::write(path, case.with_expected(&found)).unwrap();
}
