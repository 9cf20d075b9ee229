//! The terminal: its width and its original settings.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The terminal's original settings. An aborted prompt would leave the terminal without echo.
#[derive(Debug, Clone, Default)]
pub struct Terminal(Option<Arc<(File, Termios)>>);

impl Terminal {
    /// Saves the settings of the controlling terminal, if there is one.
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

    /// Restores them.
    pub fn restore(&self) {
        if let Some((tty, settings)) = self.0.as_deref() {
            // Pending output is still processed with its settings.
            let _ = tcsetattr(tty, OptionalActions::Now, settings);
        }
    }
}

/// The columns of the terminal behind a descriptor; `None` if there is none.
#[must_use]
pub fn width(descriptor: impl AsFd) -> Option<usize> {
    let size = tcgetwinsize(descriptor).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}
