//! Groups and hosts of the inventory file, and their hierarchy.
//!
//! Filled by [`super::read_groups`], read by [`super::resolve`] and
//! [`super::checks`].

use std::collections::{BTreeSet, HashMap};

use super::assigned::{Assigned, Variables};
use super::convert::Context;
use crate::yaml::node::Node;
use crate::yaml::source::{Span, quoted};

/// A group with more ancestors is an attempt to use up memory and time.
const MOST_ABOVE: usize = 500;

/// A group as it was written, in all the places where it was written.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) parents: BTreeSet<usize>,
    pub(super) hosts: BTreeSet<usize>,
    pub(super) variables: Variables,
}

/// A host as it was written.
#[derive(Debug)]
pub(super) struct HostEntry {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) variables: Variables,
}

/// Everything that the inventory file itself says.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) list: Vec<Group>,
    pub(super) hosts: Vec<HostEntry>,
    /// Groups with a part that could not be read: names that seem missing may be in that part.
    pub(super) damaged: BTreeSet<usize>,
    /// The maximum number of hosts is reached: no more are added.
    pub(super) full: bool,
    /// The parent that a child was last added to, and what is above it: children come one
    /// after the other.
    last_parent: Option<(usize, BTreeSet<usize>)>,
    group_places: HashMap<String, usize>,
    host_places: HashMap<String, usize>,
}

impl Groups {
    pub(super) fn find(&self, name: &str) -> Option<&Group> {
        self.group_places
            .get(name)
            .and_then(|place| self.list.get(*place))
    }

    pub(super) fn has_host(&self, name: &str) -> bool {
        self.host_places.contains_key(name)
    }

    pub(super) fn damage(&mut self, name: &str, span: Span) {
        let place = self.place_of_group(name, span);
        self.damaged.insert(place);
    }

    /// Whether a part of the inventory could not be read.
    pub(super) fn is_damaged(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// Whether a part of a group, or of a group in it, could not be read.
    pub(super) fn is_damaged_group(&self, name: &str) -> bool {
        let Some(place) = self.group_places.get(name) else {
            return self.is_damaged();
        };
        self.damaged
            .iter()
            .any(|damaged| damaged == place || self.ancestors(*damaged).contains(place))
    }

    pub(super) fn place_of_group(&mut self, name: &str, span: Span) -> usize {
        if let Some(place) = self.group_places.get(name) {
            return *place;
        }
        self.list.push(Group {
            name: name.to_owned(),
            span,
            parents: BTreeSet::new(),
            hosts: BTreeSet::new(),
            variables: Variables::default(),
        });
        self.group_places
            .insert(name.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }

    pub(super) fn add_child(
        &mut self,
        parent: usize,
        child: usize,
        span: Span,
        context: &mut Context,
    ) {
        let above = match self.last_parent.take() {
            Some((of, above)) if of == parent => above,
            _ => self.ancestors(parent),
        };
        if above.len() > MOST_ABOVE {
            let message = format!("more than {MOST_ABOVE} groups are above this one");
            context.problems.error(
                span,
                message,
                "this group",
                Some("nest them less deeply".to_owned()),
            );
            self.damaged.insert(child);
        } else if parent == child || above.contains(&child) {
            let message = match self.list.get(child) {
                Some(group) => format!("the group {} would contain itself", quoted(&group.name)),
                None => "a group would contain itself".to_owned(),
            };
            context.problems.error(
                span,
                message,
                "here again",
                Some("groups form a tree: remove one of the two".to_owned()),
            );
        } else if let Some(group) = self.list.get_mut(child) {
            group.parents.insert(parent);
        }
        // No child that was accepted is above it, and so it stays what is above it.
        self.last_parent = Some((parent, above));
    }

    /// Every group above a group.
    pub(super) fn ancestors(&self, group: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = vec![group];
        while let Some(next) = open.pop() {
            for parent in self
                .list
                .get(next)
                .into_iter()
                .flat_map(|group| &group.parents)
            {
                if found.insert(*parent) {
                    open.push(*parent);
                }
            }
        }
        found
    }

    pub(super) fn place_of_host(&mut self, name: &str, span: Span, port: Option<u16>) -> usize {
        if let Some(place) = self.host_places.get(name) {
            return *place;
        }
        let mut variables = Variables::default();
        if let Some(port) = port {
            let node = Node::number(port, span);
            variables.set(
                "ansible_port",
                Assigned {
                    name_span: span,
                    node,
                },
            );
        }
        self.hosts.push(HostEntry {
            name: name.to_owned(),
            span,
            variables,
        });
        self.host_places
            .insert(name.to_owned(), self.hosts.len() - 1);
        self.hosts.len() - 1
    }

    /// As in Ansible: every group is below `all`, and a host in no other group
    /// is in `ungrouped`.
    pub(super) fn add_ungrouped(&mut self, root: Span) {
        let all = self.place_of_group("all", root);
        let ungrouped = self.place_of_group("ungrouped", root);
        for (place, group) in self.list.iter_mut().enumerate() {
            if place != all && group.parents.is_empty() {
                group.parents.insert(all);
            }
        }
        let mut grouped = BTreeSet::new();
        for (place, group) in self.list.iter().enumerate() {
            if place != all && place != ungrouped {
                grouped.extend(group.hosts.iter().copied());
            }
        }
        let hosts = self.hosts.len();
        if let Some(group) = self.list.get_mut(ungrouped) {
            group.hosts = (0..hosts).filter(|host| !grouped.contains(host)).collect();
        }
    }

    /// The groups of every host, parents included.
    pub(super) fn memberships(&self) -> Vec<BTreeSet<usize>> {
        let mut memberships = vec![BTreeSet::new(); self.hosts.len()];
        for (place, group) in self.list.iter().enumerate() {
            let above = self.ancestors(place);
            for host in &group.hosts {
                if let Some(groups) = memberships.get_mut(*host) {
                    groups.insert(place);
                    groups.extend(above.iter().copied());
                }
            }
        }
        memberships
    }

    /// How far below `all` each group is, along the longest way.
    pub(super) fn depths(&self) -> Vec<usize> {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.list.len()];
        let mut open_parents: Vec<usize> = Vec::with_capacity(self.list.len());
        for (place, group) in self.list.iter().enumerate() {
            open_parents.push(group.parents.len());
            for parent in &group.parents {
                if let Some(children) = children.get_mut(*parent) {
                    children.push(place);
                }
            }
        }
        let mut depths = vec![0; self.list.len()];
        let mut ready: Vec<usize> = (0..self.list.len())
            .filter(|place| open_parents.get(*place) == Some(&0))
            .collect();
        while let Some(place) = ready.pop() {
            let below = depths.get(place).map_or(1, |depth| depth + 1);
            for child in children.get(place).into_iter().flatten() {
                if let (Some(depth), Some(open)) =
                    (depths.get_mut(*child), open_parents.get_mut(*child))
                {
                    *depth = below.max(*depth);
                    *open -= 1;
                    if *open == 0 {
                        ready.push(*child);
                    }
                }
            }
        }
        depths
    }
}
