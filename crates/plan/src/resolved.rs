//! Resolves the links on the way to a directory of a node.

use super::Refusal;
use inventory::system_directory;
use node::facts::NodeFacts;

/// Where a directory leads once every existing link on its path is resolved.
pub fn resolved(facts: &NodeFacts, directory: &str) -> Option<String> {
    let path = facts.expand(directory);
    let components = facts.directories.get(&path)?;
    let last = components.last()?;
    // The longest existing part of it, as it is spelled.
    let there = components
        .iter()
        .filter_map(|component| path.strip_prefix(component.path.as_str()))
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        .min_by_key(|rest| rest.len())?;
    Some(format!("{}{there}", last.path.trim_end_matches('/')))
}

/// Refuses a directory of the system that the node's own links lead to.
pub(crate) fn check_resolved(facts: &NodeFacts, directory: &str) -> Result<(), Refusal> {
    let path = facts.expand(directory);
    let real = resolved(facts, directory).unwrap_or_else(|| path.clone());
    let Some(of) = system_directory(&real).or_else(|| system_directory(&path)) else {
        return Ok(());
    };
    let leads = if real == path {
        String::new()
    } else {
        format!(" leads to {real}, which")
    };
    Err(Refusal::new(format!(
        "{path}{leads} is a directory of the system ({of}): certificates and keys do not belong there"
    ))
    .hint("name a directory of its own in the inventory, like /etc/docker/tls"))
}
