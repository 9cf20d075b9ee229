//! A damaged ledger: set aside, and what can be read of it goes on.
//!
//! What the others recorded is found again on the nodes: see `adopt`.

use time::OffsetDateTime;

use super::failure::Failure;
use super::ledger::{Event, Ledger};
use super::store::{LEDGER, NewFile, Store};

/// Only its owner reads the ledger.
const MODE: u32 = 0o600;

/// The lines that a ledger can be made of, and how many others there are.
#[must_use]
pub fn readable(bytes: &[u8]) -> (String, usize) {
    let (mut text, mut lost) = (String::new(), 0);
    let mut ledger = Ledger::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        let line = std::str::from_utf8(line).unwrap_or_default();
        // An event about a leaf whose own line is lost is lost with it.
        let counts =
            serde_json::from_str::<Event>(line).is_ok_and(|event| ledger.apply(event).is_ok());
        if counts {
            text.push_str(line);
            text.push('\n');
        } else {
            lost += 1;
        }
    }
    (text, lost)
}

/// Replaces a ledger that cannot be read; one that can is left unchanged.
pub(crate) fn salvage(store: &Store, now: OffsetDateTime) -> Result<(), Failure> {
    let Some(bytes) = store.ledger_bytes()? else {
        return Ok(());
    };
    if Ledger::parse_bytes(&bytes).is_ok() {
        return Ok(());
    }
    let (text, _) = readable(&bytes);
    let aside = format!("{LEDGER}.damaged-{}", now.unix_timestamp());
    let file = |name, content| NewFile {
        name,
        content,
        mode: MODE,
    };
    // In this order: a crash in between leaves the damaged one in its place.
    store.write(&[file(aside.as_str(), bytes.as_slice())])?;
    Ok(store.write(&[file(LEDGER, text.as_bytes())])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_stay_and_what_depends_on_a_lost_one_goes() {
        let entry = |serial: &str, host: &str| {
            format!(
                r#"{{"event":"issued","serial":"{serial}","role":"daemon","host":"{host}","subject":"CN={host}","sans":[],"not_before":"2026-01-01T00:00:00Z","not_after":"2027-01-01T00:00:00Z","certificate_sha256":"c{serial}","key_sha256":"k{serial}","public_key_sha256":"p{serial}","key_type":"ecdsa-p256","issuer_sha256":"i","issued_at":"2026-01-01T00:00:00Z","issued_name":{{"key":"k","certificate":"c"}}}}"#
            )
        };
        let delivered = |serial: &str| {
            format!(
                r#"{{"event":"delivered","serial":"{serial}","at":"2026-01-01T00:00:00Z","kept":false}}"#
            )
        };
        let text = format!(
            "{}\n{}\n{}\n{}\nrubbish\n",
            entry("01", "a"),
            &entry("02", "b")[..90],
            delivered("02"),
            delivered("01"),
        );
        let mut bytes = text.into_bytes();
        bytes.extend(b"\xff\xfe\n");
        assert!(Ledger::parse_bytes(&bytes).is_err());
        let (kept, lost) = readable(&bytes);
        assert_eq!(lost, 4);
        let ledger = Ledger::parse(&kept).unwrap();
        assert_eq!(ledger.entries().len(), 1);
        assert!(ledger.delivered("a", crate::Role::Daemon).is_some());
    }
}
