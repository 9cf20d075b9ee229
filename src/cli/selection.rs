//! `--limit`, `--tags` and the lists: which part of a playbook runs.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::candidates;
use inventory::Inventory;
use plan::playbook::{Filter, FilterError, Playbook, hosts_text, select, tasks_text};

/// Which part of the playbook, on which hosts.
#[derive(Debug, Default, Args)]
pub struct Selection {
    /// Only these hosts and groups, as in Ansible: a:b, 'docker*', 'daemons:&rack1',
    /// 'all:!node3'
    #[arg(short, long, value_name = "PATTERN", add = ArgValueCompleter::new(candidates::hosts))]
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
    /// Only tasks with this tag, besides those that always run.
    pub fn only(&mut self, tag: &str) {
        self.tags = vec![tag.to_owned()];
    }

    /// Nothing is left out.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.limit.is_none() && self.tags.is_empty() && self.skip_tags.is_empty()
    }

    /// Something is printed instead of a run.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.list_tasks || self.list_hosts
    }

    /// Cuts the playbook down.
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
            print!("{}", tasks_text(playbook));
        }
        if self.list_hosts {
            print!("{}", hosts_text(playbook, inventory));
        }
    }
}
