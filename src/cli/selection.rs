//! `--limit`, `--tags` and the lists: select the part of a playbook to run.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::candidates;
use inventory::Inventory;
use plan::playbook::{Filter, FilterError, Playbook, hosts_text, select, tasks_text};

/// The part of the playbook, and its hosts.
#[derive(Debug, Default, Args)]
pub struct Selection {
    /// Only these hosts and groups, as in Ansible: a:b, 'docker*', 'daemons:&rack1',
    /// 'all:!node3'
    #[arg(short, long, value_name = "PATTERN", value_parser = pattern, add = ArgValueCompleter::new(candidates::hosts))]
    limit: Option<String>,
    /// Only tasks with one of these tags
    #[arg(short, long, value_name = "TAGS", value_delimiter = ',', add = ArgValueCompleter::new(candidates::tags))]
    tags: Vec<String>,
    /// No task with one of these tags
    #[arg(long, value_name = "TAGS", value_delimiter = ',', add = ArgValueCompleter::new(candidates::tags))]
    skip_tags: Vec<String>,
    /// Print the tasks and exit
    #[arg(long)]
    list_tasks: bool,
    /// Print the hosts of each play and exit
    #[arg(long)]
    list_hosts: bool,
}

impl Selection {
    /// Only tasks with this tag, and those that always run.
    pub fn only(&mut self, tag: &str) {
        self.tags = vec![tag.to_owned()];
    }

    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.limit.is_none() && self.tags.is_empty() && self.skip_tags.is_empty()
    }

    /// A list is printed instead of a run.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.list_tasks || self.list_hosts
    }

    /// Reduces the playbook to the selection.
    pub fn apply(&self, playbook: &mut Playbook, inventory: &Inventory) -> Result<(), FilterError> {
        let filter = Filter {
            limit: self.limit.clone(),
            tags: self.tags.clone(),
            skip_tags: self.skip_tags.clone(),
        };
        select(playbook, inventory, &filter)
    }

    /// Prints the lists.
    pub fn print(&self, playbook: &Playbook, inventory: &Inventory) {
        if self.list_tasks {
            base::output::print(&tasks_text(playbook));
        }
        if self.list_hosts {
            base::output::print(&hosts_text(playbook, inventory));
        }
    }
}

/// A non-empty pattern: an unset shell variable must not select every host.
pub fn pattern(text: &str) -> Result<String, String> {
    if text.split([',', ':']).all(|part| part.trim().is_empty()) {
        return Err(
            "it names no host: is a variable of the shell not set? Leave --limit out for all hosts"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn an_unset_variable_is_not_all_hosts() {
        for text in ["", " ", ",", ":, "] {
            assert!(pattern(text).is_err(), "{text:?}");
        }
        assert_eq!(pattern("all:!a").as_deref(), Ok("all:!a"));
    }
}
