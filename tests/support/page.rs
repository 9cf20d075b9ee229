//! A part of a page that a test makes, between two marks that name it: compared
//! with what the test found, or, with `UPDATE_DOCS` set, written again.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Compares `made` with what is between the marks of a page, or puts it there.
/// `command` is what puts it there.
pub fn keep(page: &str, mark: &str, made: &str, command: &str) {
    // Two tests may write one page.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut docs = crates.map(|directory| directory.join("docs"));
    let path = docs.find(|docs| docs.is_dir()).unwrap().join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (
        format!("<!-- {mark} -->\n"),
        format!("<!-- end of {mark} -->\n"),
    );
    let (before, rest) = text
        .split_once(&begin)
        .unwrap_or_else(|| panic!("{page} has no {begin}"));
    let (found, after) = rest
        .split_once(&end)
        .unwrap_or_else(|| panic!("{page} has no {end}"));
    if found == made {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "docs/{page} is stale: run UPDATE_DOCS=1 {command}\nit should say:\n{made}"
    );
    std::fs::write(&path, format!("{before}{begin}{made}{end}{after}")).unwrap();
}
