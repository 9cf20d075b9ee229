//! What the plan's table tests are made of: a case as it is written, the
//! machines it is about, and the CA behind their certificates.

pub mod case;
mod drift;
mod follow;
mod generations;
pub mod lab;
pub mod machine;
pub mod outcome;
mod reworded;
