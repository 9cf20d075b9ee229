//! The errors of an inventory, as [`super::load`] returns them.

use std::fmt;

use miette::Diagnostic;

use crate::yaml::problem::Problem;

/// The errors of an inventory, at least one, with its warnings.
#[derive(Debug, Clone)]
pub struct InventoryErrors {
    /// The inventory as it was named.
    pub inventory: String,
    /// In the order of the files and of the lines in them.
    pub problems: Vec<Problem>,
}

impl InventoryErrors {
    /// Only those that are errors.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| !problem.warning)
    }
}

impl fmt::Display for InventoryErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.errors().count();
        let plural = if count == 1 { "" } else { "s" };
        write!(
            formatter,
            "{count} error{plural} in the inventory {}",
            self.inventory
        )
    }
}

impl std::error::Error for InventoryErrors {}

impl Diagnostic for InventoryErrors {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(
            self.problems
                .iter()
                .map(|problem| problem as &dyn Diagnostic),
        ))
    }
}
