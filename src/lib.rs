//! Mutual TLS for Docker daemons over SSH.
//!
//! ```text
//! inventory.yaml ─┐
//! playbook.yaml ──┴─> model ──> facts (per node, one exec) ──> plan (pure, no I/O)
//!                                                                │
//!              CA node: issue what the plan asks for  <──────────┤
//!                                                                v
//!              apply (per-node transaction) ──> verify (from the clients) ──> report
//! ```

pub mod adopt;
pub mod agent;
pub mod apply;
pub mod cli;
pub mod docker;
pub mod doctor;
pub mod dumps;
pub mod event;
pub mod file;
#[cfg(test)]
mod fuzz;
pub mod history;
pub mod host;
pub mod interrupt;
pub mod inventory;
pub mod journal;
pub mod look;
pub mod module;
pub mod node;
pub mod orchestrator;
pub mod passphrase;
pub mod pki;
pub mod plan;
pub mod playbook;
pub mod randomness;
pub mod report;
pub mod run;
pub mod schedule;
pub mod secret;
pub mod session;
pub mod status;
pub mod terminal;
pub mod verify;
mod yaml;

/// Bytes as lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
