//! `docker_context`: a context of the docker CLI for every daemon.

use super::{BECAUSE, Module, Parameter, STATE, is_absent, waits_for_leaf};
use crate::docker::context::{ContextPaths, Keeper, keeper, metadata, paths};
use crate::inventory::{ClientEnv, Host, Inventory};
use crate::node::facts::FactRequest;
use crate::pki::Role;
use crate::plan::{
    Change, Content, Desired, FileMode, LeafDecision, LeafPart, Mode, Planner, Refusal,
    daemon_address, leaf_location,
};
use crate::playbook::Task;

#[derive(Debug)]
pub struct DockerContext;

/// Where the CLI keeps its contexts, wherever the certificates are.
const CLI_DIRECTORY: &str = "~/.docker";

/// The name of a client's context for a daemon: after its zone and the daemon.
#[must_use]
pub(crate) fn context_name(client: &Host, daemon: &Host) -> String {
    match &client.settings.zone {
        Some(zone) => format!("{zone}-{}", daemon.name),
        None => daemon.name.clone(),
    }
}

/// Where that context is kept.
#[must_use]
pub(crate) fn context_paths(client: &Host, daemon: &Host) -> ContextPaths {
    paths(CLI_DIRECTORY, &context_name(client, daemon))
}

impl Module for DockerContext {
    fn name(&self) -> &'static str {
        "docker_context"
    }

    fn summary(&self) -> &'static str {
        "a docker context for each daemon, with copies of the client's files"
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[STATE, BECAUSE]
    }

    fn facts(&self, inventory: &Inventory, host: &Host, task: &Task, request: &mut FactRequest) {
        if !is_absent(task) && !host.settings.client_env.contains(&ClientEnv::Context) {
            return;
        }
        let (directory, files) = leaf_location(host, Role::Client);
        request.content.insert(format!("{directory}/{}", files.ca));
        request
            .content
            .insert(format!("{directory}/{}", files.cert));
        request.hashed.insert(format!("{directory}/{}", files.key));
        for daemon in inventory.daemons() {
            let paths = context_paths(host, daemon);
            request
                .content
                .insert(format!("{}/meta.json", paths.metadata));
            for name in ["ca.pem", "cert.pem"] {
                request.content.insert(format!("{}/{name}", paths.tls));
            }
            request.hashed.insert(format!("{}/key.pem", paths.tls));
            request.directories.insert(paths.metadata);
            request.directories.insert(paths.tls);
        }
    }

    fn plan(
        &self,
        planner: &mut Planner<'_>,
        host: &Host,
        task: &Task,
    ) -> Result<Vec<Change>, Refusal> {
        if is_absent(task) {
            return remove(planner, host, task);
        }
        if !host.settings.client_env.contains(&ClientEnv::Context)
            || waits_for_leaf(planner, host, task, Role::Client)
        {
            return Ok(Vec::new());
        }
        let (directory, files) = leaf_location(host, Role::Client);
        let decision = planner.decided_leaf(host, Role::Client)?;
        let leaf_is_new = !matches!(decision, LeafDecision::Keep { .. });
        let mut changes = Vec::new();
        for daemon in planner.inventory.daemons() {
            let facts = planner.facts(&host.name)?;
            let paths = context_paths(host, daemon);
            let meta = format!("{}/meta.json", paths.metadata);
            let name = context_name(host, daemon);
            refuse_another(planner, host, daemon, &meta)?;
            let copies = [
                ("ca.pem", &files.ca, planner.bundle(host, Role::Client)),
                (
                    "cert.pem",
                    &files.cert,
                    Content::Leaf {
                        role: Role::Client,
                        part: LeafPart::Certificate,
                    },
                ),
                (
                    "key.pem",
                    &files.key,
                    Content::Leaf {
                        role: Role::Client,
                        part: LeafPart::Key,
                    },
                ),
            ];
            for (file, source, content) in copies {
                let mut reasons = Vec::new();
                let is_leaf = matches!(content, Content::Leaf { .. });
                let mut content = content;
                if is_leaf {
                    let from = facts.regular(&format!("{directory}/{source}"));
                    let copy = facts.regular(&format!("{}/{file}", paths.tls));
                    let same = matches!((from, copy), (Some(from), Some(copy)) if from.sha256 == copy.sha256);
                    if leaf_is_new {
                        reasons.push("the client's certificate changes".to_owned());
                    } else if same {
                        content = Content::Same;
                    } else {
                        content = Content::Copy {
                            from: format!("{}/{source}", facts.expand(&directory)),
                        };
                        reasons.push("differs from the client's own".to_owned());
                    }
                } else {
                    let path = format!("{}/{file}", paths.tls);
                    reasons = planner.bundle_reasons(host, Role::Client, &path);
                }
                changes.extend(planner.compare(
                    host,
                    task,
                    Desired {
                        directory: paths.tls.clone(),
                        directory_mode: Mode::Exact(0o700),
                        name: file.to_owned(),
                        mode: FileMode::Exact(0o400),
                        content,
                        reasons,
                    },
                )?);
            }
            changes.extend(planner.compare(
                host,
                task,
                Desired {
                    directory: paths.metadata,
                    directory_mode: Mode::IfMissing(0o700),
                    name: "meta.json".to_owned(),
                    mode: FileMode::IfMissing(0o600),
                    content: Content::Text(metadata(
                        &name,
                        &daemon_address(daemon).url(),
                        &planner.inventory.name,
                    )),
                    reasons: Vec::new(),
                },
            )?);
        }
        Ok(changes)
    }
}

/// A context that is not this inventory's is not written over.
fn refuse_another(
    planner: &Planner<'_>,
    client: &Host,
    daemon: &Host,
    meta: &str,
) -> Result<(), Refusal> {
    let name = context_name(client, daemon);
    let own = &planner.inventory.name;
    let Some(file) = planner.facts(&client.name)?.regular(meta) else {
        return Ok(());
    };
    match keeper(file.content.as_deref().unwrap_or_default(), own) {
        Keeper::Own => Ok(()),
        Keeper::Inventory(other) => Err(Refusal::new(format!(
            "the docker context {name} is kept by another inventory, {other}"
        ))
        .hint(format!(
            "give this one a zone (dtls_zone: {own}): its contexts are then named {own}-{}",
            daemon.name
        ))),
        Keeper::Somebody => Err(Refusal::new(format!(
            "the docker context {name} exists and is not ours"
        ))
        .hint(format!(
            "remove it (docker context rm {name}), or leave `context` out of dtls_client_env"
        ))),
    }
}

/// The contexts that are ours go, with the files copied into them.
fn remove(planner: &Planner<'_>, host: &Host, task: &Task) -> Result<Vec<Change>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let mut changes = Vec::new();
    for daemon in planner.inventory.daemons() {
        let paths = context_paths(host, daemon);
        let meta = facts.regular(&format!("{}/meta.json", paths.metadata));
        let is_ours = meta.is_some_and(|file| {
            let text = file.content.as_deref().unwrap_or_default();
            keeper(text, &planner.inventory.name) == Keeper::Own
        });
        if !is_ours {
            continue;
        }
        // contexts/tls/ID/docker and contexts/meta/ID, all of it when it is empty.
        for (directory, name, prune) in [
            (&paths.tls, "ca.pem", 4),
            (&paths.tls, "cert.pem", 4),
            (&paths.tls, "key.pem", 4),
            (&paths.metadata, "meta.json", 3),
        ] {
            changes.extend(planner.compare(
                host,
                task,
                Desired {
                    directory: directory.clone(),
                    directory_mode: Mode::IfMissing(0o700),
                    name: name.to_owned(),
                    mode: FileMode::IfMissing(0o600),
                    content: Content::Gone { prune },
                    reasons: Vec::new(),
                },
            )?);
        }
    }
    Ok(changes)
}
