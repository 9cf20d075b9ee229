//! `dtls-deploy schema`: the JSON Schema of inventories, on standard output.

use run::Exit;
use std::io::Write as _;

pub(super) fn main() -> Exit {
    // `{:#}` of a JSON value is JSON, indented. A reader that has gone away
    // needs no error.
    let _ = writeln!(std::io::stdout().lock(), "{:#}", inventory::schema());
    Exit::Fine
}
