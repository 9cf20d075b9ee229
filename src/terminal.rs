//! The terminal: how wide it is, and how it was found.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The terminal's settings as they were. A prompt that is left without an
/// answer would leave the terminal without its echo.
#[derive(Debug, Clone, Default)]
pub struct Terminal(Option<Arc<(File, Termios)>>);

impl Terminal {
    /// Remembers the controlling terminal's settings, where there is one.
    #[must_use]
    pub fn remember() -> Self {
        let found = File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()
            .and_then(|tty| {
                let settings = tcgetattr(&tty).ok()?;
                Some(Arc::new((tty, settings)))
            });
        Self(found)
    }

    /// Puts them back.
    pub fn restore(&self) {
        if let Some((tty, settings)) = self.0.as_deref() {
            // Output that is still on its way keeps its meaning.
            let _ = tcsetattr(tty, OptionalActions::Now, settings);
        }
    }
}

/// Columns of the terminal behind a descriptor; `None` where there is none.
#[must_use]
pub fn width(descriptor: impl AsFd) -> Option<usize> {
    let size = tcgetwinsize(descriptor).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}
