//! The inputs of carrying out a plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::in_place::InPlace;
use crate::interrupt::Interrupt;
use crate::journal::Journal;
use crate::session::Node;
use base::event::Events;
use inventory::Inventory;
use node::facts::NodeFacts;
use plan::playbook::Playbook;

/// The inputs of carrying out a plan.
#[derive(Debug)]
pub struct Apply<'a> {
    pub inventory: &'a Inventory,
    pub playbook: &'a Playbook,
    pub nodes: &'a BTreeMap<String, Arc<Node>>,
    pub facts: &'a BTreeMap<String, NodeFacts>,
    pub events: &'a Events,
    pub journal: &'a Journal,
    pub forks: usize,
    /// How many plans this run has already carried out.
    pub pass: usize,
    /// The first failure stops everything that has not begun.
    pub fail_fast: bool,
    pub interrupt: &'a Interrupt,
    /// Notified when everything that a check depends on is in place.
    pub in_place: &'a InPlace,
}
