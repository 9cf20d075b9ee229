//! The audit log: one entry for each decision, with structured fields, in the
//! journal. It never waits: what the journal does not take is counted and lost.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// systemd's native protocol takes entries here: a line for each field.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Bytes of a value, all of them chosen by a client.
const LONGEST_VALUE: usize = 512;
/// Entries a second in the long run, and at once, for allowed and for rejected
/// requests each: a flood of one kind does not hide the other.
const RATE: u32 = 100;
const BURST: u32 = 1000;

/// syslog's levels, as far as they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Warning = 4,
    Notice = 5,
    Info = 6,
}

/// The text of one entry.
#[derive(Debug)]
pub struct Entry(String);

impl Entry {
    pub fn new(level: Level, message: &str) -> Self {
        let entry = Self("SYSLOG_IDENTIFIER=dtls-deploy-guard\n".to_owned());
        let number = (level as u8).to_string();
        entry.with("PRIORITY", &number).with("MESSAGE", message)
    }

    /// Adds a field; what does not print is escaped, so that a value stays a line.
    pub fn with(mut self, field: &str, value: &str) -> Self {
        let mut line: String = value
            .chars()
            .flat_map(|letter| {
                let is_plain = letter == ' ' || letter.is_ascii_graphic();
                let plain = is_plain.then_some(letter);
                let escaped = (!is_plain).then(|| letter.escape_unicode());
                plain.into_iter().chain(escaped.into_iter().flatten())
            })
            .take(LONGEST_VALUE + 1)
            .collect();
        if line.len() > LONGEST_VALUE {
            line.truncate(LONGEST_VALUE);
            line.push_str("...");
        }
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{field}={line}");
        self
    }
}

/// Tokens that come back with time.
#[derive(Debug)]
struct Bucket {
    tokens: u32,
    filled: Instant,
    left_out: u64,
}

impl Bucket {
    const fn new(now: Instant) -> Self {
        Self {
            tokens: BURST,
            filled: now,
            left_out: 0,
        }
    }

    /// Whether an entry may be written now.
    fn take(&mut self, now: Instant) -> bool {
        let each = Duration::from_secs(1) / RATE;
        let passed = now.saturating_duration_since(self.filled);
        let earned = passed.as_nanos() / each.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(BURST).min(BURST);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.filled = if self.tokens == BURST {
                now
            } else {
                self.filled + each * earned
            };
        }
        let Some(rest) = self.tokens.checked_sub(1) else {
            self.left_out += 1;
            return false;
        };
        self.tokens = rest;
        true
    }
}

/// Where entries go.
#[derive(Debug)]
enum Sink {
    Journal(UnixDatagram),
    Stderr,
}

#[derive(Debug)]
pub struct Audit {
    sink: Sink,
    allowed: Bucket,
    rejected: Bucket,
    /// Entries that the journal did not take.
    lost: u64,
}

impl Audit {
    /// To the journal, if the service is connected to one, and to stderr otherwise.
    pub fn new(has_journal: bool, now: Instant) -> Self {
        let socket = has_journal.then(|| {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(socket)
        });
        let sink = match socket {
            Some(Ok(socket)) => Sink::Journal(socket),
            _ => Sink::Stderr,
        };
        Self {
            sink,
            allowed: Bucket::new(now),
            rejected: Bucket::new(now),
            lost: 0,
        }
    }

    /// Writes an entry about a decision, unless there are too many of them.
    pub fn decision(&mut self, is_allowed: bool, now: Instant, entry: impl FnOnce() -> Entry) {
        let bucket = if is_allowed {
            &mut self.allowed
        } else {
            &mut self.rejected
        };
        if !bucket.take(now) {
            return;
        }
        let left_out = std::mem::take(&mut bucket.left_out) + std::mem::take(&mut self.lost);
        if left_out > 0 {
            self.write(&Entry::new(
                Level::Warning,
                &format!("left out {left_out} entries: more than {RATE} a second, or the journal did not take them"),
            ));
        }
        self.write(&entry());
    }

    /// Writes an entry about the guard itself.
    pub fn write(&mut self, entry: &Entry) {
        let is_written = match &self.sink {
            Sink::Journal(socket) => socket.send_to(entry.0.as_bytes(), JOURNAL).is_ok(),
            Sink::Stderr => {
                let line = entry.0.trim_end().replace('\n', " ");
                writeln!(std::io::stderr(), "{line}").is_ok()
            }
        };
        if !is_written {
            self.lost += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BURST, Bucket, Entry, LONGEST_VALUE, Level, RATE};
    use std::time::{Duration, Instant};

    #[test]
    fn a_value_is_one_bounded_line() {
        let entry =
            Entry::new(Level::Info, "a\nMESSAGE=b\u{7f}\u{e9}").with("PATH", &"\n".repeat(9999));
        let lines: Vec<&str> = entry.0.lines().collect();
        assert_eq!(lines[2], "MESSAGE=a\\u{a}MESSAGE=b\\u{7f}\\u{e9}");
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[3].len(), "PATH=".len() + LONGEST_VALUE + 3);
    }

    #[test]
    fn entries_are_bounded_and_what_is_left_out_is_counted() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let taken = (0..BURST + 10).filter(|_| bucket.take(start)).count();
        assert_eq!((taken, bucket.left_out), (BURST as usize, 10));
        let later = start + Duration::from_secs(1);
        let taken = (0..BURST).filter(|_| bucket.take(later)).count();
        assert_eq!(taken, RATE as usize);
        let much_later = later + Duration::from_secs(3600);
        let taken = (0..2 * BURST).filter(|_| bucket.take(much_later)).count();
        assert_eq!(taken, BURST as usize);
    }
}
