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

pub mod audit;
pub mod cli;
pub mod doctor;
pub mod history;
pub mod schedule;
pub mod status;
pub mod terminal;
