//! The names of the CA's files in its directory.

/// The CA's own.
pub const KEY: &str = "ca-key.pem";
pub const CERTIFICATE: &str = "ca.pem";
pub const LEDGER: &str = ".ledger.jsonl";

/// The next CA, while a rollover is under way.
pub const NEXT_KEY: &str = "next/ca-key.pem";

pub const NEXT_CERTIFICATE: &str = "next/ca.pem";
