//! Reads the groups and hosts from the tree of an inventory file.
//!
//! The format is that of Ansible's YAML inventories: groups with `vars`, `children` and `hosts`.

use super::assigned::Variables;
use super::convert::{Context, is_hidden};
use super::groups::Groups;
use super::{names, ranges};
use crate::yaml::node::{Entry, Node, Value};
use crate::yaml::scalar::Meaning;
use crate::yaml::source::quoted;

/// More than this is an attempt to use up memory and time.
const MOST_GROUPS: usize = 20_000;
const MOST_HOSTS: usize = 100_000;
const DEEPEST: usize = 500;

impl Groups {
    /// Reads the root of an inventory.
    pub(super) fn read(root: &Node, context: &mut Context) -> Self {
        let mut groups = Self::default();
        let Value::Mapping(entries) = &root.value else {
            return groups;
        };
        if let Some(plugin) = entries.iter().find(|entry| entry.key.text == "plugin") {
            names_a_group(plugin, context);
            groups.add_ungrouped(root.span);
            groups.damaged.insert(0);
            return groups;
        }
        for entry in entries.iter() {
            if matches!(entry.key.text.as_str(), "hosts" | "children" | "vars") {
                let message = format!("{} stands outside of every group", quoted(&entry.key.text));
                let help = Some("put it below `all:`, one level deeper".to_owned());
                context
                    .problems
                    .error(entry.key_span, message, "here", help);
                groups.damage("all", root.span);
                continue;
            }
            groups.group(entry, None, context);
        }
        groups.add_ungrouped(root.span);
        if groups.depths().into_iter().max() > Some(DEEPEST) {
            let message =
                format!("the groups of this inventory are nested more than {DEEPEST} deep");
            context
                .problems
                .error(root.span, message, "beginning here", None);
            groups = Self::default();
            groups.damage("all", root.span);
        }
        groups
    }

    fn group(&mut self, entry: &Entry, parent: Option<usize>, context: &mut Context) {
        if !names_a_group(entry, context) {
            return;
        }
        if self.list.len() >= MOST_GROUPS {
            let message = format!("this inventory has more than {MOST_GROUPS} groups");
            context.problems.error(
                self.list.first().map_or(entry.key_span, |group| group.span),
                message,
                "beginning here",
                None,
            );
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
            self.damaged.insert(place);
            return;
        };
        for section in sections.iter() {
            match section.key.text.as_str() {
                "vars" => {
                    let mut variables = Variables::default();
                    let whose = format!("the group {}", quoted(&entry.key.text));
                    variables.define(&section.node, &whose, context);
                    if let Some(group) = self.list.get_mut(place) {
                        group.variables.overlay(&variables);
                    }
                }
                "children" => {
                    let (children, complete) = members(section, "group", context);
                    if !complete {
                        self.damaged.insert(place);
                    }
                    for child in children {
                        self.group(&child, Some(place), context);
                    }
                }
                "hosts" => {
                    let (hosts, mut complete) = members(section, "host", context);
                    for host in hosts {
                        complete &= self.host(&host, place, context);
                    }
                    if !complete {
                        self.damaged.insert(place);
                    }
                }
                other => {
                    unknown_section(other, section, &entry.key.text, context);
                    self.damaged.insert(place);
                }
            }
        }
    }

    /// Adds the hosts of one key; false if its name is invalid.
    fn host(&mut self, entry: &Entry, group: usize, context: &mut Context) -> bool {
        if self.full {
            return false;
        }
        let pattern = &entry.key;
        if !pattern.plain && pattern.text.is_empty() || pattern.is_null() {
            context
                .problems
                .error(entry.key_span, "a host needs a name", "here", None);
            return false;
        }
        if pattern.plain && pattern.meaning() != Meaning::Text {
            let message = format!(
                "a host's name must be text; YAML reads {} as something else",
                quoted(&pattern.text)
            );
            let help = Some(format!("put it in quotes: '{}'", pattern.text));
            context
                .problems
                .error(entry.key_span, message, "this name", help);
            return false;
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
                return false;
            }
        };
        if self.hosts.len() + hosts.len() > MOST_HOSTS {
            let message = format!("this inventory has more than {MOST_HOSTS} hosts");
            let help = Some("the limit is passed here".to_owned());
            context
                .problems
                .error(entry.key_span, message, "this key", help);
            self.full = true;
            return false;
        }
        let mut complete = true;
        for host in hosts {
            if !names::is_address(&host) || host.contains('%') {
                context.problems.error(
                    entry.key_span,
                    format!("{} cannot be the name of a host", quoted(&host)),
                    "this name",
                    Some("letters, digits, dots, hyphens and underscores; the address goes into ansible_host".to_owned()),
                );
                complete = false;
                continue;
            }
            let place = self.place_of_host(&host, entry.key_span, port);
            if let Some(host) = self.hosts.get_mut(place) {
                host.variables.overlay(&variables);
            }
            if let Some(group) = self.list.get_mut(group) {
                group.hosts.insert(place);
            }
        }
        complete
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
    if name.plain && name.meaning() != Meaning::Text {
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

/// The entries of `hosts:` or `children:`, and whether they are complete; a single name stands for
/// itself.
fn members(section: &Entry, kind: &str, context: &mut Context) -> (Vec<Entry>, bool) {
    match &section.node.value {
        _ if section.node.is_null() => (Vec::new(), true),
        Value::Mapping(entries) => (entries.to_vec(), true),
        Value::Scalar(scalar) => {
            let (key_span, node) = (section.node.span, Node::null(section.node.span));
            (
                vec![Entry {
                    key: (**scalar).clone(),
                    key_span,
                    node,
                }],
                true,
            )
        }
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
            (Vec::new(), false)
        }
    }
}

fn unknown_section(name: &str, section: &Entry, group: &str, context: &mut Context) {
    let help = match names::nearest(name, ["hosts", "children", "vars"]) {
        Some(near) => format!("did you mean `{near}`?"),
        None if name.starts_with("dtls_") || name.starts_with("ansible_") => {
            "a variable stands below `vars:`, one level deeper".to_owned()
        }
        None => "a host stands below `hosts:`, a group below `children:`, a variable below `vars:`"
            .to_owned(),
    };
    let message = format!("the group {} has no part {}", quoted(group), quoted(name));
    context
        .problems
        .error(section.key_span, message, "unknown", Some(help));
}
