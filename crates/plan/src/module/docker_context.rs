//! `docker_context`: a context of the docker CLI for every daemon.

use std::collections::BTreeSet;

use super::identity::check_owner;
use super::shared::{Module, is_absent, waits_for_leaf};
use crate::host::address::daemon_address;
use crate::host::client::{context_name, context_paths, has_contexts, keeper_of};
use crate::host::leaf::location as leaf_location;
use crate::left_contexts::{LeftContext, left_daemons, named};
use crate::playbook::Task;
use crate::{
    Change, Content, Desired, LeafDecision, LeafPart, Place, Planner, Refusal, request_leaf,
};
use docker::context::ContextPaths;
use docker::context::{Keeper, metadata, moved};
use inventory::{ClientEnv, Host, Inventory};
use node::facts::FactRequest;
use pki::Role;

#[derive(Debug)]
pub struct DockerContext;

impl Module for DockerContext {
    fn facts(&self, inventory: &Inventory, host: &Host, _: &Task, request: &mut FactRequest) {
        for holder in everybody(host) {
            request_leaf(holder, Role::Client, request);
            for daemon in inventory.daemons() {
                let paths = context_paths(holder, daemon);
                request
                    .content
                    .insert(format!("{}/meta.json", paths.metadata));
                for name in ["ca.pem", "cert.pem"] {
                    request.bundles.insert(format!("{}/{name}", paths.tls));
                }
                request.key(format!("{}/key.pem", paths.tls));
                request.directories.insert(paths.metadata);
                request.directories.insert(paths.tls);
            }
        }
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        let mut changes = Vec::new();
        let takes_away = task.argument("because") != Some("changes");
        let mut removed = BTreeSet::new();
        record_left(planner, host, task);
        for holder in everybody(host) {
            // A daemon that this run leaves out keeps its files.
            if !holder.is_client && !is_absent(task) {
                continue;
            }
            if is_absent(task) || (takes_away && !has_contexts(holder)) {
                changes.extend(remove(planner, host, holder, task, &mut removed)?);
            } else if has_contexts(holder) && !waits_for_leaf(planner, holder, task, Role::Client) {
                changes.extend(deliver(planner, holder, task)?);
            }
        }
        Ok(changes)
    }
}

/// The host itself and its identities, including removed ones.
fn everybody(host: &Host) -> impl Iterator<Item = &Host> {
    std::iter::once(host).chain(&host.identities)
}

/// The contexts of one account, with the files of one holder.
fn deliver(planner: &mut Planner<'_>, host: &Host, task: &Task) -> Result<Vec<Change>, Refusal> {
    let (directory, files) = leaf_location(host, Role::Client);
    let shows_certificate = host.shows_certificate();
    let leaf_is_new = shows_certificate
        && !matches!(
            planner.decided_leaf(host, Role::Client)?,
            LeafDecision::Keep { .. }
        );
    let mut changes = Vec::new();
    for daemon in planner.inventory.daemons() {
        let facts = planner.facts(&host.name)?;
        let paths = context_paths(host, daemon);
        check_owner(facts, host, &paths.tls)?;
        let text = wanted(planner, host, daemon)?;
        let copies = [
            ("ca.pem", &files.ca, planner.bundle(host, Role::Client)),
            (
                "cert.pem",
                &files.cert,
                Content::Leaf {
                    holder: host.holder(),
                    role: Role::Client,
                    part: LeafPart::Certificate,
                },
            ),
            (
                "key.pem",
                &files.key,
                Content::Leaf {
                    holder: host.holder(),
                    role: Role::Client,
                    part: LeafPart::Key,
                },
            ),
        ];
        let wanted = if shows_certificate { 3 } else { 1 };
        for (name, source, content) in copies.into_iter().take(wanted) {
            let mut reasons = Vec::new();
            let is_leaf = matches!(content, Content::Leaf { .. });
            let mut content = content;
            if is_leaf {
                let from = facts.regular(&format!("{directory}/{source}"));
                let copy = facts.regular(&format!("{}/{name}", paths.tls));
                let same =
                    matches!((from, copy), (Some(from), Some(copy)) if from.sha256 == copy.sha256);
                if leaf_is_new {
                    // Of a copy that is not there yet, `compare` says so.
                    let change = copy.map(|_| "the client's certificate changes".to_owned());
                    reasons.extend(change);
                } else if same {
                    content = Content::Same;
                } else {
                    content = Content::Copy {
                        from: format!("{}/{source}", facts.expand(&directory)),
                    };
                    reasons.extend(copy.map(|_| "differs from the client's own".to_owned()));
                }
            } else {
                let path = format!("{}/{name}", paths.tls);
                reasons = planner.bundle_reasons(host, Role::Client, &path);
            }
            let desired = Desired::new(place_of(name), paths.tls.clone(), name, content)
                .exactly(0o400)
                .because(reasons);
            changes.extend(planner.compare(host, task, desired)?);
        }
        if !shows_certificate {
            for name in ["key.pem", "cert.pem"] {
                changes.extend(without(planner, host, task, &paths.tls, name)?);
            }
        }
        let desired = Desired::new(
            Place::Context,
            paths.metadata,
            "meta.json",
            Content::Text(text),
        );
        changes.extend(planner.compare(host, task, desired)?);
    }
    Ok(changes)
}

/// The kind of file that one of a context's files is.
fn place_of(name: &str) -> Place {
    match name {
        "meta.json" => Place::Context,
        "key.pem" => Place::Key,
        _ => Place::Certificates,
    }
}

/// The files that a context without a client certificate must not have.
fn without(
    planner: &Planner<'_>,
    host: &Host,
    task: &Task,
    directory: &str,
    name: &str,
) -> Result<Option<Change>, Refusal> {
    let because = format!(
        "dtls_client_mode: {} shows no certificate",
        host.settings.client_mode.word()
    );
    let desired = Desired::new(place_of(name), directory, name, Content::Gone { prune: 0 })
        .because(vec![because]);
    planner.compare(host, task, desired)
}

/// The text of a context. What an operator changed in it besides its address stays; a context of
/// another CA is not overwritten.
fn wanted(planner: &Planner<'_>, client: &Host, daemon: &Host) -> Result<String, Refusal> {
    let name = context_name(client, daemon);
    let own = &planner.inventory.name;
    let (url, mode) = (daemon_address(daemon).url(), client.settings.client_mode);
    let text = |inventory: &str| Ok(metadata(&name, &url, inventory, mode));
    let facts = planner.facts(&client.name)?;
    let Some(keeper) = keeper_of(client, daemon, planner.inventory, facts) else {
        return text(own);
    };
    let meta = format!("{}/meta.json", context_paths(client, daemon).metadata);
    let content = facts
        .regular(&meta)
        .and_then(|file| file.content.as_deref());
    let is_ours = is_ours(planner, client, daemon, Some(&keeper))?;
    let ca = format!("{}/ca.pem", context_paths(client, daemon).tls);
    let takes_over = planner.may_take_over(client, &facts.expand(&ca))?;
    let other = match keeper {
        Keeper::Own if is_ours || takes_over => return text(own),
        Keeper::Inventory(other) if is_ours => return text(&other),
        Keeper::Inventory(_) if takes_over => return text(own),
        Keeper::Other => {
            let moved = content.and_then(|content| moved(content, &url, mode));
            if let Some(moved) = moved.filter(|_| is_ours) {
                return Ok(moved);
            }
            return Err(Refusal::new(format!(
                "the docker context {name} exists and is not ours"
            ))
            .hint(format!(
                "remove it (docker context rm {name}), or leave `context` out of dtls_client_env"
            )));
        }
        Keeper::Own => own.clone(),
        Keeper::Inventory(other) => other,
    };
    Err(Refusal::new(format!(
        "the docker context {name} is kept by another inventory, {other}, with another CA"
    ))
    .hint(format!(
        "give this one a zone (dtls_zone: {own}): its contexts are then named {own}-{}",
        daemon.name
    )))
}

/// Whether a context is of this CA: decided by its certificates and key or, without these, by its
/// text. Docker ignores a context without meta.json, but its key may still be there.
fn is_ours(
    planner: &Planner<'_>,
    client: &Host,
    daemon: &Host,
    keeper: Option<&Keeper>,
) -> Result<bool, Refusal> {
    let facts = planner.facts(&client.name)?;
    let tls = facts.expand(&context_paths(client, daemon).tls);
    let [ca, certificate, key] =
        ["ca.pem", "cert.pem", "key.pem"].map(|name| format!("{tls}/{name}"));
    let is_own = planner.is_own_set(client, [&ca, &certificate, &key]);
    Ok(is_own.unwrap_or(keeper == Some(&Keeper::Own)))
}

/// Whether a remaining identity uses this context: several identities can share an account and its
/// contexts.
fn is_of_another(
    planner: &Planner<'_>,
    machine: &Host,
    paths: &ContextPaths,
    daemon: &Host,
) -> Result<bool, Refusal> {
    let facts = planner.facts(&machine.name)?;
    let place = facts.expand(&paths.metadata);
    Ok(everybody(machine)
        .filter(|holder| has_contexts(holder))
        .any(|holder| facts.expand(&context_paths(holder, daemon).metadata) == place))
}

/// The daemons that the inventory does not name any more, of which a holder has a context: one that
/// names this inventory, with files of its CA.
fn left_for(planner: &Planner<'_>, holder: &Host) -> Result<Vec<Host>, Refusal> {
    let facts = planner.facts(&holder.name)?;
    let (ledger, inventory) = (&planner.authority.ledger, planner.inventory);
    let mut left = Vec::new();
    for daemon in left_daemons(ledger, inventory, planner.now) {
        let daemon = named(holder, &daemon);
        let keeper = keeper_of(holder, &daemon, inventory, facts);
        if keeper == Some(Keeper::Own) && is_ours(planner, holder, &daemon, None)? {
            left.push(daemon);
        }
    }
    Ok(left)
}

/// Records such contexts where they stay.
fn record_left(planner: &mut Planner<'_>, host: &Host, task: &Task) {
    if is_absent(task) {
        return;
    }
    let mut left = BTreeSet::new();
    for holder in everybody(host).filter(|holder| has_contexts(holder)) {
        for daemon in left_for(planner, holder).unwrap_or_default() {
            left.insert(LeftContext {
                host: host.name.clone(),
                name: context_name(holder, &daemon),
                holder: holder.holder(),
                account: holder.owner().map(str::to_owned),
            });
        }
    }
    planner.left_contexts.extend(left);
}

/// Removes this inventory's contexts, with the files copied into them. `removed`: those of the
/// machine that are removed already.
fn remove(
    planner: &Planner<'_>,
    machine: &Host,
    host: &Host,
    task: &Task,
    removed: &mut BTreeSet<String>,
) -> Result<Vec<Change>, Refusal> {
    let facts = planner.facts(&machine.name)?;
    let mut changes = Vec::new();
    let left = left_for(planner, host)?;
    for daemon in planner.inventory.daemons().chain(&left) {
        let paths = context_paths(host, daemon);
        if !is_absent(task) && is_of_another(planner, machine, &paths, daemon)? {
            continue;
        }
        let keeper = keeper_of(host, daemon, planner.inventory, facts);
        let is_others = keeper == Some(Keeper::Other) && !takes_any(host, task);
        let is_ours = is_ours(planner, host, daemon, keeper.as_ref())?;
        if is_others || !is_ours || !removed.insert(facts.expand(&paths.metadata)) {
            continue;
        }
        // contexts/tls/ID/docker and contexts/meta/ID, whole once empty; for a removed identity,
        // whose own files were removed before, ~/.docker as well.
        for (directory, name, prune) in [
            (&paths.tls, "ca.pem", 4),
            (&paths.tls, "cert.pem", 4),
            (&paths.tls, "key.pem", 4),
            (&paths.metadata, "meta.json", 3),
        ] {
            let mut desired = Desired::new(
                place_of(name),
                directory.clone(),
                name,
                Content::Gone {
                    prune: prune + u8::from(host.is_absent()),
                },
            );
            if !is_absent(task) && !host.is_absent() {
                desired = desired.because(vec![not_asked_for(host)]);
            }
            changes.extend(planner.compare(host, task, desired)?);
        }
    }
    Ok(changes)
}

/// Whether a context of this CA is removed even if its owner changed its description, which is all
/// that distinguishes it from one made by hand.
fn takes_any(host: &Host, task: &Task) -> bool {
    let asks = host.settings.client_env.contains(&ClientEnv::Context);
    (is_absent(task) && host.identity.is_none()) || ((is_absent(task) || host.is_absent()) && asks)
}

fn not_asked_for(host: &Host) -> String {
    match &host.identity {
        Some(identity) => format!("dtls_identities asks for no contexts for {}", identity.name),
        None => "dtls_client_env does not name `context`".to_owned(),
    }
}
