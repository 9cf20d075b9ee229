//! Combines scopes into the variables of each host: the groups of the inventory, the files next to
//! it and the `-e` arguments.
//!
//! The order is Ansible's default `VARIABLE_PRECEDENCE`: all the inventory file says for groups,
//! then `group_vars/all`, then the other files of groups, then the host in the inventory, then
//! `host_vars/`, then `-e`; among groups the outer ones first, then by name.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde_json::Map;

use super::assigned::Variables;
use super::connection;
use super::convert::Context;
use super::definitions::warn_of_useless;
use super::files::VariableFiles;
use super::groups::Groups;
use super::host::Host;
use super::identities;
use super::variables::Settings;
use crate::yaml::scalar;
use crate::yaml::source::names_a_secret;

/// Maximum bytes of the variables of all hosts together.
const HEAVIEST: usize = 1 << 30;

/// A host and the variables it came from, for checks that name a place.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) host: Host,
    pub(super) variables: Variables,
    pub(super) span: crate::yaml::source::Span,
}

/// Every host of the inventory, in its order.
pub(super) fn hosts(
    path: &Path,
    groups: &Groups,
    extra: &Variables,
    context: &mut Context,
) -> Vec<Resolved> {
    let depths = groups.depths();
    let group_files = group_files(path, groups, context);
    let host_files = host_files(path, groups, context);
    let nothing = Variables::default();
    let mut resolved = Vec::with_capacity(groups.hosts.len());
    let mut weight = 0_usize;
    for (entry, membership) in groups.hosts.iter().zip(groups.memberships()) {
        let ordered = ordered(&membership, &depths, groups);
        let mut variables = Variables::default();
        for name in std::iter::once("all").chain(ordered.iter().map(|(_, name)| *name)) {
            variables.overlay(groups.find(name).map_or(&nothing, |group| &group.variables));
        }
        for name in std::iter::once("all").chain(ordered.iter().map(|(_, name)| *name)) {
            variables.overlay(group_files.get(name).unwrap_or(&nothing));
        }
        variables.overlay(&entry.variables);
        variables.overlay(host_files.get(entry.name.as_str()).unwrap_or(&nothing));
        variables.overlay(extra);
        weight = weight.saturating_add(variables.weight());
        if weight > HEAVIEST {
            let help = Some(
                "this is far more than any inventory needs; look for large values of `all`"
                    .to_owned(),
            );
            context.problems.error(
                entry.span,
                "the variables of all hosts together are too large",
                "up to this host",
                help,
            );
            return resolved;
        }

        let in_group = |wanted: &str| ordered.iter().any(|(_, name)| *name == wanted);
        let roles = [in_group("ca"), in_group("daemons"), in_group("clients")];
        warn_of_useless(&entry.variables, roles, &entry.name, context);
        let mut names: Vec<String> = ordered.iter().map(|(_, name)| (*name).to_owned()).collect();
        names.sort();
        let mut host = Host {
            name: entry.name.clone(),
            groups: names,
            is_ca: in_group("ca"),
            is_daemon: in_group("daemons"),
            is_client: in_group("clients"),
            as_root: false,
            connection: connection::read(&entry.name, &variables, context),
            identity: None,
            identities: Vec::new(),
            settings: Settings::read(&variables, context),
            variables: visible(&variables),
        };
        if host.is_client {
            host.identities = identities::of(&host);
        }
        host.as_root = host.needs_root();
        for identity in &mut host.identities {
            identity.as_root = host.as_root;
        }
        resolved.push(Resolved {
            host,
            variables,
            span: entry.span,
        });
    }
    let of_files = |files: &HashMap<&str, Variables>, name: &str| files.get(name).cloned();
    let mut unused = Vec::new();
    let memberships = groups.memberships();
    for (place, group) in groups.list.iter().enumerate() {
        let mut members = resolved.iter().zip(&memberships);
        if group.name == "all"
            || members.any(|(of, groups)| of.host.has_role() && groups.contains(&place))
        {
            continue;
        }
        unused.extend(group.variables.places());
        unused.extend(
            of_files(&group_files, &group.name)
                .iter()
                .flat_map(Variables::places),
        );
    }
    for (entry, of) in groups.hosts.iter().zip(&resolved) {
        if !of.host.has_role() {
            unused.extend(entry.variables.places());
            unused.extend(
                of_files(&host_files, &entry.name)
                    .iter()
                    .flat_map(Variables::places),
            );
        }
    }
    context.problems.forgive(&unused);
    resolved
}

/// The groups of a host without `all`, in the order in which they count.
fn ordered<'a>(
    membership: &BTreeSet<usize>,
    depths: &[usize],
    groups: &'a Groups,
) -> Vec<(usize, &'a str)> {
    let mut ordered: Vec<(usize, &str)> = membership
        .iter()
        .filter_map(|place| Some((*depths.get(*place)?, groups.list.get(*place)?.name.as_str())))
        .filter(|(_, name)| *name != "all")
        .collect();
    ordered.sort_unstable();
    ordered
}

fn group_files<'a>(
    path: &Path,
    groups: &'a Groups,
    context: &mut Context,
) -> HashMap<&'a str, Variables> {
    let names: Vec<&str> = groups
        .list
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    beside(path, "group_vars", "group", &names, context)
}

fn host_files<'a>(
    path: &Path,
    groups: &'a Groups,
    context: &mut Context,
) -> HashMap<&'a str, Variables> {
    let names: Vec<&str> = groups.hosts.iter().map(|host| host.name.as_str()).collect();
    beside(path, "host_vars", "host", &names, context)
}

fn beside<'a>(
    path: &Path,
    directory: &str,
    kind: &str,
    names: &[&'a str],
    context: &mut Context,
) -> HashMap<&'a str, Variables> {
    let mut files = VariableFiles::beside(path, directory, context);
    let mut read = HashMap::new();
    for name in names {
        let mut variables = Variables::default();
        for file in files.of(name, context) {
            if let Some(node) = files.read(&file, context) {
                variables.define(&node, &format!("the file `{}`", file.display()), context);
            }
        }
        read.insert(*name, variables);
    }
    files.warn_of_unused(kind, names, context);
    read
}

/// The variables as templates see them: without passwords.
fn visible(variables: &Variables) -> Map<String, serde_json::Value> {
    variables
        .iter()
        .filter(|(name, _)| !(name.starts_with("ansible_") && names_a_secret(name)))
        .map(|(name, assigned)| (name.clone(), scalar::to_json(&assigned.node)))
        .collect()
}
