//! The names of the CA's files in its directory.

use pki::RETIRED;

/// The CA's own.
pub const KEY: &str = "ca-key.pem";
pub const CERTIFICATE: &str = "ca.pem";
pub const LEDGER: &str = ".ledger.jsonl";

/// The next CA, while a rollover is under way.
pub const NEXT_KEY: &str = "next/ca-key.pem";

pub const NEXT_CERTIFICATE: &str = "next/ca.pem";

/// Retired CAs that are looked for, `retired/1` and so on; there may be more.
pub(crate) const GENERATIONS: u32 = 16;

/// A file of each retired CA.
pub(crate) fn retired(directory: &str, name: &str) -> impl Iterator<Item = String> {
    (1..=GENERATIONS).map(move |number| format!("{directory}/{RETIRED}/{number}/{name}"))
}
