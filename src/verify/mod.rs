//! Verify: proof, from the clients, that the daemons let in whom they should
//! and nobody else.

pub mod probe;
