//! Facts: the state of a node, read in one exec.
//!
//! Private keys are only hashed on the node, never read.

mod claims;
mod commands;
mod engine;
mod health;
mod loaded;
mod network;
mod node_facts;
mod own_addresses;
mod parse;
mod request;
mod space;
mod unit;
mod ways;

pub use claims::{Claims, Unheard};
pub use engine::EngineFact;
pub use health::{Health, TOOLS};
pub use loaded::{Loaded, LoadedCommand};
pub use network::{Holder, Listener, Network, Owner};
pub use node_facts::{
    AccountFault, Component, FactError, File, FileFact, KeptGeneration, NodeFacts, STATE,
};
pub use request::FactRequest;
pub use space::Space;
pub use unit::UnitFact;
