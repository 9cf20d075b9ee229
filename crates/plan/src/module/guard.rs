//! `guard`: the authorization plugin that checks each request to dockerd, and its policy.

use std::collections::{BTreeMap, BTreeSet};

use super::shared::{Module, is_absent};
use crate::host::guard::{
    DROP_IN, DROP_IN_TEXT, POLICY, PROGRAM, UNIT_DIRECTORY, UNITS, files, is_installed,
    policy_in_place,
};
use crate::host::unit;
use crate::marks::Marks;
use crate::outside::{Outside, outside_of};
use crate::playbook::Task;
use crate::{
    Action, Authority, Batch, Change, Content, Desired, FileChange, Place, Plan, PlannedHost,
    PlannedPlay, Planner, Refusal,
};
use inventory::{Host, Inventory};
use node::facts::{FactRequest, FileFact, NodeFacts};
use pki::{Ledger, Role, sha256_hex};
use policy::{Document, Identity, Revoked, Serial};
use time::OffsetDateTime;

#[derive(Debug)]
pub struct Guard;

impl Module for Guard {
    fn facts(&self, _: &Inventory, host: &Host, task: &Task, request: &mut FactRequest) {
        if host.settings.guard.is_none() && !is_absent(task) {
            return;
        }
        for (directory, name) in files(host) {
            let path = format!("{directory}/{name}");
            if name == PROGRAM.1 {
                request.hashed.insert(path);
            } else {
                request.content.insert(path);
            }
            // Removed files are always root's, in directories of the system.
            if host.is_guarded() {
                request.directories.insert(directory);
            }
        }
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        let facts = planner.facts(&host.name)?;
        let policy_alone = task.argument("because") == Some("policy");
        if is_absent(task) || !host.is_guarded() {
            // A rotation removes nothing, and a host with another program's guard has no drop-in of
            // dtls-deploy.
            if !is_installed(host, facts) || policy_alone {
                return Ok(Vec::new());
            }
            if host.settings.guard.is_none() && !is_absent(task) {
                planner.note(
                    host,
                    "it has a guard, and dtls_guard is not set: the guard stays as it is; true keeps its policy up to date, false removes it",
                );
                return Ok(Vec::new());
            }
            if !is_absent(task) {
                planner.check_guard_needed(host)?;
                note_unknown(planner, host);
            }
            return gone(planner, host, task);
        }
        if policy_alone && !is_installed(host, facts) {
            return Ok(Vec::new());
        }
        if !facts.systemd {
            return Err(
                Refusal::new("the guard needs systemd, which is not running there")
                    .hint("set dtls_guard: false for this host"),
            );
        }
        let mut changes = Vec::new();
        if !policy_alone {
            changes.extend(program(planner, host, task)?);
            for (name, text) in UNITS {
                let desired = unit_file(UNIT_DIRECTORY, name, text);
                changes.extend(planner.compare(host, task, desired)?);
            }
            let directory = unit::directory(&host.settings.unit);
            let desired = unit_file(&directory, DROP_IN, DROP_IN_TEXT);
            changes.extend(planner.compare(host, task, desired)?);
        }
        let in_place = policy_in_place(host, facts);
        let document = policy_of(
            host,
            planner.inventory,
            &planner.authority.ledger,
            (in_place.as_ref(), &planner.marks, planner.now),
        );
        if let Some(text) = rejected(&document, in_place.as_ref(), planner) {
            planner.danger(host, text);
        }
        let (directory, name) = POLICY;
        let text = Content::Text(document.text());
        let desired = Desired::new(Place::Policy, directory, name, text).exactly(0o644);
        changes.extend(planner.compare(host, task, desired)?);
        Ok(changes)
    }
}

/// Notes what its guard rejects and the ledger does not know.
fn note_unknown(planner: &mut Planner<'_>, host: &Host) {
    let unknown = planner.marks.unknown.values();
    let unknown: BTreeSet<&str> = unknown
        .filter(|mark| mark.daemons.contains(&host.name))
        .map(|mark| mark.revoked.name.as_str())
        .collect();
    if unknown.is_empty() {
        return;
    }
    let named = unknown.into_iter().collect::<Vec<_>>().join(", ");
    planner.danger(
        host,
        format!(
            "its guard rejects certificates of {named} that the ledger does not know: without the guard it accepts those that the present CA has issued; to reject them, run dtls-deploy rotate --ca INVENTORY first"
        ),
    );
}

fn unit_file(directory: &str, name: &str, text: &str) -> Desired {
    let text = Content::Text(text.to_owned());
    Desired::new(Place::DropIn, directory, name, text).exactly(0o644)
}

fn program(planner: &Planner<'_>, host: &Host, task: &Task) -> Result<Option<Change>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let (directory, name) = PROGRAM;
    let path = format!("{directory}/{name}");
    let Some(program) = planner.guard else {
        // A read-only command does not read the binary.
        return match facts.file(&path) {
            Some(FileFact::File(_)) => Ok(None),
            _ => Err(Refusal::new(format!(
                "{name} is not installed beside dtls-deploy on this machine"
            ))
            .hint("install the guard's program of the same release, or set dtls_guard: false")),
        };
    };
    let own = std::env::consts::ARCH;
    if facts.machine != own {
        return Err(Refusal::new(format!(
            "the node is {}, and the guard's program on this machine is for {own}",
            facts.machine
        ))
        .hint("run dtls-deploy on a machine of that architecture, or set dtls_guard: false"));
    }
    let content = Content::Program(program.clone());
    let desired = Desired::new(Place::Program, directory, name, content).exactly(0o755);
    planner.compare(host, task, desired)
}

/// Removes all of it; files that are already gone do not matter.
fn gone(planner: &Planner<'_>, host: &Host, task: &Task) -> Result<Vec<Change>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let mut changes = Vec::new();
    for (directory, name) in files(host) {
        let path = format!("{directory}/{name}");
        if !matches!(facts.file(&path), Some(FileFact::File(_))) {
            continue;
        }
        let prune = match name.as_str() {
            name if name == PROGRAM.1 => 2,
            name if name == POLICY.1 || name == DROP_IN => 1,
            _ => 0,
        };
        let action = file_change(facts, &directory, &name, Content::Gone { prune });
        changes.push(Change {
            host: host.name.clone(),
            task: task.name.clone(),
            subject: path,
            reasons: vec!["to be removed".to_owned()],
            diff: None,
            action,
        });
    }
    Ok(changes)
}

/// A change to a file of the guard; all of them belong to root.
fn file_change(facts: &NodeFacts, directory: &str, name: &str, content: Content) -> Action {
    let before = facts.regular(&format!("{directory}/{name}"));
    Action::File(FileChange {
        directory: directory.to_owned(),
        directory_mode: 0o755,
        name: name.to_owned(),
        mode: before.map_or(0o644, |file| file.mode),
        account: "root".to_owned(),
        before: before.map(|file| file.sha256.clone()),
        attributes: Vec::new(),
        content,
    })
}

/// The policies of installed guards that differ from the ledger and the inventory: one file on each
/// daemon, without a restart.
#[must_use]
pub fn outdated_policies(
    inventory: &Inventory,
    authority: &Authority,
    facts: &BTreeMap<String, NodeFacts>,
    now: OffsetDateTime,
) -> Plan {
    let (directory, name) = POLICY;
    let mut ledger = authority.ledger.clone();
    let marks = Marks::read(inventory, &ledger, facts, now);
    marks.restore(&mut ledger, now);
    let hosts = inventory.daemons().filter_map(|daemon| {
        let facts = facts.get(&daemon.name)?;
        if !daemon.is_guarded() || !is_installed(daemon, facts) {
            return None;
        }
        let in_place = policy_in_place(daemon, facts);
        let text = policy_of(daemon, inventory, &ledger, (in_place.as_ref(), &marks, now)).text();
        let path = format!("{directory}/{name}");
        let before = facts.regular(&path).map(|file| file.sha256.as_str());
        if before == Some(sha256_hex(text.as_bytes()).as_str()) {
            return None;
        }
        let change = Change {
            host: daemon.name.clone(),
            task: "Policy of the guard".to_owned(),
            subject: path,
            reasons: vec!["the content differs".to_owned()],
            diff: None,
            action: file_change(facts, directory, name, Content::Text(text)),
        };
        Some(PlannedHost {
            host: daemon.name.clone(),
            batches: vec![Batch {
                transaction: true,
                changes: vec![change],
                follows: BTreeSet::new(),
                called: Vec::new(),
            }],
        })
    });
    let play = PlannedPlay {
        name: "Policies of the guards".to_owned(),
        hosts: hosts.collect(),
    };
    Plan {
        plays: vec![play],
        ..Plan::default()
    }
}

/// Who may do what on a daemon, according to the inventory and the ledger.
///
/// Certificates that this program issued are matched by common name, so that a renewed one keeps
/// its role; adopted ones, whose name someone else chose, by serial number. What the policy in
/// place of any daemon revokes stays revoked, unless the ledger says otherwise: after a restore of
/// the CA it may lack the mark.
pub(super) fn policy_of(
    host: &Host,
    inventory: &Inventory,
    ledger: &Ledger,
    (in_place, marks, now): (Option<&Document>, &Marks, OffsetDateTime),
) -> Document {
    let settings = &host.settings;
    let mut document = Document::new(settings.roles.clone(), settings.guard_default.clone());
    let holders = inventory
        .clients()
        .flat_map(Host::certificate_holders)
        .map(|holder| (holder.holder(), holder.settings.role.clone()));
    document.names = holders.collect();
    let mut revoked = BTreeMap::new();
    let mut identities = BTreeMap::new();
    for entry in ledger.entries() {
        if entry.role != Role::Client || entry.not_after <= now {
            continue;
        }
        let Some(serial) = Serial::parse(&entry.serial) else {
            continue;
        };
        let name = entry.host.clone();
        if ledger.revocation(&entry.serial).is_some() {
            revoked.insert(serial.clone(), Revoked { serial, name });
        } else if entry.adopted
            && let Some(role) = document.names.get(&name)
        {
            let role = role.clone();
            identities.insert(serial.clone(), Identity { serial, name, role });
        }
    }
    let has_expired = |serial: &str| {
        let entry = ledger.entries().iter().find(|entry| entry.serial == serial);
        entry.is_some_and(|entry| entry.not_after <= now)
    };
    let in_place = in_place.map_or(&[][..], |document| &document.revoked);
    let unknown = marks.unknown.values().map(|mark| &mark.revoked);
    for one in in_place.iter().chain(unknown) {
        let serial = one.serial.as_str();
        if !ledger.is_readmitted(serial) && !has_expired(serial) {
            revoked
                .entry(one.serial.clone())
                .or_insert_with(|| one.clone());
        }
    }
    document.revoked = revoked.into_values().collect();
    document.identities = identities.into_values().collect();
    document
}

/// Valid certificates of clients outside the inventory that are accepted now, and rejected by the
/// new policy.
fn rejected(
    document: &Document,
    in_place: Option<&Document>,
    planner: &Planner<'_>,
) -> Option<String> {
    const NAMED: usize = 5;
    let accepts = |policy: &Document, one: &Outside| {
        let mut identities = policy.identities.iter();
        policy.unknown.is_some()
            || policy.names.contains_key(&one.host)
            || identities.any(|known| {
                one.serials
                    .iter()
                    .any(|serial| known.serial.as_str() == serial)
            })
    };
    let outside = outside_of(&planner.authority, planner.inventory, planner.now);
    let cut_off: Vec<String> = outside
        .iter()
        .filter(|one| one.role == Role::Client && !accepts(document, one))
        .filter(|one| in_place.is_none_or(|policy| accepts(policy, one)))
        .map(|one| one.host.clone())
        .collect();
    let named = cut_off
        .iter()
        .take(NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let more = match cut_off.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!cut_off.is_empty()).then(|| format!(
        "from now on its guard rejects {named}{more}: valid certificates of holders that are not in the inventory; add them to the inventory, or set dtls_guard_default"
    ))
}
