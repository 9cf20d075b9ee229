//! The steps of a node's part in a run, as the shim has seen them.
//!
//! A step is an external command that the product looked up: its words without
//! what differs from run to run, and how many of the same came before it. The
//! number of a step would not do: some run beside each other.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    pub text: String,
    /// Counted from one.
    pub occurrence: usize,
}

impl Step {
    /// Short enough for a table.
    pub fn label(&self) -> String {
        let mut text: String = self.text.chars().take(90).collect();
        if text.len() < self.text.len() {
            text.push('…');
        }
        if self.occurrence > 1 {
            text = format!("{text} (no. {})", self.occurrence);
        }
        text.replace('|', "\\|")
    }
}

pub fn steps(log: &[String]) -> Vec<Step> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    log.iter()
        .map(|text| {
            let count = counts.entry(text).or_default();
            *count += 1;
            Step {
                text: text.clone(),
                occurrence: *count,
            }
        })
        .collect()
}
