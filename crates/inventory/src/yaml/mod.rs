//! YAML with positions: parses text into a tree in which every value and key has its file, line and
//! column, and shows problems with an excerpt of the file.
//!
//! Used for inventories and playbooks, but independent of both.

pub mod node;
pub mod problem;
pub mod problems;
mod reader;
pub mod scalar;
pub mod source;

pub use reader::parse;
