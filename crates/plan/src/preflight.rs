//! Pre-flight checks: what would go wrong on a node although every change is right.

use std::collections::BTreeSet;
use std::net::IpAddr;

use time::{Duration, OffsetDateTime};

use super::clocks::{apart, seconds};
use super::owner::refuse_foreign;
use super::{Action, Change, LeafDecision, Planner, Refusal, Served};
use crate::host::address::daemon_address;
use inventory::{Host, Listen};
use node::facts::{Network, NodeFacts, Owner, STATE, Unheard};
use pki::{BACKDATE, Certificate, Signer};

/// KiB that must be free: the old and the new set, and what systemd writes.
const FREE: u64 = 1024;
/// Number of files and directories that must be creatable.
const INODES: u64 = 64;

/// What to do if dockerd rejects its settings.
pub const FIX_SETTINGS: &str =
    "fix /etc/docker/daemon.json or the unit's flags there, and run again";

/// Runs all checks; adds notes for what is not an error.
pub fn check(
    planner: &Planner<'_>,
    host: &Host,
    changes: &[&Change],
) -> Result<Vec<String>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let mut notes = Vec::new();
    clock(planner, host, facts)?;
    let restarts = changes
        .iter()
        .any(|change| matches!(change.action, Action::Restart(_)));
    if restarts {
        refuse_foreign(planner, host, facts)?;
        starts(facts)?;
        let serves_tls = |change: &&Change| matches!(&change.action, Action::Restart(restart) if restart.serves != Served::Socket);
        if changes.iter().any(serves_tls) {
            reached(planner, host)?;
            heard(host, facts)?;
            notes.extend(boot(host, facts)?);
        }
        for listen in &host.settings.listen {
            notes.extend(listens(host, listen, facts)?);
        }
    }
    space(facts, changes, restarts)?;
    Ok(notes)
}

/// The subject of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Clock,
    Owner,
    Settings,
    Listening,
    Space,
}

/// Like [`check`], but for all changes of a host: returns every refusal, and adds notes for what is
/// not an error.
#[must_use]
pub fn everything(
    planner: &Planner<'_>,
    host: &Host,
    facts: &NodeFacts,
) -> (Vec<(Look, Refusal)>, Vec<String>) {
    let (mut refusals, mut notes) = (Vec::new(), Vec::new());
    refusals.extend(
        clock(planner, host, facts)
            .err()
            .map(|refusal| (Look::Clock, refusal)),
    );
    if host.is_daemon {
        let foreign = refuse_foreign(planner, host, facts).err();
        refusals.extend(foreign.map(|refusal| (Look::Owner, refusal)));
        let rejected = starts(facts).err();
        refusals.extend(rejected.map(|refusal| (Look::Settings, refusal)));
        let unreached = reached(planner, host).err();
        refusals.extend(unreached.map(|refusal| (Look::Listening, refusal)));
        match boot(host, facts) {
            Ok(note) => notes.extend(note),
            Err(refusal) => refusals.push((Look::Listening, refusal)),
        }
    }
    let listening = host.settings.listen.iter().filter(|_| host.is_daemon);
    for listen in listening {
        match listens(host, listen, facts) {
            Ok(note) => notes.extend(note),
            Err(refusal) => refusals.push((Look::Listening, refusal)),
        }
    }
    let mut mounts = BTreeSet::new();
    for (directory, space) in &facts.space {
        // The first of several directories on one file system is named.
        if mounts.insert(&space.mount)
            && let Err(refusal) = room(facts, directory)
        {
            refusals.push((Look::Space, refusal));
        }
    }
    (refusals, notes)
}

/// A certificate must be valid by the clock of the node that holds it. This machine's clock decides
/// about renewal, and the CA node's clock about issuing.
fn clock(planner: &Planner<'_>, host: &Host, facts: &NodeFacts) -> Result<(), Refusal> {
    let there = planner.now + Duration::seconds(facts.skew);
    let authority = planner
        .authority
        .certificate
        .as_ref()
        .filter(|_| !planner.authority.planned);
    let next = planner.authority.next.as_ref();
    let ca = planner.inventory.ca();
    let refuse = |text: String| {
        Err(Refusal::new(text).hint(format!(
            "set the clock of {} right (timedatectl set-ntp true, or chronyc makestep), and look at those of {} and of this machine",
            host.name, ca.name
        )))
    };
    for authority in authority.into_iter().chain(next) {
        if let Some(why) = invalid(authority, planner.now, there) {
            return refuse(format!("the CA's certificate {why}"));
        }
    }
    for ((name, role), decision) in &planner.leaves {
        if *name != host.name {
            continue;
        }
        match decision {
            LeafDecision::Keep { certificate } | LeafDecision::Fetch { certificate, .. } => {
                if let Some(why) = invalid(certificate, planner.now, there) {
                    return refuse(format!("its {role} certificate {why}"));
                }
            }
            LeafDecision::Issue { request, .. } => {
                let Some(signs) = planner.facts.get(&ca.name) else {
                    continue;
                };
                let signed = planner.now + Duration::seconds(signs.skew);
                let (begin, mut end) = (
                    signed - BACKDATE,
                    signed + Duration::days(request.validity_days.into()),
                );
                let signing = match request.signer {
                    Signer::Current => authority,
                    Signer::Next => next,
                };
                if let Some(authority) = signing {
                    end = end.min(authority.not_after());
                }
                let apart = apart(facts.skew - signs.skew);
                if there < begin {
                    return refuse(format!(
                        "its clock is {apart} that of {}, which signs: a {role} certificate of now is not valid there for another {}",
                        ca.name,
                        seconds((begin - there).whole_seconds())
                    ));
                }
                if there >= end {
                    return refuse(format!(
                        "its clock is {apart} that of {}, which signs: a {role} certificate of now has expired there",
                        ca.name
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Why an unchanged certificate is not valid by the node's clock.
fn invalid(
    certificate: &Certificate,
    now: OffsetDateTime,
    there: OffsetDateTime,
) -> Option<String> {
    let clock = apart((there - now).whole_seconds());
    let (begin, end) = (certificate.not_before(), certificate.not_after());
    if there < begin {
        return Some(format!(
            "is not valid there for another {}: its clock is {clock} this machine's",
            seconds((begin - there).whole_seconds())
        ));
    }
    // If it has also expired by this machine's clock, it is renewed.
    (there >= end && now < end).then(|| {
        format!(
            "has expired there {} ago: its clock is {clock} this machine's",
            seconds((there - end).whole_seconds())
        )
    })
}

/// Whether dockerd accepted its future settings.
fn starts(facts: &NodeFacts) -> Result<(), Refusal> {
    match &facts.claims.rejected {
        Some(why) => Err(Refusal::new(why.clone()).hint(FIX_SETTINGS)),
        None => Ok(()),
    }
}

/// Whether at least one client can check what the daemon serves.
fn heard(host: &Host, facts: &NodeFacts) -> Result<(), Refusal> {
    if facts.claims.unheard.is_empty() {
        return Ok(());
    }
    let clients = |wanted: Unheard| -> String {
        let unheard = facts.claims.unheard.iter();
        let clients = unheard.filter(|(_, why)| **why == wanted);
        clients
            .map(|(client, _)| client.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let address = daemon_address(host);
    let undone = "no client could be asked what the daemon serves, and the change would be undone";
    let unresolved = clients(Unheard::NotResolved);
    if !unresolved.is_empty() {
        let reached = facts
            .claims
            .reached
            .filter(|ip| ip.to_string() != address.host);
        let reached = reached.map_or_else(|| "ADDRESS".to_owned(), |ip| ip.to_string());
        return Err(Refusal::new(format!(
            "{unresolved} cannot resolve {}, the name under which clients reach this daemon: {undone}",
            address.host
        ))
        .hint(format!(
            "set ansible_host: {reached}, if clients reach the daemon there, or dtls_listen with such an address; or add the name to DNS or to /etc/hosts on the clients"
        )));
    }
    let forbid = clients(Unheard::Forbidden);
    Err(Refusal::new(format!(
        "sshd on {forbid} forwards no connections to {}: {undone}",
        address.url()
    ))
    .hint(format!(
        "allow it on {forbid} for the account that logs in: AllowTcpForwarding local, and PermitOpen where it is set, in sshd_config"
    )))
}

/// Whether the daemon also listens after a boot. docker.socket starts it only on a local request.
fn boot(host: &Host, facts: &NodeFacts) -> Result<Option<String>, Refusal> {
    let unit = &host.settings.unit;
    let (Some(service), socket) = (&facts.unit, &facts.socket) else {
        return Ok(None);
    };
    if !service.waits_for_somebody() || !host.is_daemon {
        return Ok(None);
    }
    let socket = socket.as_ref().filter(|socket| socket.is_enabled());
    if socket.is_none() {
        return Ok(Some(format!(
            "{unit} is not enabled: after a reboot no client reaches the daemon until it is started by hand"
        )));
    }
    Err(Refusal::new(format!(
        "{unit} is not enabled: after a boot its socket starts it only for a local user, and until then no client reaches it"
    ))
    .hint(format!("run `systemctl enable {unit}` on {}", host.name)))
}

/// Whether dockerd can listen there, at an address that others reach.
fn listens(host: &Host, listen: &Listen, facts: &NodeFacts) -> Result<Option<String>, Refusal> {
    let address = match listen.host.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => match facts.resolved.get(&listen.host) {
            Some(addresses) => bound(host, listen, addresses)?,
            // The node has no getent.
            None => return Ok(None),
        },
    };
    let Some(network) = &facts.network else {
        return Ok(None);
    };
    if !network.has(address) {
        return Err(foreign(host, listen, address, network));
    }
    let Some(listener) = network.in_the_way(address, listen.port) else {
        return Ok(None);
    };
    let place = std::net::SocketAddr::new(listener.address, listener.port);
    match &listener.owner {
        Owner::Other(process) => Err(Refusal::new(format!(
            "{} in dtls_listen is taken: {process} listens on {place} there",
            listen.text
        ))
        .hint("stop it on the node, or give dtls_listen another port")),
        Owner::Unknown => Ok(Some(format!(
            "a process listens on {place} already, and only root can see which; dockerd does not start if it is another program"
        ))),
        Owner::Daemon => Ok(None),
    }
}

/// Whether the address that clients use can be reached from other machines.
fn reached(planner: &Planner<'_>, host: &Host) -> Result<(), Refusal> {
    let called = daemon_address(host).host;
    let is_loopback = match called.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => called == "localhost",
    };
    let mut clients = planner.inventory.clients();
    let other = clients.find(|client| client.name != host.name);
    let Some(client) = other.filter(|_| is_loopback) else {
        return Ok(());
    };
    let first = host.settings.listen.first();
    Err(match first.filter(|listen| listen.host.trim_matches(['[', ']']) == called) {
        Some(listen) => Refusal::new(format!(
            "{} in dtls_listen is loopback, where no other machine reaches it, and {} is a client",
            listen.text, client.name
        ))
        .hint(
            "let dtls_listen begin with an address that clients reach, or with tcp://0.0.0.0:2376",
        ),
        None => Refusal::new(format!(
            "clients would use {called} (ansible_host), which is loopback, and {} is another machine",
            client.name
        ))
        .hint(
            "let dtls_listen begin with an address that clients reach, like tcp://192.168.56.12:2376",
        ),
    })
}

/// The address that dockerd binds for a name: the first one, IPv4 if there is one (Go's
/// net.Listen). Debian writes `127.0.1.1 HOSTNAME` into /etc/hosts: dockerd would listen there, and
/// only the node itself would reach it.
fn bound(host: &Host, listen: &Listen, addresses: &[String]) -> Result<IpAddr, Refusal> {
    let name = &listen.host;
    let hint = format!(
        "fix {name} in /etc/hosts of {}, or name an address in dtls_listen",
        host.name
    );
    let parsed: Vec<IpAddr> = addresses
        .iter()
        .filter_map(|address| address.parse().ok())
        .collect();
    let first = parsed.iter().find(|address| address.is_ipv4());
    let Some(address) = first.or_else(|| parsed.first()) else {
        return Err(
            Refusal::new(format!("{name} in dtls_listen has no address on the node")).hint(hint),
        );
    };
    if name != "localhost" && parsed.iter().any(IpAddr::is_loopback) {
        return Err(Refusal::new(format!(
            "{name} in dtls_listen is {} on the node, where no other machine reaches it",
            addresses.join(" ")
        ))
        .hint(hint));
    }
    Ok(*address)
}

fn foreign(host: &Host, listen: &Listen, address: IpAddr, network: &Network) -> Refusal {
    let meant = if listen.host.parse::<IpAddr>().is_ok() {
        format!("{address} in dtls_listen")
    } else {
        format!("{} in dtls_listen is {address} there, which", listen.host)
    };
    let own = match network.shown() {
        own if own.is_empty() => "none but loopback".to_owned(),
        own => own.join(", "),
    };
    Refusal::new(format!(
        "{meant} is not an address of {} (it has {own})",
        host.name
    ))
    .hint("name one of its addresses, or tcp://0.0.0.0:2376 for all of them")
}

/// Whether the old and the new set both fit on the disk.
fn space(facts: &NodeFacts, changes: &[&Change], restarts: bool) -> Result<(), Refusal> {
    let mut directories: BTreeSet<&str> = changes
        .iter()
        .filter_map(|change| match &change.action {
            Action::File(file) => Some(file.directory.as_str()),
            _ => None,
        })
        .collect();
    if restarts {
        directories.insert(STATE);
    }
    directories
        .into_iter()
        .try_for_each(|directory| room(facts, directory))
}

fn room(facts: &NodeFacts, directory: &str) -> Result<(), Refusal> {
    let Some(space) = facts.space.get(directory).filter(|space| space.size > 0) else {
        return Ok(());
    };
    let refuse = |left: String| {
        Err(Refusal::new(format!(
            "{directory} is on a file system with {left} left (mounted at {})",
            space.mount
        ))
        .hint(format!(
            "make room there, at least {} MiB and {INODES} files: df -h {mount}; df -i {mount}",
            FREE / 1024,
            mount = space.mount
        )))
    };
    if space.free < FREE {
        return refuse(format!("{} KiB", space.free));
    }
    match space.inodes.filter(|inodes| *inodes < INODES) {
        Some(inodes) => refuse(format!("{inodes} inodes")),
        None => Ok(()),
    }
}
