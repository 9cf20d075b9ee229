//! The names of the CA's files in its directory.

use pki::RETIRED;

/// The present CA.
pub const KEY: &str = "ca-key.pem";
pub const CERTIFICATE: &str = "ca.pem";
pub const LEDGER: &str = ".ledger.jsonl";

/// The next CA, during a rollover.
pub const NEXT_KEY: &str = "next/ca-key.pem";

pub const NEXT_CERTIFICATE: &str = "next/ca.pem";

/// Retired CAs to look for, `retired/1` and so on; there may be more.
pub(crate) const GENERATIONS: u32 = 16;

/// A file of each retired CA.
pub(crate) fn retired(directory: &str, name: &str) -> impl Iterator<Item = String> {
    (1..=GENERATIONS).map(move |number| format!("{directory}/{RETIRED}/{number}/{name}"))
}
