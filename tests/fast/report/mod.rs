//! What people and programs see of a run, from events that a test chose.

mod events;
mod json;
mod program;
mod text;
