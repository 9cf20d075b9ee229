//! What people and programs see of a run, from events that a test chose.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "report/events.rs"]
mod events;
#[path = "report/json.rs"]
mod json;
#[path = "report/program.rs"]
mod program;
#[path = "report/text.rs"]
mod text;
