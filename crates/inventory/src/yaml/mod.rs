//! YAML with places: text in, a tree out in which every value and key knows
//! its file, line and column, and problems that are shown with the piece of
//! the file they are about.
//!
//! What inventories and playbooks are read with. Neither is known here.

pub mod node;
pub mod problem;
pub mod problems;
mod reader;
pub mod scalar;
pub mod source;

pub use reader::parse;
