//! What Docker itself defines: daemon.json, the unit's command line, contexts and the environment
//! of the CLI.
//!
//! Pure functions from the present to the wanted state, called by the modules while they plan;
//! nothing here reads or writes a file.

pub mod context;
pub mod daemon_json;
pub mod environment;
pub mod flags;
mod json_text;
pub mod live_restore;
pub mod plugins;
mod strict_json;
pub mod tls;
pub mod unit;
