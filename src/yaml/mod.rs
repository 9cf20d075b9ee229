//! YAML with places: text in, a tree out in which every value and key knows
//! its file, line and column, and problems that are shown with the piece of
//! the file they are about.
//!
//! What inventories and playbooks are read with. Neither is known here.

pub(crate) mod node;
pub(crate) mod problem;
pub(crate) mod problems;
mod reader;
pub(crate) mod scalar;
pub(crate) mod source;

pub(crate) use reader::parse;
