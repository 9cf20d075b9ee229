//! `--limit`, `--tags` and `--skip-tags`: selects part of a playbook, on part of the hosts.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Playbook, Step};
use base::wildcard;
use inventory::Inventory;
use inventory::names::nearest;
use inventory::yaml::source::quoted;

/// Runs whatever `--tags` says.
const ALWAYS: &str = "always";
/// Runs only when `--tags` names one of its tags.
const NEVER: &str = "never";

/// Names in a hint.
const MOST_NAMED: usize = 10;

/// The selection from the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Hosts and groups, separated by `:` or `,`, with `*` and `?` as wildcards; `&` intersects
    /// with a pattern, and `!` excludes one.
    pub limit: Option<String>,
    pub tags: Vec<String>,
    pub skip_tags: Vec<String>,
}

/// Why a filter is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("--limit {limit}: there is no host or group {name} in the inventory")]
    UnknownName {
        limit: String,
        name: String,
        near: Option<String>,
        /// Groups and hosts of the inventory.
        known: Vec<String>,
    },
    #[error("--limit {0} leaves no host")]
    NoHost(String),
    #[error("{option} {tag}: no task has this tag")]
    UnknownTag {
        option: &'static str,
        tag: String,
        known: Vec<String>,
    },
    #[error("--tags and --skip-tags leave no task")]
    NoTask,
}

impl FilterError {
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownName {
                near: Some(near), ..
            } => Some(format!("did you mean {}?", quoted(near))),
            Self::UnknownName { known, .. } => {
                let rest = known.len().saturating_sub(MOST_NAMED);
                let known: Vec<&str> = known.iter().map(String::as_str).take(MOST_NAMED).collect();
                let rest = (rest > 0).then(|| format!(" and {rest} more"));
                Some(format!(
                    "groups and hosts: {}{}",
                    known.join(", "),
                    rest.unwrap_or_default()
                ))
            }
            Self::UnknownTag { known, .. } if known.is_empty() => {
                Some("the playbook has no tags".to_owned())
            }
            Self::UnknownTag { tag, known, .. } => {
                let near = nearest(tag, known.iter().map(String::as_str));
                Some(match near {
                    Some(near) => format!(
                        "did you mean {}? known tags: {}",
                        quoted(near),
                        known.join(", ")
                    ),
                    None => format!("known tags: {}", known.join(", ")),
                })
            }
            Self::NoHost(_) | Self::NoTask => None,
        }
    }
}

/// Reduces the playbook to what the filter selects.
///
/// # Errors Unknown names and tags, and a filter that selects nothing.
pub fn select(
    playbook: &mut Playbook,
    inventory: &Inventory,
    filter: &Filter,
) -> Result<(), FilterError> {
    by_tags(playbook, filter)?;
    if let Some(limit) = &filter.limit {
        let names = Arc::new(limited(limit, inventory)?);
        limit_to(playbook, &names);
        if let Some(whole) = &mut playbook.whole {
            limit_to(whole, &names);
        }
    }
    Ok(())
}

fn limit_to(playbook: &mut Playbook, names: &Arc<BTreeSet<String>>) {
    playbook.limit = Some(Arc::clone(names));
    for play in &mut playbook.plays {
        play.limit = Some(Arc::clone(names));
    }
}

/// The hosts of a pattern, by Ansible's rules.
fn limited(limit: &str, inventory: &Inventory) -> Result<BTreeSet<String>, FilterError> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut excluded: BTreeSet<String> = BTreeSet::new();
    let mut shared: Vec<BTreeSet<String>> = Vec::new();
    let mut takes_all = true;
    for part in separated(limit) {
        let sign = part.chars().next().filter(|first| "!&".contains(*first));
        let name = part.trim_start_matches(['!', '&']).trim();
        let found = named(name, inventory);
        if found.is_empty() {
            let known = names_of(inventory);
            return Err(FilterError::UnknownName {
                limit: limit.to_owned(),
                name: name.to_owned(),
                near: nearest(name, known.iter().map(String::as_str)).map(str::to_owned),
                known: known.into_iter().collect(),
            });
        }
        match sign {
            Some('!') => excluded.extend(found),
            Some(_) => shared.push(found),
            None => {
                takes_all = false;
                names.extend(found);
            }
        }
    }
    if takes_all {
        names.extend(inventory.hosts.iter().map(|host| host.name.clone()));
    }
    names.retain(|name| {
        !excluded.contains(name) && shared.iter().all(|others| others.contains(name))
    });
    if names.is_empty() {
        return Err(FilterError::NoHost(limit.to_owned()));
    }
    Ok(names)
}

/// The hosts of a group or of a name, which may have wildcards.
fn named(name: &str, inventory: &Inventory) -> BTreeSet<String> {
    let known = names_of(inventory);
    let is_pattern = name.contains(['*', '?']);
    let matching = known.iter().filter(|known| {
        if is_pattern {
            wildcard::is_match(name, known)
        } else {
            *known == name
        }
    });
    matching
        .flat_map(|name| {
            let group = inventory.group(name);
            let hosts = group.into_iter().chain(inventory.host(name));
            hosts.map(|host| host.name.clone())
        })
        .collect()
}

/// The parts of a pattern. The colons of an IPv6 address do not separate.
pub(super) fn separated(text: &str) -> Vec<&str> {
    text.split(',')
        .map(str::trim)
        .flat_map(|part| {
            let whole = part
                .trim_start_matches(['!', '&'])
                .parse::<std::net::Ipv6Addr>()
                .is_ok();
            let parts: Vec<&str> = if whole {
                vec![part]
            } else {
                part.split(':').map(str::trim).collect()
            };
            parts
        })
        .filter(|part| !part.is_empty())
        .collect()
}

/// Everything that a pattern may name: `all`, groups, hosts.
#[must_use]
pub fn names_of(inventory: &Inventory) -> BTreeSet<String> {
    let mut names = BTreeSet::from(["all".to_owned()]);
    for host in &inventory.hosts {
        names.insert(host.name.clone());
        names.extend(host.groups.iter().cloned());
    }
    names
}

fn by_tags(playbook: &mut Playbook, filter: &Filter) -> Result<(), FilterError> {
    let wanted: BTreeSet<&str> = filter
        .tags
        .iter()
        .flat_map(|tags| separated(tags))
        .collect();
    let skipped: BTreeSet<&str> = filter
        .skip_tags
        .iter()
        .flat_map(|tags| separated(tags))
        .collect();
    let known = playbook.tags();
    for (option, tags) in [("--tags", &wanted), ("--skip-tags", &skipped)] {
        if let Some(tag) = tags.iter().find(|tag| !known.contains(**tag)) {
            return Err(FilterError::UnknownTag {
                option,
                tag: (*tag).to_owned(),
                known: known.into_iter().collect(),
            });
        }
    }
    let stays = |tags: &BTreeSet<String>| {
        let has = |set: &BTreeSet<&str>| tags.iter().any(|tag| set.contains(tag.as_str()));
        let asked = has(&wanted);
        let by_default = wanted.is_empty() && !tags.contains(NEVER);
        !has(&skipped) && (asked || by_default || tags.contains(ALWAYS))
    };
    for play in &mut playbook.plays {
        play.steps.retain_mut(|step| match step {
            Step::Task(task) => stays(&task.tags),
            Step::Transaction { tasks, .. } => {
                tasks.retain(|task| stays(&task.tags));
                !tasks.is_empty()
            }
        });
    }
    playbook.plays.retain(|play| !play.steps.is_empty());
    if playbook.plays.is_empty() && !(wanted.is_empty() && skipped.is_empty()) {
        return Err(FilterError::NoTask);
    }
    Ok(())
}
