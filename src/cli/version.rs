//! What `--version` says; `-V` says the first line of it.

/// Version, the commit it was built from, and the licence.
pub(super) const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit ",
    env!("DTLS_DEPLOY_COMMIT"),
    "\nlicence ",
    env!("CARGO_PKG_LICENSE")
);
