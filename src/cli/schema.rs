//! `dtls-deploy schema`: prints the JSON Schema of inventories.

use run::Exit;

pub(super) fn main() -> Exit {
    // `{:#}` formats a JSON value with indentation. A closed output needs no error.
    base::output::print(&format!("{:#}\n", inventory::schema()));
    Exit::Fine
}
