//! `docker_context`: a context of the docker CLI for every daemon.

use super::{BECAUSE, Module, Parameter, STATE, is_absent, waits_for_leaf};
use crate::docker::context::{is_ours, metadata, paths};
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
pub(crate) const CLI_DIRECTORY: &str = "~/.docker";

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
            let paths = paths(CLI_DIRECTORY, &daemon.name);
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
            let paths = paths(CLI_DIRECTORY, &daemon.name);
            let meta = format!("{}/meta.json", paths.metadata);
            if let Some(file) = facts.regular(&meta)
                && !is_ours(file.content.as_deref().unwrap_or_default())
            {
                return Err(Refusal::new(format!(
                    "the docker context {} exists and is not ours",
                    daemon.name
                ))
                .hint(format!(
                    "remove it (docker context rm {}), or leave `context` out of dtls_client_env",
                    daemon.name
                )));
            }
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
            for (name, source, content) in copies {
                let mut reasons = Vec::new();
                let is_leaf = matches!(content, Content::Leaf { .. });
                let mut content = content;
                if is_leaf {
                    let from = facts.regular(&format!("{directory}/{source}"));
                    let copy = facts.regular(&format!("{}/{name}", paths.tls));
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
                    let path = format!("{}/{name}", paths.tls);
                    reasons = planner.bundle_reasons(host, Role::Client, &path);
                }
                changes.extend(planner.compare(
                    host,
                    task,
                    Desired {
                        directory: paths.tls.clone(),
                        directory_mode: Mode::Exact(0o700),
                        name: name.to_owned(),
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
                    content: Content::Text(metadata(&daemon.name, &daemon_address(daemon).url())),
                    reasons: Vec::new(),
                },
            )?);
        }
        Ok(changes)
    }
}

/// The contexts that are ours go, with the files copied into them.
fn remove(planner: &Planner<'_>, host: &Host, task: &Task) -> Result<Vec<Change>, Refusal> {
    let facts = planner.facts(&host.name)?;
    let mut changes = Vec::new();
    for daemon in planner.inventory.daemons() {
        let paths = paths(CLI_DIRECTORY, &daemon.name);
        let meta = facts.regular(&format!("{}/meta.json", paths.metadata));
        if !meta.is_some_and(|file| is_ours(file.content.as_deref().unwrap_or_default())) {
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
