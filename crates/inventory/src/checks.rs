//! Checks across all hosts: missing roles, empty groups, two hosts at one address, two files at one
//! path, contradicting settings.

use std::collections::{BTreeSet, HashMap};

use super::agreement;
use super::convert::Context;
use super::groups::Groups;
use super::guard_checks;
use super::identity_checks::{self, in_home, renewed_always};
use super::names::{nearest, tidy_path};
use super::resolve::Resolved;
use super::values::ClientEnv;
use crate::kinds::ConnectionKind;
use crate::kinds::ShellType;
use crate::yaml::source::{Span, quoted};
use docker::tls::DaemonMode;

/// Everything that concerns more than one value.
pub(super) fn all(root: Span, groups: &Groups, hosts: &[Resolved], context: &mut Context) {
    if groups.hosts.is_empty() && groups.is_damaged() {
        return;
    }
    if groups.hosts.is_empty() {
        let help =
            Some("write `hosts:` below a group and each host below that, with a colon".to_owned());
        context
            .problems
            .error(root, "this inventory has no hosts", "here", help);
        return;
    }
    roles(root, groups, hosts, context);
    empty_groups(groups, context);
    names_twice(groups, context);
    addresses(hosts, context);
    agreement::of_the_daemons(hosts, context);
    guard_checks::check(hosts, context);
    let ca_days = hosts
        .iter()
        .find(|resolved| resolved.host.is_ca)
        .map(|ca| ca.host.settings.ca_validity_days);
    let daemons: Vec<&str> = hosts
        .iter()
        .filter(|resolved| resolved.host.is_daemon)
        .map(|resolved| resolved.host.name.as_str())
        .collect();
    for resolved in hosts.iter().filter(|resolved| resolved.host.has_role()) {
        paths(resolved, context);
        windows(resolved, context);
        this_machine(resolved, context);
        contradictions(resolved, ca_days, context);
        if resolved.host.is_client {
            default_daemon(resolved, &daemons, context);
            identity_checks::of_the_client(resolved, ca_days, context);
        }
    }
}

/// One CA, at least one daemon and one client.
fn roles(root: Span, groups: &Groups, hosts: &[Resolved], context: &mut Context) {
    let cas: Vec<&Resolved> = hosts
        .iter()
        .filter(|resolved| resolved.host.is_ca)
        .collect();
    if let [first, second, ..] = cas.as_slice() {
        let place = context.problems.place(first.span, second.span);
        let count = cas.len();
        let message =
            format!("the group `ca` has {count} hosts; there is one certificate authority");
        let help = format!(
            "the first is {} on {place}: keep one of them in the group",
            quoted(&first.host.name)
        );
        context
            .problems
            .error(second.span, message, "one more", Some(help));
    }
    let needed = [
        (
            "ca",
            cas.is_empty(),
            "the host that keeps the certificate authority",
        ),
        (
            "daemons",
            !hosts.iter().any(|resolved| resolved.host.is_daemon),
            "the hosts whose Docker daemons are protected",
        ),
        (
            "clients",
            !hosts.iter().any(|resolved| resolved.host.is_client),
            "at least one host that is given a client certificate, and from which the daemons are checked",
        ),
    ];
    for (role, missing, meaning) in needed {
        if !missing || groups.is_damaged_group(role) {
            continue;
        }
        if let Some(group) = groups.find(role) {
            let help = Some(format!("it must have {meaning}"));
            context.problems.error(
                group.span,
                format!("the group `{role}` has no hosts"),
                "this group",
                help,
            );
            continue;
        }
        let written = groups.list.iter().filter(|group| {
            !matches!(
                group.name.as_str(),
                "all" | "ungrouped" | "ca" | "daemons" | "clients"
            )
        });
        let near = nearest(role, written.map(|group| group.name.as_str()));
        let (span, help) = match near.and_then(|near| groups.find(near)) {
            Some(group) => (
                group.span,
                format!("did you mean {} to be `{role}`?", quoted(&group.name)),
            ),
            None => (root, format!("add it: {meaning}")),
        };
        context.problems.error(
            span,
            format!("there is no group `{role}`"),
            "in this inventory",
            Some(help),
        );
    }
}

fn empty_groups(groups: &Groups, context: &mut Context) {
    let mut inhabited: BTreeSet<usize> = BTreeSet::new();
    for membership in groups.memberships() {
        inhabited.extend(membership);
    }
    for (place, group) in groups.list.iter().enumerate() {
        let role = matches!(
            group.name.as_str(),
            "all" | "ungrouped" | "ca" | "daemons" | "clients"
        );
        if !inhabited.contains(&place) && !role && !groups.is_damaged_group(&group.name) {
            let message = format!("the group {} has no hosts", quoted(&group.name));
            let help = Some("give it hosts, or remove it".to_owned());
            context
                .problems
                .error(group.span, message, "this group", help);
        }
    }
}

fn names_twice(groups: &Groups, context: &mut Context) {
    for group in &groups.list {
        if groups.has_host(&group.name) {
            let message = format!(
                "{} is the name of a host and of a group",
                quoted(&group.name)
            );
            context.problems.warning(
                group.span,
                message,
                "this group",
                Some("give the two different names".to_owned()),
            );
        }
    }
}

/// Two hosts that appear to be the same machine.
fn addresses(hosts: &[Resolved], context: &mut Context) {
    let mut seen: HashMap<(String, u16, String, String), &Resolved> = HashMap::new();
    for resolved in hosts.iter().filter(|resolved| resolved.host.has_role()) {
        let connection = &resolved.host.connection;
        let key = match connection.kind {
            ConnectionKind::Local => ("local".to_owned(), 0, String::new(), String::new()),
            ConnectionKind::Ssh | ConnectionKind::WinRm => (
                connection.address.to_ascii_lowercase(),
                connection.port.unwrap_or(22),
                connection.user.clone().unwrap_or_default(),
                connection
                    .ssh_options
                    .proxy_jump
                    .clone()
                    .unwrap_or_default(),
            ),
        };
        let Some(first) = seen.get(&key) else {
            seen.insert(key, resolved);
            continue;
        };
        let span = ["ansible_host", "ansible_ssh_host"]
            .iter()
            .find_map(|name| resolved.variables.place(name))
            .unwrap_or(resolved.span);
        let here = match connection.kind {
            ConnectionKind::Local => "are both this machine".to_owned(),
            ConnectionKind::Ssh | ConnectionKind::WinRm => {
                format!("have the same address, {}", quoted(&connection.address))
            }
        };
        let place = context.problems.place(first.span, span);
        let message = format!(
            "{} and {} {here}",
            quoted(&first.host.name),
            quoted(&resolved.host.name)
        );
        let help = format!(
            "{} is on {place}; one machine is one host, which may be in several groups",
            quoted(&first.host.name)
        );
        context
            .problems
            .error(span, message, "the second of the two", Some(help));
    }
}

/// Two files of one host with the same path.
fn paths(resolved: &Resolved, context: &mut Context) {
    let host = &resolved.host;
    let settings = &host.settings;
    let mut files: Vec<(String, &str, &str)> = Vec::new();
    if host.is_ca {
        let directory = tidy_path(&settings.ca_dir);
        let names = ["ca.pem", "ca-key.pem", "ca.srl"];
        files.extend(names.map(|name| (format!("{directory}/{name}"), "the CA", "dtls_ca_dir")));
    }
    if host.is_daemon {
        let directory = tidy_path(&settings.daemon_dir);
        let names = [
            &settings.daemon_files.ca,
            &settings.daemon_files.cert,
            &settings.daemon_files.key,
        ];
        files.extend(names.map(|name| {
            (
                format!("{directory}/{name}"),
                "the daemon",
                "dtls_daemon_dir",
            )
        }));
    }
    if host.is_client {
        let directory = in_home(&tidy_path(&settings.client_dir), host);
        let names = ["ca.pem", "cert.pem", "key.pem"];
        files.extend(names.map(|name| {
            (
                format!("{directory}/{name}"),
                "the client",
                "dtls_client_dir",
            )
        }));
    }
    let mut owners: HashMap<&str, &str> = HashMap::new();
    let mut said = BTreeSet::new();
    for (path, owner, variable) in &files {
        let Some(first) = owners.insert(path, owner) else {
            continue;
        };
        if first == *owner || !said.insert((first, *owner)) {
            continue;
        }
        let span = resolved.variables.place(variable).unwrap_or(resolved.span);
        let message = format!(
            "on {}, {first} and {owner} would both write {}",
            quoted(&host.name),
            quoted(path)
        );
        let help = format!("give them different directories; {variable} is one of the two");
        context
            .problems
            .error(span, message, "the second of the two", Some(help));
    }
}

/// Hosts that could not run the scripts; for both paths see Microsoft's Windows containers
/// documentation, "Docker Engine on Windows".
fn windows(resolved: &Resolved, context: &mut Context) {
    let connection = &resolved.host.connection;
    let variable = if connection.kind == ConnectionKind::WinRm {
        "ansible_connection"
    } else if connection.shell == ShellType::Windows {
        "ansible_shell_type"
    } else {
        return;
    };
    let name = &resolved.host.name;
    let message = format!("{name} is a Windows host: only Linux hosts are managed");
    let help = format!(
        r"leave {name} out and set it up by hand: its daemon reads C:\ProgramData\Docker\config\daemon.json (tlsverify, tlscacert, tlscert, tlskey, hosts), its clients %USERPROFILE%\.docker (ca.pem, cert.pem, key.pem)"
    );
    let place = resolved.variables.place(variable).unwrap_or(resolved.span);
    context
        .problems
        .error(place, message, "this says so", Some(help));
}

/// An untrusted inventory reads nothing from the local machine.
fn this_machine(resolved: &Resolved, context: &mut Context) {
    if !context.environment.untrusted || resolved.host.connection.kind != ConnectionKind::Local {
        return;
    }
    let place = resolved.variables.place("ansible_connection");
    let message = format!(
        "{} is this machine itself (ansible_connection: local), which --untrusted refuses",
        resolved.host.name
    );
    let help = Some("reach it by SSH, or leave out --untrusted".to_owned());
    context.problems.error(
        place.unwrap_or(resolved.span),
        message,
        "this says so",
        help,
    );
}

/// Settings of one host that contradict each other.
fn contradictions(resolved: &Resolved, ca_days: Option<u32>, context: &mut Context) {
    let (host, settings) = (&resolved.host, &resolved.host.settings);
    let at = |name: &str| resolved.variables.place(name).unwrap_or(resolved.span);
    if settings.sans.is_some() && !settings.extra_sans.is_empty() {
        let message = "dtls_extra_sans adds to the list that dtls_sans replaces";
        let help = Some("put all names into dtls_sans, or leave dtls_sans out".to_owned());
        context
            .problems
            .error(at("dtls_extra_sans"), message, "this one", help);
    }
    if settings.sans.is_some() && settings.own_addresses {
        let message = "dtls_own_addresses adds to the list that dtls_sans replaces";
        let help = Some("put all addresses into dtls_sans, or leave dtls_sans out".to_owned());
        context
            .problems
            .error(at("dtls_own_addresses"), message, "this one", help);
    }
    if let Some((message, help)) = settings.renew_before.and_then(|renew| {
        let ca_days = ca_days.filter(|_| host.has_role());
        renewed_always("certificates", renew.days, settings.validity_days, ca_days)
    }) {
        context
            .problems
            .error(at("dtls_renew_before"), message, "this value", Some(help));
    }
    if host.is_daemon && settings.daemon_mode == DaemonMode::Tls && !settings.anyone_can_connect {
        let message = "with dtls_daemon_mode: tls anyone who can connect controls the host";
        let help = Some("leave it out for a daemon that asks for certificates; if it is meant, say so: dtls_i_understand_anyone_can_connect: true".to_owned());
        context
            .problems
            .error(at("dtls_daemon_mode"), message, "this value", help);
    }
    if let Some(ca_days) =
        ca_days.filter(|ca_days| host.has_role() && settings.validity_days > *ca_days)
    {
        let message = format!(
            "certificates of {} days would outlive their CA of {ca_days} days",
            settings.validity_days
        );
        let help =
            Some("they end with the CA: raise dtls_ca_validity_days or lower this".to_owned());
        context.problems.warning(
            at("dtls_validity_days"),
            message,
            "longer than the CA",
            help,
        );
    }
}

fn default_daemon(resolved: &Resolved, daemons: &[&str], context: &mut Context) {
    let settings = &resolved.host.settings;
    let at = |name: &str| resolved.variables.place(name).unwrap_or(resolved.span);
    match &settings.default_daemon {
        Some(name) if !daemons.contains(&name.as_str()) => {
            let help = match nearest(name, daemons.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "name a host of the group daemons".to_owned(),
            };
            let message = format!("{} is no host of the group daemons", quoted(name));
            context
                .problems
                .error(at("dtls_default_daemon"), message, "this name", Some(help));
        }
        None if daemons.len() > 1 && settings.client_env.contains(&ClientEnv::Profile) => {
            let count = daemons.len();
            let message = format!("a profile points to one daemon, and there are {count}");
            let first = daemons.first().copied().unwrap_or_default();
            let help = Some(format!("say which one: dtls_default_daemon: {first}"));
            context
                .problems
                .error(at("dtls_client_env"), message, "profile", help);
        }
        _ => {}
    }
}
