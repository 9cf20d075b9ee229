//! The output of `--version`; `-V` prints its first line.

/// Version, the commit it was built from, and the licence.
pub(super) const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit ",
    env!("DTLS_DEPLOY_COMMIT"),
    "\nlicence ",
    env!("CARGO_PKG_LICENSE")
);
