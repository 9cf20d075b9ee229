//! End to end, on the lab: real sshd, systemd, dockerd, docker CLI and openssl.
//!
//! Run by `make test`, which brings the lab up. Without the lab these tests
//! fail; they are never skipped.

mod daemon;
mod defaults;
mod guide_c;
mod lab;
mod output;
mod secrets;
