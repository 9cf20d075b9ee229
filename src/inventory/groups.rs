//! The tree of an inventory file in, its groups and hosts out.
//!
//! The shape is that of Ansible's YAML inventories: groups with `vars`,
//! `children` and `hosts`. Called by [`super::load`]; what is missing or
//! contradictory across hosts is for [`super::checks`].

use std::collections::{BTreeSet, HashMap};

use super::convert::{Context, is_hidden};
use super::definitions::{Assigned, Variables};
use super::source::{Span, quoted};
use super::yaml::{Entry, Node, Value};
use super::{names, ranges};

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
    pub(super) groups: Vec<Group>,
    pub(super) hosts: Vec<HostEntry>,
    group_places: HashMap<String, usize>,
    host_places: HashMap<String, usize>,
}

impl Groups {
    /// Reads the root of an inventory.
    pub(super) fn read(root: &Node, context: &mut Context) -> Self {
        let mut groups = Self::default();
        let Value::Mapping(entries) = &root.value else {
            return groups;
        };
        for entry in entries.iter() {
            if matches!(entry.key.text.as_str(), "hosts" | "children" | "vars") {
                let message = format!("{} stands outside of every group", quoted(&entry.key.text));
                let help = Some("put it below `all:`, one level deeper".to_owned());
                context
                    .problems
                    .error(entry.key_span, message, "here", help);
                continue;
            }
            groups.group(entry, None, context);
        }
        groups.add_ungrouped(root.span);
        groups
    }

    pub(super) fn find(&self, name: &str) -> Option<&Group> {
        self.group_places
            .get(name)
            .and_then(|place| self.groups.get(*place))
    }

    pub(super) fn has_host(&self, name: &str) -> bool {
        self.host_places.contains_key(name)
    }

    fn place_of_group(&mut self, name: &str, span: Span) -> usize {
        if let Some(place) = self.group_places.get(name) {
            return *place;
        }
        self.groups.push(Group {
            name: name.to_owned(),
            span,
            parents: BTreeSet::new(),
            hosts: BTreeSet::new(),
            variables: Variables::default(),
        });
        self.group_places
            .insert(name.to_owned(), self.groups.len() - 1);
        self.groups.len() - 1
    }

    fn group(&mut self, entry: &Entry, parent: Option<usize>, context: &mut Context) {
        if !names_a_group(entry, context) {
            return;
        }
        let place = self.place_of_group(&entry.key.text, entry.key_span);
        if let Some(parent) = parent {
            self.add_child(parent, place, entry.key_span, context);
        }
        if entry.node.is_null() {
            return;
        }
        let Value::Mapping(sections) = &entry.node.value else {
            let message = format!(
                "the group {} must hold hosts, children or vars, not {}",
                quoted(&entry.key.text),
                entry.node.described()
            );
            let help =
                Some("write `hosts:` below it and each host below that, with a colon".to_owned());
            context
                .problems
                .error(entry.key_span, message, "this group", help);
            return;
        };
        for section in sections.iter() {
            match section.key.text.as_str() {
                "vars" => {
                    let mut variables = Variables::default();
                    let whose = format!("the group {}", quoted(&entry.key.text));
                    variables.define(&section.node, &whose, context);
                    if let Some(group) = self.groups.get_mut(place) {
                        group.variables.overlay(&variables);
                    }
                }
                "children" => {
                    for child in members(section, "group", context) {
                        self.group(&child, Some(place), context);
                    }
                }
                "hosts" => {
                    for host in members(section, "host", context) {
                        self.host(&host, place, context);
                    }
                }
                other => unknown_section(other, section, &entry.key.text, context),
            }
        }
    }

    fn add_child(&mut self, parent: usize, child: usize, span: Span, context: &mut Context) {
        if parent == child || self.ancestors(parent).contains(&child) {
            let message = match self.groups.get(child) {
                Some(group) => format!("the group {} would contain itself", quoted(&group.name)),
                None => "a group would contain itself".to_owned(),
            };
            context.problems.error(
                span,
                message,
                "here again",
                Some("groups form a tree: remove one of the two".to_owned()),
            );
        } else if let Some(group) = self.groups.get_mut(child) {
            group.parents.insert(parent);
        }
    }

    /// Every group above a group.
    pub(super) fn ancestors(&self, group: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = vec![group];
        while let Some(next) = open.pop() {
            for parent in self
                .groups
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

    fn host(&mut self, entry: &Entry, group: usize, context: &mut Context) {
        let pattern = &entry.key;
        if !pattern.plain && pattern.text.is_empty() || pattern.is_null() {
            context
                .problems
                .error(entry.key_span, "a host needs a name", "here", None);
            return;
        }
        if pattern.plain && pattern.meaning() != super::scalar::Meaning::Text {
            let message = format!(
                "a host's name must be text; YAML reads {} as something else",
                quoted(&pattern.text)
            );
            let help = Some(format!("put it in quotes: '{}'", pattern.text));
            context
                .problems
                .error(entry.key_span, message, "this name", help);
            return;
        }
        let mut variables = Variables::default();
        let whose = format!("the host {}", quoted(&pattern.text));
        variables.define(&entry.node, &whose, context);
        let (hosts, port) = match ranges::expand(&pattern.text) {
            Ok(expanded) => expanded,
            Err((message, help)) => {
                context
                    .problems
                    .error(entry.key_span, message, "this name", Some(help.to_owned()));
                return;
            }
        };
        for host in hosts {
            if !names::is_address(&host) || host.contains('%') {
                context.problems.error(
                    entry.key_span,
                    format!("{} cannot be the name of a host", quoted(&host)),
                    "this name",
                    Some("letters, digits, dots, hyphens and underscores; the address goes into ansible_host".to_owned()),
                );
                continue;
            }
            let place = self.place_of_host(&host, entry.key_span, port);
            if let Some(host) = self.hosts.get_mut(place) {
                host.variables.overlay(&variables);
            }
            if let Some(group) = self.groups.get_mut(group) {
                group.hosts.insert(place);
            }
        }
    }

    fn place_of_host(&mut self, name: &str, span: Span, port: Option<u16>) -> usize {
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
    fn add_ungrouped(&mut self, root: Span) {
        let all = self.place_of_group("all", root);
        let ungrouped = self.place_of_group("ungrouped", root);
        for (place, group) in self.groups.iter_mut().enumerate() {
            if place != all && group.parents.is_empty() {
                group.parents.insert(all);
            }
        }
        let mut grouped = BTreeSet::new();
        for (place, group) in self.groups.iter().enumerate() {
            if place != all && place != ungrouped {
                grouped.extend(group.hosts.iter().copied());
            }
        }
        let hosts = self.hosts.len();
        if let Some(group) = self.groups.get_mut(ungrouped) {
            group.hosts = (0..hosts).filter(|host| !grouped.contains(host)).collect();
        }
    }

    /// The groups of every host, parents included.
    pub(super) fn memberships(&self) -> Vec<BTreeSet<usize>> {
        let mut memberships = vec![BTreeSet::new(); self.hosts.len()];
        for (place, group) in self.groups.iter().enumerate() {
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

    /// How far below `all` a group is, along the longest way.
    pub(super) fn depths(&self) -> Vec<usize> {
        fn depth(groups: &[Group], place: usize, known: &mut [Option<usize>]) -> usize {
            if let Some(Some(depth)) = known.get(place) {
                return *depth;
            }
            let parents = groups
                .get(place)
                .into_iter()
                .flat_map(|group| &group.parents);
            let found = parents
                .map(|parent| 1 + depth(groups, *parent, known))
                .max()
                .unwrap_or(0);
            if let Some(slot) = known.get_mut(place) {
                *slot = Some(found);
            }
            found
        }
        let mut known = vec![None; self.groups.len()];
        (0..self.groups.len())
            .map(|place| depth(&self.groups, place, &mut known))
            .collect()
    }
}

fn names_a_group(entry: &Entry, context: &mut Context) -> bool {
    let name = &entry.key;
    if name.plain && name.text == "plugin" {
        context.problems.error(
            entry.key_span,
            "this configures a dynamic inventory, which is not read here",
            "a plugin",
            Some(
                "write the hosts down, for example with ansible-inventory --list --yaml".to_owned(),
            ),
        );
        return false;
    }
    if name.plain && name.meaning() != super::scalar::Meaning::Text {
        let message = format!("a group's name must be text, not {}", quoted(&name.text));
        context.problems.error(
            entry.key_span,
            message,
            "this name",
            Some("put it in quotes".to_owned()),
        );
        return false;
    }
    if name.text.is_empty() || name.text.contains('/') || name.text.chars().any(is_hidden) {
        let message = format!("{} cannot be the name of a group", quoted(&name.text));
        context.problems.error(
            entry.key_span,
            message,
            "this name",
            Some("letters, digits and underscores".to_owned()),
        );
        return false;
    }
    true
}

/// The entries of `hosts:` or `children:`; one name alone stands for itself.
fn members(section: &Entry, kind: &str, context: &mut Context) -> Vec<Entry> {
    match &section.node.value {
        _ if section.node.is_null() => Vec::new(),
        Value::Mapping(entries) => entries.to_vec(),
        Value::Scalar(scalar) => vec![Entry {
            key: (**scalar).clone(),
            key_span: section.node.span,
            node: Node::null(section.node.span),
        }],
        Value::Sequence(_) => {
            let message = format!(
                "{} must be a mapping, not a list",
                quoted(&section.key.text)
            );
            let help = Some(format!(
                "write each {kind} on a line of its own, without a hyphen and with a colon"
            ));
            context
                .problems
                .error(section.node.span, message, "a list", help);
            Vec::new()
        }
    }
}

fn unknown_section(name: &str, section: &Entry, group: &str, context: &mut Context) {
    let help = match names::nearest(name, ["hosts", "children", "vars"]) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "a host stands below `hosts:`, a group below `children:`, a variable below `vars:`"
            .to_owned(),
    };
    let message = format!("the group {} has no part {}", quoted(group), quoted(name));
    context
        .problems
        .error(section.key_span, message, "unknown", Some(help));
}
