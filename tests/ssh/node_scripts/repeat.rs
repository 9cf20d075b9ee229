//! A call that is made twice has the result of one that is made once: on the
//! node's files, and in what the product keeps there.

use node::transaction::Undo;

use super::fixture::Fixture;
use super::statements::variants;
use crate::shell::{BUSYBOX, DASH};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    Confirm,
    Undo,
}

/// Executes and ends, with one call in one of the two made twice, and compares
/// with the same without.
fn every_call_twice(shell: &[&str], ending: Ending) {
    let scripts = |fixture: &Fixture| {
        let transaction = fixture.transaction();
        let last = match ending {
            Ending::Confirm => transaction.confirm(),
            Ending::Undo => transaction.undo(),
        };
        (transaction.execute().body(), last.body())
    };
    let once = Fixture::new();
    let (execute, end) = scripts(&once);
    assert!(once.run(shell, &execute).done);
    let report = once.run(shell, &end);
    assert!(report.done || report.undo == Undo::Done, "{report:?}");
    let expected = once.tree();
    let counts = (variants(&execute).len(), variants(&end).len());
    assert!(counts.0 > 15 && counts.1 > 2, "{counts:?}");

    for index in 0..counts.0 + counts.1 {
        let fixture = Fixture::new();
        let (execute, end) = scripts(&fixture);
        let (what, first, last) = if index < counts.0 {
            let variant = variants(&execute).swap_remove(index);
            (variant.what, variant.body, end)
        } else {
            let variant = variants(&end).swap_remove(index - counts.0);
            (variant.what, execute, variant.body)
        };
        let begun = fixture.run(shell, &first);
        assert!(begun.done, "{ending:?} {what}: {begun:?}");
        let ended = fixture.run(shell, &last);
        assert_eq!(fixture.tree(), expected, "{ending:?} {what}: {ended:?}");
    }
}

// Minutes of work for each shell: bash has the tools of dash.

#[test]
fn a_call_made_twice_is_as_if_made_once_in_dash() {
    every_call_twice(DASH, Ending::Confirm);
    every_call_twice(DASH, Ending::Undo);
}

#[test]
fn a_call_made_twice_is_as_if_made_once_in_busybox() {
    every_call_twice(BUSYBOX, Ending::Confirm);
    every_call_twice(BUSYBOX, Ending::Undo);
}
