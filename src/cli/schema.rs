//! `dtls-deploy schema`: prints the JSON Schema of inventories.

use run::Exit;
use std::io::Write as _;

pub(super) fn main() -> Exit {
    // `{:#}` formats a JSON value with indentation. A closed output needs no error.
    let _ = writeln!(std::io::stdout().lock(), "{:#}", inventory::schema());
    Exit::Fine
}
