//! Output that may not arrive. Nothing stops half-way because of it: what is lost is remembered, and
//! the program reports it when it ends.

use std::io::{self, Write as _};
use std::sync::OnceLock;

static FAULT: OnceLock<String> = OnceLock::new();

/// Writes to standard output.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    note("standard output", written);
}

/// Writes to standard error.
pub fn error(text: &str) {
    note(
        "standard error",
        io::stderr().lock().write_all(text.as_bytes()),
    );
}

/// Remembers the first failure. A reader that closes its end, such as `head`, has what it wants.
pub fn note(what: &str, written: io::Result<()>) {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = FAULT.set(format!("{what} cannot be written: {error}"));
        }
        _ => {}
    }
}

/// What could not be written, and why.
#[must_use]
pub fn fault() -> Option<&'static str> {
    FAULT.get().map(String::as_str)
}
