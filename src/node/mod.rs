//! Nodes: how the tool reaches a machine and runs something there.
//!
//! Comes in: a [`Target`] (where and as whom) made from the inventory. Goes
//! out: a [`Connection`], over which the layers above run scripts, keep a
//! process open, or dial a TCP port as seen from the node. SSH, the local
//! machine and a scripted fake are the three implementations.

pub mod facts;
pub mod script;
